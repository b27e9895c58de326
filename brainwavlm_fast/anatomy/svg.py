"""Drawings: the part of SVG that Inkscape writes outlines with, read without running or fetching anything.

Paths, ellipses, rectangles, polygons and lines, in groups, links and clones that may be moved, scaled, turned or
skewed, and the clip paths on them. Entities and document types are refused, since they can make a small file fill the
memory or name other files. What else a drawing may hold is not passed over: the shape that holds it is left out by its
name, so that one shape never takes the others with it. The library svgelements gives the same numbers, but drops
commands and transforms that it does not know without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .svg_paths import NUMBER, Line
from .svg_shapes import SHAPES, length, read_transform, shape_lines

_SVG, _INKSCAPE = "{http://www.w3.org/2000/svg}", "{http://www.inkscape.org/namespaces/inkscape}"
_LINK = ("href", "{http://www.w3.org/1999/xlink}href")
_NO_OUTLINE = {
    *("title", "desc", "metadata", "defs", "style", "script", "text", "flowRoot", "image"),
    *("clipPath", "mask", "marker", "pattern", "linearGradient", "radialGradient", "filter"),
}
_DEEPEST, _MOST = 50, 100_000  # groups and clones in each other; elements of one shape, clones of clones counted

Clip = tuple[list[Line], ...]  # rings of each shape of a clip path; what lies in any of the shapes is shown
Matrix = NDArray[np.float64]


class _Builder(ElementTree.TreeBuilder):
    """An element tree without embedded pictures, which are nearly all of a large overlay's bytes."""

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        return super().start(tag, {} if tag == f"{_SVG}image" else attrs)

    def doctype(self, name: str, _public: str | None, _system: str | None) -> None:
        raise DataError(f"has a document type ({name}), which may name or build anything; save it as plain SVG")


