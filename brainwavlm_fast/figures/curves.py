"""Encoding performance over epochs, drawn from an evaluation's summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import atomic_path

# Okabe and Ito's colours, which stay apart for colour-blind readers; markers repeat the distinction
_SETS = {
    "all": ("Whole cortex", "#000000", "o"),
    "ac": ("Auditory cortex", "#D55E00", "s"),
    "nonac": ("Outside auditory cortex", "#0072B2", "^"),
}


def draw_epoch_curves(summary: Mapping[str, Any], path: Path | str) -> Path:
    """Draw validation and test correlation against epoch for whole cortex, auditory cortex and the rest.

    Parameters
    ----------
    summary : an evaluation's ``summary.json``: ``curve``, ``encoding``, ``best_epoch``, ``subject`` and
        ``trained_on`` are used.
    path : the PNG to write; replaced whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.4, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{summary['subject']}, tuned on {summary['trained_on']}", fontsize=11)
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("Validation stories (filled: the epoch chosen)", "Test story")
    for axes, kind, title in zip(panels, ("validation", "test"), titles, strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("Epoch (0 = pre-trained)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        for name, (label, colour, marker) in _SETS.items():
            _draw_set(axes, summary, name, kind, label, colour, marker)
    panels[0].set_ylabel("Encoding performance\n(mean Pearson r over voxels)")
    if all(point["validation"][name] is None for point in summary["curve"] for name in point["validation"]):
        panels[0].text(0.5, 0.5, "no validation story", ha="center", transform=panels[0].transAxes, color="0.4")
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(handles)), frameon=False, fontsize=8)
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def _draw_set(
    axes: Any, summary: Mapping[str, Any], name: str, kind: str, label: str, colour: str, marker: str
) -> None:
    points = [(point["epoch"], point[kind][name]) for point in summary["curve"] if point[kind].get(name) is not None]
    if not points:
        return
    epochs, scores = zip(*points, strict=True)
    numbers = summary["encoding"][name]
    axes.plot(
        epochs,
        scores,
        color=colour,
        marker=marker,
        markersize=4,
        markerfacecolor="white",
        linewidth=1.5,
        label=f"{label} ({numbers['n_voxels']:,} voxels)",
    )
    best = [point for point in points if point[0] == summary["best_epoch"]]
    axes.plot(*zip(*best, strict=True), color=colour, marker=marker, markersize=7, linestyle="none")
    if kind == "test" and numbers.get("ceiling") is not None:
        axes.axhline(numbers["ceiling"], color=colour, linestyle=":", linewidth=1, label=f"{label}: ceiling")
