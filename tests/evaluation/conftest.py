"""A small data set, and a run folder on it."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from tests.helpers.run_folder import CONSTANT_VOXEL, N_VOXELS, NAN_VOXEL, STORIES, make_run
from tests.helpers.tiny import save_tiny
from tests.helpers.tree import add_anatomy


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


@pytest.fixture(scope="session")
def tiny_wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("wavlm"))


@pytest.fixture
def run(tmp_path: Path, tree: Path, tiny_wavlm: Path) -> Path:
    return make_run(tmp_path / "run", tree, tiny_wavlm)
