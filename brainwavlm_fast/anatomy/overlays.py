"""What was drawn on a subject's flat map: functional regions and sulci of ``overlays.svg``.

pycortex (version 1.4) lays the drawing over the two flat surfaces so: the left one is moved until its largest x is 0,
the right one until its smallest is; the bounding box of all their points together, vertices that no face uses included,
is the SVG's page, whose y runs downwards. Here the same is run backwards, and outlines are given in the coordinates of
each flat surface.

Where pycortex and SVG disagree, SVG is followed, as Inkscape showed it to the person who drew it: the page is the
viewBox if there is one, groups' transforms are heeded, the pen returns to a closed ring's start, shapes that are no
path count, and a region holds only what its own clip path leaves of it. And an outline belongs to the one hemisphere
that most of it is drawn on, so that a line that strays over the middle takes nothing from the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..data.tree import DERIVATIVE, Dataset
from .outlines import Outline, Region
from .surfaces import SIDES, Side, Surface, check_same_vertices, load_surface, mid_thickness
from .svg import Shape, read_layer


@dataclass(frozen=True)
class Drawn:
    """What a layer of a subject's drawing holds.

    Attributes
    ----------
    regions : Mapping[str, Region]
        By name.
    left_out : Mapping[str, str]
        Names of what could not be read, and why, in a sentence.
    """

    regions: Mapping[str, Region]
    left_out: Mapping[str, str]


def overlay_regions(dataset: Dataset, subject: str, *, layer: Literal["rois", "sulci"] = "rois") -> Drawn:
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

    def place(line: NDArray[np.float64], side: Side | None = None) -> NDArray[np.float64]:
        share = (line - drawing.origin) / drawing.size
        share[:, 1] = 1 - share[:, 1]
        return low + share * (high - low) + np.array([edge[side] if side else 0, 0])

    what = "region" if layer == "rois" else "sulcus"
    return Drawn(
        {name: Region(name, **_by_side(shapes, place)) for name, shapes in drawing.shapes.items()},
        {name: f"{what} {name} of {path.name} is left out: it {why}." for name, why in drawing.left_out.items()},
    )


def _by_side(shapes: list[Shape], place: Callable[..., NDArray[np.float64]]) -> dict[Side, tuple[Outline, ...]]:
    outlines: dict[Side, tuple[Outline, ...]] = {"lh": (), "rh": ()}
    for shape in shapes:
        left = [bool(np.mean(place(line)[:, 0] < 0) > 0.5) for line in shape.lines]
        for side in SIDES:
            lines = [line for line, on_left in zip(shape.lines, left, strict=True) if on_left == (side == "lh")]
            if lines:
                own = tuple(place(line, side).astype(np.float32) for line in lines)
                clips, frame = (
                    tuple(tuple(tuple(place(ring, side) for ring in rings) for rings in clip) for clip in every)
                    for every in (shape.clips, shape.frame)
                )
                outlines[side] += (Outline(own, clips, frame),)
    return outlines


def overlays_path(dataset: Dataset, subject: str) -> Path:
    """Where a subject's drawing is."""
    return dataset.root / DERIVATIVE / "pycortex-db" / dataset.subject(subject) / "overlays.svg"


def region_vertices(
    dataset: Dataset, subject: str, regions: Mapping[str, Region]
) -> dict[str, dict[Side, NDArray[np.bool_]]]:
    """Vertices of each drawn region: name -> side -> bool (n_vertices,).

    Vertices that a cut took off the flat map join the regions that their neighbors on the folded surface are in, as
    pycortex has it since its fix of regions along cuts.
    """
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
