"""Transfer, probes, ceilings and scatter: the numbers of the results, at their places, with units."""

from __future__ import annotations

import json

import numpy as np
import pytest

from brainwavlm_fast.figures.matrices import draw_transfer
from brainwavlm_fast.figures.probes import draw_probe_improvement
from brainwavlm_fast.figures.style import NothingToDraw
from brainwavlm_fast.figures.voxelwise import draw_ceiling, draw_scatter
from brainwavlm_fast.results.saved import open_saved
from tests.helpers.saved_runs import make_probes, make_saved_run, make_transfer


def read(folder):
    return json.loads((folder / "summary.json").read_text())


def test_a_transfer_is_a_matrix_of_percent(tmp_path):
    drawing = draw_transfer(read(make_transfer(tmp_path)))
    whole, ac, bar = drawing.figure.axes
    assert [label.get_text() for label in whole.get_xticklabels()] == ["UTS01", "UTS02"]
    assert [label.get_text() for label in whole.get_yticklabels()] == ["UTS01-all", "UTS02-all"]
    assert [text.get_text() for text in whole.texts] == ["+12.5", "+7.0", "+8.2", "-1.5"]
    assert [text.get_text() for text in ac.texts] == ["+6.2", "none", "+4.1", "none"]
    assert "%" in bar.get_ylabel()
    assert whole.images[0].get_clim() == (-12.5, 12.5)
    assert "UTS01-all on UTS02 +7.0 %" in drawing.alt


def test_a_transfer_without_numbers_is_not_drawn(tmp_path):
    summary = read(make_transfer(tmp_path))
    for matrix in summary["matrices"].values():
        matrix["percent"] = [[None, None]] * 2
    with pytest.raises(NothingToDraw, match="no change in percent"):
        draw_transfer(summary)


def test_probes_are_averaged_over_subjects(tmp_path):
    both = make_probes(tmp_path / "a", {"UTS01-all": 0.1, "UTS02-all": 0.2, "UTS01-ac": -0.05})
    another = make_probes(tmp_path / "b", {"UTS03-all": 0.3}, layers=(0, 2))
    drawing = draw_probe_improvement([read(both), read(another)])
    sound, words = drawing.figure.axes
    assert (sound.get_title(loc="left"), words.get_title(loc="left")) == ("filterbank energies", "word embeddings")
    drawn = {container.get_label(): container for container in words.containers}
    assert set(drawn) == {"tuned on all (3)", "tuned on ac (1)"}
    line, _, bars = drawn["tuned on all (3)"]
    assert list(line.get_xdata()) == [0, 2]  # the layers that all have
    gains = np.array([0.1, 0.2 * 1, 0.3])
    # a ramp over three layers ends at the whole gain, as does one over two
    assert line.get_ydata()[-1] == pytest.approx(gains.mean())
    low, high = bars[0].get_segments()[-1][:, 1]
    assert (high - low) / 2 == pytest.approx(gains.std(ddof=1) / np.sqrt(3))
    assert "Pearson r" in sound.get_ylabel()
    with pytest.raises(NothingToDraw, match="bwlm probe RUN"):
        draw_probe_improvement([])


def test_a_scatter_counts_every_voxel_once():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 500)
    y = x + 0.1
    x[0], y[1] = np.nan, np.nan
    drawing = draw_scatter(x, y, labels=("pre-trained", "tuned on ac"), title="UTS01")
    axes = drawing.figure.axes[0]
    assert axes.collections[0].get_array().sum() == 498
    assert "100.0 % of 498 voxels lie above the line" in drawing.caption
    assert axes.get_ylabel() == "tuned on ac (Pearson r)"
    with pytest.raises(NothingToDraw, match="no voxel"):
        draw_scatter(np.full(3, np.nan), np.ones(3), labels=("a", "b"), title="UTS01")


def test_scores_are_binned_by_their_ceiling(tmp_path):
    (run,) = open_saved([make_saved_run(tmp_path / "run")]).runs
    drawing = draw_ceiling(run)
    arrays = run.voxels("noise_ceiling", "encoding/pretrained")
    ceiling, before = arrays.values()
    inside = (ceiling >= 0.3) & (ceiling < 0.4) & np.isfinite(before)
    top, bottom = drawing.figure.axes
    lines = {line.get_label(): line for line in top.get_lines()}
    assert lines["pre-trained"].get_ydata()[3] == pytest.approx(before[inside].mean())
    assert list(lines["ceiling"].get_ydata()) == [0, 1]
    assert sum(bar.get_height() for bar in bottom.patches) == np.isfinite(before).sum()
    assert "10 repeats" in drawing.caption


def test_a_run_without_repeats_has_no_ceiling(tmp_path):
    folder = make_saved_run(tmp_path / "run")
    path = folder / "evaluation/summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"noise_ceiling": None}))
    (run,) = open_saved([folder]).runs
    with pytest.raises(NothingToDraw, match="no individual repeats"):
        draw_ceiling(run)
