"""The simulated cortex as a surface: one sheet per hemisphere, folded back and forth until it has met every voxel.

The sheet is a rectangle of vertices. Along u it climbs one layer of voxels, turns, comes down the next, from lateral to
medial; along v it runs from front to back. Two vertices per voxel each way, so that a voxel's nearest vertex is always
in it. Beyond the last layer come a few rows of medial wall, which no voxel holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..anatomy.surfaces import Side, Surface
from .brain import Anatomy

_PER_VOXEL = 2
_TURN = np.radians([30, 90, 150])  # vertices along the bend between two layers
_WALL = 4  # rows of medial wall
_HALF_THICKNESS = 0.3  # voxels, from the middle of cortex to white matter and to pia
_CUT_FROM = 0.7  # the flat map is cut along its middle from this share of u on


@dataclass(frozen=True)
class Sheet:
    """One hemisphere. Vertices are numbered in C order over the grid (n_u, n_v); coordinates are voxels (x, y, z).

    Attributes
    ----------
    middle, normal : NDArray[np.float64]
        float64 (n_u * n_v, 3), the mid-thickness points, and the unit vectors from white matter to pia.
    along : NDArray[np.float64]
        float64 (n_u,), the way from the sheet's start, in voxels.
    layer : NDArray[np.int64]
        int (n_u,), the layer of voxels that a row runs through; -1 in a bend, -2 in the medial wall.
    ac : NDArray[bool]
        bool (n_u, n_v), auditory cortex.
    right : bool
        The mirror image.
    """

    middle: NDArray[np.float64]
    normal: NDArray[np.float64]
    along: NDArray[np.float64]
    layer: NDArray[np.int64]
    ac: NDArray[np.bool_]
    right: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(n_u, n_v)."""
        n_u, n_v = self.ac.shape
        return n_u, n_v

    def valleys(self) -> NDArray[np.int64]:
        """The rows of u at the bottoms of folds, where pia meets pia."""
        return np.flatnonzero(self.layer == -1).reshape(-1, len(_TURN))[1::2, len(_TURN) // 2]

    def faces(self, keep: NDArray[np.bool_] | None = None) -> NDArray[np.int32]:
        """Two triangles between each four neighboring vertices, all of them in ``keep`` (n_u, n_v)."""
        number = np.arange(self.ac.size).reshape(self.shape)
        a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]))
        faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
        if keep is not None:
            faces = faces[keep.ravel()[faces].all(axis=1)]
        return (faces[:, ::-1] if self.right else faces).astype(np.int32)

    def pia(self) -> NDArray[np.float64]:
        """The outer surface."""
        return self.middle + _HALF_THICKNESS * self.normal

    def white(self) -> NDArray[np.float64]:
        """The inner surface."""
        return self.middle - _HALF_THICKNESS * self.normal

    def flat_axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates of the flat map: x of each row of u, y of each of v; twice as wide as high, about its middle."""
        on_map = self.along[self.layer > -2]
        x = self.along - (on_map[0] + on_map[-1]) / 2
        n_v = self.shape[1]
        y = (np.arange(n_v) - (n_v - 1) / 2) / (n_v - 1) * (on_map[-1] - on_map[0]) / 2
        return (-x if self.right else x), y

    def flat(self) -> Surface:
        """The flat map, cut along its middle at the medial end; what is cut off or medial wall lies at 0."""
        n_u, n_v = self.shape
        keep = np.repeat((self.layer > -2)[:, None], n_v, axis=1)
        keep[int(_CUT_FROM * n_u) :, n_v // 2] = False
        x, y = self.flat_axes()
        points = np.zeros((n_u, n_v, 3))
        points[..., 0], points[..., 1] = x[:, None], y[None, :]
        points[~keep] = 0
        return Surface(points.reshape(-1, 3).astype(np.float32), self.faces(keep))

    def inflated(self) -> NDArray[np.float64]:
        """The sheet bent over most of a ball, medial wall at its pole."""
        n_v = self.shape[1]
        radius = np.sqrt(self.along[-1] * n_v / _PER_VOXEL / (2 * np.pi))
        polar = np.pi * (0.05 + 0.9 * self.along / self.along[-1])[:, None]
        around = np.pi * (0.1 + 1.8 * np.arange(n_v) / (n_v - 1))[None, :]
        x = -np.cos(polar) * np.ones_like(around)
        ball = np.stack([x, np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around)], axis=-1)
        ball[..., 0] *= -1 if self.right else 1
        return radius * ball.reshape(-1, 3)


def make_sheets(anatomy: Anatomy) -> dict[Side, Sheet]:
    """The sheets of ``lh`` and ``rh`` through an anatomy's voxels."""
    return {"lh": _make_sheet(anatomy, right=False), "rh": _make_sheet(anatomy, right=True)}


