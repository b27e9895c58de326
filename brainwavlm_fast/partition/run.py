"""Partition of a run: what a speech model adds to simpler features of the sound and the words, before and after tuning.

``RUN/partition/`` holds ``summary.json`` and ``voxels.hf5``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..config import Places, RunConfig, as_dict
from ..data import Dataset, StorySplit, find_dataset, make_split
from ..errors import ConfigError
from ..evaluation.encoding import RidgeSettings, bootstrap_rows
from ..evaluation.responses import DatasetResponses, voxel_sets
from ..evaluation.score_intervals import about_intervals
from ..features.sources import run_sources
from ..features.store import FeatureStore
from ..files import provenance, write_json
from ..probes.run import make_targets
from ..probes.targets import Target, phone_target, timing_target
from ..progress import Progress
from ..results.folders import SUMMARY, best_epoch, finished, read_run_config, write_arrays
from .fit import NestedScores, PartitionSettings, Spaces, fit_nested
from .shares import summarise_parts, voxel_parts

MODEL = "model"
_BUILT_IN = {"timing": timing_target, "phones": phone_target}


@dataclass(frozen=True)
class PartitionOptions:
    """What is partitioned, and how.

    Attributes
    ----------
    spaces : built-in spaces beside the filterbank: ``timing``, ``phones``.
    embeddings, files : word vectors, and HDF5 files of further spaces, as probes take them.
    ridge, candidates, seed : as in :class:`.fit.PartitionSettings`.
    memory_gb : about how much memory responses and weights may take.
    """

    spaces: Sequence[str] = ("timing",)
    embeddings: Path | str | None = None
    files: Sequence[Path | str] = ()
    ridge: RidgeSettings = field(default_factory=RidgeSettings)
    candidates: int = 10
    seed: int = 0
    memory_gb: float = 4.0


def partition_run(
    run: Path | str,
    *,
    subject: str | None = None,
    places: Places | None = None,
    evaluation: str = "evaluation",
    out: str = "partition",
    options: PartitionOptions | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], Path]:
    """Partition the explained variance of a run that was evaluated; the summary, and the folder that holds it.

    Parameters
    ----------
    run, subject : the run folder, and one of the subjects it was tuned on, by default the first.
    places : where the data set and the base model are, if no longer where the run's configuration says.
    evaluation : the evaluation in the run that chose the tuned epoch.
    out : folder of the results inside ``run``.
    options : spaces, penalties and memory.

    Raises
    ------
    BwlmError : the run, its evaluation, the data or a space are missing or invalid, or ``out`` holds other results.
    """
    options, progress = options or PartitionOptions(), progress or Progress()
    job = _open(Path(run), subject, places, evaluation, options)
    folder, settings = Path(run) / out, job.settings(options)
    if (found := finished(folder, settings)) is not None:
        progress.say(f"{folder / SUMMARY} holds this partition already; nothing to do.")
        return found, folder
    job.store.compute(job.stories, progress=progress)
    scores = _fit_states(job, options, progress)
    train, names = job.config.train, [MODEL, *(target.name for target in job.others)]
    sets = voxel_sets(job.store.dataset, job.subject, {train.roi_name: train.roi}, progress=progress)
    summary = {
        "sets": {name: parts for name, mask in sets.items() if (parts := summarise_parts(scores, names, mask))},
        "spaces": {MODEL: f"layer {job.config.model.layer}"} | {target.name: target.title for target in job.others},
        "best_epoch": job.best,
        "intervals": about_intervals(len(job.split.test)),
        "run": str(run),
        "subject": job.subject,
        "trained_on": train.trained_on,
        "data": {"root": str(job.store.dataset.root), "version": job.store.dataset.version},
        "base": job.store.base,
        "settings": settings,
        "config": as_dict(job.config),
        "provenance": provenance(),
    }
    arrays: dict[str, NDArray[Any]] = {f"voxel_sets/{name}": mask for name, mask in sets.items()}
    for state, fit in scores.items():
        arrays |= {f"{state}/{part}": r2 for part, r2 in voxel_parts(fit, names).items()}
        arrays[f"{state}/weights"] = fit.weights
    write_arrays(folder / "voxels.hf5", arrays, spaces=names)
    write_json(folder / SUMMARY, summary)  # last: it says that the rest is complete
    return summary, folder


@dataclass(frozen=True)
class _Job:
    """What is partitioned: a run's encoder before and at its best epoch, beside other spaces, for one subject."""

    config: RunConfig
    subject: str
    split: StorySplit
    best: int
    store: FeatureStore
    others: list[Target]

    @property
    def stories(self) -> list[str]:
        return [*self.split.train, *self.split.test]

    def settings(self, options: PartitionOptions) -> dict[str, Any]:
        """Everything that the results depend on."""
        return {
            "subject": self.subject,
            "epochs": {str(epoch): self.store.results_identity(epoch, self.stories) for epoch in self.store.sources},
            "spaces": {target.name: target.notes | {"n_dimensions": target.n_dimensions} for target in self.others},
            "stories": {"train": list(self.split.train), "test": list(self.split.test)},
            "ridge": as_dict(options.ridge),
            "candidates": options.candidates,
            "seed": options.seed,
        }


