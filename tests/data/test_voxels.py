from __future__ import annotations

import shutil

import h5py
import nibabel
import numpy as np
import pytest
from helpers.tree import N_VOXELS

from brainwavlm_fast.data import Dataset, available_sets, voxel_set
from brainwavlm_fast.errors import ConfigError, DataError


@pytest.fixture
def copy(small_tree, tmp_path):
    dataset = Dataset(shutil.copytree(small_tree, tmp_path / "tree"))
    return dataset, dataset.mask_path("S01").parent


def save(path, mask):
    nibabel.save(nibabel.Nifti1Image(np.asarray(mask, np.uint8), np.eye(4)), path)


def test_columns_are_the_masks_voxels_in_z_y_x_order(copy):
    dataset, folder = copy
    thick = nibabel.load(folder / "mask_thick.nii.gz").get_fdata() > 0  # (x, y, z) on disk
    left = nibabel.load(folder / "mask_lh.nii.gz").get_fdata() > 0
    z, y, x = np.nonzero(thick.transpose(2, 1, 0))
    assert len(x) == N_VOXELS
    np.testing.assert_array_equal(voxel_set(dataset, "S01", "lh"), left[x, y, z])


def test_sets_and_their_complement(small_tree):
    dataset = Dataset(small_tree)
    ac, rest = voxel_set(dataset, "S01", "ac"), voxel_set(dataset, "S01", "nonac")
    assert 0 < ac.sum() < N_VOXELS
    np.testing.assert_array_equal(ac, ~rest)
    assert voxel_set(dataset, "S01", "all").all()
    assert available_sets(dataset, "S01") == ["all", "lh", "ac", "nonac"]


def test_an_unknown_set(small_tree):
    with pytest.raises(ConfigError, match="unknown voxel set 'left'.*lh"):
        voxel_set(Dataset(small_tree), "S01", "left")


def test_a_set_whose_mask_is_not_here(small_tree):
    with pytest.raises(DataError, match=r"'rh' of S01 needs .*mask_rh\.nii\.gz.*that are here: all, lh, ac, nonac"):
        voxel_set(Dataset(small_tree), "S01", "rh")


def test_a_set_with_no_voxels(copy):
    dataset, folder = copy
    save(folder / "mask_lh.nii.gz", np.zeros(nibabel.load(folder / "mask_thick.nii.gz").shape))
    with pytest.raises(DataError, match="'lh' of S01 holds no voxel of the 40"):
        voxel_set(dataset, "S01", "lh")


def test_a_mask_of_another_shape(copy):
    dataset, folder = copy
    save(folder / "mask_lh.nii.gz", np.ones((2, 2, 2)))
    with pytest.raises(DataError, match="has shape .2, 2, 2."):
        voxel_set(dataset, "S01", "lh")


def test_a_mask_that_disagrees_with_the_columns(copy):
    dataset, folder = copy
    save(folder / "mask_thick.nii.gz", np.ones(nibabel.load(folder / "mask_thick.nii.gz").shape))
    with pytest.raises(DataError, match=r"selects \d+ voxels, but responses of S01 have 40 columns"):
        voxel_set(dataset, "S01", "lh")


def test_a_mask_that_is_not_an_image(copy):
    dataset, folder = copy
    (folder / "mask_lh.nii.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="cannot be read as a NIfTI image"):
        voxel_set(dataset, "S01", "lh")


def test_whole_cortex_needs_no_mask(copy):
    dataset, folder = copy
    shutil.rmtree(folder)
    assert voxel_set(dataset, "S01", "all").sum() == N_VOXELS
    assert available_sets(dataset, "S01") == ["all"]


def test_responses_decide_how_many_voxels_there_are(copy):
    dataset, _ = copy
    for story in dataset.stories("S01"):
        with h5py.File(dataset.response_path("S01", story), "w") as file:
            file["data"] = np.zeros((dataset.n_trs(story), 7))
    assert voxel_set(dataset, "S01", "all").shape == (7,)
