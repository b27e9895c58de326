"""Triangles to pixels: against looking at every triangle at every pixel, what lies behind, and folds."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.figures import raster
from brainwavlm_fast.figures.raster import nearest_vertices, sulcal, vertex_normals

SHAPE = (40, 60)


def brute(points, polys, depth):
    """The definition: every pixel's middle in every triangle."""
    seen, nearest = np.full(SHAPE, -1), np.full(SHAPE, -np.inf)
    for row, column in np.ndindex(SHAPE):
        for face in polys:
            corners = np.vstack([points[face].T, np.ones(3)])
            if abs(np.linalg.det(corners)) < 1e-9:
                continue
            weights = np.linalg.solve(corners, [column + 0.5, row + 0.5, 1])
            height = weights @ depth[face]
            if (weights >= 0).all() and height > nearest[row, column]:
                seen[row, column], nearest[row, column] = face[weights.argmax()], height
    return seen


@pytest.mark.parametrize("at_once", [1, 50, 1_000_000])
def test_every_pixel_shows_the_nearest_vertex_of_the_nearest_triangle(monkeypatch, at_once):
    monkeypatch.setattr(raster, "PIXELS_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    points = rng.uniform([-5, -5], [65, 45], (30, 2))
    polys = np.concatenate([rng.integers(0, 30, (25, 3)), [[1, 1, 2], [3, 3, 3]]])  # two without area
    polys = polys.astype(np.int32)
    depth = rng.standard_normal(30)
    found = nearest_vertices(points, polys, SHAPE, depth=depth)
    expected = brute(points, polys, depth)
    assert (expected >= 0).sum() > 500
    assert (found != expected).mean() < 0.001  # float32 at edges


def test_a_flat_sheet_shows_each_vertex_around_itself():
    x, y = np.meshgrid(np.arange(6) * 10.0 + 3, np.arange(4) * 10.0 + 3)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    corner = np.array([k for k in range(18) if k % 6 != 5])
    polys = np.concatenate(
        [np.stack([corner, corner + 1, corner + 6], 1), np.stack([corner + 1, corner + 7, corner + 6], 1)]
    )
    seen = nearest_vertices(points, polys, SHAPE)
    for vertex, (column, row) in enumerate(points.astype(int)):
        assert seen[min(row, 32), min(column, 52)] == vertex  # the sheet ends before the middle of 33 and of 53
    assert (seen[3:33, 3:53] >= 0).all()
    assert (seen[:3] == -1).all()
    assert (seen[:, 53:] == -1).all()


def test_folds_of_a_wavy_sheet_are_its_valleys():
    u, v = np.meshgrid(np.arange(60.0), np.arange(10.0), indexing="ij")
    points = np.stack([u, v, 3 * np.sin(u / 5)], axis=-1).reshape(-1, 3)
    corner = np.array([10 * i + j for i in range(59) for j in range(9)])
    polys = np.concatenate(
        [np.stack([corner, corner + 10, corner + 1], 1), np.stack([corner + 1, corner + 10, corner + 11], 1)]
    )
    assert vertex_normals(points, polys)[:, 2].min() > 0.5
    inner = ((v > 1) & (v < 8) & (u > 3) & (u < 56)).ravel()
    clear = inner & (np.abs(np.sin(u / 5)) > 0.5).ravel()
    assert clear.sum() > 100
    assert (sulcal(points, polys) == (points[:, 2] < 0))[clear].all()
