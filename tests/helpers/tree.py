"""A ds003020 tree, small enough to make in a blink."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import soundfile

N_VOXELS = 40
STORIES = {"alternateithicatom": 25, "avatar": 23, "fromboyhoodtofatherhood": 22, "wheretheressmoke": 24}

LONG_GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = {end}
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phone"
        xmin = 0
        xmax = {end}
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = {end}
            text = "AH0"
    item [2]:
        class = "IntervalTier"
        name = "word"
        xmin = 0
        xmax = {end}
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = {end}
            text = "A"
"""


def make_tree(root: Path, *, subject: str = "UTS01", n_voxels: int = N_VOXELS) -> Path:
    """One subject, four stories of some 25 TRs of noise, masks of all, lh, ac; voxel 3 holds a NaN in ``avatar``."""
    rng = np.random.default_rng(0)
    folder = root / "derivative" / "preprocessed_data" / subject
    masks = root / "derivative" / "pycortex-db" / subject / "transforms" / f"{subject}_auto"
    for path in (folder, masks, root / "stimuli", root / "derivative" / "TextGrids"):
        path.mkdir(parents=True)
    for story, n_trs in STORIES.items():
        responses = rng.standard_normal((n_trs, n_voxels))
        if story == "avatar":
            responses[5, 3] = np.nan
        with h5py.File(folder / f"{story}.hf5", "w") as file:
            file["data"] = responses
        seconds = 11 + 2 * n_trs
        soundfile.write(root / "stimuli" / f"{story}.wav", 0.1 * rng.standard_normal(16_000 * seconds), 16_000)
        (root / "derivative" / "TextGrids" / f"{story}.TextGrid").write_text(LONG_GRID.format(end=seconds))
    (root / "derivative" / "respdict.json").write_text(json.dumps({s: n + 20 for s, n in STORIES.items()}))
    (root / "derivative" / "subject_xfms.json").write_text(json.dumps({subject: f"{subject}_auto"}))
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "DatasetDOI": "none"}))
    thick = np.zeros((4, 5, 6 + n_voxels // 20), np.uint8)
    thick.reshape(-1)[10 : 10 + n_voxels] = 1
    half, few = np.zeros_like(thick), np.zeros_like(thick)
    half[:, :, :3], few[:2, :, 2:4] = 1, 1
    for name, mask in {"thick": thick, "lh": thick * half, "ac": thick * few}.items():
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), masks / f"mask_{name}.nii.gz")
    return root
