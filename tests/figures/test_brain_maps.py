"""Values on a brain: the right color at the right place, gray where there is nothing to show, units."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.collections import LineCollection

from brainwavlm_fast.anatomy import Outline, Region
from brainwavlm_fast.data import find_dataset
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.figures.brain_maps import CHANGE, VALUES, draw_map, limits, paint
from brainwavlm_fast.figures.drawn import Overlay, load_overlay
from brainwavlm_fast.figures.style import encoded
from brainwavlm_fast.figures.views import open_view


@pytest.fixture(scope="module")
def view(planted_tree, tmp_path_factory):
    return open_view(find_dataset(planted_tree[0]), "UTS01", width=400, cache=tmp_path_factory.mktemp("views"))


def test_each_pixel_has_its_voxels_color(view):
    values = np.linspace(-0.1, 1, 800)
    values[7] = np.nan
    shown = values > 0.2
    picture = paint(view, values, shown=shown)
    low, high = limits(values[shown], centered=False)
    assert low == 0
    expected = colormaps[VALUES](np.clip(values / high, 0, 1), bytes=True)[:, :3]
    for voxel in (300, 555, 799):
        pixels = picture[view.voxels == voxel]
        assert len(pixels)
        assert (pixels == expected[voxel]).all()
    for gray in (view.voxels == 7, view.voxels == 100, view.voxels == -1):  # NaN, below the threshold, no voxel
        assert gray.any()
        assert (picture[gray] == view.shade[gray][:, None]).all()


def test_a_change_is_centerd_on_white(view):
    values = np.zeros(800)
    values[1::2] = np.linspace(-2, 1, 400)
    assert limits(values, centered=True)[0] == -limits(values, centered=True)[1]
    picture = paint(view, values, centered=True)
    nothing = np.isin(view.voxels, np.arange(0, 800, 2))
    assert nothing.any()
    assert (picture[nothing] == np.array(colormaps[CHANGE](0.5, bytes=True)[:3])).all()


def test_no_change_and_not_shown_are_told_apart_at_a_glance(view):
    """Half of the scale of lightness lies between them, and the legend names both."""
    values = np.zeros(800)
    shown = np.arange(800) % 2 == 0
    picture = paint(view, values, shown=shown, centered=True).astype(float)
    unchanged = np.isin(view.voxels, np.flatnonzero(shown))
    hidden = (view.vertices >= 0) & ~unchanged
    assert min(unchanged.sum(), hidden.sum()) > 100
    assert picture[unchanged].min() - picture[hidden].max() > 100
    drawing = draw_map(view, values, title="t", unit="r", shown=shown, condition="r above 0.15", centered=True)
    words = {text.get_text() for text in drawing.figure.texts}
    assert {"white: no change", "gray: not shown (no r above 0.15, or no voxel)"} <= words
    assert "White: no change. Gray: not shown (no r above 0.15, or no voxel)." in drawing.caption
    scores = draw_map(view, values, title="t", unit="r")
    assert {text.get_text() for text in scores.figure.texts} == {"t", "gray: no value, or no voxel"}


def test_the_legend_fits_the_page(planted_tree, tmp_path):
    view = open_view(find_dataset(planted_tree[0]), "UTS01", cache=tmp_path)
    drawing = draw_map(view, np.ones(800), title="t", unit="r", condition="pre-trained r above 0.15", centered=True)
    renderer = drawing.figure.canvas.get_renderer()
    assert max(text.get_window_extent(renderer).x1 for text in drawing.figure.texts) <= drawing.figure.bbox.x1


def test_values_of_another_subject_are_refused(view):
    with pytest.raises(DataError, match="not of the same subject"):
        paint(view, np.zeros(799))


def test_nothing_to_color_is_a_gray_brain(view):
    assert limits(np.array([]), centered=False) == (0, 1)
    assert (paint(view, np.full(800, np.nan)) == view.shade[:, :, None]).all()


def test_a_map_names_its_unit_its_regions_and_its_condition(planted_tree, view):
    overlay, notes = load_overlay(find_dataset(planted_tree[0]), "UTS01")
    assert notes == []
    shown = np.arange(800) < 500
    drawing = draw_map(
        view, np.ones(800), title="a title", unit="Pearson r", shown=shown, condition="r > 0.15", overlay=overlay
    )
    brain, bar = drawing.figure.axes
    assert {text.get_text() for text in brain.texts} == {"left", "right", "AC"}
    assert bar.get_xlabel() == "Pearson r"
    assert "500 of 800 voxels, those with r > 0.15" in drawing.caption
    assert "mean 1.000" in drawing.alt
    assert encoded(drawing.figure, "png")[:4] == b"\x89PNG"
    assert encoded(drawing.figure, "svg") == encoded(drawing.figure, "svg")


def test_outlines_end_at_the_clip_path_of_the_drawing(view):
    ring = np.array([[0.0, 0], [40, 0], [40, 40], [0, 40]])
    frame = ((([[-99.0, -99], [25, -99], [25, 99], [-99, 99]] * np.ones((4, 2)),),),)
    overlay = Overlay({"V1": Region("V1", (Outline((ring,), frame=frame),), ())}, {})
    drawing = draw_map(view, np.ones(800), title="t", unit="r", overlay=overlay)
    brain, _ = drawing.figure.axes
    lines = [lines for lines in brain.collections if isinstance(lines, LineCollection)]
    drawn = np.concatenate([line for outline in lines for line in outline.get_segments()])
    np.testing.assert_allclose(drawn.max(axis=0), view.to_pixels("lh", [[25, 0]])[0])
    np.testing.assert_allclose(drawn.min(axis=0), view.to_pixels("lh", [[0, 40]])[0])


def test_a_subject_without_a_drawing_has_no_outlines_and_it_is_said(small_tree):
    overlay, notes = load_overlay(find_dataset(small_tree), "UTS01")
    assert not overlay.rois
    assert "overlays.svg" in notes[0]
