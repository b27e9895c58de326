"""The planted brain's anatomy alone, in a tree with one story of noise: no model, no sound."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from brainwavlm_fast.simulation.brain import Anatomy, make_anatomy
from brainwavlm_fast.simulation.layout import write_index
from brainwavlm_fast.simulation.sheet import make_sheets
from brainwavlm_fast.simulation.surface_files import write_anatomy

STORY, N_TRS = "wheretheressmoke", 12


def make_planted_anatomy(root: Path, *, n_voxels: int = 800, n_ac: int = 200) -> Anatomy:
    """UTS01 with gifti surfaces and UTS02 with npz; returns where their voxels are."""
    anatomy = make_anatomy(n_voxels, n_ac)
    sheets = make_sheets(anatomy)
    for subject in ("UTS01", "UTS02"):
        folder = root / "derivative" / "preprocessed_data" / subject
        folder.mkdir(parents=True)
        with h5py.File(folder / f"{STORY}.hf5", "w") as file:
            file["data"] = np.random.default_rng(0).standard_normal((N_TRS, n_voxels))
        write_anatomy(root, subject, anatomy, sheets, npz=subject == "UTS02")
    write_index(root, {STORY: N_TRS}, ["UTS01", "UTS02"], "test")
    return anatomy
