"""Transfer: the encoder tuned on one subject, evaluated on every subject.

For each run its best epoch (chosen when the run was evaluated) gives features of the stories of each subject; ridge,
with alphas chosen anew, on these and on the pre-trained encoder's gives the percent change on the held-out story. The
paper's matrices: rows are who was tuned on, columns who was predicted.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..config import Places, RunConfig, as_dict
from ..data import Dataset, StorySplit, find_dataset, make_split
from ..errors import CheckpointError, ConfigError
from ..features.sources import run_sources
from ..features.store import FeatureStore
from ..files import provenance, write_json
from ..progress import Progress
from ..results.folders import SUMMARY, best_epoch, finished, read_run_config, write_arrays
from ..stats.pooled import pool_known
from .encoding import Encoding, EncodingSettings, RidgeSettings, all_stories, bootstrap_rows, encode
from .epoch_selection import Arrays, Sets
from .responses import DatasetResponses, voxel_sets
from .score_intervals import about_intervals, gain_intervals

# may differ between runs that read the same features; base models are compared by their digests
_MAY_DIFFER = (
    *("model", "revision", "finetune", "lora_rank", "lora_alpha", "lora_dropout"),
    *("bottleneck", "regularizers", "negative_lobes"),
)
_PRETRAINED = "pretrained"
Cells = dict[str, dict[str, dict[str, dict[str, Any]]]]


@dataclass(frozen=True)
class _Tuned:
    """A run and the epoch of it that is transferred."""

    label: str
    config: RunConfig
    best: int
    store: FeatureStore


def transfer(
    runs: Sequence[Path | str],
    out: Path | str,
    *,
    subjects: Sequence[str],
    places: Places | None = None,
    evaluation: str = "evaluation",
    ridge: RidgeSettings | None = None,
    memory_gb: float = 4.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate each run's best epoch on each subject; returns the summary that is also written.

    Parameters
    ----------
    runs : run folders that ``bwlm evaluate`` has been through.
    out : folder of the results, ``summary.json`` and ``voxels.hf5``: read back for the same settings, else refused.
    subjects : who is predicted, as S02 or UTS02.
    places : where the data set (by default the first run's) and the base model are, if they have moved.
    evaluation : the evaluation in each run that chose its best epoch.
    ridge, memory_gb : as in :class:`EvaluationOptions`.

    Returns
    -------
    ``matrices``: voxel set -> ``percent`` and ``tuned`` (n_runs, n_subjects), ``pretrained`` (n_subjects,); None where
    a subject has no such set. ``rows`` and ``columns`` name runs and subjects.

    Raises
    ------
    BwlmError : a run is invalid or was not evaluated, runs read different features, or ``out`` is another transfer's.
    """
    out, progress, ridge = Path(out), progress or Progress(), ridge or RidgeSettings()
    configs = [read_run_config(Path(run), places) for run in runs]
    if not configs:
        raise ConfigError("transfer needs at least one run folder.")
    dataset = find_dataset(configs[0].data)
    tuned = _open_runs([Path(run) for run in runs], configs, dataset, out, evaluation)
    splits = {name: _shared_split(configs, dataset, name) for name in map(dataset.subject, subjects)}
    settings = _settings(tuned, splits, ridge)
    saved = finished(out, settings)
    if saved is not None:
        progress.say(f"{out / SUMMARY} holds this transfer already; nothing to do.")
        return saved
    for split in splits.values():  # before hours of features
        bootstrap_rows(ridge, [dataset.n_trs(story) for story in split.train])
    cells, arrays = _encode_subjects(tuned, splits, ridge, memory_gb / 2, progress)
    rows, names = [run.label for run in tuned], list(splits)
    summary = {"rows": rows, "columns": names, "matrices": _matrices(cells, rows, names)} | {
        "intervals": about_intervals(max(len(split.test) for split in splits.values())),
        "data": {"root": str(dataset.root), "version": dataset.version},
        "base": tuned[0].store.base,
        "settings": settings,
        "configs": {run.label: as_dict(run.config) for run in tuned},
        "provenance": provenance(),
    }
    write_arrays(out / "voxels.hf5", arrays)
    write_json(out / SUMMARY, summary)  # last: it says that the rest is complete
    shutil.rmtree(out / "features", ignore_errors=True)
    return summary


def _heard(splits: Mapping[str, StorySplit]) -> list[str]:
    return sorted({story for split in splits.values() for story in all_stories(split)})


def _settings(tuned: list[_Tuned], splits: Mapping[str, StorySplit], ridge: RidgeSettings) -> dict[str, Any]:
    """Everything that the results depend on."""
    encoders = {run.label: run.store.results_identity(run.best, _heard(splits)) for run in tuned}
    return {
        "base": tuned[0].store.base["digest"],
        "runs": {run.label: {"epoch": run.best, "encoder": encoders[run.label]} for run in tuned},
        "subjects": list(splits),
        "stories": {name: as_dict(split) for name, split in splits.items()},
        "ridge": as_dict(ridge),
    }


