"""Volumes read back as the responses' columns."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from brainwavlm_fast.anatomy import VoxelSpace


def read_volume(path: Path, space: VoxelSpace) -> NDArray:
    """Values of the voxels of a NIfTI image in the subject's space: (n_voxels,)."""
    values = np.asarray(nibabel.load(path).dataobj)
    assert values.shape == space.shape
    return values.T[space.mask]
