"""Triangles to pixels: which vertex of a surface is seen at each pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PIXELS_AT_ONCE = 1_000_000  # pixels tried together: some 60 MiB


def nearest_vertices(
    points: NDArray[np.floating], polys: NDArray[np.integer], shape: tuple[int, int], *, depth: NDArray | None = None
) -> NDArray[np.int32]:
    """The vertex at each pixel's middle: of the triangle that lies over it the nearest in barycentric coordinates.

    Parameters
    ----------
    points : NDArray[np.floating]
        (n_vertices, 2) column and row, in pixels; pixel (i, j) covers rows i to i + 1, columns j to j + 1.
    polys : NDArray[np.integer]
        (n_faces, 3) numbers of vertices.
    shape : tuple[int, int]
        Rows and columns of the picture.
    depth : NDArray, optional
        (n_vertices,) towards the viewer; where triangles overlap the nearest one is seen. None: the last one.

    Returns
    -------
    NDArray[np.int32]
        int32 ``shape``, -1 where there is no triangle.
    """
    height, width = shape
    seen = np.full(height * width, -1, dtype=np.int32)
    nearest = np.full(height * width, -np.inf, dtype=np.float32)
    corners = points[polys].astype(np.float32)
    low = np.maximum(np.ceil(corners.min(axis=1) - 0.5), 0).astype(np.int64)
    high = np.minimum(np.floor(corners.max(axis=1) - 0.5), [width - 1, height - 1]).astype(np.int64)
    spans = np.maximum(high - low + 1, 0)
    counts = spans.prod(axis=1)
    ends = np.cumsum(counts)
    first = 0
    while first < len(polys):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + PIXELS_AT_ONCE, side="right")))
        part = slice(first, last)
        boxes = _Boxes(corners[part], polys[part], low[part], spans[part], counts[part])
        _draw(boxes, width, depth, seen, nearest)
        first = last
    return seen.reshape(shape)


class _Boxes(NamedTuple):
    """Triangles by corners (n, 3, 2) and vertices (n, 3), and their bounding boxes: first pixel, spans, pixel count."""

    corners: NDArray
    polys: NDArray
    low: NDArray
    spans: NDArray
    counts: NDArray


def _draw(
    boxes: _Boxes, width: int, depth: NDArray | None, seen: NDArray[np.int32], nearest: NDArray[np.float32]
) -> None:
    """Draw some triangles into ``seen``: every pixel of every bounding box is tried."""
    polys, low, spans, counts = boxes.polys, boxes.low, boxes.spans, boxes.counts
    face = np.repeat(np.arange(len(polys)), counts)
    offset = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
    column = low[face, 0] + offset % spans[face, 0]
    row = low[face, 1] + offset // spans[face, 0]
    weights = _barycentric(boxes.corners, face, column + np.float32(0.5), row + np.float32(0.5))
    inside = (weights >= -1e-5).all(axis=0)
    face, pixel, weights = face[inside], (row * width + column)[inside], weights[:, inside]
    vertex = polys[face, weights.argmax(axis=0)]
    if depth is not None:
        heights = (weights * depth[polys[face]].T).sum(axis=0)
        order = np.argsort(heights, kind="stable")  # where a pixel is written twice the last one stays
        order = order[heights[order] > nearest[pixel[order]]]
        pixel, vertex = pixel[order], vertex[order]
        nearest[pixel] = heights[order]
    seen[pixel] = vertex


def _barycentric(corners: NDArray, face: NDArray, x: NDArray, y: NDArray) -> NDArray:
    """(3, n) weights of the corners at n places; NaN, which is inside nothing, in a triangle without area."""
    (ax, ay), (bx, by), (cx, cy) = (corners[:, k].T for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / ((by - cy) * (ax - cx) + (cx - bx) * (ay - cy))
    dx, dy = x - cx[face], y - cy[face]
    with np.errstate(invalid="ignore"):
        first = ((by - cy) * scale)[face] * dx + ((cx - bx) * scale)[face] * dy
        second = ((cy - ay) * scale)[face] * dx + ((ax - cx) * scale)[face] * dy
    return np.stack([first, second, 1 - first - second])


def vertex_normals(points: NDArray, polys: NDArray) -> NDArray[np.float64]:
    """Unit normals (n_vertices, 3), outwards where faces are counter-clockwise seen from outside; 0 without a face."""
    a, b, c = (points[polys[:, k]].astype(np.float64) for k in range(3))
    of_faces = np.cross(b - a, c - a)
    normals = np.stack([_summed(polys, of_faces[:, [k] * 3], len(points)) for k in range(3)], axis=1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)


def sulcal(points: NDArray, polys: NDArray, *, n_smooth: int = 2) -> NDArray[np.bool_]:
    """Which vertices lie in a fold: the mean of their neighbors lies outwards of them. bool (n_vertices,)."""
    normals = vertex_normals(points, polys)
    towards = np.stack([_around(polys, points[:, k].astype(np.float64)) for k in range(3)], axis=1) - points
    bent = (towards * normals).sum(axis=1)
    for _ in range(n_smooth):
        bent = (bent + _around(polys, bent)) / 2
    return bent > 0


def _around(polys: NDArray, values: NDArray) -> NDArray[np.float64]:
    """Mean of each vertex's neighbors; its value if it has none."""
    n = len(values)
    others = np.stack(
        [values[polys[:, [1, 2]]].sum(1), values[polys[:, [0, 2]]].sum(1), values[polys[:, [0, 1]]].sum(1)]
    )
    total = _summed(polys, others.T, n)
    count = 2 * np.bincount(polys.ravel(), minlength=n)
    return np.divide(total, count, out=values.copy(), where=count > 0)


def _summed(polys: NDArray, of_corners: NDArray, n: int) -> NDArray[np.float64]:
    """Sum over the faces that each vertex is a corner of; ``of_corners`` is (n_faces, 3)."""
    return np.bincount(polys.ravel(), weights=of_corners.ravel(), minlength=n).astype(np.float64, copy=False)
