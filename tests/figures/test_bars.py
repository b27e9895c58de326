"""Bars of models: the paper's error bars, and that only what is comparable stands side by side."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.text import Text

from brainwavlm_fast.errors import ConfigError
from brainwavlm_fast.figures.bars import draw_improvement, draw_performance, known_error_bars
from brainwavlm_fast.figures.brains import Brains
from brainwavlm_fast.figures.catalogue import plan
from brainwavlm_fast.figures.style import NothingToDraw
from brainwavlm_fast.results.saved import open_saved
from brainwavlm_fast.stats.pooled import within_subject_sem
from tests.helpers.saved_runs import make_probes, make_saved_run


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
    assert "95 % intervals of the mean over subjects" in drawing.caption
    assert "Pearson r" in drawing.figure.axes[0].get_ylabel()
    percent = draw_improvement(saved)
    change = [100 * (found[k]["tuned"] / found[k]["pretrained"] - 1) for k in (0, 1)]
    assert heights(percent)["tuned on all"][0] == pytest.approx(np.mean(change))
    assert "pre-trained" not in heights(percent)
    assert "%" in percent.figure.axes[0].get_ylabel()


def drawn_ends(drawing, bar):
    """Lower and upper end of the error bar in the middle of a bar."""
    axes = drawing.figure.axes[0]
    middle = bar.get_x() + bar.get_width() / 2
    segments = [s for c in axes.collections if hasattr(c, "get_segments") for s in c.get_segments()]
    (found,) = [s for s in segments if abs(s[0][0] - middle) < 1e-9]
    return sorted(found[:, 1])


def first_bars(drawing):
    return [container[0] for container in drawing.figure.axes[0].containers if len(container) == 5]


def test_error_bars_of_one_subject_are_its_intervals(tmp_path):
    (folder,) = runs(tmp_path, ("UTS01", "all", "lora"))
    path = folder / "evaluation/summary.json"
    summary = json.loads(path.read_text())
    known = summary["encoding"]["all"]["intervals"]
    saved = open_saved([folder])
    before, after = first_bars(draw_performance(saved))
    assert drawn_ends(draw_performance(saved), before) == pytest.approx(known["pretrained"])
    assert drawn_ends(draw_performance(saved), after) == pytest.approx(known["tuned"])
    change = draw_improvement(saved)
    assert drawn_ends(change, first_bars(change)[0]) == pytest.approx(known["percent"])
    assert f"[{known['percent'][0]:.1f}, {known['percent'][1]:.1f}]" in change.alt
    for numbers in summary["encoding"].values():  # an evaluation of an earlier version
        del numbers["intervals"]
    path.write_text(json.dumps(summary))
    assert "no error bars" in draw_performance(open_saved([folder])).caption


def test_error_bars_over_subjects_are_named(tmp_path):
    kinds = [(subject, roi, "lora") for subject in ("UTS01", "UTS02", "UTS03") for roi in ("all", "ac")]
    folders = runs(tmp_path, *kinds)
    found = [json.loads((f / "evaluation/summary.json").read_text())["encoding"]["all"] for f in folders]
    scores = np.array([[found[k]["pretrained"], found[k]["tuned"], found[k + 1]["tuned"]] for k in (0, 2, 4)])
    saved, means = open_saved(folders), scores.mean(axis=0)
    halves = {
        "interval": 4.302653 * scores.std(axis=0, ddof=1) / np.sqrt(3),
        "sem": within_subject_sem(scores),
        "sem-morey": within_subject_sem(scores) * np.sqrt(3 / 2),
    }
    words = {"interval": "95 % intervals", "sem": "(Cousineau)", "sem-morey": "times Morey's factor"}
    for errors, half in halves.items():
        drawing = draw_performance(saved, errors=errors)
        assert words[errors] in drawing.caption
        for k, bar in enumerate(first_bars(drawing)):
            assert drawn_ends(drawing, bar) == pytest.approx([means[k] - half[k], means[k] + half[k]], rel=1e-5)
    with pytest.raises(ConfigError, match="error bars 'sd' are unknown"):
        known_error_bars("sd")


def test_a_subject_that_lacks_a_model_is_left_out_and_named(tmp_path):
    saved = open_saved(runs(tmp_path, ("UTS01", "all", "lora"), ("UTS02", "all", "lora"), ("UTS01", "ac", "lora")))
    drawing = draw_performance(saved)
    assert "Left out, since runs of some models are missing: UTS02" in drawing.caption
    assert "95 % intervals of this subject, over 7 blocks of TRs per test story" in drawing.caption


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


def test_voxel_sets_are_named_as_their_user_writes_them(tmp_path):
    """In models, ticks and captions of every overview: ``all - ac``, not a word made for file names."""
    roi = "all - ac"
    folders = [make_saved_run(tmp_path / "run", roi=roi), make_saved_run(tmp_path / "other", roi="svg:AC")]
    saved = open_saved(folders)
    drawing = draw_performance(saved)
    assert [tick.get_text() for tick in drawing.figure.axes[0].get_xticklabels()] == ["all", "ac", "nonac", "lh", "rh"]
    assert list(heights(drawing)) == ["pre-trained", f"tuned on {roi}", "tuned on svg:AC"]
    assert "Voxels of all: whole cortex, ac: auditory cortex, nonac: all but auditory cortex" in drawing.caption
    probes = make_probes(tmp_path / "probes", {saved.runs[0].config.train.label: 0.1})
    saved = open_saved([*folders, probes])
    texts = [
        (figure.name, drawn.caption + drawn.alt + " ".join(text.get_text() for text in drawn.figure.findobj(Text)))
        for figure in plan(saved, Brains(None, 320), ("performance", "improvement", "epochs", "probes", "scatter"))
        for drawn in [figure.draw()]
    ]
    assert len(texts) == 7  # a scatter of each run and one of the pair
    for name, text in texts:
        assert roi in text or "svg:AC" in text, name
        assert "minus-ac" not in text, name
