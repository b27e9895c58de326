"""The noise ceiling of a data set's story from its individual repeats."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np

from brainwavlm_fast.data import Dataset
from brainwavlm_fast.evaluation.noise_ceiling import dataset_noise_ceiling
from brainwavlm_fast.stats import noise_ceiling


def test_repeats_of_a_data_set(tree: Path, tmp_path: Path) -> None:
    dataset = Dataset(shutil.copytree(tree, tmp_path / "tree"))
    assert dataset_noise_ceiling(dataset, "UTS02", "wheretheressmoke") is None
    repeats = np.random.default_rng(0).standard_normal((4, 44, 30))
    with h5py.File(dataset.response_path("UTS02", "wheretheressmoke"), "a") as file:
        file["individual_repeats"] = repeats
    got, n_repeats = dataset_noise_ceiling(dataset, "UTS02", "wheretheressmoke", memory_gb=12 * 176 * 7 / 2**30)
    assert n_repeats == 4
    np.testing.assert_allclose(got, noise_ceiling(repeats.astype(np.float32)), atol=1e-6)
