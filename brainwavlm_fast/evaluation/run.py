"""The evaluation of a training run: every epoch's features, an encoding model each, the best epoch, the gain.

``RUN/evaluation/`` holds ``summary.json``, ``voxels.hf5`` (the voxelwise numbers under the same names),
``curve.png``, and, until the evaluation is finished, ``features/``.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..config import RunConfig, as_dict
from ..data import Split, find_dataset, make_split
from ..errors import BwlmError, CheckpointError, ConfigError
from ..files import atomic_path, provenance, read_json, write_json
from ..progress import Progress
from .encoding import Encoding, RidgeSettings, bootstrap_rows, encode
from .features import EpochFeatures, run_checkpoints
from .sources import DatasetResponses, voxel_sets
from .truth import planted_ceiling

_SUMMARY = "summary.json"
_END_OF_GRID = 1 / 3  # share of voxels at an end of the grid of alphas that is worth a warning


@dataclass(frozen=True)
class Choice:
    """Every epoch's encoding model, and the epoch that stands for the tuned model.

    Attributes
    ----------
    epochs : epoch -> encoding with the alphas of epoch 0.
    best, by : the chosen epoch, and the rule in words.
    tuned : its encoding, with alphas of its own.
    """

    epochs: dict[int, Encoding]
    best: int
    by: str
    tuned: Encoding


def evaluate_run(
    run: Path | str,
    *,
    data: Path | str | None = None,
    out: str = "evaluation",
    epochs: Sequence[int] | None = None,
    ridge: RidgeSettings | None = None,
    memory_gb: float = 4.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate a run folder written by ``bwlm train``; returns the summary that is also written.

    Parameters
    ----------
    run : the run folder.
    data : the data set, if it is no longer where the run's configuration says.
    out : folder of the results inside ``run``. Results of the same settings are read back, others never overwritten.
    epochs : epochs to evaluate beside 0; None: all that are saved.
    ridge : how alphas are chosen.
    memory_gb : about how much memory responses may take.

    Raises
    ------
    BwlmError : the run, its checkpoints or the data will not do, or ``out`` holds another evaluation.
    """
    run, progress, ridge = Path(run), progress or Progress(), ridge or RidgeSettings()
    config = _read_config(run)
    dataset = find_dataset(data if data is not None else config.data)
    subject = dataset.subject(config.train.subject)
    split = make_split(dataset.stories(subject), validation=config.train.validation, test=config.train.test)
    checkpoints = _chosen(run_checkpoints(run), epochs, run)
    folder = _inside(run, out)
    store = EpochFeatures(folder / "features", config.model, checkpoints, dataset)
    settings = {
        "subject": subject,
        "stories": {name: list(getattr(split, name)) for name in ("train", "validation", "test")},
        "epochs": {str(epoch): fingerprint for epoch, fingerprint in store.fingerprints.items()},
        "delays": list(config.model.delays),
        "ridge": {**asdict(ridge), "alphas": list(ridge.alphas)},
    }
    finished = _finished(folder, settings)
    if finished is not None:
        progress.say(f"{folder / _SUMMARY} holds this evaluation already; nothing to do.")
        return finished

    bootstrap_rows(ridge, [dataset.n_trs(story) for story in split.train])  # before hours of features
    stories = [*split.train, *split.validation, *split.test]
    store.compute(stories, list(checkpoints), progress=progress)
    sets = voxel_sets(dataset, subject, also=[config.train.roi])
    responses = DatasetResponses(dataset, subject, keep_gb=memory_gb / 2)
    choice = choose_epoch(
        store,
        responses,
        split=split,
        delays=config.model.delays,
        ridge=ridge,
        chosen_on=sets[config.train.roi],
        memory_gb=memory_gb / 2,
        progress=progress,
    )
    ceiling = planted_ceiling(dataset, subject, n_voxels=responses.n_voxels)
    summary = summarise(choice, sets, ceiling)
    summary |= {
        "run": str(run),
        "subject": subject,
        "trained_on": config.train.roi,
        "seed": config.train.seed,
        "alphas": _alpha_census(choice, ridge, progress),
        "data": {"root": str(dataset.root), "version": dataset.version},
        "settings": settings,
        "config": as_dict(config),
        "provenance": provenance(),
    }
    _write_voxels(folder / "voxels.hf5", choice, sets, ceiling)
    from ..figures.curves import draw_epoch_curves

    draw_epoch_curves(summary, folder / "curve.png")
    write_json(folder / _SUMMARY, summary)  # last: it says that the rest is complete
    shutil.rmtree(store.folder, ignore_errors=True)
    return summary


