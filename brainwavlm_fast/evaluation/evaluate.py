"""Evaluate a trained encoder: features of every epoch, one encoding model for each, the best epoch, the gain.

``RUN/evaluation/`` holds ``summary.json``, ``voxels.hf5`` (the voxelwise numbers under the same names),
and, until the evaluation is finished, ``features/``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import Places, TrainConfig, as_dict
from ..data import Dataset, StorySplit, find_dataset, make_split
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import ConfigError
from ..features.sources import Source, run_sources
from ..features.store import FeatureStore
from ..files import provenance, write_json
from ..progress import Progress
from ..results.folders import SUMMARY, finished, read_run_config, write_arrays
from .alpha_census import alpha_census
from .encoding import RidgeSettings, all_stories, bootstrap_rows
from .epoch_selection import choose_epoch, summarise, voxel_arrays
from .planted_truth import teacher_correlations
from .responses import DatasetResponses, voxel_sets
from .run_statistics import (
    ceiling_arrays,
    significance_arrays,
    significance_of,
    story_ceiling,
    summarise_ceiling,
    summarise_significance,
)
from .saved_weights import WEIGHTS, save_weights


@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated of a run, and how.

    Attributes
    ----------
    epochs : epochs to evaluate beside 0; None: all that are saved.
    ridge : how alphas are chosen.
    block : TRs that share a sign in the significance tests; None: none do, see :mod:`..stats.significance`.
    memory_gb : about how much memory responses may take, by all processes of a node together.
    save_weights : also write ``weights.hf5``, see :func:`.saved_weights.save_weights`.
    """

    epochs: Sequence[int] | None = None
    ridge: RidgeSettings = field(default_factory=RidgeSettings)
    block: int | None = None
    memory_gb: float = 4.0
    save_weights: bool = False


def evaluate_run(
    run: Path | str,
    *,
    subject: str | None = None,
    places: Places | None = None,
    out: str | None = None,
    options: EvaluationOptions | None = None,
    progress: Progress | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, Any]:
    """Evaluate a run folder written by ``bwlm train``; returns the summary that is also written.

    Parameters
    ----------
    run, subject : the run folder, and one of the subjects it was tuned on, by default the first.
    places : where the data set and the base model are, if no longer where the run's configuration says.
    out : folder of the results inside ``run``, by default :func:`evaluation_name`. Same settings are read back.
    options : epochs, ridge, significance and memory.
    ranks : processes over which stories and voxels are sharded; the first one writes.

    Raises
    ------
    BwlmError : the run, its base model or the data are missing or invalid, or ``out`` holds other results.
    """
    run, options = Path(run), options or EvaluationOptions()
    progress = (progress or Progress()) if ranks.is_main else Progress()
    config = read_run_config(run, places)
    dataset = find_dataset(config.data)
    tuned_on = [dataset.subject(name) for name in config.train.subjects]
    subject = _chosen_subject(tuned_on, dataset, subject, run)
    split = make_split(dataset.stories(subject), validation=config.train.validation, test=config.train.test)
    folder = _inside(run, evaluation_name(tuned_on, subject) if out is None else out)
    store = FeatureStore(_chosen(run_sources(run, config), options.epochs, run), dataset, folder / "features")
    settings = {
        "subject": subject,
        "stories": {name: list(getattr(split, name)) for name in ("train", "validation", "test")},
        "base": store.base["digest"],
        "epochs": {str(epoch): store.results_identity(epoch, all_stories(split)) for epoch in store.sources},
        "delays": list(config.model.delays),
        "ridge": as_dict(options.ridge),
        "block": options.block or "auto",
    }
    saved = ranks.broadcast_from_main(lambda: finished(folder, settings))
    if saved is not None:
        return _complete(store, split, saved, folder, options, progress=progress, ranks=ranks)
    _require_blocks(options, dataset, split)  # before hours of features
    store.compute(all_stories(split), progress=progress, ranks=ranks)
    about = {
        "run": str(run),
        "subject": subject,
        "tuned_on": tuned_on,
        "trained_on": config.train.trained_on,
        "seed": config.train.seed,
        "data": {"root": str(dataset.root), "version": dataset.version},
        "base": store.base,
        "settings": settings,
        "config": as_dict(config),
        "provenance": provenance(),
    }
    return _evaluate(store, split, config.train, about, folder, options, progress, ranks)


