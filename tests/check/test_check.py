from __future__ import annotations

import json
import shutil

import h5py
import nibabel
import numpy as np
import pytest
import soundfile

from brainwavlm_fast.check import check_dataset
from brainwavlm_fast.config import RunConfig, preset
from brainwavlm_fast.data import Dataset, StorySplit
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.progress import Progress
from brainwavlm_fast.training.training_data import open_training_data
from tests.helpers.tree import N_VOXELS


@pytest.fixture
def dataset(small_tree, tmp_path):
    return Dataset(shutil.copytree(small_tree, tmp_path / "tree"))


def problems(report):
    return [problem for part in report.parts for problem in part.problems]


def unfetched(path, size=None):
    size = path.stat().st_size if size is None else size
    path.unlink()
    path.symlink_to(f"../.git/annex/objects/aa/bb/MD5E-s{size}--0{path.suffix}/MD5E-s{size}--0{path.suffix}")


def test_a_whole_tree(dataset):
    report = check_dataset(dataset)
    assert problems(report) == []
    assert report.commands == []
    assert report.trainable == ["UTS01"]
    assert any("1 voxels with NaN" in part.name for part in report.parts)
    assert any("onapproachtopluto" in note for note in report.notes)
    json.dumps(report.as_dict())


def test_links_that_were_not_fetched_become_commands(dataset):
    unfetched(dataset.audio_path("avatar"), size=5_000_000)
    unfetched(dataset.response_path("S01", "avatar"))
    report = check_dataset(dataset)
    assert report.commands == ["datalad get stimuli", "datalad get derivative/preprocessed_data/UTS01"]
    assert report.trainable == []
    assert {part.name: part.missing_size for part in report.parts}["audio"] == 5_000_000
    assert problems(report) == []


def test_a_width_that_a_link_promises(dataset):
    # ds003020's files hold 2048 bytes beside the numbers: the link's own size gives the other width away.
    for story in ("alternateithicatom", "fromboyhoodtofatherhood"):
        unfetched(dataset.response_path("S01", story), size=2048 + 8 * dataset.n_trs(story) * 41)
    assert any(
        "40 voxels, the others 41" in p or "41 voxels, the others 40" in p for p in problems(check_dataset(dataset))
    )


def spoil(dataset, kind):
    audio, responses = dataset.audio_path("avatar"), dataset.response_path("S01", "avatar")
    if kind == "rows":
        with h5py.File(responses, "w") as file:
            file["data"] = np.random.default_rng(0).standard_normal((24, N_VOXELS))
    elif kind == "width":
        with h5py.File(responses, "w") as file:
            file["data"] = np.random.default_rng(0).standard_normal((23, N_VOXELS + 1))
    elif kind == "truncated":
        responses.write_bytes(responses.read_bytes()[:-4000])
    elif kind == "all nan":
        with h5py.File(responses, "w") as file:
            file["data"] = np.full((23, N_VOXELS), np.nan)
    elif kind == "short audio":
        soundfile.write(audio, np.zeros(16_000 * 50), 16_000)
    elif kind == "no samples":
        soundfile.write(audio, np.zeros(0), 16_000)
    elif kind == "audio noise":
        audio.write_bytes(b"none")
    elif kind == "truncated audio":
        audio.write_bytes(audio.read_bytes()[:-40])
    elif kind == "missing audio":
        audio.unlink()
    elif kind == "unlisted":
        shutil.copy(responses, dataset.response_path("S01", "newstory"))
    elif kind == "mask":
        thick = dataset.mask_path("S01")
        shape = nibabel.load(thick).shape
        nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), thick)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("rows", "avatar.hf5 has 24 rows; respdict.json says 43 recorded TRs for avatar, so 23 rows are expected"),
        ("width", "avatar.hf5 has 41 voxels, the others 40"),
        ("truncated", "is not a whole HDF5 file"),
        ("all nan", "every voxel holds NaN"),
        ("short audio", "avatar.wav lasts 50.0 s, but its last response is centered at 55 s"),
        ("no samples", "avatar.wav holds no samples"),
        ("audio noise", "avatar.wav cannot be read as audio"),
        ("truncated audio", "avatar.wav is truncated"),
        ("missing audio", "avatar.wav is not in the tree"),
        ("unlisted", "newstory is not in respdict.json"),
        ("mask", "voxels, responses have 40 columns"),
    ],
)
def test_what_disagrees_is_named_and_stops_training(dataset, kind, says):
    spoil(dataset, kind)
    report = check_dataset(dataset)
    assert any(says in problem for problem in problems(report))
    assert report.trainable == []


@pytest.mark.parametrize("kind", ["short audio", "no samples", "audio noise", "truncated audio"])
def test_training_refuses_the_sound_that_the_check_refuses(dataset, kind):
    spoil(dataset, kind)
    (problem,) = problems(check_dataset(dataset))
    config = RunConfig(str(dataset.root), "paper", *preset("paper"))
    with pytest.raises(DataError) as refused:
        open_training_data(config, dataset, StorySplit(("avatar",), (), ()), {}, Progress())
    assert str(refused.value) == f"story avatar: {problem}"


def test_a_damaged_textgrid_is_named_and_training_can_do_without(dataset):
    dataset.textgrid_path("avatar").write_text("nothing")
    report = check_dataset(dataset)
    assert any("avatar.TextGrid" in problem for problem in problems(report))
    assert report.trainable == ["UTS01"]


def test_surfaces_that_are_missing_are_named_and_training_on_all_voxels_can_do_without(dataset):
    folder = dataset.mask_path("S01").parent
    (folder / "matrices.xfm").unlink()
    unfetched(folder.parent.parent / "surfaces" / "pia_rh.gii")
    report = check_dataset(dataset)
    assert problems(report) == ["matrices.xfm is not in the tree"]
    (command,) = report.commands
    assert command.startswith("datalad get derivative/pycortex-db/UTS01/surfaces ")
    assert command.endswith(" derivative/freesurfer_subjdir/UTS01/label")
    assert report.trainable == ["UTS01"]
