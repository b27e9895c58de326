"""Names on a picture: apart from each other, on the picture, near to what they name."""

from __future__ import annotations

import shutil
from itertools import combinations

import numpy as np
import pytest

from brainwavlm_fast.data import find_dataset
from brainwavlm_fast.figures.brain_maps import draw_map
from brainwavlm_fast.figures.drawn import load_overlay, outlines
from brainwavlm_fast.figures.labels import spread_labels
from brainwavlm_fast.figures.style import png_bytes
from brainwavlm_fast.figures.views import WIDTH, open_view
from tests.helpers.drawn_regions import REGIONS, draw_regions


def overlaps(boxes):
    """Pairs of boxes (left, top, right, bottom) that share more than an edge."""
    return [
        (i, j)
        for (i, one), (j, other) in combinations(enumerate(boxes), 2)
        if (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]) > 1e-6).all()
    ]


def boxes_of(centers, sizes):
    return np.concatenate([centers - np.divide(sizes, 2), centers + np.divide(sizes, 2)], axis=1)


def test_names_with_room_stay_where_they_are():
    anchors = np.array([[50, 50], [150, 50], [50, 90]])
    np.testing.assert_array_equal(spread_labels(anchors, np.full((3, 2), (40, 12)), (200, 100)), anchors)
    assert spread_labels(np.empty((0, 2)), np.empty((0, 2)), (200, 100)).shape == (0, 2)


def test_names_of_one_place_move_apart_and_stay_on_the_picture():
    anchors = np.random.default_rng(0).uniform([0, 0], [60, 40], (26, 2))
    sizes = np.random.default_rng(1).uniform([20, 14], [60, 14], (26, 2))
    title = (100, 60, 200, 90)
    centers = spread_labels(anchors, sizes, (400, 200), [title])
    boxes = boxes_of(centers, sizes)
    assert overlaps([*boxes, np.array(title, dtype=float)]) == []
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (400, 200)).all()
    assert np.linalg.norm(centers - anchors, axis=1).max() < 200
    np.testing.assert_array_equal(centers, spread_labels(anchors, sizes, (400, 200), [title]))


@pytest.fixture(scope="module")
def crowded(planted_tree, tmp_path_factory):
    root = shutil.copytree(planted_tree[0], tmp_path_factory.mktemp("crowded") / "tree")
    draw_regions(root / "derivative" / "pycortex-db" / "UTS01" / "overlays.svg")
    return find_dataset(root)


def test_no_name_of_26_regions_lies_on_another(crowded, tmp_path):
    view = open_view(crowded, "UTS01", width=WIDTH, cache=tmp_path)
    overlay, notes = load_overlay(crowded, "UTS01")
    assert notes == []
    assert overlay.rois.keys() == REGIONS.keys()
    figure = draw_map(view, np.ones(800), title="t", unit="r", overlay=overlay).figure
    brain, _ = figure.axes
    assert sorted(text.get_text() for text in brain.texts) == sorted([*REGIONS, *REGIONS, "left", "right"])
    extents = [text.get_window_extent(figure.canvas.get_renderer()).get_points().ravel() for text in brain.texts]
    assert overlaps(extents) == []
    for text in brain.texts[2:]:  # near to its own region, on its own side
        x, y, half = REGIONS[text.get_text()]
        column, row = text.get_position()
        places = np.array([x / 2 * WIDTH, (1 - x / 2) * WIDTH])
        assert np.abs(places - column).min() < (half + 0.06) * WIDTH / 2
        assert abs(y * view.vertices.shape[0] - row) < 0.15 * view.vertices.shape[0]


def test_names_on_the_report_s_smaller_map_are_apart_too(crowded, tmp_path):
    view = open_view(crowded, "UTS01", width=1000, cache=tmp_path)
    picture = outlines(view, load_overlay(crowded, "UTS01")[0])
    assert picture.shape == (*view.vertices.shape, 4)
    assert png_bytes(picture)[:4] == b"\x89PNG"
    drawing = draw_map(view, np.ones(800), title="t", unit="r", overlay=load_overlay(crowded, "UTS01")[0])
    brain, _ = drawing.figure.axes
    renderer = drawing.figure.canvas.get_renderer()
    assert overlaps([text.get_window_extent(renderer).get_points().ravel() for text in brain.texts]) == []
