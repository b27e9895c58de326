"""A small data set, and a run folder on it."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import soundfile
from helpers.tiny import save_tiny
from run_folder import CONSTANT_VOXEL, N_VOXELS, NAN_VOXEL, STORIES, make_run


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ds003020 tree of one subject: four stories, masks of the hemispheres and auditory cortex."""
    root = tmp_path_factory.mktemp("tree")
    generator = np.random.default_rng(0)
    folder = root / "derivative/preprocessed_data/UTS02"
    masks = root / "derivative/pycortex-db/UTS02/transforms/UTS02_auto"
    for path in (folder, masks, root / "stimuli"):
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
    order = np.flatnonzero(thick.T)  # columns are in C order on (z, y, x)
    for name, wanted in {"thick": range(30), "lh": range(18), "rh": range(18, 30), "ac": (2, 4, 20)}.items():
        mask = np.zeros(thick.T.shape, np.uint8)
        mask.reshape(-1)[order[list(wanted)]] = 1
        nibabel.save(nibabel.Nifti1Image(mask.T, np.eye(4)), masks / f"mask_{name}.nii.gz")
    return root


@pytest.fixture(scope="session")
def tiny_wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("wavlm"))


@pytest.fixture
def run(tmp_path: Path, tree: Path, tiny_wavlm: Path) -> Path:
    return make_run(tmp_path / "run", tree, tiny_wavlm)
