"""Effects over subjects: each subject's, and the pooled one."""

from __future__ import annotations

import json

import pytest

from brainwavlm_fast.figures.group import group_effects
from brainwavlm_fast.report.sections import number_tables
from brainwavlm_fast.results.saved import open_saved
from brainwavlm_fast.stats.pooled import pool
from tests.helpers.saved_runs import make_saved_run


def test_a_model_that_several_subjects_have_is_pooled(tmp_path):
    folders = [
        make_saved_run(tmp_path / s, subject=s, roi="all", gain=g) for s, g in (("UTS01", 0.02), ("UTS02", 0.05))
    ]
    alone = make_saved_run(tmp_path / "ac", subject="UTS01", roi="ac")
    saved = open_saved([*folders, alone])
    effects = group_effects(saved)
    assert {effect["model"] for effect in effects} == {"tuned on all"}
    assert [effect["voxels"] for effect in effects] == ["all", "ac", "nonac", "lh", "rh"]
    numbers = [json.loads((f / "evaluation/summary.json").read_text())["encoding"]["all"] for f in folders]
    differences = [number["difference"] for number in numbers]
    found = effects[0]["difference"]
    assert found["subjects"] == dict(zip(("UTS01", "UTS02"), differences, strict=True))
    assert found["pooled"] == pool(differences, [number["standard_errors"]["difference"] for number in numbers])
    assert found["pooled"]["tau"] > 0
    (table,) = [table for table in number_tables(saved) if table.caption.startswith("Change over subjects")]
    low, high = found["pooled"]["interval"]
    assert table.rows[0][3] == f"{found['pooled']['estimate']:+.4f} [{low:+.4f}, {high:+.4f}]"


@pytest.mark.parametrize("subjects", [["UTS01"], ["UTS01", "UTS01"]])
def test_one_subject_is_no_group(tmp_path, subjects):
    folders = [make_saved_run(tmp_path / str(k), subject=s, roi="all") for k, s in enumerate(subjects)]
    assert group_effects(open_saved(folders)) == []
