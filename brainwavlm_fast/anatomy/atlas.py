"""A subject's voxel sets, made once from surfaces, annotations and drawing, and cached.

A voxel belongs to the mid-thickness vertex nearest to its center, in mm, as in pycortex's ``get_roi_masks``: from it
come hemisphere, parcels and drawn regions. ``mask_thick`` reaches 8 mm from the surface, so that most of its voxels
hold no vertex at all; ``surface`` is the set of those that do.

Auditory cortex, ``ac``, is Heschl's gyrus, where primary auditory cortex lies, the transverse temporal sulcus behind it
and the planum temporale: parcels 33, 75 and 36 of Destrieux et al. (2010, NeuroImage 53, 1-15). It is the same in every
subject, whether or not an auditory localizer was run (UTS02 has none). A drawn region AC is ``svg:AC``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..cached_files import cache_folder, cached, file_digest, key_digest
from ..data.tree import Dataset
from ..errors import DataError
from .overlays import overlay_regions, overlays_path, region_vertices
from .surfaces import ATLASES, SIDES, annotation, annotation_path, mid_thickness, surface_paths
from .volume import VoxelSpace, voxel_space

AC_PARCELS = ("G_temp_sup-G_T_transv", "S_temporal_transverse", "G_temp_sup-Plan_tempo")
THICK_MM = 8.0  # how far from the mid-thickness surface pycortex's mask_thick reaches
_LAYOUT = 3  # raised whenever the same files would give other sets


Parcels = dict[str, list[NDArray[np.bool_]]]  # parcel -> which vertices of lh and of rh are in it


@dataclass(frozen=True)
class Atlas:
    """All voxel sets of a subject.

    Attributes
    ----------
    n_voxels : int
        Of ``mask_thick``.
    sets : Mapping[str, NDArray[bool]]
        Name -> bool (n_voxels,): ``lh``, ``rh``, ``surface``, ``ac``, ``a2009s:NAME``, ``aparc:NAME``, ``svg:NAME``.
    counts : Mapping[str, float]
        ``neither`` and ``both``: voxels that hold vertices of no hemisphere, or of both; ``farthest_mm`` from a voxel's
        center to its nearest vertex.
    missing : Mapping[str, str]
        Why sets are missing: all of a kind (``a2009s``, ``aparc``, ``svg``), or one by its name.
    """

    n_voxels: int
    sets: Mapping[str, NDArray[np.bool_]]
    counts: Mapping[str, float]
    missing: Mapping[str, str]


def read_atlas(dataset: Dataset, subject: str) -> Atlas:
    """A subject's voxel sets: those that were kept, if the files they come from are still the same, else made anew.

    They are kept as HDF5 (``names``, ``members`` and, as attribute ``head``, where they come from) in the user's cache,
    never in the data set.

    Raises
    ------
    DataError : the volume, the transform or the folded surfaces are missing or damaged.
    """
    subject = dataset.subject(subject)
    root = str(dataset.root.resolve())
    return cached(
        cache_folder("voxel_sets") / f"{subject}-{key_digest(root)}.hf5",
        {"layout": _LAYOUT, "root": root, "subject": subject, "sources": dict(_sources(dataset, subject))},
        take=_take,
        make=lambda: _make_atlas(dataset, subject),
        put=_put,
    )


def _make_atlas(dataset: Dataset, subject: str) -> Atlas:
    space = voxel_space(dataset, subject)
    points = {side: mid_thickness(dataset, subject, side).points for side in SIDES}
    distance, nearest = cKDTree(np.concatenate(list(points.values()))).query(space.centers())
    left = nearest < len(points["lh"])
    holds = {side: _holds_a_vertex(space, points[side]) for side in SIDES}
    sets = {"lh": left, "rh": ~left, "surface": holds["lh"] | holds["rh"]}
    missing: dict[str, str] = {}
    for atlas in ATLASES:
        try:
            parcels = _parcels(dataset, subject, atlas, {side: len(vertices) for side, vertices in points.items()})
        except DataError as error:
            missing[atlas] = str(error)
            continue
        one_sided = _one_sided(parcels)
        missing |= {f"{atlas}:{name}": reason for name, reason in one_sided.items()}
        whole = {name: np.concatenate(halves) for name, halves in sorted(parcels.items()) if name not in one_sided}
        if atlas == "a2009s" and whole.keys() >= set(AC_PARCELS):
            sets["ac"] = np.any([whole[name] for name in AC_PARCELS], axis=0)[nearest]
        elif atlas == "a2009s":
            missing["ac"] = _why_no_ac(one_sided)
        sets |= {f"{atlas}:{name}": vertices[nearest] for name, vertices in whole.items()}
    try:
        drawn = overlay_regions(dataset, subject)
        vertices_of = region_vertices(dataset, subject, drawn.regions)
    except DataError as error:
        missing["svg"] = str(error)
    else:
        missing |= {f"svg:{name}": reason for name, reason in drawn.left_out.items()}
        for name, vertices in sorted(vertices_of.items()):
            sets[f"svg:{name}"] = np.concatenate([vertices[side] for side in SIDES])[nearest]
    counts = {
        "neither": int((~sets["surface"]).sum()),
        "both": int((holds["lh"] & holds["rh"]).sum()),
        "farthest_mm": round(float(distance.max(initial=0.0)), 3),
    }
    return Atlas(space.n_voxels, sets, counts, missing)


def _holds_a_vertex(space: VoxelSpace, points: NDArray[np.float32]) -> NDArray[np.bool_]:
    columns = space.columns(points)
    holds = np.zeros(space.n_voxels, dtype=bool)
    holds[columns[columns >= 0]] = True
    return holds


def _parcels(dataset: Dataset, subject: str, atlas: str, n_vertices: Mapping[str, int]) -> Parcels:
    parcels: Parcels = {}
    for k, side in enumerate(SIDES):
        labels, names = annotation(dataset, subject, side, atlas)
        if len(labels) != n_vertices[side]:
            raise DataError(
                f"{annotation_path(dataset, subject, side, atlas)} is of {len(labels)} vertices, the surfaces of "
                f"{side} have {n_vertices[side]}; they must be of one reconstruction."
            )
        for number, name in enumerate(names):
            halves = parcels.setdefault(name, [np.zeros(n, dtype=bool) for n in n_vertices.values()])
            halves[k] |= labels == number
    return parcels


def _one_sided(parcels: Parcels) -> dict[str, str]:
    """Parcels with vertices in one hemisphere alone, and what to do: sets hold both sides. Empty in both is a name."""
    reasons = {}
    for name, halves in parcels.items():
        has = {side: bool(half.any()) for side, half in zip(SIDES, halves, strict=True)}
        if has["lh"] != has["rh"]:
            there, gone = ("lh", "rh") if has["lh"] else ("rh", "lh")
            others = [other for other, pair in parcels.items() if pair[SIDES.index(gone)].any() and other != name]
            near = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
            reasons[name] = f"parcel {name} has vertices in {there}, but none in {gone}" + (
                f", which has {near[0]}: spell them alike."
                if near and not parcels[near[0]][SIDES.index(there)].any()
                else "; annotations must be of one atlas."
            )
    return reasons


def _why_no_ac(one_sided: Mapping[str, str]) -> str:
    return next((one_sided[name] for name in AC_PARCELS if name in one_sided), None) or (
        f"it is made of the parcels {', '.join(AC_PARCELS)} of a2009s, and not all are there."
    )


def _sources(dataset: Dataset, subject: str) -> Iterator[tuple[str, str]]:
    """Every file that sets may come from, and a digest of its contents, empty if it is not here."""
    folder = dataset.mask_path(subject).parent
    paths = [folder / name for name in ("mask_thick.nii.gz", "reference.nii.gz", "matrices.xfm")]
    paths += [
        p for kind in ("wm", "pia", "flat") for side in SIDES for p in surface_paths(dataset, subject, kind, side)
    ]
    paths += [annotation_path(dataset, subject, side, atlas) for atlas in ATLASES for side in SIDES]
    for path in [*paths, overlays_path(dataset, subject)]:
        yield dataset.relative(path), file_digest(path) if path.is_file() else ""


def _take(file: h5py.File) -> Atlas:
    names, members = file["names"].asstr()[:], file["members"][:]
    counts, missing = json.loads(file.attrs["counts"]), json.loads(file.attrs["missing"])
    return Atlas(members.shape[1], dict(zip(names, members, strict=True)), counts, missing)


def _put(file: h5py.File, atlas: Atlas) -> None:
    file["names"] = list(atlas.sets)
    members = np.stack(list(atlas.sets.values()))
    file.create_dataset("members", data=members, chunks=(1, members.shape[1]), compression="gzip")
    file.attrs.update(counts=json.dumps(atlas.counts), missing=json.dumps(atlas.missing))
