"""A subject's cortical surfaces, as pycortex and FreeSurfer left them in the tree, and the voxels they run through."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from xml.parsers.expat import ExpatError

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from ..data.tree import DERIVATIVE, Dataset
from ..errors import ConfigError, DataError, suggest
from .volume import voxel_space

Kind = Literal["flat", "inflated", "wm", "pia"]
Side = Literal["lh", "rh"]
SIDES: tuple[Side, ...] = ("lh", "rh")
ATLASES = {"a2009s": "aparc.a2009s.annot", "aparc": "aparc.annot"}  # Destrieux; Desikan and Killiany


@dataclass(frozen=True)
class Surface:
    """Triangles in space.

    Attributes
    ----------
    points : NDArray[np.float32]
        float32 (n_vertices, 3), mm. All surfaces of a hemisphere have the same vertices in the same order,
        FreeSurfer's. On a flat one the third coordinate is 0.
    polys : NDArray[np.int32]
        int32 (n_faces, 3), numbers of vertices. A flat surface lacks the faces along its cuts and of the medial wall;
        vertices that no face of it uses are not on the map, wherever their points are.
    """

    points: NDArray[np.float32]
    polys: NDArray[np.int32]

    def used(self) -> NDArray[np.bool_]:
        """Which vertices belong to a face: bool (n_vertices,)."""
        used = np.zeros(len(self.points), dtype=bool)
        used[self.polys] = True
        return used


def load_surface(dataset: Dataset, subject: str, kind: Kind, side: Side) -> Surface:
    """A surface of ``pycortex-db/UTS0N/surfaces``: gifti (all subjects but one), or npz with pts and polys (UTS02).

    Raises
    ------
    ConfigError
        No such kind or side.
    DataError
        It is missing or not downloaded (says what to run), or damaged.
    """
    if kind not in get_args(Kind) or side not in SIDES:
        raise ConfigError(f"unknown surface '{kind}' of '{side}'; known: {', '.join(get_args(Kind))} of lh, rh.")
    path = _surface_path(dataset, subject, kind, side)
    points, polys = _read_gifti(path) if path.suffix == ".gii" else _read_npz(path)
    if points.ndim != 2 or points.shape[1:] != (3,) or polys.ndim != 2 or polys.shape[1:] != (3,) or not polys.size:
        raise DataError(f"{path}: expected points (n_vertices, 3) and faces (n_faces, 3); download it again.")
    if not np.isfinite(points).all() or polys.min() < 0 or polys.max() >= len(points):
        raise DataError(f"{path} holds points that are not numbers, or faces of vertices that do not exist.")
    return Surface(points.astype(np.float32, copy=False), polys.astype(np.int32, copy=False))


def mid_thickness(dataset: Dataset, subject: str, side: Side) -> Surface:
    """The surface half way between white matter and pia, which pycortex calls fiducial."""
    white, pia = (load_surface(dataset, subject, kind, side) for kind in ("wm", "pia"))
    check_same_vertices({f"wm_{side}": white, f"pia_{side}": pia}, subject)
    return Surface((white.points + pia.points) * np.float32(0.5), white.polys)


def check_same_vertices(surfaces: dict[str, Surface], subject: str) -> None:
    """A DataError unless two surfaces of a hemisphere, by the names of their files, have as many vertices."""
    one, other = (len(surface.points) for surface in surfaces.values())
    if one != other:
        raise DataError(
            f"surfaces {' and '.join(surfaces)} of {subject} have {one} and {other} vertices; they must be of one "
            "reconstruction."
        )


def vertex_voxels(dataset: Dataset, subject: str, side: Side) -> NDArray[np.int64]:
    """The column of the responses that each mid-thickness vertex lies in, -1 outside the mask: (n_vertices,).

    The nearest voxel after the subject's transform, as pycortex's ``nearest`` mapper takes it.
    """
    return voxel_space(dataset, subject).columns(mid_thickness(dataset, subject, side).points)


def annotation(dataset: Dataset, subject: str, side: Side, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """FreeSurfer's parcellation of a hemisphere.

    Parameters
    ----------
    name : str
        ``a2009s`` (Destrieux et al. 2010) or ``aparc`` (Desikan et al. 2006).

    Returns
    -------
    tuple[NDArray[np.int64], list[str]]
        (n_vertices,) which parcel each vertex is in, -1 for none, and the parcels' names.
    """
    if name not in ATLASES:
        raise ConfigError(f"unknown atlas '{name}': {suggest(name, ATLASES)}")
    path = dataset.require(annotation_path(dataset, subject, side, name))
    try:
        labels, _, names = nibabel.freesurfer.read_annot(path)
    except Exception as error:  # nibabel checks nothing: a damaged file fails anywhere in it
        raise DataError(f"{path} cannot be read as a FreeSurfer annotation ({error}); download it again.") from error
    return labels.astype(np.int64), [str(item, "utf-8", "replace") for item in names]


def surface_paths(dataset: Dataset, subject: str, kind: str, side: str) -> tuple[Path, Path]:
    """Where a surface may be: as gifti, or as npz."""
    stem = dataset.root / DERIVATIVE / "pycortex-db" / dataset.subject(subject) / "surfaces" / f"{kind}_{side}"
    return stem.with_suffix(".gii"), stem.with_suffix(".npz")


def annotation_path(dataset: Dataset, subject: str, side: str, name: str) -> Path:
    """Where FreeSurfer's parcellation of a hemisphere is."""
    folder = dataset.root / DERIVATIVE / "freesurfer_subjdir" / dataset.subject(subject) / "label"
    return folder / f"{side}.{ATLASES[name]}"


def _surface_path(dataset: Dataset, subject: str, kind: str, side: str) -> Path:
    candidates = surface_paths(dataset, subject, kind, side)
    for path in candidates:
        if path.exists() or path.is_symlink():
            return dataset.require(path)
    raise DataError(
        f"{dataset.subject(subject)} has no {kind} surface of {side}: neither {dataset.relative(candidates[0])} nor "
        f".npz is there. {dataset.how_to_get(candidates[0].parent)}"
    )


def _read_gifti(path: Path) -> tuple[NDArray, NDArray]:
    try:
        image = nibabel.load(path)
        points, polys = image.agg_data("pointset"), image.agg_data("triangle")
    except (ImageFileError, ExpatError, OSError, EOFError, ValueError, AttributeError, KeyError) as error:
        raise DataError(f"{path} cannot be read as a gifti surface ({error}); download it again.") from error
    return np.asarray(points), np.asarray(polys)


def _read_npz(path: Path) -> tuple[NDArray, NDArray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays["pts"], arrays["polys"]
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read as a surface of pts and polys ({error}); download it again.") from error
