"""Voxel sets from masks in the tree: whole cortex, hemispheres, auditory cortex and the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, suggest
from .responses import n_voxels
from .tree import Dataset
from .volume import load_mask

VOXEL_SETS = ("all", "lh", "rh", "ac", "nonac")
_FROM_MASK = ("lh", "rh", "ac")


def voxel_set(dataset: Dataset, subject: str, name: str) -> NDArray[np.bool_]:
    """The voxels of a set, in the order of the responses' columns: bool (n_voxels,).

    ``all`` needs no file. ``lh``, ``rh`` and ``ac`` are ``mask_NAME.nii.gz`` beside ``mask_thick.nii.gz``, cut to it;
    ``nonac`` is all but ``ac``. Columns are the non-zero voxels of ``mask_thick`` in C order on (z, y, x).

    Raises
    ------
    ConfigError : no such set.
    DataError : a mask is missing, of another shape, does not fit the responses, or selects nothing.
    """
    if name not in VOXEL_SETS:
        raise ConfigError(f"unknown voxel set '{name}': {suggest(name, VOXEL_SETS)}")
    n = n_voxels(dataset, subject)
    if name == "all":
        return np.ones(n, dtype=bool)
    if name == "nonac":
        chosen = ~voxel_set(dataset, subject, "ac")
    else:
        thick = load_mask(dataset.require(dataset.mask_path(subject)))
        path = _require_mask(dataset, subject, name)
        mask = load_mask(path)
        if mask.shape != thick.shape:
            raise DataError(f"{path} has shape {mask.shape}; mask_thick.nii.gz beside it has {thick.shape}.")
        if thick.sum() != n:
            raise DataError(
                f"{dataset.mask_path(subject)} selects {int(thick.sum())} voxels, but responses of {subject} have {n} "
                "columns."
            )
        chosen = mask[thick]
    if not chosen.any():
        raise DataError(f"voxel set '{name}' of {subject} holds no voxel of the {n} that were measured.")
    return chosen


def available_sets(dataset: Dataset, subject: str) -> list[str]:
    """Names of the voxel sets whose masks are here."""
    here = {name for name in _FROM_MASK if dataset.mask_path(subject, name).is_file()}
    if "ac" in here:
        here.add("nonac")
    return [name for name in VOXEL_SETS if name == "all" or name in here]


def _require_mask(dataset: Dataset, subject: str, name: str) -> Path:
    path = dataset.mask_path(subject, name)
    if not path.exists() and not path.is_symlink():
        raise DataError(
            f"voxel set '{name}' of {subject} needs {dataset.relative(path)}, a NIfTI mask in the space of "
            "mask_thick.nii.gz (ds003020 does not ship it). "
            f"Sets that are here: {', '.join(available_sets(dataset, subject))}."
        )
    return dataset.require(path)