def _open(run: Path, subject: str | None, places: Places | None, evaluation: str, options: PartitionOptions) -> _Job:
    config = read_run_config(run, places)
    dataset = find_dataset(config.data)
    subject = dataset.subject(config.train.subjects[0] if subject is None else subject)
    split = make_split(dataset.stories(subject), validation=config.train.validation, test=config.train.test)
    best, saved = best_epoch(run, evaluation), run_sources(run, config)
    if best not in saved:
        raise ConfigError(f"{run} has no checkpoint of its best epoch, {best}; evaluate it again.")
    bootstrap_rows(options.ridge, [dataset.n_trs(story) for story in split.train])  # before hours of features
    others = _spaces(dataset, [*split.train, *split.test], config.model, options)
    store = FeatureStore([saved[epoch] for epoch in sorted({0, best})], dataset)
    return _Job(config, subject, split, best, store, others)


def _fit_states(job: _Job, options: PartitionOptions, progress: Progress) -> dict[str, NestedScores]:
    """Nested models of the pre-trained and of the tuned encoder's features beside the other spaces."""
    memory_gb, scores = options.memory_gb / 2, {}
    responses = DatasetResponses(job.store.dataset, job.subject, keep_gb=memory_gb)
    ridge, candidates, seed = options.ridge, options.candidates, options.seed
    fitting = PartitionSettings(job.split, job.config.model.delays, ridge, candidates, seed)
    for state, epoch in (("pretrained", 0), ("tuned", job.best)):
        spaces: Spaces = {
            MODEL: {story: job.store.load(story, epoch) for story in job.stories},
            **{target.name: target.stories for target in job.others},
        }
        scores[state] = fit_nested(spaces, responses, fitting, memory_gb=memory_gb, progress=progress)
    return scores


def _spaces(dataset: Dataset, stories: Sequence[str], model: Any, options: PartitionOptions) -> list[Target]:
    """Every space but the speech model, with a name of its own."""
    unknown = [name for name in options.spaces if name not in _BUILT_IN]
    if unknown:
        raise ConfigError(f"--spaces: '{unknown[0]}' is unknown; there are {', '.join(_BUILT_IN)}.")
    targets = make_targets(dataset, stories, model, options.embeddings, options.files)
    targets += [_BUILT_IN[name](dataset, stories, clock=model.clock) for name in options.spaces]
    names = [target.name for target in targets]
    if len(set(names)) < len(names) or MODEL in names:
        raise ConfigError(f"two feature spaces share a name ({', '.join([MODEL, *names])}); rename a file.")
    return targets
