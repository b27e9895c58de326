"""Voxel sets by name and by expression: what ``--roi`` takes."""

from __future__ import annotations

import difflib
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.responses import n_voxels
from ..data.tree import Dataset
from ..errors import ConfigError, DataError
from .atlas import Atlas, read_atlas
from .expressions import FILE, evaluate_sets
from .volume import SAME_PLACE, image_affine, load_mask, open_image, voxel_space, voxels_apart

MAIN_SETS = ("all", "lh", "rh", "ac", "nonac")


def voxel_set(dataset: Dataset, subject: str, expression: str) -> NDArray[np.bool_]:
    """The voxels of a set or an expression, in the order of the responses' columns: bool (n_voxels,).

    Names are ``all``, ``lh``, ``rh``, ``surface``, ``ac``, ``nonac`` (all but ``ac``), ``a2009s:NAME``,
    ``aparc:NAME``, ``svg:NAME`` or just NAME of a drawn region, and ``file:PATH``: a NIfTI mask in the volume's space,
    or the numbers of voxels, counted from 0, as text or .npy. See :mod:`.atlas` for what they hold,
    :mod:`.expressions` for how they combine. ``all`` needs no file.

    Raises
    ------
    ConfigError
        The expression is empty or unreadable, or a name is unknown.
    DataError
        What a set comes from is missing or damaged, does not fit the responses, or selects nothing.
    """
    evaluate_sets(expression, lambda _: np.ones(1, dtype=bool))  # refused before anything is read from disk
    names = _Names(dataset, subject)
    chosen = evaluate_sets(expression, names.lookup)
    if not chosen.any():
        raise DataError(f"voxel set '{expression}' of {names.subject} holds no voxel of the {names.n} measured.")
    return chosen


def all_sets(dataset: Dataset, subject: str) -> tuple[dict[str, NDArray[np.bool_]], Atlas]:
    """Every set that has a name, those of two hundred parcels included, and the atlas they are from.

    Raises
    ------
    DataError
        As in :func:`read_atlas`, or the mask does not fit the responses.
    """
    names = _Names(dataset, subject)
    sets = {"all": names.lookup("all")}
    for name, voxels in names.atlas.sets.items():
        sets[name] = voxels
        if name == "ac":
            sets["nonac"] = ~voxels
    return sets, names.atlas


def available_sets(dataset: Dataset, subject: str) -> tuple[list[str], list[str]]:
    """The main sets that can be made (all, lh, rh, ac, nonac), and why the others cannot."""
    names = _Names(dataset, subject)
    available, problems = [], []
    for name in MAIN_SETS:
        try:
            names.lookup(name)
        except DataError as error:
            problems.append(str(error))
        else:
            available.append(name)
    return available, list(dict.fromkeys(problems))


class _Names:
    """The names that an expression may use for one subject."""

    def __init__(self, dataset: Dataset, subject: str) -> None:
        self.dataset, self.subject = dataset, dataset.subject(subject)
        self.n = n_voxels(dataset, self.subject)

    @cached_property
    def atlas(self) -> Atlas:
        """Read when a name first needs it, and compared with the responses' width."""
        atlas = read_atlas(self.dataset, self.subject)
        self._require_width(atlas.n_voxels)
        return atlas

    def lookup(self, name: str) -> NDArray[np.bool_]:
        if name == "all":
            return np.ones(self.n, dtype=bool)
        if name == "nonac":
            return ~self.lookup("ac")
        if name.startswith(FILE):
            return self._read_file(Path(name.removeprefix(FILE)).expanduser())
        sets = self.atlas.sets
        drawn = f"svg:{name}"
        if name in sets:
            return sets[name]
        if name.lower() in MAIN_SETS and drawn in sets:
            raise ConfigError(f"'{name}' could be {name.lower()} or the region {drawn} that was drawn; write which.")
        if drawn in sets:
            return sets[drawn]
        raise self._unknown(name)

    def _unknown(self, name: str) -> ConfigError | DataError:
        """Why there is no such set: what it comes from is missing, or nothing has the name."""
        missing = self.atlas.missing
        for key in (name, f"svg:{name}", "a2009s" if name == "ac" else name.split(":")[0]):
            if key in missing:
                return DataError(f"voxel set '{name}' of {self.subject} cannot be made: {missing[key]}")
        message = f"unknown voxel set '{name}' of {self.subject}"
        near = self._nearest(name)
        message += f": did you mean {' or '.join(near)}?" if near else "."
        if "-" in name:
            message += " The operator - stands between blanks: 'all - ac'."
        if "svg" in missing and ":" not in name:
            message += f" No drawn regions are known: {missing['svg']}"
        return ConfigError(f"{message} All sets: bwlm rois --subject {self.subject}")

    def _nearest(self, name: str) -> list[str]:
        """Known names that are spelled much like it, with or without what stands before the colon."""
        spelled: dict[str, str] = {}
        for known in (*MAIN_SETS, *self.atlas.sets):
            spelled.setdefault(known.lower(), known)
            spelled.setdefault(known.split(":")[-1].lower(), known)
        near = difflib.get_close_matches(name.lower(), spelled, n=5, cutoff=0.6)
        return list(dict.fromkeys(spelled[key] for key in near))[:3]

    def _read_file(self, path: Path) -> NDArray[np.bool_]:
        if not path.is_file():
            raise DataError(f"{path}: no such file of voxels.")
        if path.name.endswith((".nii", ".nii.gz")):
            return self._read_mask(path)
        try:
            numbers = _read_npy(path) if path.suffix == ".npy" else _read_numbers(path)
        except (OSError, EOFError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); it must be a NIfTI mask (.nii, .nii.gz), or numbers of voxels as "
                "text or .npy."
            ) from error
        valid = numbers.ndim == 1 and np.issubdtype(numbers.dtype, np.integer)
        if not valid or (numbers.size and not 0 <= numbers.min() <= numbers.max() < self.n):
            raise DataError(f"{path}: voxels of {self.subject} are whole numbers from 0 to {self.n - 1}, in one list.")
        chosen = np.zeros(self.n, dtype=bool)
        chosen[numbers] = True
        return chosen

    def _read_mask(self, path: Path) -> NDArray[np.bool_]:
        space = voxel_space(self.dataset, self.subject)
        self._require_width(space.n_voxels)
        mask = load_mask(path)
        if mask.shape != space.mask.shape:
            raise DataError(
                f"{path} has {mask.shape[::-1]} voxels along x, y, z; {self.subject}'s volume has {space.shape}."
            )
        if voxels_apart(image_affine(path, open_image(path)), space.affine, space.shape) > SAME_PLACE:
            raise DataError(
                f"{path} lies elsewhere than {self.subject}'s reference.nii.gz: their affines differ. Resample it to "
                "the reference first."
            )
        return mask[space.mask]

    def _require_width(self, n_mask: int) -> None:
        if n_mask != self.n:
            path = self.dataset.mask_path(self.subject)
            raise DataError(f"{path} selects {n_mask} voxels, but responses of {self.subject} have {self.n} columns.")


def _read_numbers(path: Path) -> NDArray[np.int64]:
    text = path.read_text(encoding="utf-8").replace(",", " ")
    return np.array([int(word) for word in text.split()], dtype=np.int64)


def _read_npy(path: Path) -> NDArray:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