def choose_epoch(
    store: EpochFeatures,
    responses: DatasetResponses,
    *,
    split: Split,
    delays: Sequence[int],
    ridge: RidgeSettings,
    chosen_on: NDArray[np.bool_],
    memory_gb: float,
    progress: Progress,
) -> Choice:
    """Encode every epoch with the alphas of epoch 0; the best by validation is cross-validated anew.

    The best epoch is the one with the highest mean correlation on the validation stories over the voxels
    ``chosen_on`` (those that were trained on), the earliest of equals; without a validation story, the last.
    """
    stories = [*split.train, *split.validation, *split.test]

    def encoded(epoch: int, alphas: NDArray[np.float64] | None, label: str) -> Encoding:
        return encode(
            store.load(epoch, stories),
            responses,
            split=split,
            delays=delays,
            ridge=ridge,
            alphas=alphas,
            memory_gb=memory_gb,
            progress=progress,
            label=label,
        )

    first = encoded(0, None, "encoding, pre-trained")
    encodings = {0: first}
    for epoch in store.checkpoints:
        if epoch != 0:
            encodings[epoch] = encoded(epoch, first.alphas, f"encoding, epoch {epoch}")
    if split.validation:
        scores = {e: _mean(encoding.mean_validation, chosen_on) for e, encoding in encodings.items()}
        best = max(scores, key=lambda epoch: (scores[epoch] if scores[epoch] is not None else -np.inf, -epoch))
        by = "mean correlation on the validation stories, over the voxels trained on"
    else:
        best, by = max(encodings), "the last epoch (there is no validation story)"
    tuned = first if best == 0 else encoded(best, None, f"encoding, best epoch ({best})")
    return Choice(encodings, best, by, tuned)


def summarise(
    choice: Choice, sets: Mapping[str, NDArray[np.bool_]], ceiling: NDArray[np.float64] | None
) -> dict[str, Any]:
    """Means per voxel set: pre-trained, tuned, ceiling, and the curve over epochs.

    ``n_voxels`` counts the voxels that are averaged, ``n_excluded`` those of the set that are not.
    """
    first = choice.epochs[0]
    encoding = {
        name: {
            "pretrained": _mean(first.mean_test, mask),
            "tuned": _mean(choice.tuned.mean_test, mask),
            "ceiling": None if ceiling is None else _mean(ceiling, mask & ~first.excluded),
            "n_voxels": int((mask & ~first.excluded).sum()),
            "n_excluded": int((mask & first.excluded).sum()),
        }
        for name, mask in sets.items()
    }
    curve = [
        {
            "epoch": epoch,
            "validation": {name: _mean(result.mean_validation, mask) for name, mask in sets.items()},
            "test": {name: _mean(result.mean_test, mask) for name, mask in sets.items()},
        }
        for epoch, result in choice.epochs.items()
    ]
    return {"encoding": encoding, "best_epoch": choice.best, "best_epoch_by": choice.by, "curve": curve}


def _read_config(run: Path) -> RunConfig:
    path = run / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{run} is not a run (no config.json); give the folder that `bwlm train --out` made.")
    return RunConfig.from_json(path)


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


def _finished(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The summary already there for these settings; None if there is none."""
    path = folder / _SUMMARY
    if not path.exists():
        return None
    summary = read_json(path)
    there = summary.get("settings") if isinstance(summary, dict) else None
    if there == settings:
        return dict(summary)
    differs = [name for name in settings if not isinstance(there, dict) or there.get(name) != settings[name]]
    raise BwlmError(
        f"{folder} holds an evaluation with other settings ({', '.join(differs)}); it was not overwritten. "
        "Give this one a name of its own, such as --out evaluation-2."
    )


def _alpha_census(choice: Choice, ridge: RidgeSettings, progress: Progress) -> dict[str, Any]:
    """How many voxels took an end of the grid: a grid that is too narrow shows there."""
    census: dict[str, Any] = {"grid": list(ridge.alphas), "penalty": ridge.penalty}
    for name, result in (("pretrained", choice.epochs[0]), ("tuned", choice.tuned)):
        alphas = result.alphas[~result.excluded]
        ends = {"smallest": float(min(ridge.alphas)), "largest": float(max(ridge.alphas))}
        census[name] = {end: int((alphas == value).sum()) for end, value in ends.items()}
        for end, value in ends.items():
            if census[name][end] > _END_OF_GRID * len(alphas) and len(ridge.alphas) > 1:
                progress.say(
                    f"warning: {census[name][end]} of {len(alphas)} voxels ({name}) chose the {end} alpha, {value:g}; "
                    "a wider grid (--alphas) may fit them better."
                )
    return census


def _write_voxels(
    path: Path, choice: Choice, sets: Mapping[str, NDArray[np.bool_]], ceiling: NDArray[np.float64] | None
) -> None:
    first, tuned = choice.epochs[0], choice.tuned
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["encoding/pretrained"], file["encoding/tuned"] = first.mean_test, tuned.mean_test
        if ceiling is not None:
            file["encoding/ceiling"] = ceiling
        file["excluded"] = first.excluded
        file["alphas/pretrained"], file["alphas/tuned"] = first.alphas, tuned.alphas
        for name, mask in sets.items():
            file[f"voxel_sets/{name}"] = mask
        file["curve/epochs"] = list(choice.epochs)
        file["curve/test"] = np.stack([e.mean_test for e in choice.epochs.values()]).astype(np.float32)
        validation = [e.mean_validation for e in choice.epochs.values() if e.mean_validation is not None]
        if validation:
            file["curve/validation"] = np.stack(validation).astype(np.float32)
        file.attrs["best_epoch"] = choice.best


def _mean(values: NDArray[np.float64] | None, mask: NDArray[np.bool_]) -> float | None:
    """Mean over the voxels of a set that have a value; None if there is none."""
    if values is None or not np.isfinite(values[mask]).any():
        return None
    return float(np.nanmean(values[mask]))
