"""Shared by all tests: the helpers' folder, no network, a cache of their own, and GPU tests that skip out loud."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Resampled audio never lands in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items):
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu:
        return
    import torch

    if torch.cuda.is_available() or os.environ.get("BWLM_REQUIRE_GPU") == "1":
        return
    for item in gpu:
        item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here (BWLM_REQUIRE_GPU=1 makes this a failure)"))
