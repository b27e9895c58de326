"""Voxel values as other programs read them: NIfTI volumes in the reference's space, gifti on the surfaces.

``values`` are (n_voxels,), in the order of the responses' columns.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
from nibabel.gifti import GiftiCoordSystem, GiftiDataArray, GiftiImage, GiftiMetaData
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from ..files import atomic_path
from .surfaces import Kind, Side, Surface
from .volume import VoxelSpace

_STRUCTURE = {"lh": "CortexLeft", "rh": "CortexRight"}  # Connectome Workbench's names
_GEOMETRY = {"flat": "Flat", "inflated": "Inflated", "wm": "Anatomical", "pia": "Anatomical"}
_LAYER = {"wm": "GrayWhite", "pia": "Pial"}


def write_volume(path: Path, space: VoxelSpace, values: ArrayLike, *, name: str = "") -> None:
    """Write values as NIfTI (.nii.gz) over the subject's reference image, which they keep their type in.

    Outside the mask is NaN, or 0 for whole numbers and yes or no.
    """
    values = np.asarray(values)
    if values.shape != (space.n_voxels,):
        raise DataError(f"values of shape {values.shape} were given for a volume of {space.n_voxels} voxels.")
    if values.dtype == bool:
        values = values.astype(np.uint8)
    empty = np.nan if np.issubdtype(values.dtype, np.floating) else 0
    volume = np.full(space.mask.shape, empty, dtype=values.dtype)
    volume[space.mask] = values
    image = nibabel.Nifti1Image(volume.T, space.affine, dtype=values.dtype)  # NIfTI runs x first
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = name[:79]
    _write(path, gzip.compress(image.to_bytes(), mtime=0))


def vertex_values(values: ArrayLike, columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """What each vertex shows: its voxel's value, NaN where it is in none; ``columns`` as of :func:`vertex_voxels`."""
    values = np.asarray(values)
    if columns.max(initial=-1) >= len(values):
        raise DataError(f"there are {len(values)} values, but vertices lie in voxels up to number {columns.max()}.")
    shown = np.full(len(columns), np.nan, dtype=np.float32)
    shown[columns >= 0] = values[columns[columns >= 0]]
    return shown


def write_vertices(path: Path, values: ArrayLike, side: Side, *, name: str = "") -> None:
    """Write values of a hemisphere's vertices (n_vertices,) as gifti (.func.gii), single precision."""
    array = GiftiDataArray(
        np.asarray(values, dtype=np.float32), intent="NIFTI_INTENT_NONE", meta=GiftiMetaData({"Name": name})
    )
    meta = GiftiMetaData({"AnatomicalStructurePrimary": _STRUCTURE[side]})
    _write(path, GiftiImage(meta=meta, darrays=[array]).to_bytes())


def write_surface(path: Path, surface: Surface, side: Side, kind: Kind) -> None:
    """Write a surface as gifti (.surf.gii), for programs that cannot read pycortex's npz."""
    meta = {"AnatomicalStructurePrimary": _STRUCTURE[side], "GeometricType": _GEOMETRY[kind]}
    if kind in _LAYER:
        meta["AnatomicalStructureSecondary"] = _LAYER[kind]
    points = GiftiDataArray(
        surface.points, intent="NIFTI_INTENT_POINTSET", coordsys=GiftiCoordSystem(), meta=GiftiMetaData(meta)
    )
    faces = GiftiDataArray(surface.polys, intent="NIFTI_INTENT_TRIANGLE")
    _write(path, GiftiImage(darrays=[points, faces]).to_bytes())


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
