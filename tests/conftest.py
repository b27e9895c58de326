"""Shared by all tests: the helpers' folder, no network, a cache of their own, and GPU tests that skip out loud."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import h5py
import numpy as np
import pytest
import soundfile

from brainwavlm_fast.config import RunConfig, preset
from tests.helpers.anatomy import make_planted_anatomy
from tests.helpers.run_folder import CONSTANT_VOXEL, N_VOXELS, NAN_VOXEL, STORIES, make_run
from tests.helpers.tiny import save_tiny
from tests.helpers.tree import add_anatomy, add_subject, make_tree


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
    """Two epochs of five steps, with every regularizer on."""
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


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ds003020 tree of one subject: four stories, surfaces of the hemispheres and auditory cortex."""
    root = tmp_path_factory.mktemp("tree")
    generator = np.random.default_rng(0)
    folder = root / "derivative/preprocessed_data/UTS02"
    for path in (folder, root / "stimuli"):
        path.mkdir(parents=True)
    for story, n_trs in STORIES.items():
        responses = generator.standard_normal((n_trs, N_VOXELS))
        if story == "bicycle":
            responses[3, NAN_VOXEL], responses[:, CONSTANT_VOXEL] = np.nan, 0.5
        with h5py.File(folder / f"{story}.hf5", "w") as file:
            file["data"] = responses
        sound = 0.1 * generator.standard_normal(16_000 * (11 + 2 * n_trs))
        soundfile.write(root / "stimuli" / f"{story}.wav", sound, 16_000)
    (root / "derivative/respdict.json").write_text(json.dumps({s: n + 20 for s, n in STORIES.items()}))
    thick = np.zeros((4, 5, 6), np.uint8)
    thick.reshape(-1)[10 : 10 + N_VOXELS] = 1
    column = np.arange(N_VOXELS)
    add_anatomy(root, "UTS02", thick, left=column < 18, ac=np.isin(column, (2, 4, 20)))
    return root


@pytest.fixture
def run(tmp_path: Path, tree: Path, tiny_wavlm: Path) -> Path:
    return make_run(tmp_path / "run", tree, tiny_wavlm)
