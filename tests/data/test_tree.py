from __future__ import annotations

import json
import shutil

import pytest

from brainwavlm_fast.data import Dataset, annex_size, find_dataset
from brainwavlm_fast.errors import DataError


@pytest.mark.parametrize("name", ["UTS01", "S01", "s1", "S1", "1", "sub-UTS01"])
def test_subjects_by_any_of_their_names(small_tree, name):
    assert Dataset(small_tree).subject(name) == "UTS01"


@pytest.mark.parametrize("name", ["S02", "nobody", "", "UTS1x"])
def test_an_unknown_subject_lists_the_known(small_tree, name):
    with pytest.raises(DataError, match=r"unknown subject .*UTS01"):
        Dataset(small_tree).subject(name)


def test_no_data_folder(tmp_path):
    with pytest.raises(DataError, match=r"no such data folder.*--data.*datalad"):
        Dataset(tmp_path / "nowhere")


def test_a_folder_that_is_something_else(tmp_path):
    with pytest.raises(DataError, match="not a ds003020 folder"):
        Dataset(tmp_path)


def test_responses_are_the_recorded_trs_minus_20(small_tree):
    assert Dataset(small_tree).n_trs("avatar") == 23
    with pytest.raises(DataError, match="no story 'avatr'.*avatar"):
        Dataset(small_tree).n_trs("avatr")


@pytest.mark.parametrize(
    "content", ["[1]", '{"avatar": "43"}', '{"avatar": 43.0}', '{"avatar": 20}', '{"avatar": true}']
)
def test_a_respdict_of_another_kind(small_tree, tmp_path, content):
    root = shutil.copytree(small_tree, tmp_path / "tree")
    (root / "derivative" / "respdict.json").write_text(content)
    with pytest.raises(DataError, match="respdict.json: expected an object"):
        Dataset(root).n_trs("avatar")


def test_a_link_that_was_not_fetched_names_the_command(small_tree, tmp_path):
    root = shutil.copytree(small_tree, tmp_path / "tree")
    dataset = Dataset(root)
    path = dataset.response_path("S01", "avatar")
    path.unlink()
    path.symlink_to("../../../.git/annex/objects/aa/bb/MD5E-s7360--0123.hf5/MD5E-s7360--0123.hf5")
    assert annex_size(path) == 7360
    assert dataset.stories("S01") == sorted(
        ["alternateithicatom", "avatar", "fromboyhoodtofatherhood", "wheretheressmoke"]
    )
    with pytest.raises(
        DataError, match=r"not been downloaded.*datalad get derivative/preprocessed_data/UTS01/avatar\.hf5"
    ):
        dataset.require(path)
    path.unlink()
    assert annex_size(path) is None
    with pytest.raises(DataError, match="missing from the data set"):
        dataset.require(path)


def test_the_transform_is_the_one_the_data_set_names(small_tree, tmp_path):
    root = shutil.copytree(small_tree, tmp_path / "tree")
    (root / "derivative" / "subject_xfms.json").write_text(json.dumps({"UTS01": "UTS01_hand"}))
    assert Dataset(root).mask_path("S01").parent.name == "UTS01_hand"
    (root / "derivative" / "subject_xfms.json").unlink()
    assert Dataset(root).mask_path("S01").parent.name == "UTS01_auto"


def test_the_version_is_the_dois(small_tree, tmp_path):
    root = shutil.copytree(small_tree, tmp_path / "tree")
    (root / "dataset_description.json").write_text(json.dumps({"DatasetDOI": "doi:10.18112/openneuro.ds003020.v3.1.0"}))
    assert Dataset(root).version == "3.1.0"
    assert Dataset(small_tree).version == "unknown"


def test_where_the_data_set_is_looked_for(small_tree, tmp_path, monkeypatch):
    monkeypatch.setenv("BWLM_DATA", str(small_tree))
    assert find_dataset(None).root == small_tree
    monkeypatch.delenv("BWLM_DATA")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="ds003020: no such data folder"):
        find_dataset(None)
    (tmp_path / "ds003020").symlink_to(small_tree)
    assert find_dataset(None).subjects() == ["UTS01"]
