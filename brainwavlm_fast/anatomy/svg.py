"""Drawings: the part of SVG that Inkscape writes lines with, read without running or fetching anything.

Paths of straight lines and Bezier curves, in groups that may be moved, scaled or turned. Entities and document types
are refused, since they can make a small file fill the memory or name other files. The library
svgelements gives the same numbers, but drops commands and transforms that it does not know without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

_SVG, _INKSCAPE = "{http://www.w3.org/2000/svg}", "{http://www.inkscape.org/namespaces/inkscape}"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TOKEN = re.compile(rf"[\s,]*([A-Za-z]|{_NUMBER})")
_PER_COMMAND = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2}
_CURVE_STEPS = np.linspace(0, 1, 17)[1:, None]  # a Bezier curve becomes 16 straight pieces
_IDENTITY = np.eye(3)


class _Builder(ElementTree.TreeBuilder):
    """An element tree without embedded pictures, which are nearly all of a large overlay's bytes."""

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        return super().start(tag, {} if tag == f"{_SVG}image" else attrs)

    def doctype(self, name: str, _public: str | None, _system: str | None) -> None:
        raise DataError(f"has a document type ({name}), which may name or build anything; save it as plain SVG")


@dataclass(frozen=True)
class Drawing:
    """A layer of an SVG file.

    Attributes
    ----------
    shapes : dict[str, list[list[NDArray[np.float64]]]]
        Name -> its paths; a path is its rings or lines, each float64 (n_points, 2).
    origin, size : NDArray[np.float64]
        The corner and extent of the page in the same units; y runs downwards.
    """

    shapes: dict[str, list[list[NDArray[np.float64]]]]
    origin: NDArray[np.float64]
    size: NDArray[np.float64]


def read_layer(path: Path, layer: str) -> Drawing:
    """The shapes of a layer as pycortex lays them out: layer / shapes / one group per shape, named by its label.

    A missing layer has no shapes.

    Raises
    ------
    DataError
        The file is damaged, is no SVG, or holds what is refused here.
    """
    try:
        # In one piece: fed bit by bit, the parser starts an embedded picture of 30 MB over and over.
        root = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_Builder()))
        origin, size = _page(root)
        shapes: dict[str, list[list[NDArray[np.float64]]]] = {}
        for group, matrix in _groups(root, _IDENTITY, layer):
            for inner, moved in _groups(group, matrix, "shapes"):
                for shape, placed in _groups(inner, moved):
                    name = shape.get(f"{_INKSCAPE}label", "").strip()
                    paths = [_read_path(d, at) for d, at in _paths(shape, placed)]
                    if name and paths:
                        shapes.setdefault(name, []).extend(paths)
    except DataError as error:
        raise DataError(f"{path}: {error}.") from None
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as SVG ({error}); download it again.") from error
    return Drawing(shapes, origin, size)


def _page(root: Element) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if root.tag != f"{_SVG}svg":
        raise DataError("is not an SVG drawing")
    if root.get("viewBox"):
        x, y, width, height = (float(value) for value in re.findall(_NUMBER, root.get("viewBox", "")))
    else:
        x = y = 0.0
        width, height = (float(root.get(name, "").removesuffix("px")) for name in ("width", "height"))
    if not (width > 0 and height > 0):
        raise DataError(f"has a page of {width} by {height}")
    return np.array([x, y]), np.array([width, height])


def _groups(
    parent: Element, matrix: NDArray[np.float64], label: str | None = None
) -> Iterator[tuple[Element, NDArray[np.float64]]]:
    for group in parent.findall(f"{_SVG}g"):
        if label is None or group.get(f"{_INKSCAPE}label") == label:
            yield group, matrix @ _read_transform(group.get("transform", ""))


