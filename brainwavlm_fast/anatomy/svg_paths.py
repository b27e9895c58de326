"""Path data of SVG (the attribute ``d``) as straight pieces: lines, Bezier curves and elliptical arcs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

Line = NDArray[np.float64]  # (n_points, 2)

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
PIECES_PER_TURN = 128  # straight pieces of a whole ellipse: they stray from it by 0.03 % of its radius
_VALUE, _FLAG = re.compile(rf"[\s,]*({NUMBER})"), re.compile(r"[\s,]*([01])")  # flags may touch: 'a1 1 0 0110 10'
_COMMAND = re.compile(r"[\s,]*([A-Za-z])((?:[^A-Za-z]|(?<=[\d.])[eE](?=[-+\d]))*)")
_PER_COMMAND = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7, "Z": 0}
_CURVE_STEPS = np.linspace(0, 1, 17)[1:, None]  # a Bezier curve becomes 16 straight pieces


def path_lines(d: str) -> list[Line]:
    """The lines of a path, one each time the pen is set down; those of a single point are left out.

    Raises
    ------
    DataError
        A command is unknown or lacks numbers. SVG viewers draw such a path up to there; part of an outline is none.
    """
    pen = _Pen()
    for command, values in _commands(d):
        pen.draw(command, values)
    return [np.array(line) for line in pen.lines if len(line) > 1]


def arc(start: NDArray, end: NDArray, radii: NDArray, degrees: float, *, large: bool, sweep: bool) -> Line:
    """Points (n, 2) along an elliptical arc, without its start: SVG 1.1, appendix F.6.

    Parameters
    ----------
    radii, degrees
        The ellipse's, and how far its first axis is turned. An ellipse too small to reach both ends is made larger.
    large, sweep
        Which of the four arcs: the longer way around, and the way of growing angles.
    """
    radii = np.abs(radii)
    if (start == end).all():
        return np.empty((0, 2))
    if (radii == 0).any():
        return end[None]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    unit = turn.T @ (start - end) / (2 * radii)  # the start where the ellipse is a unit circle and the middle is 0
    length = math.hypot(*unit)
    if length > 1:
        radii, unit, length = radii * length, unit / length, 1.0
    away = math.sqrt(max(0.0, 1 / length**2 - 1)) * (1 if large != sweep else -1)
    center = away * np.array([unit[1], -unit[0]])
    first, last = (math.atan2(y, x) for x, y in (unit - center, -unit - center))
    angle = (last - first) % (2 * math.pi) - (0 if sweep else 2 * math.pi)
    n = math.ceil(abs(angle) / (2 * math.pi) * PIECES_PER_TURN)
    angles = first + angle * np.arange(1, n + 1) / n
    points = (np.stack([np.cos(angles), np.sin(angles)], axis=1) + center) * radii @ turn.T + (start + end) / 2
    points[-1] = end
    return points


def _commands(d: str) -> Iterator[tuple[str, list[float]]]:
    """Each command with the numbers of one use: repeated ones come once each."""
    d, at = d.rstrip(), 0
    while at < len(d):
        match = _COMMAND.match(d, at)
        if match is None:
            raise DataError(f"has a path that cannot be read at '{d[at : at + 20]}'")
        command, text, at = match[1], match[2], match.end()
        kind = command.upper()
        if kind not in _PER_COMMAND:
            raise DataError(f"has a path with the command '{command}', which SVG does not know")
        values, wanted = _numbers(kind, text), _PER_COMMAND[kind]
        if kind == "Z" and values:
            raise DataError("has a path with numbers where a command must stand")
        if kind != "Z" and (not values or len(values) % wanted):
            raise DataError(f"has a path whose command '{command}' lacks numbers")
        for k in range(0, max(len(values), 1), max(wanted, 1)):
            yield command, values[k : k + wanted]
            command = {"M": "L", "m": "l"}.get(command, command)


def _numbers(kind: str, text: str) -> list[float]:
    values: list[float] = []
    text, at = text.rstrip().rstrip(","), 0
    while at < len(text):
        flag = kind == "A" and len(values) % 7 in (3, 4)
        match = (_FLAG if flag else _VALUE).match(text, at)
        if match is None:
            raise DataError(f"has a path that cannot be read at '{text[at : at + 20]}'")
        values.append(float(match[1]))
        at = match.end()
    return values


class _Pen:
    """Draws commands one after the other: where it is, where its line began, and the last curve's handle."""

    def __init__(self) -> None:
        self.lines: list[list[NDArray[np.float64]]] = []
        self.at = self.start = self.handle = np.zeros(2)
        self.before = ""

    def draw(self, command: str, values: list[float]) -> None:
        kind = command.upper()
        origin = self.at if command.islower() else np.zeros(2)
        if not self.lines and kind != "M":
            raise DataError(f"has a path that begins with '{command}', not with M")
        if kind == "Z":
            self.lines[-1].append(self.start)
            self.lines.append([self.start])
            self.at = self.start
        elif kind == "M":
            self.at = self.start = origin + values
            self.lines.append([self.at])
        elif kind == "A":
            end = origin + values[5:]
            large, sweep = bool(values[3]), bool(values[4])
            self._add(arc(self.at, end, np.array(values[:2]), values[2], large=large, sweep=sweep), end)
        elif kind in "LHV":
            end = self.at.copy()
            axes = {"L": [0, 1], "H": [0], "V": [1]}[kind]
            end[axes] = origin[axes] + values
            self._add([end], end)
        else:
            points = list(origin + np.reshape(values, (-1, 2)))
            if kind in "ST":
                smooth = self.before in ("CS" if kind == "S" else "QT")
                points.insert(0, 2 * self.at - self.handle if smooth else self.at)
            self.handle = points[-2]
            self._add(_bezier([self.at, *points]), points[-1])
        self.before = kind

    def _add(self, points: Line | list[NDArray[np.float64]], end: NDArray[np.float64]) -> None:
        self.lines[-1].extend(points)
        self.at = end


def _bezier(points: list[NDArray[np.float64]]) -> Line:
    """Points along a quadratic or cubic Bezier curve, without its first."""
    t, degree = _CURVE_STEPS, len(points) - 1
    weights = [math.comb(degree, i) * t**i * (1 - t) ** (degree - i) for i in range(degree + 1)]
    return np.sum([weight * point for weight, point in zip(weights, points, strict=True)], axis=0)
