"""Encoding performance of models, averaged over voxels, then over subjects (figures 1B, 2B and 2D of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, suggest
from ..results.saved import Saved, SavedRun
from ..stats.intervals import mean_interval
from ..stats.pooled import within_subject_sem
from .style import COLORS, PAGE, SETS, Drawing, NothingToDraw, explain_sets, legend_below, new_figure, on_paper, tidy

ErrorBars = Literal["interval", "sem", "sem-morey"]
PRETRAINED = "pre-trained"
_BETWEEN = 0.2  # of the width of a group


@on_paper
def draw_performance(saved: Saved, *, errors: ErrorBars = "interval") -> Drawing:
    """Mean correlation on the test story by voxel set: pre-trained and each way of tuning."""
    table = _Table(saved)
    groups = [_Group(name, table.scores(name), table.intervals(name, "tuned")) for name in table.sets]
    drawing = _draw(table, groups, table.models, errors)
    drawing.axes.set_ylabel("Encoding performance\n(mean Pearson r over voxels)")
    return drawing.finish("Encoding performance on the test story")


@on_paper
def draw_improvement(saved: Saved, *, errors: ErrorBars = "interval") -> Drawing:
    """Change over pre-trained in percent by voxel set; the SEM takes pre-trained, whose change is 0, as one model."""
    table, groups = _Table(saved), []
    for name in table.sets:
        scores = table.scores(name)
        scores = scores[scores[:, 0] > 0]
        groups.append(_Group(name, 100 * (scores / scores[:, :1] - 1), table.intervals(name, "percent")))
    drawing = _draw(table, groups, table.models, errors, first=1)
    drawing.axes.axhline(0, color="0.3", linewidth=0.7)
    drawing.axes.set_ylabel("Change over pre-trained (%)\nof mean Pearson r over voxels")
    return drawing.finish("Change of encoding performance on the test story", unit=" %", digits=1)


def known_error_bars(name: str) -> ErrorBars:
    """A kind of error bars by its name, or a :class:`ConfigError`."""
    for known in get_args(ErrorBars):
        if name == known:
            return known
    raise ConfigError(f"error bars '{name}' are unknown: {suggest(name, get_args(ErrorBars))}")


@dataclass(frozen=True)
class _Group:
    """The bars of a voxel set: ``values`` (n_subjects, n_models), and of a single subject the interval of each."""

    name: str
    values: NDArray[np.float64]
    intervals: NDArray[np.float64]

    def ends(self, errors: str) -> NDArray[np.float64]:
        """Where the error bars end, (n_models, 2); NaN where there is none."""
        means = self.values.mean(axis=0)
        if len(self.values) == 1:
            return self.intervals
        if errors == "interval":
            return np.array([mean_interval(column) for column in self.values.T])
        sem = within_subject_sem(self.values, morey=errors == "sem-morey")
        return np.stack([means - sem, means + sem], axis=1)


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

    def intervals(self, voxels: str, tuned: str) -> NDArray[np.float64]:
        """95 % intervals (n_models, 2) of the one subject there is, NaN where unknown; ``tuned``: of which number."""
        ends = np.full((len(self.models), 2), np.nan)
        for k, model in enumerate(self.models if len(self.complete) == 1 else ()):
            run = self._runs[self.complete[0], self.models[1] if model == PRETRAINED else model]
            known = (run.evaluation or {})["encoding"].get(voxels, {}).get("intervals", {})
            found = known.get("pretrained" if model == PRETRAINED else tuned)
            ends[k] = np.nan if found is None else found
        return ends

    def about_intervals(self) -> str:
        """What a single subject's intervals are over."""
        run = self._runs[self.complete[0], self.models[1]]
        return str((run.evaluation or {}).get("intervals", {}).get("over", ""))

    def left_out(self) -> str:
        """What was not drawn, in a sentence; empty if nothing."""
        missing = [subject for subject in self.subjects if subject not in self.complete]
        return f" Left out, since runs of some models are missing: {', '.join(missing)}." if missing else ""


_MEANING = {
    "interval": "95 % intervals of the mean over subjects, Student's t",
    "sem": "SEM over subjects after each subject's mean over models is subtracted (Cousineau)",
    "sem-morey": "SEM over subjects after each subject's mean over models is subtracted, times Morey's factor",
}


class _Bars:
    """Bars that were drawn, before caption and alt text are added."""

    def __init__(
        self, figure: Any, axes: Any, table: _Table, groups: Sequence[_Group], models: Sequence[str], errors: str
    ) -> None:
        self.figure, self.axes, self._errors = figure, axes, errors
        self._table, self._groups, self._models = table, groups, models

    def finish(self, what: str, *, unit: str = "", digits: int = 3) -> Drawing:
        """The drawing with its caption and alt text."""
        who, skipped = ", ".join(self._table.complete), len(self._table.models) - len(self._models)
        numbers = []
        for group in self._groups:
            of_models = zip(
                self._models, group.values.mean(axis=0)[skipped:], group.ends(self._errors)[skipped:], strict=True
            )
            texts = []
            for model, value, (low, high) in of_models:
                ends = f" [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(low) else ""
                texts.append(f"{model} {value:.{digits}f}{unit}{ends}")
            numbers.append(f"{group.name}: {', '.join(texts)}")
        named = explain_sets(group.name for group in self._groups)
        caption = f"{what}, {who}. {self._error_words()}{self._table.left_out()} {named}".strip()
        return Drawing(self.figure, caption, f"Bars. {what}. {'; '.join(numbers)}.")

    def _error_words(self) -> str:
        if len(self._table.complete) > 1:
            return f"Error bars: {_MEANING[self._errors]}; dots: subjects."
        if any(np.isfinite(group.intervals).any() for group in self._groups):
            return f"Error bars: 95 % intervals of this subject, over {self._table.about_intervals()}."
        return "One subject, without intervals: no error bars."


def _draw(table: _Table, groups: Sequence[_Group], models: Sequence[str], errors: str, *, first: int = 0) -> _Bars:
    figure = new_figure(PAGE if len(models) * len(groups) > 12 else PAGE * 0.62, 2.6)
    axes = figure.subplots()
    tidy(axes)
    groups = [group for group in groups if len(group.values)]
    if not groups:
        raise NothingToDraw("no voxel set has a positive pre-trained score in every run.")
    width = (1 - _BETWEEN) / (len(models) - first)
    offsets = np.linspace(-0.25, 0.25, max(len(table.complete), 2))
    for k, model in enumerate(models[first:], first):
        centers = np.arange(len(groups)) + (k - first - (len(models) - first - 1) / 2) * width
        means = np.array([group.values[:, k].mean() for group in groups])
        ends = np.array([group.ends(errors)[k] for group in groups])
        color = "0.6" if k == 0 else COLORS[(k - 1) % len(COLORS)]
        axes.bar(centers, means, 0.92 * width, color=color, label=model, hatch=None if k <= len(COLORS) else "//")
        if np.isfinite(ends).any():
            middle, half = ends.mean(axis=1), np.ptp(ends, axis=1) / 2
            axes.errorbar(centers, middle, half, fmt="none", ecolor="black", elinewidth=0.9, capsize=2)
        for center, group in zip(centers, groups if len(table.complete) > 1 else (), strict=False):
            spots = center + width * offsets[: len(group.values)]
            axes.plot(spots, group.values[:, k], "o", color="black", markersize=1.8, linestyle="none")
    axes.set_xticks(range(len(groups)), [group.name for group in groups])
    axes.tick_params(axis="x", length=0)
    legend_below(figure, axes, columns=2)
    return _Bars(figure, axes, table, groups, models[first:], errors)


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
