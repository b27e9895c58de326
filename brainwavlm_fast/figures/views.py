"""A subject's brain as a picture: which vertex, and so which voxel, each pixel shows.

Made once per subject and width, and cached: drawing values is then one lookup. A flat map shows both hemispheres cut
open; for a subject without flat surfaces, inflated ones are seen from both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from ..anatomy.surfaces import SIDES, Side, Surface, load_surface, mid_thickness, vertex_voxels
from ..cached_files import cache_folder, cached, file_digest, key_digest
from ..data import Dataset
from ..errors import DataError
from .raster import nearest_vertices, sulcal, vertex_normals

Kind = Literal["flat", "inflated"]
WIDTH = 1440  # pixels: 200 an inch across a page
_VERSION = 2  # of what is cached
_ARRAYS = ("vertices", "shade", "vertex_voxels", "origins")
_MARGIN = 12
SULCUS, GYRUS = 0.36, 0.52  # grays of what is not colored, far from the white of a change of 0
# screen x and y and the direction to the viewer, as signed axes of (x right, y front, z up), 1-based
_LATERAL_OF_LEFT, _LATERAL_OF_RIGHT = (-2, 3, -1), (2, 3, 1)
_INFLATED: tuple[tuple[Side, str, tuple[int, int, int]], ...] = (
    ("lh", "left, lateral", _LATERAL_OF_LEFT),
    ("rh", "right, lateral", _LATERAL_OF_RIGHT),
    ("lh", "left, medial", _LATERAL_OF_RIGHT),
    ("rh", "right, medial", _LATERAL_OF_LEFT),
)


@dataclass(frozen=True)
class BrainView:
    """A picture of both hemispheres, before anything is colored.

    Attributes
    ----------
    vertices : NDArray[np.int32]
        int32 (height, width) vertex seen at each pixel, -1 outside the brain; those of the right hemisphere are
        numbered after the left's.
    shade : NDArray[np.uint8]
        uint8 (height, width), the gray of folds and light.
    vertex_voxels : NDArray[np.int32]
        int32 (n_vertices,) voxel of each vertex of both hemispheres, -1 outside the mask.
    n_left : int
        Vertices of the left hemisphere.
    scale : float
        Pixels per mm.
    origins : NDArray[np.float64]
        (2, 2), the pixel (column, row) of each side's point (0, 0) on a flat map.
    """

    kind: Kind
    vertices: NDArray[np.int32]
    shade: NDArray[np.uint8]
    vertex_voxels: NDArray[np.int32]
    n_left: int
    scale: float
    origins: NDArray[np.float64]

    @cached_property
    def voxels(self) -> NDArray[np.int32]:
        """int32 (height, width) voxel at each pixel; -1 outside the mask or the brain."""
        return np.where(self.vertices >= 0, self.vertex_voxels[self.vertices], np.int32(-1))

    @property
    def n_voxels_shown(self) -> int:
        """Voxels that at least one pixel shows."""
        return len(np.unique(self.voxels[self.voxels >= 0]))

    def to_pixels(self, side: Side, points: NDArray) -> NDArray[np.float64]:
        """Pixels (n, 2), column and row, of points (n, 2) of a flat surface."""
        return self.origins[SIDES.index(side)] + np.asarray(points, dtype=np.float64) * [self.scale, -self.scale]

    def titles(self) -> list[tuple[str, float, float]]:
        """Words on the picture, and the column and row of their middle."""
        height, width = self.vertices.shape
        if self.kind == "flat":
            return [("left", width / 4, _MARGIN), ("right", 3 * width / 4, _MARGIN)]
        return [
            (title, width * (0.25 + 0.5 * (k % 2)), height / 2 * (k // 2) + _MARGIN)
            for k, (_, title, _) in enumerate(_INFLATED)
        ]


def open_view(
    dataset: Dataset, subject: str, kind: Kind = "flat", *, width: int = WIDTH, cache: Path | None = None
) -> BrainView:
    """A subject's view: from the cache, or made and kept there.

    Parameters
    ----------
    width : pixels of both hemispheres side by side.
    cache : folder; by default beside that of the features. A view is made again when a file of the subject's surfaces
        or transforms changes.

    Raises
    ------
    DataError : a surface, the transform or the mask is missing or damaged.
    """
    subject = dataset.subject(subject)
    key = view_key(dataset, subject, kind, width)
    make = _make_flat if kind == "flat" else _make_inflated
    return cached(
        (cache or cache_folder("views")) / f"{subject}-{kind}-{key}.hf5",
        {"view": key},
        take=_take,
        make=lambda: make(dataset, subject, width),
        put=_put,
    )


def best_view(
    dataset: Dataset, subject: str, *, width: int = WIDTH, cache: Path | None = None
) -> tuple[BrainView, str | None]:
    """The flat map, or the inflated views and the reason why there is no flat map.

    Raises
    ------
    DataError
        The inflated surfaces are missing, too, or the transform is.
    """
    try:
        return open_view(dataset, subject, "flat", width=width, cache=cache), None
    except DataError as error:
        try:
            view = open_view(dataset, subject, "inflated", width=width, cache=cache)
        except DataError:
            raise error from None
        return view, f"No flat map: {error} Inflated views are drawn in its place."


def view_key(dataset: Dataset, subject: str, kind: str, width: int) -> str:
    """A digest of what a view depends on: the contents of every file of the subject's surfaces and transforms."""
    folder = dataset.mask_path(subject).parent.parent.parent
    files = [path for name in ("surfaces", "transforms") for path in sorted((folder / name).rglob("*"))]
    contents = {str(path.relative_to(folder)): file_digest(path) for path in files if path.is_file()}
    return key_digest([_VERSION, kind, width, dataset.mask_path(subject).parent.name, contents])