@dataclass(frozen=True)
class Shape:
    """One path, ellipse or other shape.

    Attributes
    ----------
    lines : list[Line]
        Its rings or lines, each float64 (n_points, 2).
    clips : tuple[Clip, ...]
        What it and the groups below its layer are clipped to: only what is in all of them is shown.
    frame : tuple[Clip, ...]
        What its layer is clipped to: in pycortex's drawings the edge of the flat map.
    """

    lines: list[Line]
    clips: tuple[Clip, ...] = ()
    frame: tuple[Clip, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A layer of an SVG file.

    Attributes
    ----------
    shapes : dict[str, list[Shape]]
        By name.
    left_out : dict[str, str]
        Name of what was drawn but could not be read, and why, as what follows "it".
    origin, size : NDArray[np.float64]
        The corner and extent of the page in the same units; y runs downwards.
    """

    origin: NDArray[np.float64]
    size: NDArray[np.float64]
    shapes: dict[str, list[Shape]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def read_layer(path: Path, layer: str) -> Drawing:
    """The shapes of a layer as pycortex lays them out: layer / shapes / one group per shape, named by its label.

    A missing layer has no shapes.

    Raises
    ------
    DataError
        The file is damaged or no SVG, has a document type, or its page or layer is placed by what is not read here.
    """
    try:
        # In one piece: fed bit by bit, the parser starts an embedded picture of 30 MB over and over.
        root = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_Builder()))
        drawing = Drawing(*_page(root))
        reader = _Reader(root)
        for group, matrix in _labeled(root, np.eye(3), layer):
            for inner, moved in _labeled(group, matrix, "shapes"):
                frame = reader.frame(group, matrix) + reader.frame(inner, moved)
                _read_named(reader, inner, moved, frame, drawing)
        for name in drawing.left_out:
            drawing.shapes.pop(name, None)  # half a region is another region
    except DataError as error:
        raise DataError(f"{path}: {error}.") from None
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as SVG ({error}); download it again.") from error
    return drawing


def _page(root: Element) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if root.tag != f"{_SVG}svg":
        raise DataError("is not an SVG drawing")
    if root.get("viewBox"):
        x, y, width, height = (float(value) for value in re.findall(NUMBER, root.get("viewBox", "")))
    else:
        x = y = 0.0
        width, height = (length(root.get(name, "")) for name in ("width", "height"))
    if not (width > 0 and height > 0):
        raise DataError(f"has a page of {width} by {height}")
    return np.array([x, y]), np.array([width, height])


def _labeled(parent: Element, matrix: Matrix, label: str) -> Iterator[tuple[Element, Matrix]]:
    for group in parent.findall(f"{_SVG}g"):
        if group.get(f"{_INKSCAPE}label") == label:
            yield group, matrix @ _transform(group)


def _read_named(reader: _Reader, parent: Element, matrix: Matrix, frame: tuple[Clip, ...], drawing: Drawing) -> None:
    """Every named group, and by its name or id whatever else was drawn beside them."""
    for element in parent:
        kind = _kind(element)
        name = element.get(f"{_INKSCAPE}label", "").strip()
        shown_as = name or element.get("id") or f"a <{kind}> without a name"
        if kind in _NO_OUTLINE:
            continue
        try:
            if kind == "a" and not name:
                _read_named(reader, element, matrix @ _transform(element), frame, drawing)
                continue
            found = reader.read(element, matrix)
            if kind not in ("g", "a"):
                raise DataError("lies in no group: put it into one, labeled with its name")
            if not found:
                raise DataError("holds no outline")
            if not name:
                raise DataError("is a group without a label, which is where a name is looked for")
        except DataError as error:
            drawing.left_out.setdefault(shown_as, str(error))
            continue
        drawing.shapes.setdefault(name, []).extend(Shape(shape.lines, shape.clips, frame) for shape in found)


class _Reader:
    """Reads elements of one drawing, in which clones and clip paths are named by id."""

    def __init__(self, root: Element) -> None:
        self._by_id = {element.get("id"): element for element in root.iter() if element.get("id")}

        self._n_read = 0

    def read(self, element: Element, outer: Matrix) -> list[Shape]:
        """The shapes of an element and of what is in it, placed by their transforms and ``outer``."""
        self._n_read = 0
        return list(self._shapes(element, outer))

    def _shapes(self, element: Element, outer: Matrix, clips: tuple[Clip, ...] = (), depth: int = 0) -> Iterator[Shape]:
        kind = _kind(element)
        if kind in _NO_OUTLINE:
            return
        self._n_read += 1
        if depth > _DEEPEST or self._n_read > _MOST:
            raise DataError("is nested too deeply, or holds clones of itself")
        matrix = outer @ _transform(element)
        clips = clips + self._clips(element, matrix, depth)
        if kind in SHAPES:
            with np.errstate(over="ignore", invalid="ignore"):
                lines = [line @ matrix[:2, :2].T + matrix[:2, 2] for line in shape_lines(kind, element)]
            if not all(np.isfinite(line).all() for line in lines):
                raise DataError("has a number that is too large")
            if lines:
                yield Shape(lines, clips)
        elif kind in ("g", "a"):
            for child in element:
                yield from self._shapes(child, matrix, clips, depth + 1)
        elif kind == "use":
            link = next((element.get(name, "") for name in _LINK if element.get(name)), "")
            if link[1:] not in self._by_id or link[0] != "#":
                raise DataError(f"holds a clone of '{link}', which is not in the drawing")
            x, y = (length(element.get(name, "0")) for name in "xy")
            moved = matrix @ np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
            yield from self._shapes(self._by_id[link[1:]], moved, clips, depth + 1)
        else:
            raise DataError(f"holds a <{kind}>, which is not read here")

    def frame(self, layer: Element, matrix: Matrix) -> tuple[Clip, ...]:
        """What a layer is clipped to; nothing if that cannot be read, since it only trims what is drawn."""
        try:
            return self._clips(layer, matrix)
        except DataError:
            return ()

    def _clips(self, element: Element, matrix: Matrix, depth: int = 0) -> tuple[Clip, ...]:
        """Clip paths on an element, in the drawing's units. As SVG has it, one that is nowhere clips nothing."""
        if _style(element, "mask") not in ("", "none"):
            raise DataError("has a mask, which is not read here")
        named = _style(element, "clip-path")
        if named in ("", "none"):
            return ()
        link = re.fullmatch(r"""url\(\s*["']?#([^"')]+)["']?\s*\)""", named)
        if link is None:
            raise DataError(f"has the clip path '{named}', which is not read here")
        path = self._by_id.get(link[1])
        if path is None or _kind(path) != "clipPath":
            return ()
        if path.get("clipPathUnits", "userSpaceOnUse") != "userSpaceOnUse" or depth > _DEEPEST:
            raise DataError(f"has the clip path #{link[1]}, whose units or nesting are not read here")
        placed = matrix @ _transform(path)
        found = [shape for child in path for shape in self._shapes(child, placed, depth=depth + 1)]
        if any(shape.clips for shape in found) or any(_kind(child) == "text" for child in path):
            raise DataError(f"has the clip path #{link[1]}, which holds text or is clipped in parts")
        return (tuple(shape.lines for shape in found), *self._clips(path, matrix, depth + 1))


def _kind(element: Element) -> str:
    """The element's name; what another program keeps in the file, and comments, hold no outline."""
    return element.tag.removeprefix(_SVG) if str(element.tag).startswith(_SVG) else "metadata"


def _style(element: Element, name: str) -> str:
    """A property, from the style or the attribute, empty if there is none."""
    found = re.search(rf"(?:^|;)\s*{name}\s*:\s*([^;]+)", element.get("style", ""))
    return (found[1] if found else element.get(name, "")).strip()


def _transform(element: Element) -> Matrix:
    if re.search(r"(?:^|;)\s*transform", element.get("style", "")):
        raise DataError("has a transform in its style, which is not read here")
    return read_transform(element.get("transform", ""))
