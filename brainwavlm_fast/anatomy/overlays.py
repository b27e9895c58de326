"""What was drawn on a subject's flat map: functional regions and sulci of ``overlays.svg``.

pycortex (version 1.4) lays the drawing over the two flat surfaces so: the left one is moved until its largest x is 0,
the right one until its smallest is; the bounding box of all their points together, vertices that no face uses included,
is the SVG's page, whose y runs downwards. Here the same is run backwards, and outlines are given in the coordinates of
each flat surface.

Where pycortex and SVG disagree, SVG is followed, as Inkscape showed it to the person who drew it: the page is the
viewBox if there is one, groups' transforms are heeded, the pen returns to a closed ring's start. And an outline belongs
to the one hemisphere that most of it is drawn on, so that a line that strays over the middle takes nothing from the
other side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..data.tree import DERIVATIVE, Dataset
from .surfaces import SIDES, Side, Surface, check_same_vertices, load_surface, mid_thickness
from .svg import read_layer

Outline = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Region:
    """One name of the drawing. ``lh`` and ``rh`` are its paths there, each path its lines, float32 (n_points, 2).

    Coordinates are x and y of :func:`load_surface`'s flat surface of that side. A region's lines are closed rings, a
    ring inside a ring of the same path is a hole; a sulcus's lines are open.
    """

    name: str
    lh: tuple[Outline, ...]
    rh: tuple[Outline, ...]

    def inside(self, side: Side, points: NDArray) -> NDArray[np.bool_]:
        """Which points (n, 2) of a flat surface lie inside: bool (n,)."""
        inside = np.zeros(len(points), dtype=bool)
        for rings in getattr(self, side):
            odd = np.zeros(len(points), dtype=bool)
            for ring in rings:
                odd ^= _inside_ring(points, ring)
            inside |= odd
        return inside


def overlay_regions(dataset: Dataset, subject: str, *, layer: Literal["rois", "sulci"] = "rois") -> dict[str, Region]:
    """Functional regions, or sulci, that were drawn for a subject; none if the drawing lacks the layer.

    Raises
    ------
    DataError
        ``overlays.svg`` or a flat surface is missing, not downloaded, or damaged.
    """
    path = dataset.require(overlays_path(dataset, subject))
    flat = {side: load_surface(dataset, subject, "flat", side).points[:, :2].astype(np.float64) for side in SIDES}
    edge = {"lh": flat["lh"][:, 0].max(), "rh": flat["rh"][:, 0].min()}  # where the hemispheres are made to touch
    together = np.concatenate([points - np.array([edge[side], 0]) for side, points in flat.items()])
    low, high = together.min(axis=0), together.max(axis=0)
    drawing = read_layer(path, layer)
    regions = {}
    for name, paths in drawing.shapes.items():
        outlines: dict[str, list[Outline]] = {"lh": [], "rh": []}
        for lines in paths:
            by_side: dict[str, list[NDArray[np.float32]]] = {}
            for line in lines:
                share = (line - drawing.origin) / drawing.size
                share[:, 1] = 1 - share[:, 1]
                placed = low + share * (high - low)
                side = "lh" if np.mean(placed[:, 0] < 0) > 0.5 else "rh"
                by_side.setdefault(side, []).append((placed + np.array([edge[side], 0])).astype(np.float32))
            for side, side_lines in by_side.items():
                outlines[side].append(tuple(side_lines))
        regions[name] = Region(name, tuple(outlines["lh"]), tuple(outlines["rh"]))
    return regions


def overlays_path(dataset: Dataset, subject: str) -> Path:
    """Where a subject's drawing is."""
    return dataset.root / DERIVATIVE / "pycortex-db" / dataset.subject(subject) / "overlays.svg"


def region_vertices(dataset: Dataset, subject: str) -> dict[str, dict[Side, NDArray[np.bool_]]]:
    """Vertices of each drawn region: name -> side -> bool (n_vertices,).

    Vertices that a cut took off the flat map join the regions that their neighbors on the folded surface are in, as
    pycortex has it since its fix of regions along cuts.
    """
    regions = overlay_regions(dataset, subject)
    vertices: dict[str, dict[Side, NDArray[np.bool_]]] = {name: {} for name in regions}
    for side in SIDES:
        flat, folded = load_surface(dataset, subject, "flat", side), mid_thickness(dataset, subject, side)
        check_same_vertices({f"flat_{side}": flat, f"wm_{side}": folded}, subject)
        on_map = flat.used()
        for name, region in regions.items():
            vertices[name][side] = _with_neighbors(on_map & region.inside(side, flat.points[:, :2]), on_map, folded)
    return vertices


def _with_neighbors(inside: NDArray[np.bool_], on_map: NDArray[np.bool_], folded: Surface) -> NDArray[np.bool_]:
    touched = folded.polys[inside[folded.polys].any(axis=1)].ravel()
    inside = inside.copy()
    inside[touched[~on_map[touched]]] = True
    return inside


def _inside_ring(points: NDArray, ring: NDArray) -> NDArray[np.bool_]:
    """Even-odd rule: a ray to the right crosses the ring an odd number of times."""
    out = np.zeros(len(points), dtype=bool)
    near = np.flatnonzero(((points >= ring.min(axis=0)) & (points <= ring.max(axis=0))).all(axis=1))
    x, y = points[near].T.astype(np.float64)
    odd = np.zeros(len(near), dtype=bool)
    for (x0, y0), (x1, y1) in zip(ring.astype(np.float64), np.roll(ring, -1, axis=0).astype(np.float64), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            odd ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    out[near] = odd
    return out
