"""Encoding performance of models, averaged over voxels, then over subjects (figures 1B, 2B and 2D of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..results.saved import Saved, SavedRun
from .style import COLORS, PAGE, SETS, Drawing, NothingToDraw, legend_below, new_figure, on_paper, set_name, tidy

PRETRAINED = "pre-trained"
_BETWEEN = 0.2  # of the width of a group


def within_subject_sem(scores: ArrayLike) -> NDArray[np.float64]:
    """Standard error of each model's mean over subjects, after each subject's mean over models is subtracted.

    Differences between subjects, which all models share, are no part of it (Cousineau 2005; the paper's error bars).

    Parameters
    ----------
    scores : ArrayLike
        (n_subjects, n_models).

    Returns
    -------
    NDArray[np.float64]
        (n_models,); NaN with fewer than two subjects.
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    deviations = values - values.mean(axis=1, keepdims=True)
    return deviations.std(axis=0, ddof=1) / np.sqrt(len(values))


@on_paper
def draw_performance(saved: Saved) -> Drawing:
    """Mean correlation on the test story by voxel set: pre-trained and each way of tuning."""
    table = _Table(saved)
    drawing = _draw(table, {name: table.scores(name) for name in table.sets}, table.models)
    drawing.axes.set_ylabel("Encoding performance\n(mean Pearson r over voxels)")
    return drawing.finish("Encoding performance on the test story")


@on_paper
def draw_improvement(saved: Saved) -> Drawing:
    """Change over pre-trained in percent by voxel set; the SEM takes pre-trained, whose change is 0, as one model."""
    table = _Table(saved)
    percent = {}
    for name in table.sets:
        scores = table.scores(name)
        scores = scores[scores[:, 0] > 0]
        percent[name] = 100 * (scores / scores[:, :1] - 1)
    drawing = _draw(table, percent, table.models, first=1)
    drawing.axes.axhline(0, color="0.3", linewidth=0.7)
    drawing.axes.set_ylabel("Change over pre-trained (%)\nof mean Pearson r over voxels")
    return drawing.finish("Change of encoding performance on the test story", unit=" %", digits=1)


class _Table:
    """Scores of every subject and model, by voxel set."""

    def __init__(self, saved: Saved) -> None:
        runs = _comparable(saved)
        self.models = [PRETRAINED, *dict.fromkeys(run.model for run in runs)]
        self.subjects = list(dict.fromkeys(run.subject for run in runs))
        self._runs = {(run.subject, run.model): run for run in runs}
        self.sets = [name for name in SETS if any(name in (run.evaluation or {})["encoding"] for run in runs)]
        self.complete = [s for s in self.subjects if all((s, model) in self._runs for model in self.models[1:])]
        if not self.complete:
            raise NothingToDraw(
                "no subject has a run of every model, so their bars would compare different people; give runs of one "
                "subject, or of the same models in each."
            )

    def scores(self, voxels: str) -> NDArray[np.float64]:
        """(n_subjects, n_models) of the subjects that have all models and a value for each; pre-trained first."""
        rows = [[self._score(subject, model, voxels) for model in self.models] for subject in self.complete]
        values = np.array(rows, dtype=np.float64)
        return values[np.isfinite(values).all(axis=1)]

    def _score(self, subject: str, model: str, voxels: str) -> float | None:
        run = self._runs[subject, self.models[1] if model == PRETRAINED else model]
        numbers = (run.evaluation or {})["encoding"].get(voxels, {})
        return numbers.get("pretrained" if model == PRETRAINED else "tuned")

    def left_out(self) -> str:
        """What was not drawn, in a sentence; empty if nothing."""
        missing = [subject for subject in self.subjects if subject not in self.complete]
        return f" Left out, since runs of some models are missing: {', '.join(missing)}." if missing else ""


class _Bars:
    """Bars that were drawn, before caption and alt text are added."""

    def __init__(self, figure: Any, axes: Any, table: _Table, drawn: dict[str, NDArray], models: Sequence[str]) -> None:
        self.figure, self.axes = figure, axes
        self._table, self._drawn, self._models = table, drawn, models

    def finish(self, what: str, *, unit: str = "", digits: int = 3) -> Drawing:
        """The drawing with its caption and alt text."""
        n = len(self._table.complete)
        who = ", ".join(self._table.complete)
        bars = (
            "Error bars: SEM over subjects after each subject's mean over models is subtracted; dots: subjects."
            if n > 1
            else "One subject: no error bars."
        )
        numbers = "; ".join(
            f"{set_name(name)}: "
            + ", ".join(f"{m} {v:.{digits}f}{unit}" for m, v in zip(self._models, values.mean(axis=0), strict=True))
            for name, values in self._drawn.items()
        )
        return Drawing(self.figure, f"{what}, {who}. {bars}{self._table.left_out()}", f"Bars. {what}. {numbers}.")


def _draw(table: _Table, scores: dict[str, NDArray], models: Sequence[str], *, first: int = 0) -> _Bars:
    figure = new_figure(PAGE if len(models) * len(scores) > 12 else PAGE * 0.62, 2.6)
    axes = figure.subplots()
    tidy(axes)
    groups = {name: values for name, values in scores.items() if len(values)}
    if not groups:
        raise NothingToDraw("no voxel set has a positive pre-trained score in every run.")
    width = (1 - _BETWEEN) / (len(models) - first)
    offsets = np.linspace(-0.25, 0.25, max(len(table.complete), 2))
    for k, model in enumerate(models[first:], first):
        centers = np.arange(len(groups)) + (k - first - (len(models) - first - 1) / 2) * width
        means = [values[:, k].mean() for values in groups.values()]
        errors = [within_subject_sem(values)[k] for values in groups.values()]
        color = "0.6" if k == 0 else COLORS[(k - 1) % len(COLORS)]
        axes.bar(centers, means, 0.92 * width, color=color, label=model, hatch=None if k <= len(COLORS) else "//")
        if np.isfinite(errors).any():
            axes.errorbar(centers, means, errors, fmt="none", ecolor="black", elinewidth=0.9, capsize=2)
            for center, values in zip(centers, groups.values(), strict=True):
                spots = center + width * offsets[: len(values)]
                axes.plot(spots, values[:, k], "o", color="black", markersize=1.8, linestyle="none")
    axes.set_xticks(range(len(groups)), [set_name(name).replace(" ", "\n", 1) for name in groups])
    axes.tick_params(axis="x", length=0)
    legend_below(figure, axes, columns=2)
    return _Bars(figure, axes, table, {n: v[:, first:] for n, v in groups.items()}, models[first:])


def _comparable(saved: Saved) -> tuple[SavedRun, ...]:
    """Evaluated runs, if they start from one pre-trained model's scores."""
    runs = saved.evaluated
    if not runs:
        raise NothingToDraw(saved.needs_evaluation())
    if len({(run.subject, run.model) for run in runs}) < len(runs):
        raise NothingToDraw("two of the runs are of the same subject and kind of model; give one of them.")
    for subject in {run.subject for run in runs}:
        before = [(run.evaluation or {})["encoding"]["all"]["pretrained"] for run in runs if run.subject == subject]
        if any(a is None or abs(a - before[0]) > 1e-6 for a in before):
            raise NothingToDraw(
                f"runs of {subject} have different pre-trained scores (another layer, window, story or ridge), so "
                "their bars cannot be compared; evaluate them with the same settings."
            )
    return runs
