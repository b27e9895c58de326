"""The planted cortex as a surface: a sheet that holds together, the right way out, through its own voxels."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.anatomy.surfaces import Side
from brainwavlm_fast.simulation.brain import make_anatomy
from brainwavlm_fast.simulation.sheet import make_sheets

SIZES = [(60, 12), (96, 4), (800, 200)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", ["lh", "rh"])
def test_faces_make_one_sheet_whose_outside_is_pia(size, side: Side):
    sheet = make_sheets(make_anatomy(*size))[side]
    faces, points = sheet.faces(), sheet.middle
    directed = [tuple(edge) for face in faces.tolist() for edge in zip(face, [*face[1:], face[0]], strict=True)]
    assert len(set(directed)) == len(directed)  # no edge twice the same way: neighbors agree which side is up
    n_edges = len({frozenset(edge) for edge in directed})
    assert len(points) - n_edges + len(faces) == 1  # a disc
    a, b, c = (points[faces[:, k]] for k in range(3))
    upward = np.cross(b - a, c - a)
    assert (np.einsum("ij,ij->i", upward, sheet.normal[faces[:, 0]]) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(sheet.pia() - sheet.white(), axis=1), 0.6)


@pytest.mark.parametrize("size", SIZES)
def test_left_and_right_are_mirror_images_that_do_not_meet(size):
    anatomy = make_anatomy(*size)
    sheets = make_sheets(anatomy)
    width = anatomy.thick.shape[2]
    left, right = sheets["lh"], sheets["rh"]
    np.testing.assert_allclose(left.middle * [-1, 1, 1] + [width - 1, 0, 0], right.middle)
    assert left.pia()[:, 0].max() < right.pia()[:, 0].min()
    np.testing.assert_array_equal(left.ac, right.ac)


def test_the_flat_map_has_no_folds_and_lies_apart_from_its_cut():
    for side, sheet in make_sheets(make_anatomy(800, 200)).items():
        flat = sheet.flat()
        a, b, c = (flat.points[flat.polys[:, k], :2].astype(float) for k in range(3))
        areas = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        assert (areas < 0).all() or (areas > 0).all(), side
        low, high = flat.points[flat.used()].min(axis=0), flat.points[flat.used()].max(axis=0)
        assert (high - low)[0] == pytest.approx(2 * (high - low)[1], rel=0.05)
        assert sheet.ac.ravel()[~flat.used()].sum() == 0
