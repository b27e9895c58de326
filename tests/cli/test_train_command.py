"""``bwlm train``: options reach the configuration, and every bad input is one sentence, status 2, nothing written."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.data import Dataset
from tests.helpers.tree import N_VOXELS


def train(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


@pytest.fixture
def usual(small_tree, tiny_wavlm, tmp_path):
    """Options of a run of two epochs; the run folder is made by the command."""
    return {
        "--data": small_tree, "--subject": "S01", "--model": tiny_wavlm, "--layer": 2, "--stride": 1.0,
        "--bottleneck": 6, "--epochs": 1, "--out": tmp_path / "run",
    }  # fmt: skip


def listed(options):
    return [word for pair in options.items() for word in pair]


def test_a_run_from_the_shell_and_the_same_resumed(usual, tmp_path, monkeypatch):
    (tmp_path / "without.txt").write_text("0 1")
    monkeypatch.chdir(tmp_path)
    result = train(
        *listed(usual), "--roi", "lh - file:without.txt", "--seed", 7, "--loss", "time", "--lr", 2e-3, "--json"
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["steps"] == 6
    assert summary["data"]["subject"] == "UTS01"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["train"]["seed"], config["train"]["loss"]) == (7, "time")
    assert config["train"]["roi"] == f"lh - file:{tmp_path}/without.txt"  # found from anywhere
    with h5py.File(tmp_path / "run" / "voxels.hf5") as file:
        assert not {0, 1} & set(file["trained"][:])
    assert config["train"]["lr_encoder"] == 2e-3
    assert config["model"]["layer"] == 2
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    again = train("--resume", tmp_path / "run", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout) == summary


def test_a_folder_with_another_run_is_left_alone(usual, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    result = train(*listed(usual))
    assert result.exit_code == 2
    assert "already holds another run" in result.stderr
    assert (tmp_path / "run" / "config.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--data": "nowhere"}, "no such data folder"),
        ({"--subject": "S42"}, "unknown subject 'S42'"),
        ({"--roi": "lhs"}, "unknown voxel set 'lhs'"),
        ({"--roi": "lh &"}, "a voxel set must stand where the end is"),
        ({"--roi": ""}, "the voxel set is empty"),
        ({"--roi": "file:none.nii"}, "no such file of voxels"),
        ({"--model": "nomodel/"}, "nomodel"),
        ({"--layer": 9}, "layer"),
        ({"--token": "best"}, "token"),
        ({"--loss": "l2"}, "loss"),
        ({"--epochs": 0}, "epochs"),
        ({"--block-size": 0}, "block"),
        ({"--lr": -1}, "lr"),
        ({"--stride": 0}, "stride"),
        ({"--precision": "fp8"}, "precision"),
        ({"--preset": "papr"}, "paper"),
        ({"--validation": "avatr"}, "avatr"),
        ({"--validation": "avatar", "--test": "avatar"}, "avatar"),
    ],
)
def test_bad_options(usual, tmp_path, changes, says):
    result = train(*listed(usual | changes))
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.rstrip().count("\nbwlm: ") + result.stderr.startswith("bwlm: ") == 1
    assert not (tmp_path / "run").exists()


def test_contradictions(usual, tmp_path):
    for more, says in ((["--freeze", "--no-lora"], "--freeze"), (["--resume", tmp_path], "--resume")):
        result = train(*listed(usual), *more)
        assert result.exit_code == 2
        assert says in result.stderr
    assert train("--resume", tmp_path / "none").exit_code == 2
    assert "--subject" in train("--data", tmp_path).stderr


def spoil(dataset, kind):
    responses, audio = dataset.response_path("S01", "avatar"), dataset.audio_path("avatar")
    data = np.random.default_rng(0).standard_normal((23, N_VOXELS))

    def rewrite(name, value):
        with h5py.File(responses, "w") as file:
            file[name] = value

    changes = {
        "dangling": lambda: (responses.unlink(), responses.symlink_to("../../../.git/annex/objects/MD5E-s9--0.hf5")),
        "truncated": lambda: responses.write_bytes(responses.read_bytes()[:-3000]),
        "not hdf5": lambda: responses.write_text("no"),
        "name": lambda: rewrite("responses", data),
        "rank": lambda: rewrite("data", data[:, 0]),
        "rows": lambda: rewrite("data", data[:-1]),
        "all nan": lambda: rewrite("data", np.full_like(data, np.nan)),
        "audio missing": audio.unlink,
        "audio empty": lambda: audio.write_bytes(b""),
        "audio truncated": lambda: audio.write_bytes(audio.read_bytes()[:-20_000]),
        "audio short": lambda: soundfile.write(audio, np.zeros(16_000 * 20), 16_000),
        "no samples": lambda: soundfile.write(audio, np.zeros(0), 16_000),
    }
    changes[kind]()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("dangling", "datalad get derivative/preprocessed_data/UTS01/avatar.hf5"),
        ("truncated", "avatar.hf5 is not a whole HDF5 file"),
        ("not hdf5", "avatar.hf5 is not a whole HDF5 file"),
        ("name", "no dataset 'data'"),
        ("rank", "expected 2 axes of floats"),
        ("rows", "avatar.hf5 has"),
        ("all nan", "voxel"),
        ("audio missing", "avatar.wav"),
        ("audio empty", "avatar.wav cannot be read as audio"),
        ("audio truncated", "avatar.wav is truncated"),
        ("audio short", "avatar"),
        ("no samples", "avatar.wav holds no samples"),
    ],
)
def test_bad_data(usual, small_tree, tmp_path, kind, says):
    root = shutil.copytree(small_tree, tmp_path / "tree")
    spoil(Dataset(root), kind)
    result = train(*listed(usual | {"--data": root}))
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_models_that_are_not_wavlm(usual, tmp_path):
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.mkdir()
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    for folder in (empty, other):
        result = train(*listed(usual | {"--model": folder}))
        assert result.exit_code == 2
        assert str(folder) in result.stderr
        assert "Traceback" not in result.output
