"""Writers of what pycortex and FreeSurfer keep of a subject: surfaces, transform, masks, annotations, the drawing."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from ..anatomy.image_files import write_surface
from ..anatomy.surfaces import ATLASES, Kind, Side, Surface
from ..data import Dataset
from ..data.tree import DERIVATIVE
from ..files import write_json
from .brain import Anatomy
from .sheet import Sheet

_VOXEL_MM = 2.6  # the real data's resolution
_MARGIN = 1  # empty voxels around the brain
_AC_PARCELS = (("G_temp_sup-Plan_tempo", "superiortemporal"), ("S_temporal_transverse", "transversetemporal"),
               ("G_temp_sup-G_T_transv", "transversetemporal"))  # fmt: skip
_PARCELS = (("G_temp_sup-Lateral", "superiortemporal"), ("S_temporal_sup", "bankssts"),
            ("G_temporal_middle", "middletemporal"), ("G_pariet_inf-Angular", "inferiorparietal"),
            ("G_precentral", "precentral"), ("G_front_middle", "caudalmiddlefrontal"), ("G_precuneus", "precuneus"),
            ("Medial_wall", "unknown"))  # fmt: skip
_SULCI = ("STS", "IPS", "CS", "SFS", "CiS")
_PAGE = 1024  # height of the drawing, as pycortex makes it


def write_anatomy(root: Path, subject: str, anatomy: Anatomy, sheets: dict[Side, Sheet], *, npz: bool) -> None:
    """All that the data set holds of a subject's anatomy; surfaces as gifti, or ``npz`` as UTS02 has them.

    Subjects differ in how their surfaces are turned against the volume.
    """
    folder = Dataset(root).mask_path(subject).parent
    to_voxel, affine = _transforms(anatomy, turn=int(subject[-1]))
    volume = np.pad(anatomy.thick, _MARGIN).T  # NIfTI runs x first
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in {"mask_thick": volume.astype(np.uint8), "reference": 1000 * volume.astype(np.float32)}.items():
        nibabel.save(nibabel.Nifti1Image(values, affine), folder / f"{name}.nii.gz")
    write_json(folder / "matrices.xfm", {"coord": to_voxel.tolist(), "magnet": (affine @ to_voxel).tolist()})
    derivative = root / DERIVATIVE
    database, label = derivative / "pycortex-db" / subject, derivative / "freesurfer_subjdir" / subject / "label"
    label.mkdir(parents=True)
    (database / "surfaces").mkdir()
    back = np.linalg.inv(to_voxel)
    for side, sheet in sheets.items():
        flat, faces = sheet.flat(), sheet.faces()
        surfaces: dict[Kind, Surface] = {
            "wm": Surface(_move(sheet.white() + _MARGIN, back), faces),
            "pia": Surface(_move(sheet.pia() + _MARGIN, back), faces),
            "flat": Surface(flat.points * np.float32(_VOXEL_MM), flat.polys),
            "inflated": Surface((sheet.inflated() * _VOXEL_MM).astype(np.float32), faces),
        }
        for kind, surface in surfaces.items():
            stem = database / "surfaces" / f"{kind}_{side}"
            if npz:
                np.savez(stem.with_suffix(".npz"), pts=surface.points, polys=surface.polys)
            else:
                write_surface(stem.with_suffix(".gii"), surface, side, kind)
        for atlas, (numbers, names) in _annotations(sheet).items():
            _write_annotation(label / f"{side}.{ATLASES[atlas]}", numbers, names)
    (database / "overlays.svg").write_text(_draw(sheets), encoding="utf-8")


def _transforms(anatomy: Anatomy, *, turn: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From surfaces' mm to voxels, and from voxels to the reference's mm, both about the volume's middle."""
    middle = (np.array(anatomy.thick.shape[::-1]) - 1) / 2 + _MARGIN
    affine = np.diag([_VOXEL_MM, _VOXEL_MM, _VOXEL_MM, 1.0])
    affine[:3, 3] = -_VOXEL_MM * middle
    pitch, yaw = np.radians([4 * turn, 3 * turn])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    to_voxel = np.eye(4)
    to_voxel[:3, :3] = about_x @ about_z / _VOXEL_MM
    to_voxel[:3, 3] = middle
    return to_voxel, affine


def _move(points: NDArray, matrix: NDArray) -> NDArray[np.float32]:
    return (points @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)


def _annotations(sheet: Sheet) -> dict[str, tuple[NDArray[np.int64], list[str]]]:
    """Parcels of both atlases: three of auditory cortex, and bands of u beside and beyond it."""
    bands = len(_PARCELS) - 1
    start = sheet.along[~sheet.ac.all(axis=1)][0]
    band = (bands * (sheet.along - start) / (sheet.along[sheet.layer > -2][-1] - start)).clip(0, bands - 1).astype(int)
    band[sheet.layer == -2] = bands
    number = np.repeat(len(_AC_PARCELS) + band[:, None], sheet.shape[1], axis=1)
    u = np.nonzero(sheet.ac)[0]
    number[sheet.ac] = u * len(_AC_PARCELS) // (u.max(initial=0) + 1)  # auditory cortex starts at u = 0
    found = {}
    for k, atlas in enumerate(ATLASES):
        each = [names[k] for names in (*_AC_PARCELS, *_PARCELS)]
        names = list(dict.fromkeys(each))
        found[atlas] = (np.array([names.index(name) for name in each])[number].ravel(), names)
    return found


