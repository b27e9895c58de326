"""The shapes of SVG as lines, and its transforms and lengths as numbers."""

from __future__ import annotations

import math
import re
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .svg_paths import NUMBER, PIECES_PER_TURN, Line, arc, path_lines

SHAPES = ("path", "ellipse", "circle", "rect", "polygon", "polyline", "line")
_PIXELS = {"": 1.0, "px": 1.0, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4, "pt": 96 / 72, "pc": 16.0}
_TRANSFORM = re.compile(r"[\s,]*(\w+)\s*\(([^)]*)\)[\s,]*")


def shape_lines(kind: str, element: Element) -> list[Line]:
    """The lines of a shape in its own coordinates, closed where SVG closes them; none if it has no extent.

    Raises
    ------
    DataError
        A number is missing, cannot be read, or has a unit that depends on the page.
    """
    if kind == "path":
        return path_lines(element.get("d", ""))
    if kind in ("polygon", "polyline"):
        points = _points(element.get("points", ""))
        return [np.concatenate([points, points[:1]]) if kind == "polygon" else points] if len(points) > 1 else []
    if kind == "line":
        return [_lengths(element, "x1", "y1", "x2", "y2").reshape(2, 2)]
    if kind == "rect":
        return _rectangle(element)
    center = _lengths(element, "cx", "cy")
    radii = _lengths(element, "r", "r") if kind == "circle" else _radii(element)
    if not (radii > 0).all():
        return []
    angles = np.linspace(0, 2 * math.pi, PIECES_PER_TURN + 1)
    return [center + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)]


def _rectangle(element: Element) -> list[Line]:
    corner, size = _lengths(element, "x", "y"), _lengths(element, "width", "height")
    if not (size > 0).all():
        return []
    radii = np.minimum(_radii(element), size / 2)
    low, high = corner, corner + size
    if not (radii > 0).all():
        return [np.array([low, [high[0], low[1]], high, [low[0], high[1]], low])]
    inner_low, inner_high = low + radii, high - radii
    ends = [  # of each rounded corner, clockwise on the page from the upper left one
        ([low[0], inner_low[1]], [inner_low[0], low[1]]),
        ([inner_high[0], low[1]], [high[0], inner_low[1]]),
        ([high[0], inner_high[1]], [inner_high[0], high[1]]),
        ([inner_low[0], high[1]], [low[0], inner_high[1]]),
    ]
    line = []
    for start, end in ends:
        line += [np.array([start]), arc(np.array(start), np.array(end), radii, 0, large=False, sweep=True)]
    return [np.concatenate([*line, line[0]])]


def _radii(element: Element) -> NDArray[np.float64]:
    """``rx`` and ``ry``, each as large as the other where only one is given."""
    given = [element.get(name, "auto") for name in ("rx", "ry")]
    if given == ["auto", "auto"]:
        return np.zeros(2)
    radii = np.array([length(other if one == "auto" else one) for one, other in (given, given[::-1])])
    if (radii < 0).any():
        raise DataError("has a shape with a negative radius")
    return radii


def _lengths(element: Element, *names: str) -> NDArray[np.float64]:
    return np.array([length(element.get(name, "0")) for name in names])


def length(text: str) -> float:
    """A length in the drawing's pixels, of which an inch has 96."""
    match = re.fullmatch(rf"\s*({NUMBER})\s*([a-z]*)\s*", text)
    if match is None or match[2] not in _PIXELS:
        raise DataError(f"has the length '{text}', which is not read here")
    return float(match[1]) * _PIXELS[match[2]]


def _points(text: str) -> NDArray[np.float64]:
    if not re.fullmatch(rf"(?:[\s,]*{NUMBER})*[\s,]*", text):
        raise DataError(f"has a polygon whose points cannot be read: '{text[:20]}'")
    values = [float(value) for value in re.findall(NUMBER, text)]
    if len(values) % 2:
        raise DataError("has a polygon whose last point lacks a number")
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def read_transform(text: str) -> NDArray[np.float64]:
    """A list of transforms as one matrix (3, 3)."""
    matrix, at = np.eye(3), 0
    while at < len(text):
        match = _TRANSFORM.match(text, at)
        if match is None:
            raise DataError(f"has the transform '{text}', which cannot be read")
        values = match[2].replace(",", " ").split()
        if not all(re.fullmatch(NUMBER, value) for value in values):
            raise DataError(f"has the transform '{text}', whose numbers cannot be read")
        matrix = matrix @ _one_transform(match[1], [float(value) for value in values])
        at = match.end()
    return matrix


def _one_transform(name: str, values: list[float]) -> NDArray[np.float64]:
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 1.0, 0.0, 0.0
    if name == "matrix" and len(values) == 6:
        a, b, c, d, e, f = values
    elif name == "translate" and len(values) in (1, 2):
        e, f = values[0], values[1] if len(values) == 2 else 0.0
    elif name == "scale" and len(values) in (1, 2):
        a, d = values[0], values[-1]
    elif name == "rotate" and len(values) in (1, 3):
        cos, sin = math.cos(math.radians(values[0])), math.sin(math.radians(values[0]))
        x, y = values[1:] or (0.0, 0.0)
        a, b, c, d, e, f = cos, sin, -sin, cos, x - cos * x + sin * y, y - sin * x - cos * y
    elif name == "skewX" and len(values) == 1:
        c = math.tan(math.radians(values[0]))
    elif name == "skewY" and len(values) == 1:
        b = math.tan(math.radians(values[0]))
    else:
        raise DataError(f"has the transform {name}{tuple(values)}, which is not read here")
    return np.array([[a, c, e], [b, d, f], [0, 0, 1]], dtype=np.float64)
