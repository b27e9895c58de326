"""The soak at a small size: killed without warning at a random moment and resumed, not one bit differs."""

from __future__ import annotations

import pytest

from benchmarks.soak import soak


@pytest.mark.slow
def test_kill_dash_nine_at_a_random_moment(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = soak(tmp_path, steps=25, kills=1, seed=0)
    assert found["steps"] == 25
    assert len(found["killed_at_steps"]) == 1
    assert found["tensors_equal"] > 40
