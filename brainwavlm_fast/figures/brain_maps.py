"""Values of voxels on a brain: flat map or inflated views, with regions, sulci, a threshold and a color bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .drawn import Overlay, draw_edge, draw_outlines
from .style import DPI, Drawing, new_figure, on_paper
from .views import GYRUS, SULCUS, BrainView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VALUES, CHANGE = "viridis", "RdBu_r"  # even steps look even; blue against red is told apart by color-blind readers
_BAR = 0.6  # inches for the color bar and its label


def limits(values: NDArray, *, centered: bool) -> tuple[float, float]:
    """Ends of the color scale: 0 and the 99th percentile, or plus and minus that of the absolute values."""
    finite = np.abs(values[np.isfinite(values)]) if centered else values[np.isfinite(values)]
    top = float(np.percentile(finite, 99)) if len(finite) else 0.0
    top = top if top > 0 else 1.0
    return (-top if centered else 0.0), top


def paint(
    view: BrainView, values: NDArray, *, shown: NDArray[np.bool_] | None = None, centered: bool = False
) -> NDArray[np.uint8]:
    """Colors of the pixels (height, width, 3): gray folds, and the values of voxels that are finite and ``shown``.

    Parameters
    ----------
    values : NDArray
        (n_voxels,) in the order of the responses' columns.
    shown : NDArray[bool], optional
        bool (n_voxels,); None: all.
    centered : bool, default False
        Colors of a change, white at 0; else of a value.

    Raises
    ------
    DataError
        There are fewer values than the view has voxels: they are another subject's, or another mask's.
    """
    from matplotlib import colormaps

    values = np.asarray(values, dtype=np.float64)
    n_voxels = int(view.vertex_voxels.max(initial=-1)) + 1
    if len(values) < n_voxels:
        raise DataError(
            f"the surfaces run through voxel {n_voxels}, but there are {len(values)} values: results and voxel mask "
            "are not of the same subject or data version."
        )
    visible = np.isfinite(values) if shown is None else np.isfinite(values) & shown
    low, high = limits(values[visible], centered=centered)
    scaled = (np.where(visible, values, low) - low) / (high - low)
    colors = colormaps[CHANGE if centered else VALUES](np.clip(scaled, 0, 1), bytes=True)[:, :3]
    picture = np.repeat(view.shade[:, :, None], 3, axis=2)
    voxels = view.voxels
    colored = (voxels >= 0) & visible[voxels]
    picture[colored] = colors[voxels[colored]]
    return picture


@on_paper
def draw_map(
    view: BrainView,
    values: NDArray,
    *,
    title: str,
    unit: str,
    shown: NDArray[np.bool_] | None = None,
    condition: str = "",
    centered: bool = False,
    overlay: Overlay | None = None,
) -> Drawing:
    """Draw one value per voxel.

    Parameters
    ----------
    values : NDArray
        (n_voxels,), as ``shown`` and ``centered`` are in :func:`paint`.
    title, unit : str
        What is shown, and the label of the color bar.
    condition : str, default ''
        What ``shown`` means, such as ``pre-trained r above 0.15``.
    overlay : Overlay, optional
        Outlines and names, drawn on flat maps.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values = np.asarray(values, dtype=np.float64)
    picture = paint(view, values, shown=shown, centered=centered)
    height, width = picture.shape[:2]
    figure = new_figure(width / DPI, height / DPI + _BAR + 0.2)
    figure.set_layout_engine("none")  # one pixel of the view is one of the figure
    axes = figure.add_axes((0, _BAR / figure.get_figheight(), 1, height / DPI / figure.get_figheight()))
    axes.imshow(picture, interpolation="nearest", extent=(0, width, height, 0), aspect="auto")
    axes.set_axis_off()
    for text, column, row in view.titles():
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color="0.35")
    draw_edge(axes, view)
    if overlay is not None and view.kind == "flat":
        draw_outlines(axes, view, overlay)
    figure.text(0.5, 1 - 0.04 / figure.get_figheight(), title, ha="center", va="top", fontsize=9)
    visible = np.isfinite(values) if shown is None else np.isfinite(values) & shown
    low, high = limits(values[visible], centered=centered)
    bar = figure.add_axes((0.2, 0.42 / figure.get_figheight(), 0.3, 0.09 / figure.get_figheight()))
    mappable = ScalarMappable(Normalize(low, high), CHANGE if centered else VALUES)
    extend = "both" if centered else "max" if not (values[visible] < 0).any() else "both"
    figure.colorbar(mappable, cax=bar, orientation="horizontal", label=unit, extend=extend)
    meanings = legend(condition, centered=centered)
    _draw_legend(figure, meanings)
    n_visible, n = int(visible.sum()), len(values)
    shown_as = f" Colored: {n_visible:,} of {n:,} voxels" + (f", those with {condition}." if condition else ".")
    what = "Flat map" if view.kind == "flat" else "Inflated views"
    average = f"mean {values[visible].mean():.3f}, " if n_visible else ""
    alt = f"{what} of {n_visible:,} voxels: {title}. {unit}: {average}colors from {low:.2f} to {high:.2f}."
    keys = " ".join(f"{color.capitalize()}: {meaning}." for color, meaning in meanings.items())
    return Drawing(figure, f"{title}.{shown_as} {keys} Colors end at the 99th percentile.", alt)


def legend(condition: str, *, centered: bool) -> dict[str, str]:
    """What the colors that stand for no value mean: color -> its meaning. ``condition`` as in :func:`draw_map`."""
    meanings = {"white": "no change"} if centered else {}
    return meanings | {"gray": f"not shown (no {condition}, or no voxel)" if condition else "no value, or no voxel"}


def _draw_legend(figure: Figure, meanings: Mapping[str, str]) -> None:
    """Swatches at the right of the color bar, gray as folds are: dark and light."""
    from matplotlib.patches import Rectangle

    height = figure.get_figheight()
    width = figure.get_figwidth()
    for row, (color, meaning) in enumerate(meanings.items()):
        x, y = 0.58, (0.44 - 0.16 * row) / height
        tones = [str(SULCUS), str(GYRUS)] if color == "gray" else [color]
        for k, tone in enumerate(tones):
            part = 0.18 / width / len(tones)
            figure.add_artist(Rectangle((x + k * part, y), part, 0.1 / height, facecolor=tone, linewidth=0))
        figure.add_artist(Rectangle((x, y), 0.18 / width, 0.1 / height, fill=False, edgecolor="0.3", linewidth=0.5))
        figure.text(x + 0.24 / width, y + 0.05 / height, f"{color}: {meaning}", va="center", fontsize=7)
