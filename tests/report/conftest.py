"""A run on the planted brain's anatomy, and pages about it taken apart."""

from __future__ import annotations

import pytest

from brainwavlm_fast.report import page
from tests.helpers.reported import make_reported_run


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(page, "WIDTH", 320)


@pytest.fixture
def run(tmp_path, planted_tree):
    return make_reported_run(tmp_path / "run", planted_tree)
