"""Encoding performance over epochs, drawn from evaluations' summaries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..results.folders import teacher_score
from ..results.saved import Saved, SavedRun
from .style import (
    COLORS,
    COLUMN,
    MARKERS,
    PAGE,
    Drawing,
    NothingToDraw,
    legend_below,
    new_figure,
    on_paper,
    save_png,
    tidy,
)

_SETS = {"all": ("#000000", "o"), "ac": (COLORS[1], "s"), "nonac": (COLORS[0], "^")}
_LINES = {"lora": "-", "full": "--", "frozen": ":"}


def draw_epoch_curves(summary: Mapping[str, Any], path: Path | str) -> Path:
    """Draw validation and test correlation against epoch for ``all``, ``ac`` and ``nonac``.

    Parameters
    ----------
    summary : Mapping[str, Any]
        An evaluation's ``summary.json``: ``curve``, ``encoding``, ``best_epoch``, ``subject`` and ``trained_on`` are
        used.
    path : Path | str
        The PNG to write, atomically.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(8.4, 4.0, dpi=150)
    figure.suptitle(f"{summary['subject']}, tuned on {summary['trained_on']}", fontsize=11)
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("Validation stories (filled: the epoch chosen)", "Test story")
    for axes, kind, title in zip(panels, ("validation", "test"), titles, strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("Epoch (0 = pre-trained)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
        for name, (color, marker) in _SETS.items():
            _draw_set(axes, summary, name, kind, color, marker)
    panels[0].set_ylabel("Encoding performance\n(mean Pearson r over voxels)")
    if all(point["validation"][name] is None for point in summary["curve"] for name in point["validation"]):
        panels[0].text(0.5, 0.5, "no validation story", ha="center", transform=panels[0].transAxes, color="0.4")
    legend_below(figure, panels[1], columns=3)
    return save_png(figure, path)


@on_paper
def draw_epoch_changes(saved: Saved) -> Drawing:
    """Change of validation performance over epochs in percent, with and without LoRA (figures 1C, 1D and 5).

    Over the voxels that a run was trained on; one panel per subject where one has several runs.
    """
    from matplotlib.ticker import MaxNLocator

    curves = {run: points for run in saved.evaluated if (points := _percent(run))}
    if not curves:
        raise NothingToDraw(_why_no_curve(saved))
    subjects = list(dict.fromkeys(run.subject for run in curves))
    apart = len(subjects) < len(curves)
    panels_of = [[run for run in curves if run.subject == s] for s in subjects] if apart else [list(curves)]
    figure = new_figure(COLUMN if len(panels_of) == 1 else PAGE, 2.8)
    panels = figure.subplots(1, len(panels_of), squeeze=False, sharey=True)[0]
    kinds = (
        list(dict.fromkeys(run.config.train.trained_on for run in curves)) if apart else [run.title for run in curves]
    )
    for axes, runs in zip(panels, panels_of, strict=True):
        tidy(axes)
        axes.axhline(0, color="0.3", linewidth=0.7)
        for run in runs:
            k = kinds.index(run.config.train.trained_on if apart else run.title)
            style = {"color": COLORS[k % 6], "marker": MARKERS[k % 6], "linestyle": _LINES[run.config.model.finetune]}
            axes.plot(*zip(*curves[run], strict=True), label=run.model if apart else run.title, **style)
        axes.set_xlabel("Epoch (0 = pre-trained)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if apart:
            axes.set_title(runs[0].subject, loc="left")
    panels[0].set_ylabel("Change of validation performance (%)")
    legend_below(figure, *panels, columns=2)
    numbers = "; ".join(
        f"{run.title} {points[-1][1]:+.1f} % at epoch {points[-1][0]}" for run, points in curves.items()
    )
    left_out = [run.title for run in saved.evaluated if run not in curves]
    return Drawing(
        figure,
        "Change of mean encoding performance on the validation stories, over the voxels trained on. Solid: with LoRA; "
        "dashed: without; dotted: readout only."
        + (
            f" No curve, for want of a positive start or of a validation story: {', '.join(left_out)}."
            if left_out
            else ""
        ),
        f"Lines over epochs. {numbers}.",
    )


def _percent(run: SavedRun) -> list[tuple[int, float]]:
    """(epoch, change in percent) of the voxels trained on; empty without a positive score before training."""
    scores = [(point["epoch"], point["validation"].get(run.trained_set)) for point in (run.evaluation or {})["curve"]]
    start = next((score for epoch, score in scores if epoch == 0), None)
    if start is None or start <= 0 or len(scores) < 2:
        return []
    return [(epoch, 100 * (score / start - 1)) for epoch, score in scores if score is not None]


def _why_no_curve(saved: Saved) -> str:
    if not saved.evaluated:
        return saved.needs_evaluation()
    return (
        "no run has validation scores of several epochs that start above 0; train with a validation story "
        "(`bwlm train --validation STORY`) and run `bwlm evaluate` on it."
    )


def _draw_set(axes: Any, summary: Mapping[str, Any], name: str, kind: str, color: str, marker: str) -> None:
    points = [(point["epoch"], point[kind][name]) for point in summary["curve"] if point[kind].get(name) is not None]
    if not points:
        return
    epochs, scores = zip(*points, strict=True)
    numbers = summary["encoding"][name]
    axes.plot(
        epochs,
        scores,
        color=color,
        marker=marker,
        markersize=4,
        markerfacecolor="white",
        linewidth=1.5,
        label=f"{name} ({numbers['n_voxels']:,} voxels)",
    )
    best = [point for point in points if point[0] == summary["best_epoch"]]
    axes.plot(*zip(*best, strict=True), color=color, marker=marker, markersize=7, linestyle="none")
    teacher = teacher_score(numbers)
    if kind == "test" and teacher is not None:
        axes.axhline(teacher, color=color, linestyle=":", linewidth=1, label=f"{name}: teacher")
