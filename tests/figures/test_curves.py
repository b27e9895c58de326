"""Curves over epochs: a whole PNG, axes with units, the right points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from brainwavlm_fast.figures.curves import draw_epoch_changes, draw_epoch_curves
from brainwavlm_fast.figures.style import NothingToDraw
from brainwavlm_fast.results.saved import open_saved
from tests.helpers.saved_runs import make_saved_run


def summary(*, validation: bool = True, sets: tuple[str, ...] = ("all", "lh", "ac", "nonac")) -> dict[str, Any]:
    def scores(epoch: int) -> dict[str, float]:
        return {name: 0.1 * (k + 1) + 0.01 * epoch for k, name in enumerate(sets)}

    return {
        "subject": "UTS02",
        "trained_on": "nonac",
        "best_epoch": 3,
        "curve": [
            {"epoch": epoch, "validation": scores(epoch) if validation else dict.fromkeys(sets), "test": scores(epoch)}
            for epoch in (0, 1, 3, 5)
        ],
        "encoding": {name: {"n_voxels": 1234, "teacher": 0.6 if name == "all" else None} for name in sets},
    }


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: figures.append(self) or save(self, *a, **k))
    return figures


def test_a_png_with_labeled_axes_and_the_summarys_points(tmp_path: Path, drawn: list[Figure]) -> None:
    path = draw_epoch_curves(summary(), tmp_path / "curve.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]
    (figure,) = drawn
    assert "UTS02" in figure.get_suptitle()
    assert "nonac" in figure.get_suptitle()
    validation, test = figure.axes
    assert "Pearson r" in validation.get_ylabel()
    assert all("Epoch" in axes.get_xlabel() and axes.get_title(loc="left") for axes in (validation, test))
    curves = {line.get_label(): line for line in test.get_lines()}
    assert list(curves["all (1,234 voxels)"].get_xdata()) == [0, 1, 3, 5]
    assert list(curves["nonac (1,234 voxels)"].get_ydata()) == pytest.approx([0.4, 0.41, 0.43, 0.45])
    assert list(curves["all: teacher"].get_ydata()) == [0.6, 0.6]
    assert "ac: teacher" not in curves
    filled = [line for line in test.get_lines() if list(line.get_xdata()) == [3]]
    assert len(filled) == 3
    colors = {line.get_color() for label, line in curves.items() if "voxels" in label}
    assert len(colors) == 3


def test_only_the_sets_there_are_drawn_and_no_validation_is_said(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_epoch_curves(summary(validation=False, sets=("all",)), tmp_path / "curve.png")
    validation, test = drawn[0].axes
    assert not validation.get_lines()
    assert [text.get_text() for text in validation.texts] == ["no validation story"]
    assert len([line for line in test.get_lines() if "voxels" in str(line.get_label())]) == 1


def test_changes_over_epochs_tell_tuning_apart(tmp_path: Path) -> None:
    folders = [
        make_saved_run(tmp_path / f"{subject}-{tune}", subject=subject, roi="all", finetune=tune)
        for subject in ("UTS01", "UTS02")
        for tune in ("lora", "full")
    ]
    drawing = draw_epoch_changes(open_saved(folders))
    panels = drawing.figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["UTS01", "UTS02"]
    lines = {line.get_label(): line for line in panels[0].get_lines()}
    assert (lines["tuned on all"].get_linestyle(), lines["tuned on all without LoRA"].get_linestyle()) == ("-", "--")
    points = json.loads((folders[0] / "evaluation/summary.json").read_text())["curve"]
    start, *_, end = (point["validation"]["all"] for point in points)
    assert lines["tuned on all"].get_ydata()[-1] == pytest.approx(100 * (end / start - 1))
    assert lines["tuned on all"].get_ydata()[0] == 0
    assert "%" in panels[0].get_ylabel()


def test_a_curve_needs_a_validation_story(tmp_path: Path) -> None:
    folder = make_saved_run(tmp_path / "run")
    path = folder / "evaluation/summary.json"
    found = json.loads(path.read_text())
    for point in found["curve"]:
        point["validation"] = dict.fromkeys(point["validation"])
    path.write_text(json.dumps(found))
    with pytest.raises(NothingToDraw, match="--validation STORY"):
        draw_epoch_changes(open_saved([folder]))
