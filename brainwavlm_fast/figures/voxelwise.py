"""Every voxel at once: one model against another, and both against the noise ceiling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..results.folders import floor_words
from ..results.saved import SavedRun
from .style import COLORS, COLUMN, Drawing, NothingToDraw, new_figure, on_paper, tidy

_BINS = 60
_CEILING_BINS = np.linspace(0, 1, 11)


@on_paper
def draw_scatter(x: NDArray, y: NDArray, *, labels: tuple[str, str], title: str) -> Drawing:
    """Correlations of two models on the same voxels: counts in cells of a square, so that no point hides another.

    Parameters
    ----------
    x, y : NDArray
        (n_voxels,) correlations; voxels without both are left out.
    labels : tuple[str, str]
        The models.
    """
    from matplotlib.colors import LogNorm

    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        raise NothingToDraw(f"{title}: no voxel has a score from both models.")
    x, y = x[known], y[known]
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    pad = 0.03 * (high - low) or 0.1
    ends = (low - pad, high + pad)
    figure = new_figure(COLUMN, 3.1)
    axes = figure.subplots()
    tidy(axes, grid="")
    counts, edges, _ = np.histogram2d(x, y, bins=_BINS, range=(ends, ends))
    mesh = axes.pcolormesh(
        edges,
        edges,
        np.ma.masked_equal(counts.T, 0),
        cmap="viridis",
        norm=LogNorm(1, max(2, counts.max())),
        rasterized=True,
    )
    axes.axline((0, 0), slope=1, color="0.3", linewidth=0.8, linestyle="--")
    axes.set(xlim=ends, ylim=ends, aspect="equal", title=title)
    axes.set_xlabel(f"{labels[0]} (Pearson r)")
    axes.set_ylabel(f"{labels[1]} (Pearson r)")
    figure.colorbar(mesh, label="Voxels", shrink=0.85, format="{x:.0f}", ticks=_ticks(counts.max())).minorticks_off()
    above = float((y > x).mean())
    words = f"{100 * above:.1f} % of {len(x):,} voxels lie above the line, where {labels[1]} is better"
    return Drawing(
        figure,
        f"{title}: correlation on the test story, voxel by voxel. {words}.",
        f"Density of voxels, {labels[1]} against {labels[0]}. {words}; means {x.mean():.3f} and {y.mean():.3f}.",
    )


def _ticks(top: float) -> list[int]:
    """1, 2, 5, 10, 20 and so on, up to a count."""
    return [step * 10**k for k in range(6) for step in (1, 2, 5) if step * 10**k <= max(top, 1)]


@on_paper
def draw_ceiling(run: SavedRun) -> Drawing:
    """Noise ceilings of voxels, and how far both models reach."""
    summary = (run.evaluation or {}).get("noise_ceiling")
    arrays = run.voxels("noise_ceiling", "encoding/pretrained", "encoding/tuned")
    if not summary or len(arrays) < 3:
        raise NothingToDraw(
            f"{run.folder}: its evaluation holds no noise ceiling (the test story has no individual repeats in this "
            "data set, or there are several test stories)."
        )
    ceiling, before, after = arrays.values()
    known = np.isfinite(ceiling) & np.isfinite(before) & np.isfinite(after)
    ceiling, before, after = ceiling[known], before[known], after[known]
    figure = new_figure(COLUMN, 3.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    middles = (_CEILING_BINS[:-1] + _CEILING_BINS[1:]) / 2
    where = np.clip(np.digitize(ceiling, _CEILING_BINS) - 1, 0, len(middles) - 1)
    n = np.bincount(where, minlength=len(middles))
    for values, label, color, marker in ((before, "pre-trained", "0.45", "o"), (after, run.model, COLORS[0], "s")):
        means = np.divide(np.bincount(where, values, len(middles)), n, out=np.full(len(n), np.nan), where=n > 0)
        top.plot(middles, means, color=color, marker=marker, label=label)
    top.plot([0, 1], [0, 1], color="0.3", linewidth=0.8, linestyle="--", label="ceiling")
    bottom.hist(ceiling, _CEILING_BINS, color="0.7", edgecolor="white")
    for axes in (top, bottom):
        tidy(axes)
    top.set_ylabel("Mean Pearson r")
    bottom.set_ylabel("Voxels")
    bottom.set_xlabel("Noise ceiling (largest Pearson r a model could reach)")
    top.legend(frameon=False, loc="upper left")
    figure.suptitle(run.title)
    cortex, made = summary["sets"].get("all", {}), summary.get("data_is")
    share = ", ".join(
        f"{name} {cortex[key]:.2f}"
        for key, name in (("pretrained", "pre-trained"), ("tuned", run.model))
        if cortex.get(key)
    )
    return Drawing(
        figure,
        f"{run.title}: noise ceilings from {summary['n_repeats']} repeats of the test story, and mean correlation of "
        f"voxels by their ceiling.{f' The responses are {made}.' if made else ''} {summary['caveat']}",
        f"Mean ceiling {ceiling.mean():.3f} over {len(ceiling):,} voxels. Mean r / ceiling over the "
        f"{cortex.get('n_normalised', 0):,} voxels with a ceiling {floor_words(summary)}: {share or 'not known'}.",
    )
