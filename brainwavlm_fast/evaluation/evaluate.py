"""The evaluation of a training run: every epoch's features, an encoding model each, the best epoch, the gain.

``RUN/evaluation/`` holds ``summary.json``, ``voxels.hf5`` (the voxelwise numbers under the same names),
and, until the evaluation is finished, ``features/``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..config import as_dict
from ..data import Dataset, find_dataset, make_split
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import ConfigError
from ..features.store import EpochFeatures, run_checkpoints
from ..files import provenance, write_json
from ..progress import Progress
from ..results.folders import END_OF_GRID, SUMMARY, finished, read_run_config, write_arrays
from ..stats.significance import PAIRED_BLOCK
from .encoding import RidgeSettings, all_stories, bootstrap_rows
from .epoch_selection import EpochSelection, choose_epoch, summarise, voxel_arrays
from .planted_truth import planted_ceiling
from .responses import DatasetResponses, voxel_sets
from .run_statistics import (
    ceiling_arrays,
    significance_arrays,
    significance_of,
    story_ceiling,
    summarise_ceiling,
    summarise_significance,
)


def evaluate_run(
    run: Path | str,
    *,
    subject: str | None = None,
    data: Path | str | None = None,
    out: str | None = None,
    epochs: Sequence[int] | None = None,
    ridge: RidgeSettings | None = None,
    n_permutations: int = 1000,
    memory_gb: float = 4.0,
    progress: Progress | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, Any]:
    """Evaluate a run folder written by ``bwlm train``; returns the summary that is also written.

    Parameters
    ----------
    run : the run folder.
    subject : one of those that the run was tuned on; the first, unless it is named.
    data : the data set, if it is no longer where the run's configuration says.
    out : folder of the results inside ``run``, by default ``evaluation``, for other subjects than the first
        ``evaluation-UTS02`` and so on. Results of the same settings are read back, others never overwritten.
    epochs : epochs to evaluate beside 0; None: all that are saved.
    ridge : how alphas are chosen.
    n_permutations : of the significance tests on the test story; 0 leaves them out.
    memory_gb : about how much memory responses may take, by all processes of a node together.
    ranks : processes that share stories and voxels; the first one writes.

    Raises
    ------
    BwlmError : the run, its checkpoints or the data will not do, or ``out`` holds another evaluation.
    """
    run, ridge, memory_gb = Path(run), ridge or RidgeSettings(), memory_gb / ranks.local_size
    progress = (progress or Progress()) if ranks.is_main else Progress()
    config = read_run_config(run)
    dataset = find_dataset(data if data is not None else config.data)
    tuned_on = [dataset.subject(name) for name in config.train.subjects]
    subject = _chosen_subject(tuned_on, dataset, subject, run)
    split = make_split(dataset.stories(subject), validation=config.train.validation, test=config.train.test)
    checkpoints = _chosen(run_checkpoints(run), epochs, run)
    folder = _inside(run, evaluation_name(tuned_on, subject) if out is None else out)
    store = EpochFeatures(folder / "features", config.model, checkpoints, dataset)
    settings = {
        "subject": subject,
        "stories": {name: list(getattr(split, name)) for name in ("train", "validation", "test")},
        "epochs": {str(epoch): fingerprint for epoch, fingerprint in store.fingerprints.items()},
        "delays": list(config.model.delays),
        "ridge": {**asdict(ridge), "alphas": list(ridge.alphas)},
        "n_permutations": n_permutations,
    }
    there = ranks.on_first(lambda: finished(folder, settings))
    if there is not None:
        progress.say(f"{folder / SUMMARY} holds this evaluation already; nothing to do.")
        return there

    bootstrap_rows(ridge, [dataset.n_trs(story) for story in split.train])  # before hours of features
    store.compute(all_stories(split), list(checkpoints), progress=progress, ranks=ranks)
    sets = voxel_sets(dataset, subject, {config.train.roi_name: config.train.roi}, progress=progress)
    responses = DatasetResponses(dataset, subject, keep_gb=memory_gb / 2)
    choice = choose_epoch(
        store,
        responses,
        split=split,
        delays=config.model.delays,
        ridge=ridge,
        chosen_on=sets[config.train.roi_name],
        memory_gb=memory_gb / 2,
        progress=progress,
        ranks=ranks,
    )
    ceiling = planted_ceiling(dataset, subject, n_voxels=responses.n_voxels)
    summary = summarise(choice, sets, ceiling)
    arrays = voxel_arrays(choice, sets, ceiling)
    first, tuned = choice.epochs[0], choice.tuned
    summary["significance"] = summary["noise_ceiling"] = None
    if n_permutations and sum(map(dataset.n_trs, split.test)) < 2 * PAIRED_BLOCK:
        progress.say(f"the test story has fewer than {2 * PAIRED_BLOCK} TRs, too few for significance tests.")
    elif n_permutations:
        tests = significance_of(first, tuned, responses, n_permutations=n_permutations, progress=progress, ranks=ranks)
        summary["significance"] = summarise_significance(tests, sets)
        arrays |= significance_arrays(tests)

    def finish() -> dict[str, Any]:
        repeated = story_ceiling(dataset, subject, split.test, memory_gb=memory_gb / 2, progress=progress)
        if repeated is not None:
            summary["noise_ceiling"] = summarise_ceiling(*repeated, first, tuned, sets)
            arrays.update(ceiling_arrays(repeated[0], first, tuned))
        summary.update(
            {
                "run": str(run),
                "subject": subject,
                "tuned_on": tuned_on,
                "trained_on": config.train.trained_on,
                "seed": config.train.seed,
                "alphas": _alpha_census(choice, ridge, progress),
                "data": {"root": str(dataset.root), "version": dataset.version},
                "settings": settings,
                "config": as_dict(config),
                "provenance": provenance(),
            }
        )
        write_arrays(folder / "voxels.hf5", arrays, best_epoch=choice.best)
        write_json(folder / SUMMARY, summary)  # last: it says that the rest is complete
        shutil.rmtree(store.folder, ignore_errors=True)
        return summary

    return ranks.on_first(finish)


def evaluation_name(tuned_on: Sequence[str], subject: str) -> str:
    """Folder of a subject's evaluation inside a run that was tuned on these."""
    return "evaluation" if subject == tuned_on[0] else f"evaluation-{subject}"