def _make_flat(dataset: Dataset, subject: str, width: int) -> BrainView:
    surfaces = {side: load_surface(dataset, subject, "flat", side) for side in SIDES}
    folded = {side: mid_thickness(dataset, subject, side) for side in SIDES}
    for side in SIDES:
        _same_vertices(subject, "flat", side, surfaces[side], folded[side])
    boxes = {}
    for side, surface in surfaces.items():
        used = surface.points[surface.used(), :2].astype(np.float64)
        boxes[side] = used.min(axis=0), used.max(axis=0)
    spans = [boxes[side][1] - boxes[side][0] for side in SIDES]
    scale = (width - 3 * _MARGIN) / (spans[0][0] + spans[1][0])
    top = max(boxes[side][1][1] for side in SIDES)
    bottom = min(boxes[side][0][1] for side in SIDES)
    height = int(np.ceil((top - bottom) * scale)) + 3 * _MARGIN
    lefts = [_MARGIN, 2 * _MARGIN + spans[0][0] * scale]
    origins = np.array(
        [[left - boxes[side][0][0] * scale, 2 * _MARGIN + top * scale] for side, left in zip(SIDES, lefts, strict=True)]
    )
    n_left = len(surfaces["lh"].points)
    vertices = np.full((height, width), -1, dtype=np.int32)
    for k, side in enumerate(SIDES):
        positions = origins[k] + surfaces[side].points[:, :2] * [scale, -scale]
        seen = nearest_vertices(positions, surfaces[side].polys, (height, width))
        vertices[seen >= 0] = seen[seen >= 0] + k * n_left
    gray = np.concatenate([_fold_gray(folded[side]) for side in SIDES])
    shade = np.where(vertices >= 0, 255 * gray[vertices], 255).astype(np.uint8)
    return BrainView("flat", vertices, shade, _voxels(dataset, subject), n_left, float(scale), origins)


def _make_inflated(dataset: Dataset, subject: str, width: int) -> BrainView:
    surfaces = {side: load_surface(dataset, subject, "inflated", side) for side in SIDES}
    grays = {}
    for side in SIDES:
        folded = mid_thickness(dataset, subject, side)
        _same_vertices(subject, "inflated", side, surfaces[side], folded)
        grays[side] = _fold_gray(folded)
    spans = np.array([np.ptp(surface.points, axis=0) for surface in surfaces.values()], dtype=np.float64).max(axis=0)
    cell = width // 2
    scale = min((cell - 2 * _MARGIN) / spans[1], (0.75 * cell - 3 * _MARGIN) / spans[2])
    rows = int(np.ceil(spans[2] * scale)) + 3 * _MARGIN
    n_left = len(surfaces["lh"].points)
    vertices = np.full((2 * rows, width), -1, dtype=np.int32)
    shade = np.full((2 * rows, width), 255, dtype=np.uint8)
    for k, (side, _, axes) in enumerate(_INFLATED):
        surface = surfaces[side]
        points = surface.points.astype(np.float64)
        points -= (points.max(axis=0) + points.min(axis=0)) / 2
        across, up, towards = (np.sign(axis) * points[:, abs(axis) - 1] for axis in axes)
        positions = np.stack([cell / 2 + across * scale, (rows + _MARGIN) / 2 - up * scale], axis=1)
        seen = nearest_vertices(positions, surface.polys, (rows, cell), depth=towards)
        facing = np.abs(vertex_normals(surface.points, surface.polys)[:, abs(axes[2]) - 1])
        light = grays[side] * (0.55 + 0.45 * facing)
        window = np.s_[(k // 2) * rows : (k // 2 + 1) * rows, (k % 2) * cell : (k % 2 + 1) * cell]
        vertices[window] = np.where(seen >= 0, seen + (n_left if side == "rh" else 0), -1)
        shade[window] = np.where(seen >= 0, 255 * light[seen], 255)
    return BrainView("inflated", vertices, shade, _voxels(dataset, subject), n_left, float(scale), np.zeros((2, 2)))


def _fold_gray(folded: Surface) -> NDArray[np.float64]:
    return np.where(sulcal(folded.points, folded.polys), SULCUS, GYRUS)


def _voxels(dataset: Dataset, subject: str) -> NDArray[np.int32]:
    return np.concatenate([vertex_voxels(dataset, subject, side) for side in SIDES]).astype(np.int32)


def _same_vertices(subject: str, kind: str, side: str, surface: Surface, folded: Surface) -> None:
    if len(surface.points) != len(folded.points):
        raise DataError(
            f"surfaces {kind}_{side} and wm_{side} of {subject} have {len(surface.points)} and {len(folded.points)} "
            "vertices; they must be of one reconstruction."
        )


def _take(file: h5py.File) -> BrainView | None:
    arrays = {name: file[name][:] for name in _ARRAYS}
    view = BrainView(file.attrs["kind"], n_left=int(file.attrs["n_left"]), scale=float(file.attrs["scale"]), **arrays)
    return view if view.vertices.max(initial=-1) < len(view.vertex_voxels) else None


def _put(file: h5py.File, view: BrainView) -> None:
    for name in _ARRAYS:
        file.create_dataset(name, data=getattr(view, name), compression="lzf")
    file.attrs.update(kind=view.kind, n_left=view.n_left, scale=view.scale)
