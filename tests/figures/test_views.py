"""A subject as a picture: sides, voxels, the cache, and what happens without flat surfaces."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from brainwavlm_fast.anatomy import load_surface, voxel_set
from brainwavlm_fast.data import find_dataset
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.figures import views
from brainwavlm_fast.figures.views import best_view, open_view

WIDTH = 400


@pytest.fixture
def own_tree(planted_tree, tmp_path):
    """A copy that may be damaged."""
    return find_dataset(shutil.copytree(planted_tree[0], tmp_path / "tree"))


@pytest.mark.parametrize("subject", ["UTS01", "UTS02"])  # gifti, npz
@pytest.mark.parametrize("kind", ["flat", "inflated"])
def test_left_is_left_and_voxels_are_seen(planted_tree, tmp_path, subject, kind):
    dataset = find_dataset(planted_tree[0])
    view = open_view(dataset, subject, kind, width=WIDTH, cache=tmp_path)
    assert view.vertices.shape[1] == WIDTH
    assert view.shade.shape == view.vertices.shape
    lh = voxel_set(dataset, subject, "lh")
    half = WIDTH // 2
    for columns, own in ((np.s_[:, :half], lh), (np.s_[:, half:], ~lh)):
        voxels = view.voxels[columns]
        assert len(np.unique(voxels[voxels >= 0])) > 0.9 * own.sum()
        assert own[voxels[voxels >= 0]].all()
    assert (view.voxels[view.vertices < 0] == -1).all()


def test_a_flat_maps_points_are_placed_where_they_are_seen(planted_tree, tmp_path):
    dataset = find_dataset(planted_tree[0])
    view = open_view(dataset, "UTS01", width=1000, cache=tmp_path)
    for side, first in (("lh", 0), ("rh", view.n_left)):
        surface = load_surface(dataset, "UTS01", "flat", side)
        column, row = np.floor(view.to_pixels(side, surface.points[:, :2])).astype(int).T
        used = np.flatnonzero(surface.used())
        seen = view.vertices[row[used].clip(0, view.vertices.shape[0] - 1), column[used].clip(0, 999)]
        assert (seen == used + first).mean() > 0.8  # those on the edge lie between pixels


def test_a_view_is_made_once_and_again_when_a_surface_changes(own_tree, tmp_path, monkeypatch):
    made = []
    make = views._make_flat
    monkeypatch.setattr(views, "_make_flat", lambda *a: made.append(1) or make(*a))
    first = open_view(own_tree, "UTS01", width=WIDTH, cache=tmp_path / "cache")
    again = open_view(own_tree, "S01", width=WIDTH, cache=tmp_path / "cache")
    assert len(made) == 1
    for name in ("vertices", "shade", "vertex_voxels", "origins"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.n_left, first.scale) == (again.n_left, again.scale)
    surface = own_tree.root / "derivative/pycortex-db/UTS01/surfaces/flat_lh.gii"
    before = surface.stat()
    surface.write_bytes(surface.read_bytes().replace(b"UTF-8", b"utf-8", 1))
    os.utime(surface, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert surface.stat().st_size == before.st_size
    open_view(own_tree, "UTS01", width=WIDTH, cache=tmp_path / "cache")
    assert len(made) == 2
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"damaged")
    open_view(own_tree, "UTS01", width=WIDTH, cache=tmp_path / "cache")
    assert len(made) == 3


def test_without_flat_surfaces_inflated_ones_are_seen_and_it_is_said(own_tree, tmp_path):
    folder = own_tree.root / "derivative/pycortex-db/UTS01/surfaces"
    assert best_view(own_tree, "UTS01", width=WIDTH, cache=tmp_path)[1] is None
    (folder / "flat_rh.gii").unlink()
    view, note = best_view(own_tree, "UTS01", width=WIDTH, cache=tmp_path)
    assert view.kind == "inflated"
    assert "flat_rh" in note
    assert "Inflated views are drawn in its place" in note
    (folder / "inflated_rh.gii").unlink()
    with pytest.raises(DataError, match="flat"):
        best_view(own_tree, "UTS01", width=WIDTH, cache=tmp_path)


def test_surfaces_of_two_reconstructions_are_refused(own_tree, tmp_path):
    folder = own_tree.root / "derivative/pycortex-db/UTS02/surfaces"
    with np.load(folder / "flat_lh.npz") as arrays:
        points, polys = arrays["pts"], arrays["polys"]
    np.savez(folder / "flat_lh.npz", pts=np.concatenate([points, points[:1]]), polys=polys)
    with pytest.raises(DataError, match="one reconstruction"):
        open_view(own_tree, "UTS02", width=WIDTH, cache=tmp_path)
