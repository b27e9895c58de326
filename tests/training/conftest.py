from __future__ import annotations

import json
from dataclasses import replace

import h5py
import nibabel
import numpy as np
import pytest
import soundfile
from helpers.tiny import save_tiny

from brainwavlm_fast.config import RunConfig, preset

N_VOXELS = 40
STORIES = {"alternateithicatom": 25, "avatar": 23, "fromboyhoodtofatherhood": 22, "wheretheressmoke": 24}


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory):
    """A ds003020 tree with one subject, four stories of about 25 TRs, 40 voxels; voxel 3 holds a NaN."""
    root = tmp_path_factory.mktemp("ds003020")
    rng = np.random.default_rng(0)
    folder = root / "derivative" / "preprocessed_data" / "UTS01"
    masks = root / "derivative" / "pycortex-db" / "UTS01" / "transforms" / "UTS01_auto"
    for path in (folder, masks, root / "stimuli", root / "derivative" / "TextGrids"):
        path.mkdir(parents=True)
    for story, n_trs in STORIES.items():
        responses = rng.standard_normal((n_trs, N_VOXELS))
        if story == "avatar":
            responses[5, 3] = np.nan
        with h5py.File(folder / f"{story}.hf5", "w") as file:
            file["data"] = responses
        audio = 0.1 * rng.standard_normal(16_000 * (11 + 2 * n_trs))
        soundfile.write(root / "stimuli" / f"{story}.wav", audio, 16_000)
    (root / "derivative" / "respdict.json").write_text(json.dumps({s: n + 20 for s, n in STORIES.items()}))
    (root / "derivative" / "subject_xfms.json").write_text(json.dumps({"UTS01": "UTS01_auto"}))
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "DatasetDOI": "none"}))
    thick = np.zeros((4, 5, 6), np.uint8)
    thick.reshape(-1)[10 : 10 + N_VOXELS] = 1
    for name, mask in {"thick": thick, "lh": thick * (np.arange(6) < 3).astype(np.uint8)}.items():
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), masks / f"mask_{name}.nii.gz")
    return root


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
