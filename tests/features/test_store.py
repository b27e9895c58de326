"""The store of features: computed once per state of an encoder, and anew when a story's sound is another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from brainwavlm_fast.data import Dataset
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.features import store as store_module
from brainwavlm_fast.features.sources import run_sources
from brainwavlm_fast.features.store import FeatureStore
from brainwavlm_fast.model import Story
from tests.helpers.run_folder import make_run


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Story]:
    """Every story whose features were computed."""
    stories: list[Story] = []
    features = store_module.story_features
    monkeypatch.setattr(store_module, "story_features", lambda e, s, **k: stories.append(s) or features(e, s, **k))
    return stories


def test_epochs_of_a_frozen_encoder_are_computed_once(tree: Path, tiny_wavlm: Path, tmp_path: Path, computed) -> None:
    run = make_run(tmp_path / "frozen", tree, tiny_wavlm, finetune="frozen")
    store = FeatureStore(list(run_sources(run).values()), Dataset(tree), tmp_path / "features")
    store.compute(["bicycle"])
    assert len(computed) == 1
    assert np.array_equal(store.load("bicycle", 0), store.load("bicycle", 2))


def test_only_epochs_that_are_asked_for_are_computed(run: Path, tree: Path, tmp_path: Path, computed) -> None:
    store = FeatureStore(list(run_sources(run).values()), Dataset(tree), tmp_path / "features")
    store.compute(["bicycle", "adventure"], [2])
    assert len(computed) == 2
    with pytest.raises(DataError, match="compute them first"):
        store.load("bicycle", 1)
    store.compute(["bicycle", "adventure"])
    assert len(computed) == 6
    assert store.load("bicycle").shape == (4 + 18, 32)


def test_a_sound_replaced_by_one_of_the_same_size_and_time_is_noticed(
    run: Path, tree: Path, tmp_path: Path, computed
) -> None:
    dataset = Dataset(shutil.copytree(tree, tmp_path / "tree"))
    sources = [run_sources(run)[1]]
    FeatureStore(sources, dataset, tmp_path / "features").compute(["bicycle"])
    before, first = len(computed), FeatureStore(sources, dataset, tmp_path / "features").load("bicycle")
    path = dataset.audio_path("bicycle")
    status, contents = path.stat(), bytearray(path.read_bytes())
    contents[-100_000:] = contents[-200_000:-100_000]
    path.write_bytes(contents)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    store = FeatureStore(sources, dataset, tmp_path / "features")
    store.compute(["bicycle"])
    assert len(computed) == before + 1
    assert not np.array_equal(store.load("bicycle"), first)