def _chosen_subject(tuned_on: list[str], dataset: Dataset, asked: str | None, run: Path) -> str:
    subject = tuned_on[0] if asked is None else dataset.subject(asked)
    if subject not in tuned_on:
        raise ConfigError(
            f"{run} was tuned on {', '.join(tuned_on)}, not on {subject}; what it is worth for others is "
            f"`bwlm transfer {run} --subjects {subject}`."
        )
    return subject


def _chosen(saved: dict[int, Path], epochs: Sequence[int] | None, run: Path) -> dict[int, Path]:
    if epochs is None:
        return saved
    unknown = [str(epoch) for epoch in epochs if epoch not in saved]
    if unknown:
        raise ConfigError(
            f"--epochs: {run} has no checkpoint of epoch {', '.join(unknown)}; saved: {', '.join(map(str, saved))}."
        )
    return {epoch: path for epoch, path in saved.items() if epoch == 0 or epoch in epochs}


def _inside(run: Path, out: str) -> Path:
    if not out or Path(out).name != out or out in (".", "..", "checkpoints", "tensorboard"):
        raise ConfigError(f"--out is '{out}'; it must be a new folder name inside the run, such as evaluation-2.")
    return run / out


def _alpha_census(choice: EpochSelection, ridge: RidgeSettings, progress: Progress) -> dict[str, Any]:
    """How many voxels took an end of the grid: a grid that is too narrow shows there."""
    census: dict[str, Any] = {"grid": list(ridge.alphas), "penalty": ridge.penalty}
    for name, result in (("pretrained", choice.epochs[0]), ("tuned", choice.tuned)):
        alphas = result.alphas[~result.excluded]
        ends = {"smallest": float(min(ridge.alphas)), "largest": float(max(ridge.alphas))}
        census[name] = {end: int((alphas == value).sum()) for end, value in ends.items()}
        for end, value in ends.items():
            if census[name][end] > END_OF_GRID * len(alphas) and len(ridge.alphas) > 1:
                progress.say(
                    f"warning: {census[name][end]} of {len(alphas)} voxels ({name}) chose the {end} alpha, {value:g}; "
                    "a wider grid (--alphas) may fit them better."
                )
    return census