def _make_sheet(anatomy: Anatomy, *, right: bool) -> Sheet:
    side = anatomy.thick.shape[0]
    first = int(np.flatnonzero(anatomy.thick.any(axis=(0, 1)))[0])
    x, z, t_x, t_z, layer = _profile(side, first)
    y = (np.arange(_PER_VOXEL * side) + 0.5) / _PER_VOXEL - 0.5
    shape = (len(x), len(y))
    middle = np.stack([np.repeat(x[:, None], len(y), 1), np.tile(y, (len(x), 1)), np.repeat(z[:, None], len(y), 1)], -1)
    normal = np.zeros_like(middle)
    normal[..., 0], normal[..., 2] = -t_z[:, None], t_x[:, None]
    ac = _auditory(anatomy, middle, layer)
    if right:
        middle[..., 0] = 2 * side - 1 - middle[..., 0]
        normal[..., 0] *= -1
    along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    return Sheet(middle.reshape(-1, 3), normal.reshape(-1, 3), along, layer, ac.reshape(shape), right)


def _profile(side: int, first: int) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray]:
    """The fold seen from the front: x, z, the direction of travel in both, and the layer, of each row of u.

    It begins at the most lateral layer that has a voxel, ``first``.
    """
    rise = (np.arange(_PER_VOXEL * side) + 0.5) / _PER_VOXEL - 0.5
    parts = []
    for k in range(first, side):
        way = 1 if (k - first) % 2 == 0 else -1
        ones = np.ones(len(rise))
        parts.append((k * ones, rise[::way], 0 * ones, way * ones, k * ones))
        if k < side - 1:
            edge = side - 0.5 if way > 0 else -0.5
            bend = (k + 0.5 - np.cos(_TURN) / 2, edge + way * np.sin(_TURN) / 2)
            parts.append((*bend, np.sin(_TURN), way * np.cos(_TURN), -np.ones(len(_TURN))))
    ones = np.ones(_WALL)
    beyond = parts[-1][1][-1] + way * np.arange(1, _WALL + 1) / _PER_VOXEL
    parts.append(((side - 1) * ones, beyond, 0 * ones, way * ones, -2 * ones))
    x, z, t_x, t_z, layer = (np.concatenate(values) for values in zip(*parts, strict=True))
    return x, z, t_x, t_z, layer.astype(np.int64)


def _auditory(anatomy: Anatomy, middle: NDArray[np.float64], layer: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Vertices of auditory cortex: those whose nearest voxel in the layer is, and bends from one such to another."""
    left = anatomy.thick.copy()
    left[..., anatomy.thick.shape[0] :] = False  # two cubes side by side
    ac = anatomy.volume(anatomy.ac)
    out = np.zeros(middle.shape[:2], dtype=bool)
    for k in np.unique(layer[layer >= 0]):
        z, y = np.nonzero(left[..., k])
        nearest = cKDTree(np.stack([y, z], axis=1)).query(middle[layer == k][..., 1:])[1]
        out[layer == k] = ac[z, y, k][nearest]
    bends = np.flatnonzero(layer == -1)
    for u in bends.reshape(-1, len(_TURN)):
        out[u] = out[u[0] - 1] & out[u[-1] + 1]
    return out
