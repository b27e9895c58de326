"""A subject's voxel mask, surfaces, annotations and drawing: what voxel sets and maps are made from."""

from __future__ import annotations

from collections.abc import Collection
from typing import get_args

from ..anatomy import ATLASES, SIDES, Kind, annotation_path, load_mask, overlays_path, read_atlas, surface_paths
from ..data import Dataset
from ..errors import DataError
from .parts import Part


def check_mask(dataset: Dataset, subject: str, widths: Collection[int]) -> Part:
    """The voxel mask, which must select as many voxels as responses have columns; only ``all`` can do without."""
    path = dataset.mask_path(subject)
    part = Part(f"{subject} voxel mask", get=dataset.get_command(path))
    if not path.exists() and not path.is_symlink():
        part.total += 1
        return part
    if part.add(dataset, path):
        try:
            n_mask = int(load_mask(path).sum())
        except DataError as error:
            part.problems.append(str(error))
        else:
            if widths and n_mask != min(widths):
                part.problems.append(f"mask_thick selects {n_mask} voxels, responses have {min(widths)} columns")
    return part


def check_surfaces(dataset: Dataset, subject: str) -> Part:
    """Whatever voxel sets other than ``all``, and maps, are made from; training on all voxels can do without."""
    folder = dataset.mask_path(subject).parent
    overlays, labels = overlays_path(dataset, subject), annotation_path(dataset, subject, "lh", "aparc").parent
    folders = [overlays.parent / "surfaces", folder, overlays, labels]
    part = Part(f"{subject} surfaces", get=dataset.get_command(*folders))
    paths = [folder / "reference.nii.gz", folder / "matrices.xfm", overlays]
    for side in SIDES:
        for kind in get_args(Kind):
            either = surface_paths(dataset, subject, kind, side)
            paths.append(next((path for path in either if path.exists() or path.is_symlink()), either[0]))
        paths += [annotation_path(dataset, subject, side, atlas) for atlas in ATLASES]
    here = [part.add(dataset, path) for path in paths]
    if all(here) and dataset.mask_path(subject).is_file():
        part.problems += _disagreements(dataset, subject)
    return part


def _disagreements(dataset: Dataset, subject: str) -> list[str]:
    """What keeps voxel sets from being made though every file is here, in the words that `--roi` refuses them with."""
    try:
        missing = read_atlas(dataset, subject).missing
    except DataError as error:
        return [str(error)]
    return list(dict.fromkeys(missing.values()))
