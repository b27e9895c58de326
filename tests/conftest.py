"""Shared by all tests: the helpers' folder, no network, a cache of their own, and GPU tests that skip out loud."""

from __future__ import annotations

import os
from dataclasses import replace

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

from brainwavlm_fast.config import RunConfig, preset
from tests.helpers.anatomy import make_planted_anatomy
from tests.helpers.tiny import save_tiny
from tests.helpers.tree import add_subject, make_tree


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


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory):
    """A ds003020 tree with one subject, four stories of about 25 TRs, 40 voxels; voxel 3 holds a NaN."""
    return make_tree(tmp_path_factory.mktemp("ds003020"))


@pytest.fixture(scope="session")
def planted_tree(tmp_path_factory):
    """A tree with the planted brain's anatomy of two subjects, and which of its 800 voxels are what."""
    root = tmp_path_factory.mktemp("planted")
    return root, make_planted_anatomy(root)


@pytest.fixture(scope="session")
def tiny_wavlm(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("wavlm"))


@pytest.fixture
def config(small_tree, tiny_wavlm):
    """Two epochs of five steps, with every regulariser on."""
    model, train = preset("paper")
    model = replace(model, model=str(tiny_wavlm), layer=2, stride=1.0, bottleneck=6)
    train = replace(train, epochs=2, save_every=2, validation=("fromboyhoodtofatherhood",), lr_encoder=1e-2)
    return RunConfig(str(small_tree), "paper", model, train)


@pytest.fixture(scope="session")
def two_subjects(tmp_path_factory):
    """The small tree with a second subject, UTS02, of 30 voxels, who has not heard ``alternateithicatom``."""
    root = make_tree(tmp_path_factory.mktemp("two"))
    add_subject(root, "UTS02", n_voxels=30, stories=("avatar", "fromboyhoodtofatherhood", "wheretheressmoke"))
    return root