def _paths(group: Element, matrix: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    for child in group:
        placed = matrix @ _read_transform(child.get("transform", ""))
        if child.tag == f"{_SVG}path":
            yield child.get("d", ""), placed
        elif child.tag == f"{_SVG}g":
            yield from _paths(child, placed)


def _read_transform(text: str) -> NDArray[np.float64]:
    matrix = _IDENTITY
    for name, inside in re.findall(r"(\w+)\s*\(([^)]*)\)", text):
        matrix = matrix @ _one_transform(name, [float(value) for value in re.findall(_NUMBER, inside)])
    return matrix


def _one_transform(name: str, values: list[float]) -> NDArray[np.float64]:
    if name == "matrix" and len(values) == 6:
        a, b, c, d, e, f = values
    elif name == "translate" and len(values) in (1, 2):
        a, b, c, d, e, f = 1, 0, 0, 1, values[0], values[1] if len(values) == 2 else 0
    elif name == "scale" and len(values) in (1, 2):
        a, b, c, d, e, f = values[0], 0, 0, values[-1], 0, 0
    elif name == "rotate" and len(values) in (1, 3):
        cos, sin = math.cos(math.radians(values[0])), math.sin(math.radians(values[0]))
        x, y = values[1:] or (0.0, 0.0)
        a, b, c, d, e, f = cos, sin, -sin, cos, x - cos * x + sin * y, y - sin * x - cos * y
    else:
        raise DataError(f"has the transform {name}{tuple(values)}, which is not read here")
    return np.array([[a, c, e], [b, d, f], [0, 0, 1]], dtype=np.float64)


def _read_path(text: str, matrix: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """A path's ``d`` as lines of two points or more, placed by its groups."""
    lines = [np.array(line) for line in _subpaths(_tokens(text)) if len(line) > 1]
    return [line @ matrix[:2, :2].T + matrix[:2, 2] for line in lines]


def _tokens(text: str) -> list[str | float]:
    tokens: list[str | float] = []
    text, at = text.rstrip(), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise DataError(f"has a path that cannot be read at '{text[at : at + 20]}'")
        at, token = match.end(), match[1]
        tokens.append(token if token.isalpha() else float(token))
    return tokens


def _subpaths(tokens: list[str | float]) -> Iterator[list[NDArray[np.float64]]]:
    """The points of each subpath, one list each time the pen is set down."""
    line: list[NDArray[np.float64]] = []
    pen, start, handle = np.zeros(2), np.zeros(2), np.zeros(2)
    command, before, k = "", "", 0
    while k < len(tokens):
        token = tokens[k]
        if isinstance(token, str):
            command, k = token, k + 1
        elif command in "Zz":
            raise DataError("has a path with numbers where a command must stand")
        kind = command.upper()
        if kind == "Z":
            yield [*line, start]
            line, pen, before = [start], start, kind
            continue
        if kind not in _PER_COMMAND:
            advice = "an arc; in Inkscape, turn it into Bezier curves" if kind == "A" else f"the command '{command}'"
            raise DataError(f"has a path with {advice}")
        wanted = _PER_COMMAND[kind]
        values = tokens[k : k + wanted]
        if len(values) < wanted or any(isinstance(value, str) for value in values):
            raise DataError(f"has a path whose command '{command}' lacks numbers")
        k += wanted
        numbers = np.array(values, dtype=np.float64)
        relative = command.islower()
        if kind in "HV":
            axis = "HV".index(kind)
            target = pen.copy()
            target[axis] = numbers[0] + (pen[axis] if relative else 0)
            points = [target]
        else:
            points = list(numbers.reshape(-1, 2) + (pen if relative else 0))
        if kind == "M":
            yield line
            start, line, command = points[0], [points[0]], "l" if relative else "L"
        elif kind in "LHV":
            line.append(points[0])
        else:
            if kind in "ST":
                smooth = before in ("CS" if kind == "S" else "QT")
                points.insert(0, 2 * pen - handle if smooth else pen)
            handle = points[-2]
            line.extend(_bezier([pen, *points]))
        pen, before = points[-1], kind
    yield line


def _bezier(points: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Points along a quadratic or cubic Bezier curve, without its first."""
    t, degree = _CURVE_STEPS, len(points) - 1
    weights = [math.comb(degree, i) * t**i * (1 - t) ** (degree - i) for i in range(degree + 1)]
    return np.sum([weight * point for weight, point in zip(weights, points, strict=True)], axis=0)