def _evaluate(
    store: FeatureStore,
    split: StorySplit,
    train: TrainConfig,
    about: dict[str, Any],
    folder: Path,
    options: EvaluationOptions,
    progress: Progress,
    ranks: Ranks,
) -> dict[str, Any]:
    """Evaluate features that were computed, and write the results; ``about`` goes into the summary."""
    dataset, subject, memory_gb = store.dataset, about["subject"], options.memory_gb / ranks.local_size / 2
    sets = voxel_sets(dataset, subject, {train.roi_name: train.roi}, progress=progress)
    responses = DatasetResponses(dataset, subject, keep_gb=memory_gb)
    selection = choose_epoch(
        store,
        responses,
        split=split,
        ridge=options.ridge,
        chosen_on=sets[train.roi_name],
        memory_gb=memory_gb,
        progress=progress,
        ranks=ranks,
    )
    teacher = teacher_correlations(dataset, subject, n_voxels=responses.n_voxels)
    tests = significance_of(
        selection.epochs[0], selection.tuned, responses, block=options.block, progress=progress, ranks=ranks
    )

    def write() -> dict[str, Any]:
        first = selection.epochs[0]
        repeats = story_ceiling(dataset, subject, split.test, memory_gb=memory_gb, progress=progress)
        summary = {
            **summarise(selection, sets, teacher),
            "significance": summarise_significance(tests, sets),
            "noise_ceiling": None if repeats is None else summarise_ceiling(repeats, first, selection.tuned, sets),
            "alphas": alpha_census(selection, options.ridge, tests, progress),
            **about,
        }
        arrays = voxel_arrays(selection, sets, teacher) | significance_arrays(tests)
        if repeats is not None:
            arrays |= ceiling_arrays(repeats, first, selection.tuned)
        write_arrays(folder / "voxels.hf5", arrays, best_epoch=selection.best)
        if options.save_weights:
            save_weights(folder, store, responses, split, options.ridge, memory_gb, progress)
        write_json(folder / SUMMARY, summary)  # last: it says that the rest is complete
        shutil.rmtree(folder / "features", ignore_errors=True)
        return summary

    return ranks.broadcast_from_main(write)


def _complete(
    store: FeatureStore,
    split: StorySplit,
    saved: dict[str, Any],
    folder: Path,
    options: EvaluationOptions,
    *,
    progress: Progress,
    ranks: Ranks,
) -> dict[str, Any]:
    """An evaluation that was finished before; weights are added if it was without, from features computed again."""
    if not options.save_weights or (folder / WEIGHTS).exists():
        progress.say(f"{folder / SUMMARY} holds this evaluation already; nothing to do.")
        return saved
    epochs, memory_gb = sorted({0, saved["best_epoch"]}), options.memory_gb / ranks.local_size / 2
    store.compute(all_stories(split), epochs, progress=progress, ranks=ranks)

    def write() -> None:
        responses = DatasetResponses(store.dataset, saved["subject"], keep_gb=memory_gb)
        save_weights(folder, store, responses, split, options.ridge, memory_gb, progress)
        shutil.rmtree(folder / "features", ignore_errors=True)

    ranks.broadcast_from_main(write)
    return saved


def evaluation_name(tuned_on: Sequence[str], subject: str) -> str:
    """Folder of a subject's evaluation inside a run that was tuned on these."""
    return "evaluation" if subject == tuned_on[0] else f"evaluation-{subject}"


def _chosen_subject(tuned_on: list[str], dataset: Dataset, asked: str | None, run: Path) -> str:
    subject = tuned_on[0] if asked is None else dataset.subject(asked)
    if subject not in tuned_on:
        raise ConfigError(
            f"{run} was tuned on {', '.join(tuned_on)}, not on {subject}; evaluate it on others with "
            f"`bwlm transfer {run} --subjects {subject}`."
        )
    return subject


def _chosen(saved: dict[int, Source], epochs: Sequence[int] | None, run: Path) -> list[Source]:
    unknown = [str(epoch) for epoch in epochs or () if epoch not in saved]
    if unknown:
        raise ConfigError(
            f"--epochs: {run} has no checkpoint of epoch {', '.join(unknown)}; saved: {', '.join(map(str, saved))}."
        )
    return [source for epoch, source in saved.items() if epochs is None or epoch == 0 or epoch in epochs]


def _require_blocks(options: EvaluationOptions, dataset: Dataset, split: StorySplit) -> None:
    """The bootstrap's chunks fit the training stories, and two blocks of signs the test stories."""
    n_trs, block = sum(map(dataset.n_trs, split.test)), options.block
    if block is not None and 2 * block > n_trs:
        raise ConfigError(f"--block: the test stories have {n_trs} TRs, less than two blocks of {block}.")
    bootstrap_rows(options.ridge, [dataset.n_trs(story) for story in split.train])


def _inside(run: Path, out: str) -> Path:
    if not out or Path(out).name != out or out in (".", "..", "checkpoints", "tensorboard"):
        raise ConfigError(f"--out is '{out}'; it must be a new folder name inside the run, such as evaluation-2.")
    return run / out
