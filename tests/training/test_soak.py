"""The soak at a small size: killed without warning at a random moment and resumed, not one bit differs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from soak import soak


@pytest.mark.slow
def test_kill_dash_nine_at_a_random_moment(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = soak(tmp_path, steps=25, kills=1, seed=0)
    assert found["steps"] == 25
    assert len(found["killed_at_steps"]) == 1
    assert found["tensors_equal"] > 40