def _write_annotation(path: Path, numbers: NDArray[np.int64], names: list[str]) -> None:
    table = np.zeros((len(names), 5), dtype=np.int64)
    table[:, 0], table[:, 1], table[:, 2] = 20 + 20 * np.arange(len(names)), 240 - 20 * np.arange(len(names)), 120
    nibabel.freesurfer.write_annot(path, numbers, table, names, fill_ctab=True)


def _draw(sheets: dict[Side, Sheet]) -> str:
    """overlays.svg: auditory cortex's outline, and the bottoms of some folds as sulci."""
    flats = {side: sheet.flat().points[:, :2].astype(np.float64) for side, sheet in sheets.items()}
    edge = {"lh": flats["lh"][:, 0].max(), "rh": flats["rh"][:, 0].min()}
    together = np.concatenate([points - np.array([edge[side], 0]) for side, points in flats.items()])
    low, high = together.min(axis=0), together.max(axis=0)
    scale = _PAGE / (high - low)[1]

    def place(side: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = (points - np.array([edge[side], 0]) - low) * scale
        return np.stack([moved[:, 0], _PAGE - moved[:, 1]], axis=1)

    outlines: dict[str, list[str]] = {"AC": []}
    sulci: dict[str, list[str]] = {}
    for side, sheet in sheets.items():
        x, y = sheet.flat_axes()
        outlines["AC"] += [f"M {' '.join(_written(place(side, ring)))} Z" for ring in _outlines(sheet.ac, x, y)]
        for name, u in zip(_SULCI, sheet.valleys(), strict=False):
            line = np.stack([np.full(4, x[u]), np.linspace(0.9, -0.9, 4) * y[-1]], axis=1)
            first, *rest = _written(place(side, line))
            sulci.setdefault(name, []).append(f"M {first} C {' '.join(rest)}")
    width = (high - low)[0] * scale
    layers = _layer("rois", outlines, closed=True) + _layer("sulci", sulci, closed=False)
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" '
        f'width="{width:.3f}" height="{_PAGE}" version="1.1">\n{layers}</svg>\n'
    )


def _layer(name: str, shapes: dict[str, list[str]], *, closed: bool) -> str:
    style = f"fill:none;stroke:#ffffff;stroke-width:{3 if closed else 2}"
    groups = "".join(
        f'   <g id="{name}_{shape}" inkscape:label="{shape}" inkscape:groupmode="layer">\n'
        + "".join(f'    <path d="{path}" style="{style}"/>\n' for path in paths)
        + "   </g>\n"
        for shape, paths in shapes.items()
    )
    return (
        f' <g id="{name}" inkscape:label="{name}" inkscape:groupmode="layer">\n'
        f'  <g id="{name}_shapes" inkscape:label="shapes" inkscape:groupmode="layer">\n{groups}  </g>\n'
        f'  <g id="{name}_labels" inkscape:label="labels" inkscape:groupmode="layer"/>\n </g>\n'
    )


def _written(points: NDArray[np.float64]) -> list[str]:
    return [f"{x:.3f},{y:.3f}" for x, y in points]


def _outlines(inside: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Rings around a set of grid points, half way to the points outside it: each (n_corners, 2)."""
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    padded = np.pad(inside, 1)
    for u, v in np.argwhere(inside):  # a cell's sides, with the cell to their left
        for (du, dv), start, stop in (
            ((0, -1), (0, 0), (1, 0)), ((1, 0), (1, 0), (1, 1)), ((0, 1), (1, 1), (0, 1)), ((-1, 0), (0, 1), (0, 0)),
        ):  # fmt: skip
            if not padded[u + 1 + du, v + 1 + dv]:
                edges.setdefault((int(u + start[0]), int(v + start[1])), []).append(
                    (int(u + stop[0]), int(v + stop[1]))
                )
    x_edges, y_edges = (np.interp(np.arange(len(a) + 1) - 0.5, np.arange(len(a)), a) for a in (x, y))
    for edge, a in ((x_edges, x), (y_edges, y)):
        edge[0], edge[-1] = 1.5 * a[0] - 0.5 * a[1], 1.5 * a[-1] - 0.5 * a[-2]
    rings = []
    while edges:
        start = next(iter(edges))
        corners, at = [start], start
        while True:
            following = edges[at].pop()
            if not edges[at]:
                del edges[at]
            at = following
            if at == start:
                break
            corners.append(at)
        rings.append(np.array([[x_edges[u], y_edges[v]] for u, v in corners]))
    return rings
