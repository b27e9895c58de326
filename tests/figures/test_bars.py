"""Bars of models: the paper's error bars, and that only what is comparable stands side by side."""

from __future__ import annotations

import json

import numpy as np
import pytest

from brainwavlm_fast.figures.bars import draw_improvement, draw_performance, within_subject_sem
from brainwavlm_fast.figures.style import NothingToDraw
from brainwavlm_fast.results.saved import open_saved
from tests.helpers.saved_runs import make_saved_run


def test_differences_between_subjects_are_no_error():
    shared = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]])
    np.testing.assert_allclose(within_subject_sem(shared), 0, atol=1e-15)
    # by hand: own means taken away, (-0.5, 0.5) and (-1, 1): deviations 0.25 from their mean, over sqrt(2 - 1)
    np.testing.assert_allclose(within_subject_sem([[1.0, 2.0], [4.0, 6.0]]), [0.25, 0.25])
    assert np.isnan(within_subject_sem([[1.0, 2.0]])).all()


def runs(tmp_path, *kinds):
    return [make_saved_run(tmp_path / f"{s}-{roi}-{t}", subject=s, roi=roi, finetune=t) for s, roi, t in kinds]


def heights(drawing):
    return {c.get_label(): [bar.get_height() for bar in c] for c in drawing.figure.axes[0].containers if len(c) == 5}


def test_bars_are_means_over_subjects(tmp_path):
    folders = runs(
        tmp_path, ("UTS01", "all", "lora"), ("UTS02", "all", "lora"), ("UTS01", "ac", "lora"), ("UTS02", "ac", "lora")
    )
    saved = open_saved(folders)
    drawing = draw_performance(saved)
    found = [json.loads((f / "evaluation/summary.json").read_text())["encoding"]["all"] for f in folders]
    bars = heights(drawing)
    assert list(bars) == ["pre-trained", "tuned on all", "tuned on ac"]
    assert bars["pre-trained"][0] == pytest.approx(np.mean([found[k]["pretrained"] for k in (0, 1)]))
    assert bars["tuned on ac"][0] == pytest.approx(np.mean([found[k]["tuned"] for k in (2, 3)]))
    assert "SEM over subjects" in drawing.caption
    assert "Pearson r" in drawing.figure.axes[0].get_ylabel()
    percent = draw_improvement(saved)
    change = [100 * (found[k]["tuned"] / found[k]["pretrained"] - 1) for k in (0, 1)]
    assert heights(percent)["tuned on all"][0] == pytest.approx(np.mean(change))
    assert "pre-trained" not in heights(percent)
    assert "%" in percent.figure.axes[0].get_ylabel()


def test_a_subject_that_lacks_a_model_is_left_out_and_named(tmp_path):
    saved = open_saved(runs(tmp_path, ("UTS01", "all", "lora"), ("UTS02", "all", "lora"), ("UTS01", "ac", "lora")))
    drawing = draw_performance(saved)
    assert "Left out, since runs of some models are missing: UTS02" in drawing.caption
    assert "One subject: no error bars" in drawing.caption


@pytest.mark.parametrize("draw", [draw_performance, draw_improvement])
def test_what_cannot_be_compared_is_not_drawn(tmp_path, draw):
    apart = runs(tmp_path, ("UTS01", "all", "lora"), ("UTS02", "ac", "lora"))
    with pytest.raises(NothingToDraw, match="no subject has a run of every model"):
        draw(open_saved(apart))
    same = runs(tmp_path / "b", ("UTS01", "all", "lora"), ("UTS01", "ac", "lora"))
    path = same[1] / "evaluation/summary.json"
    summary = json.loads(path.read_text())
    summary["encoding"]["all"]["pretrained"] += 0.01
    path.write_text(json.dumps(summary))
    with pytest.raises(NothingToDraw, match="different pre-trained scores"):
        draw(open_saved(same))
    with pytest.raises(NothingToDraw, match="bwlm evaluate"):
        draw(open_saved([make_saved_run(tmp_path / "new", evaluated=False)]))
