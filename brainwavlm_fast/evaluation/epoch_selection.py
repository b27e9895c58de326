"""One encoding model per epoch of a run, the epoch that stands for the tuned model, and their means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import StorySplit
from ..distributed import SINGLE_PROCESS, Ranks
from ..features.store import FeatureStore
from ..progress import Progress
from .encoding import Encoding, EncodingSettings, Responses, RidgeSettings, all_stories, encode
from .score_intervals import about_intervals, curve_intervals, gain_intervals

Sets = Mapping[str, NDArray[np.bool_]]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class EpochSelection:
    """Every epoch's encoding model, and the epoch that stands for the tuned model.

    Attributes
    ----------
    epochs : epoch -> encoding with the alphas of epoch 0.
    best, by : the chosen epoch, and the rule in words.
    tuned : its encoding, with alphas chosen for it.
    """

    epochs: dict[int, Encoding]
    best: int
    by: str
    tuned: Encoding


def choose_epoch(
    store: FeatureStore,
    responses: Responses,
    *,
    split: StorySplit,
    ridge: RidgeSettings,
    chosen_on: NDArray[np.bool_],
    memory_gb: float,
    progress: Progress,
    ranks: Ranks = SINGLE_PROCESS,
) -> EpochSelection:
    """Encode every epoch with the alphas of epoch 0; the best by validation is cross-validated anew.

    The best epoch is the one with the highest mean correlation on the validation stories over the voxels
    ``chosen_on`` (those that were trained on), the earliest of equals; without a validation story, the last.
    """
    stories, settings = all_stories(split), EncodingSettings(split, store.source.config.delays, ridge)

    def encoded(epoch: int, alphas: NDArray[np.float64] | None, label: str) -> Encoding:
        # alphas are chosen for the pre-trained and the best model alone, whose predictions are tested later
        return encode(
            {story: store.load(story, epoch) for story in stories},
            responses,
            settings,
            alphas=alphas,
            keep_predictions=alphas is None,
            memory_gb=memory_gb,
            task=partial(progress.task, label),
            ranks=ranks,
        )

    first = encoded(0, None, "encoding, pre-trained")
    encodings = {0: first}
    for epoch in store.sources:
        if epoch:
            encodings[epoch] = encoded(epoch, first.alphas, f"encoding, epoch {epoch}")
    if split.validation:
        scores = {e: _mean(encoding.mean_validation, chosen_on) for e, encoding in encodings.items()}
        best = max(scores, key=lambda epoch: (scores[epoch] if scores[epoch] is not None else -np.inf, -epoch))
        by = "mean correlation on the validation stories, over the voxels trained on"
    else:
        best, by = max(encodings), "the last epoch (there is no validation story)"
    tuned = first if best == 0 else encoded(best, None, f"encoding, best epoch ({best})")
    return EpochSelection(encodings, best, by, tuned)


def summarise(selection: EpochSelection, sets: Sets, teacher: NDArray[np.float64] | None) -> dict[str, Any]:
    """Means per voxel set, with intervals: pre-trained, tuned, the gain, a simulated brain's teacher, and the curve.

    ``n_voxels`` counts the voxels that are averaged, ``n_excluded`` those of the set that are not.
    """
    first = selection.epochs[0]
    encoding = {
        name: {
            "pretrained": _mean(first.mean_test, mask),
            "tuned": _mean(selection.tuned.mean_test, mask),
            "teacher": None if teacher is None else _mean(teacher, mask & ~first.excluded),
            "n_voxels": int((mask & ~first.excluded).sum()),
            "n_excluded": int((mask & first.excluded).sum()),
            **gain_intervals(first, selection.tuned, mask),
        }
        for name, mask in sets.items()
    }
    curve = [
        {
            "epoch": epoch,
            "validation": {name: _mean(result.mean_validation, mask) for name, mask in sets.items()},
            "test": {name: _mean(result.mean_test, mask) for name, mask in sets.items()},
            "intervals": curve_intervals(result, sets),
        }
        for epoch, result in selection.epochs.items()
    ]
    return {
        "encoding": encoding,
        "intervals": about_intervals(len(first.test)),
        "best_epoch": selection.best,
        "best_epoch_by": selection.by,
        "curve": curve,
    }


def voxel_arrays(selection: EpochSelection, sets: Sets, teacher: NDArray[np.float64] | None) -> Arrays:
    """Everything known of each voxel, by its name in ``voxels.hf5``."""
    first, tuned = selection.epochs[0], selection.tuned
    arrays: Arrays = {
        "encoding/pretrained": first.mean_test,
        "encoding/tuned": tuned.mean_test,
        "excluded": first.excluded,
        "alphas/pretrained": first.alphas,
        "alphas/tuned": tuned.alphas,
        "curve/epochs": np.array(list(selection.epochs)),
        "curve/test": np.stack([e.mean_test for e in selection.epochs.values()]).astype(np.float32),
    }
    validation = [e.mean_validation for e in selection.epochs.values() if e.mean_validation is not None]
    if validation:
        arrays["curve/validation"] = np.stack(validation).astype(np.float32)
    if teacher is not None:
        arrays["encoding/teacher"] = teacher
    return arrays | {f"voxel_sets/{name}": mask for name, mask in sets.items()}


def _mean(values: NDArray[np.float64] | None, mask: NDArray[np.bool_]) -> float | None:
    """Mean over the voxels of a set that have a value; None if there is none."""
    if values is None or not np.isfinite(values[mask]).any():
        return None
    return float(np.nanmean(values[mask]))