def _open_runs(
    runs: list[Path], configs: list[RunConfig], dataset: Dataset, out: Path, evaluation: str
) -> list[_Tuned]:
    labels = [config.train.label for config in configs]
    labels = [run.name if labels.count(label) > 1 else label for run, label in zip(runs, labels, strict=True)]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"runs {', '.join(map(str, runs))} cannot be told apart; rename their folders.")
    tuned = []
    for run, label, config in zip(runs, labels, configs, strict=True):
        differ = ConfigError(
            f"{run} reads other features than {runs[0]} (pre-trained model, layer, token, windows or delays "
            "differ); their changes cannot be compared. Transfer them separately."
        )
        if _readout_point(config) != _readout_point(configs[0]):
            raise differ
        best, saved = best_epoch(run, evaluation), run_sources(run, config)
        if best not in saved:
            raise CheckpointError(f"{run} has no checkpoint of its best epoch, {best}; evaluate it again.")
        store = FeatureStore([saved[epoch] for epoch in sorted({0, best})], dataset, out / "features")
        tuned.append(_Tuned(label, config, best, store))
        if store.base["digest"] != tuned[0].store.base["digest"]:
            raise differ
    return tuned


def _encode_subjects(
    tuned: list[_Tuned], splits: Mapping[str, StorySplit], ridge: RidgeSettings, memory_gb: float, progress: Progress
) -> tuple[Cells, Arrays]:
    """Subject -> run -> voxel set -> numbers; and the voxel arrays by their names in ``voxels.hf5``."""
    for k, run in enumerate(tuned):  # epoch 0 is the same encoder in every run
        run.store.compute(_heard(splits), [epoch for epoch in run.store.sources if epoch or not k], progress=progress)
    cells: Cells = {}
    arrays: Arrays = {}
    for name, split in splits.items():
        responses = DatasetResponses(tuned[0].store.dataset, name, keep_gb=memory_gb)
        sets = voxel_sets(tuned[0].store.dataset, name, progress=progress)
        encodings = _encode_subject(tuned, responses, split, ridge, memory_gb, name, progress)
        start = encodings[_PRETRAINED]
        cells[name] = {run.label: _numbers(start, encodings[run.label], sets) for run in tuned}
        arrays |= {f"{name}/{label}": encoding.mean_test for label, encoding in encodings.items()}
        arrays |= {f"{name}/voxel_sets/{which}": mask for which, mask in sets.items()}
    return cells, arrays


def _encode_subject(
    tuned: list[_Tuned],
    responses: DatasetResponses,
    split: StorySplit,
    ridge: RidgeSettings,
    memory_gb: float,
    subject: str,
    progress: Progress,
) -> dict[str, Encoding]:
    """Encoding of one subject by the pre-trained encoder and by each run's."""

    def encoded(run: _Tuned, epoch: int, label: str) -> Encoding:
        return encode(
            {story: run.store.load(story, epoch) for story in all_stories(split)},
            responses,
            EncodingSettings(split, run.config.model.delays, ridge),
            memory_gb=memory_gb,
            task=partial(progress.task, f"{subject} by {label}"),
        )

    encodings = {_PRETRAINED: encoded(tuned[0], 0, _PRETRAINED)}
    for run in tuned:
        encodings[run.label] = encodings[_PRETRAINED] if run.best == 0 else encoded(run, run.best, run.label)
    return encodings


def _readout_point(config: RunConfig) -> dict[str, Any]:
    return {name: value for name, value in as_dict(config.model).items() if name not in _MAY_DIFFER}


def _shared_split(configs: list[RunConfig], dataset: Dataset, subject: str) -> StorySplit:
    """The stories of a subject, split so that no run has trained on a story that validates or tests here."""
    held = {(config.train.validation, config.train.test) for config in configs}
    if len(held) > 1:
        raise ConfigError("the runs hold out different stories; a story that one of them trained on cannot test it.")
    ((validation, test),) = held
    return make_split(dataset.stories(subject), validation=validation, test=test)


def _numbers(before: Encoding, after: Encoding, sets: Sets) -> dict[str, dict[str, Any]]:
    """Voxel set -> both means, the change in percent, and their intervals; without the sets that have no voxel."""
    usable, found = ~before.excluded, {}
    for which, mask in sets.items():
        if (mask & usable).any():
            means = {
                name: float(encoding.mean_test[mask & usable].mean())
                for name, encoding in (("pretrained", before), ("tuned", after))
            }
            gains = gain_intervals(before, after, mask)
            found[which] = gains | means | {"percent": _percent(means["tuned"], means["pretrained"])}
    return found


def _matrices(cells: Cells, rows: list[str], columns: list[str]) -> dict[str, Any]:
    """Voxel set -> pre-trained and tuned means, the change in percent of the pre-trained mean, and their intervals.

    ``pooled``: run -> the change in percent over the subjects predicted, by random effects; None with fewer than two.
    """
    which = list(dict.fromkeys(name for cell in cells.values() for name in cell[rows[0]]))
    matrices = {}
    for voxels in which:
        numbers = [[cells[column][row].get(voxels, {}) for column in columns] for row in rows]

        def each(name: str, kind: str = "", lines: list[list[dict[str, Any]]] = numbers) -> list[list[Any]]:
            return [[(cell.get(kind, {}) if kind else cell).get(name) for cell in line] for line in lines]

        errors = each("percent", "standard_errors")
        matrices[voxels] = {
            "pretrained": each("pretrained")[0],
            "tuned": each("tuned"),
            "percent": each("percent"),
            "intervals": {
                "pretrained": each("pretrained", "intervals")[0],
                "tuned": each("tuned", "intervals"),
                "percent": each("percent", "intervals"),
            },
            "pooled": {row: pool_known(*pair) for row, *pair in zip(rows, each("percent"), errors, strict=True)},
        }
    return matrices


def _percent(after: float, before: float) -> float | None:
    return None if before <= 0 else 100 * (after / before - 1)
