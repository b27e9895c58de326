"""The volume that the responses were measured in: which voxel is which column, and where it lies on the surfaces."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import ArrayLike, NDArray

from ..data.tree import Dataset
from ..errors import BwlmError, DataError
from ..files import read_json

SAME_PLACE = 0.1  # voxels that two affines of one volume may differ by anywhere in it: what NIfTI's rounding leaves


@dataclass(frozen=True)
class VoxelSpace:
    """A subject's volume: ``mask_thick.nii.gz``, ``reference.nii.gz`` and ``matrices.xfm`` of its transform.

    Attributes
    ----------
    mask : NDArray[bool]
        bool (n_z, n_y, n_x); its True voxels in C order are the columns of the responses.
    affine : NDArray[np.float64]
        (4, 4), from voxel (x, y, z) to the reference image's mm.
    from_surface : NDArray[np.float64]
        (4, 4), from the surfaces' mm to voxel (x, y, z), whole numbers at voxel centers: pycortex's ``coord`` matrix.
    """

    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    from_surface: NDArray[np.float64]

    @property
    def n_voxels(self) -> int:
        """Columns of the responses."""
        return int(self.mask.sum())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z, as NIfTI counts them."""
        z, y, x = self.mask.shape
        return x, y, z

    def voxel_coordinates(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points on a subject's surfaces (n, 3), in mm, as voxel coordinates (x, y, z)."""
        return np.asarray(points, dtype=np.float64) @ self.from_surface[:3, :3].T + self.from_surface[:3, 3]

    def centers(self) -> NDArray[np.float64]:
        """Where each column's voxel is in the surfaces' mm: (n_voxels, 3)."""
        z, y, x = np.nonzero(self.mask)
        inverse = np.linalg.inv(self.from_surface)
        return np.stack([x, y, z], axis=1) @ inverse[:3, :3].T + inverse[:3, 3]

    def columns(self, points: ArrayLike) -> NDArray[np.int64]:
        """The column of the voxel nearest to each point (n, 3) in the surfaces' mm; -1 outside the mask."""
        x, y, z = np.rint(self.voxel_coordinates(points)).astype(np.int64).T
        n_x, n_y, n_z = self.shape
        inside = (x >= 0) & (x < n_x) & (y >= 0) & (y < n_y) & (z >= 0) & (z < n_z)
        number = np.where(self.mask, np.cumsum(self.mask).reshape(self.mask.shape) - 1, -1)
        out = np.full(len(x), -1, dtype=np.int64)
        out[inside] = number[z[inside], y[inside], x[inside]]
        return out


def voxel_space(dataset: Dataset, subject: str) -> VoxelSpace:
    """Read a subject's volume.

    Raises
    ------
    DataError
        A file is missing (says how to fetch it) or damaged, or they disagree: mask and reference in size or place, the
        transform's ``coord`` with its ``magnet`` over the reference's affine.
    """
    path = dataset.require(dataset.mask_path(subject))
    mask = load_mask(path)
    reference_path = dataset.require(path.parent / "reference.nii.gz")
    reference = open_image(reference_path)
    if len(reference.shape) < 3 or tuple(reference.shape[:3]) != mask.shape[::-1]:
        raise DataError(
            f"{path} has {mask.shape[::-1]} voxels along x, y, z; {reference_path.name} beside it has "
            f"{tuple(reference.shape)}. They must be of one volume: download both again."
        )
    affine = image_affine(reference_path, reference)
    apart = voxels_apart(image_affine(path, open_image(path)), affine, mask.shape[::-1])
    if apart > SAME_PLACE:
        raise DataError(
            f"{path} and {reference_path.name} beside it place their voxels differently, up to {apart:,.1f} voxels "
            "apart: one was turned or moved, so that columns and hemispheres would not be the responses'. Take both "
            "from one download, or save the mask in the reference's orientation."
        )
    return VoxelSpace(mask, affine, _read_transform(dataset, path.parent, affine, mask.shape[::-1]))


def voxels_apart(one: NDArray[np.floating], other: NDArray[np.floating], shape: Sequence[int]) -> float:
    """How far apart, in voxels of the second, two affines (4, 4) place a voxel of a volume: the farthest corner's."""
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*((0, n - 1) for n in shape))])
    moved = corners @ (np.linalg.inv(other) @ one).T
    return float(np.abs(moved - corners).max())


def image_affine(path: Path, image: nibabel.Nifti1Image) -> NDArray[np.float64]:
    """An image's affine (4, 4), from voxel (x, y, z) to mm, which must be one."""
    affine = np.asarray(image.affine, dtype=np.float64)
    if not _invertible(affine):
        raise DataError(f"{path}: its affine must be of finite numbers and one that can be inverted.")
    return affine


def load_mask(path: Path) -> NDArray[np.bool_]:
    """A NIfTI mask as bool (n_z, n_y, n_x): NIfTI stores x first. A voxel is in it if it is not zero."""
    with _reading(path):
        values = np.asarray(nibabel.load(path).dataobj)
    if values.ndim != 3:
        raise DataError(f"{path} has {values.ndim} axes; a mask has 3.")
    return values.T > 0


def open_image(path: Path) -> nibabel.Nifti1Image:
    """A NIfTI image whose values are still on disk."""
    with _reading(path):
        return nibabel.load(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a NIfTI image ({error}).") from error


def _read_transform(
    dataset: Dataset, folder: Path, affine: NDArray[np.float64], shape: Sequence[int]
) -> NDArray[np.float64]:
    """``coord``; where pycortex wrote ``magnet`` too, from the surfaces' mm to the reference's, both must agree."""
    path = dataset.require(folder / "matrices.xfm")
    try:
        found = read_json(path)
        coord = np.array(found["coord"], dtype=np.float64)
        magnet = np.array(found["magnet"], dtype=np.float64) if "magnet" in found else None
    except BwlmError as error:
        raise DataError(str(error)) from None
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path} has no matrix 'coord' of numbers; it must be pycortex's JSON.") from None
    for name, matrix in {"coord": coord, "magnet": magnet}.items():
        if matrix is not None and not _invertible(matrix):
            raise DataError(f"{path}: '{name}' must be an affine matrix of 4 by 4 that can be inverted.")
    if magnet is None:
        return coord
    apart = voxels_apart(np.linalg.inv(magnet) @ affine, np.linalg.inv(coord), shape)
    if apart > SAME_PLACE:
        raise DataError(
            f"{path}: 'coord' is not 'magnet' seen in voxels of reference.nii.gz beside it; they are up to "
            f"{apart:,.1f} voxels apart. The reference was turned or replaced after the transform was made: take both "
            "from one download."
        )
    return coord


def _invertible(matrix: NDArray[np.float64]) -> bool:
    return matrix.shape == (4, 4) and bool(np.isfinite(matrix).all()) and abs(np.linalg.det(matrix)) >= 1e-12
