"""What was drawn on a subject's flat map, on ours: outlines, sulci and their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..anatomy import Region, overlay_regions
from ..anatomy.surfaces import SIDES
from ..data import Dataset
from ..errors import DataError
from .labels import spread_labels
from .style import DPI, new_figure, on_paper
from .views import WIDTH, BrainView

_MARGIN = 4  # pixels between names
_SMALLEST = 5  # points


@dataclass(frozen=True)
class Overlay:
    """What was drawn on a subject's flat map: regions and sulci by name."""

    rois: Mapping[str, Region] = field(default_factory=dict)
    sulci: Mapping[str, Region] = field(default_factory=dict)


def load_overlay(dataset: Dataset, subject: str) -> tuple[Overlay, list[str]]:
    """A subject's drawing, and what of it is not drawn and why; an empty one if it cannot be read."""
    try:
        rois = overlay_regions(dataset, subject, layer="rois")
        sulci = overlay_regions(dataset, subject, layer="sulci")
    except DataError as error:
        return Overlay(), [f"No outlines: {error}"]
    notes = [*rois.left_out.values(), *sulci.left_out.values()]
    if not rois.regions:
        notes.append(f"No outlines: overlays.svg of {subject} holds no region.")
    return Overlay(rois.regions, sulci.regions), notes


@on_paper
def outlines(view: BrainView, overlay: Overlay) -> NDArray[np.uint8]:
    """Outlines and names alone, on nothing: (height, width, 4), of the view's size."""
    height, width = view.vertices.shape
    figure = new_figure(width / DPI, height / DPI)
    figure.set_layout_engine("none")
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    draw_edge(axes, view)
    draw_outlines(axes, view, overlay)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]


def draw_edge(axes: Any, view: BrainView) -> None:
    """Draw where the brain ends, so that white on it is not taken for the paper."""
    columns, rows = (np.arange(n) + 0.5 for n in reversed(view.vertices.shape))
    axes.contour(columns, rows, view.vertices >= 0, levels=[0.5], colors="0.3", linewidths=0.5)


def draw_outlines(axes: Any, view: BrainView, overlay: Overlay) -> None:
    """Draw outlines and names on axes whose units are the view's pixels."""
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=1.5, foreground="white")]
    lines = [
        view.to_pixels(side, line)
        for region in overlay.sulci.values()
        for side in SIDES
        for line in region.visible_lines(side, closed=False)
    ]
    axes.add_collection(LineCollection(lines, colors="black", linewidths=0.7, linestyles=(0, (3, 2))), autolim=False)
    names: list[tuple[str, NDArray[np.float64]]] = []
    for region in overlay.rois.values():
        for side in SIDES:
            rings = [view.to_pixels(side, ring) for ring in region.visible_lines(side, closed=True)]
            if rings:
                outline = LineCollection(rings, colors="black", linewidths=0.9, path_effects=halo)
                axes.add_collection(outline, autolim=False)
                names.append((region.name, max(rings, key=_area)))
    _write_names(axes, view, names)


def _write_names(axes: Any, view: BrainView, names: list[tuple[str, NDArray[np.float64]]]) -> None:
    """Each name at its region's middle, or beside it with a line to it where another name stands there."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=1.5, foreground="white")]
    height, width = view.vertices.shape
    points = max(_SMALLEST, 7 * width / WIDTH)
    renderer = axes.figure.canvas.get_renderer()
    taken = [_extent(text, renderer, axes) for text in axes.texts]
    anchors = np.array([_middle(ring) for _, ring in names]).reshape(-1, 2)
    texts = [
        axes.text(*anchor, name, ha="center", va="center", fontsize=points, weight="bold", path_effects=halo, zorder=4)
        for (name, _), anchor in zip(names, anchors, strict=True)
    ]
    boxes = np.array([_extent(text, renderer, axes) for text in texts]).reshape(-1, 4)
    sizes = boxes[:, 2:] - boxes[:, :2] + _MARGIN
    centers = spread_labels(anchors, sizes, (width, height), taken)
    for text, anchor, center, size, (_, ring) in zip(texts, anchors, centers, sizes, names, strict=True):
        text.set_position(center)
        end = np.clip(anchor, center - size / 2, center + size / 2)
        if np.linalg.norm(end - anchor) > 0.3 * np.sqrt(_area(ring)):  # else it stands in its region
            axes.plot(*np.stack([anchor, end]).T, color="black", linewidth=0.6, path_effects=halo, zorder=3)


def _extent(text: Any, renderer: Any, axes: Any) -> NDArray[np.float64]:
    """A text's box in the axes' units: left, top, right, bottom, with y downwards."""
    corners = axes.transData.inverted().transform(text.get_window_extent(renderer).get_points())
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def _area(ring: NDArray[np.float64]) -> float:
    x, y = (ring - ring[0]).T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _middle(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """The center of a ring's area, or of its points if it has none."""
    x, y = (ring - ring[0]).T
    cross = x * np.roll(y, -1) - y * np.roll(x, -1)
    if abs(cross.sum()) < 1e-9:
        return np.asarray(ring.mean(axis=0))
    both = np.stack([x + np.roll(x, -1), y + np.roll(y, -1)])
    return np.asarray(ring[0] + both @ cross / (3 * cross.sum()))
