from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainwavlm_fast.data import Dataset, n_voxels, read_repeats, read_responses, unusable_voxels
from brainwavlm_fast.errors import DataError
from tests.helpers.tree import N_VOXELS


@pytest.fixture
def copy(small_tree, tmp_path):
    """A tree of one's own, and the path of its avatar responses."""
    dataset = Dataset(shutil.copytree(small_tree, tmp_path / "tree"))
    return dataset, dataset.response_path("S01", "avatar")


def rewrite(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name] = value


@given(data=st.data())
def test_rows_and_voxels_select_what_numpy_would(small_tree, data):
    dataset = Dataset(small_tree)
    with h5py.File(dataset.response_path("S01", "avatar")) as file:
        whole = file["data"][:].astype(np.float32)
    rows = data.draw(st.none() | st.builds(slice, st.integers(0, 30), st.integers(0, 30)))
    voxels = data.draw(
        st.none()
        | st.lists(st.integers(0, N_VOXELS - 1), min_size=1).map(np.array)
        | st.lists(st.booleans(), min_size=N_VOXELS, max_size=N_VOXELS).map(np.array)
    )
    read = read_responses(dataset, "S01", "avatar", rows=rows, voxels=voxels)
    expected = whole[rows or slice(None)]
    expected = expected if voxels is None else expected[:, voxels]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, expected)


def test_nan_and_constant_voxels_are_found(copy):
    dataset, path = copy
    values = np.random.default_rng(0).standard_normal((23, N_VOXELS))
    values[:, 7], values[0, 9], values[3, 11] = 2.5, np.inf, np.nan
    rewrite(path, data=values)
    assert np.flatnonzero(unusable_voxels(dataset, "S01", dataset.stories("S01"))).tolist() == [7, 9, 11]
    assert np.flatnonzero(unusable_voxels(dataset, "S01", ["alternateithicatom"])).tolist() == []


def test_repeats(copy):
    dataset, path = copy
    repeats = np.random.default_rng(1).standard_normal((3, 23, N_VOXELS))
    rewrite(path, data=repeats.mean(0), individual_repeats=repeats)
    np.testing.assert_array_equal(read_repeats(dataset, "S01", "avatar"), repeats.astype(np.float32))
    np.testing.assert_array_equal(
        read_repeats(dataset, "S01", "avatar", voxels=[4, 2]), repeats[..., [4, 2]].astype(np.float32)
    )


def test_a_truncated_file(copy):
    dataset, path = copy
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(DataError, match=r"avatar\.hf5 is not a whole HDF5 file"):
        read_responses(dataset, "S01", "avatar")


def test_a_file_that_is_not_hdf5(copy):
    dataset, path = copy
    path.write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"avatar\.hf5 is not a whole HDF5 file"):
        read_responses(dataset, "S01", "avatar")


def test_another_dataset_name(copy):
    dataset, path = copy
    rewrite(path, responses=np.zeros((23, N_VOXELS)))
    with pytest.raises(DataError, match="no dataset 'data'; it holds: responses"):
        read_responses(dataset, "S01", "avatar")


@pytest.mark.parametrize("value", [np.zeros(23), np.zeros((23, N_VOXELS, 1)), np.zeros((23, N_VOXELS), int)])
def test_another_rank_or_type(copy, value):
    dataset, path = copy
    rewrite(path, data=value)
    with pytest.raises(DataError, match="expected 2 axes of floats"):
        read_responses(dataset, "S01", "avatar")


def test_rows_that_disagree(copy):
    dataset, path = copy
    rewrite(path, data=np.zeros((24, N_VOXELS)))
    with pytest.raises(DataError, match=r"has 24 rows; respdict\.json says 43 recorded TRs .* 23 rows are expected"):
        read_responses(dataset, "S01", "avatar")
    with pytest.raises(DataError, match=r"23 rows are expected"):
        unusable_voxels(dataset, "S01", ["avatar"])


def test_a_story_of_another_width(copy):
    dataset, path = copy
    rewrite(path, data=np.zeros((23, N_VOXELS + 1)))
    with pytest.raises(DataError, match=r"avatar\.hf5 has 41 voxels; S01's first story has 40"):
        unusable_voxels(dataset, "S01", dataset.stories("S01"))


@pytest.mark.parametrize("voxels", [[N_VOXELS], [-1], np.ones(N_VOXELS - 1, bool)])
def test_voxels_outside(small_tree, voxels):
    with pytest.raises(DataError, match="voxels:"):
        read_responses(Dataset(small_tree), "S01", "avatar", voxels=voxels)


def test_nothing_downloaded(copy):
    dataset, path = copy
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"datalad get derivative/preprocessed_data/UTS01"):
        n_voxels(dataset, "UTS01")
