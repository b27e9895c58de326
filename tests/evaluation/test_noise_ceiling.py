"""The noise ceiling of a data set's story from its individual repeats, and what is said of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from brainwavlm_fast.data import Dataset
from brainwavlm_fast.evaluation.noise_ceiling import dataset_noise_ceiling
from brainwavlm_fast.progress import Progress
from brainwavlm_fast.stats import noise_ceiling

STORY, N_TRS, N_VOXELS = "wheretheressmoke", 44, 30


class Listener(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def zscored(values: np.ndarray, axis: int) -> np.ndarray:
    return (values - values.mean(axis, keepdims=True)) / values.std(axis, keepdims=True)


def with_repeats(tree: Path, folder: Path, repeats: np.ndarray, data: np.ndarray | None) -> Dataset:
    dataset = Dataset(shutil.copytree(tree, folder))
    with h5py.File(dataset.response_path("UTS02", STORY), "a") as file:
        file["individual_repeats"] = repeats
        if data is not None:
            file["data"][...] = data
    return dataset


@pytest.fixture
def repeats() -> np.ndarray:
    """Four repeats of unequal spread."""
    generator = np.random.default_rng(0)
    signal = generator.standard_normal((N_TRS, N_VOXELS))
    noise = generator.standard_normal((4, N_TRS, N_VOXELS))
    return (signal + noise) * np.array([0.5, 1.0, 1.5, 2.0])[:, None, None]


@pytest.mark.parametrize("standardize", [False, True])
def test_the_ceiling_is_that_of_the_mean_which_the_data_are(
    tree: Path, tmp_path: Path, repeats: np.ndarray, standardize: bool
) -> None:
    mean = (zscored(repeats, 1) if standardize else repeats).mean(axis=0)
    dataset = with_repeats(tree, tmp_path / "tree", repeats, zscored(mean, 0))
    listener = Listener()
    got = dataset_noise_ceiling(dataset, "UTS02", STORY, memory_gb=12 * 176 * 7 / 2**30, progress=listener)
    assert got is not None
    assert got.n_repeats == 4
    assert got.data_is == ("the mean of z-scored repeats" if standardize else "the plain mean of the repeats")
    assert got.agreement["standardized" if standardize else "plain"] == pytest.approx(1, abs=1e-6)
    expected = noise_ceiling(repeats.astype(np.float32), standardize=standardize)
    np.testing.assert_allclose(got.ceiling.value, expected.value, atol=1e-6)
    np.testing.assert_allclose(got.ceiling.floor, expected.floor, atol=1e-6)
    assert not np.allclose(expected.value, noise_ceiling(repeats, standardize=not standardize).value, atol=0.01)
    assert listener.said == []


def test_data_that_are_neither_mean_are_said(tree: Path, tmp_path: Path, repeats: np.ndarray) -> None:
    dataset, listener = with_repeats(tree, tmp_path / "tree", repeats, repeats[:3].mean(axis=0)), Listener()
    got = dataset_noise_ceiling(dataset, "UTS02", STORY, progress=listener)
    assert got is not None
    assert not got.fits
    assert "neither the plain mean" in listener.said[0]
    np.testing.assert_allclose(got.ceiling.value, noise_ceiling(repeats.astype(np.float32)).value, atol=1e-6)


def test_a_story_without_repeats_has_none_and_other_shapes_are_said(tree: Path, tmp_path: Path) -> None:
    assert dataset_noise_ceiling(Dataset(tree), "UTS02", STORY) is None
    listener = Listener()
    dataset = with_repeats(tree, tmp_path / "tree", np.ones((4, N_TRS + 1, N_VOXELS)), None)
    assert dataset_noise_ceiling(dataset, "UTS02", STORY, progress=listener) is None
    assert "has 45 TRs of 30 voxels, 'data' 44 of 30" in listener.said[0]
