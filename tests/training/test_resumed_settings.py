"""A run goes on with the settings it began with; more epochs, and where things are kept, may change."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.config import RunConfig
from brainwavlm_fast.errors import CheckpointError
from brainwavlm_fast.training import resume_run, start_run
from brainwavlm_fast.training.log import read_log
from tests.helpers.tiny import change_weight
from tests.training.test_run import losses, validations, weights


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory, small_tree, tiny_wavlm):
    """A complete run of one epoch, to be copied."""
    config = RunConfig(str(small_tree)).with_settings(
        {"model": str(tiny_wavlm), "layer": 2, "stride": 1.0, "bottleneck": 6, "epochs": 1, "lr_encoder": 1e-2}
        | {"validation": ("fromboyhoodtofatherhood",), "activation_checkpointing": "off"}
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    start_run(folder, config)
    return folder, config


@pytest.fixture
def run(one_epoch, tmp_path):
    return shutil.copytree(one_epoch[0], tmp_path / "copy"), one_epoch[1]


def edit(folder, part, **values):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content[part] |= values
    content["train"]["epochs"] = 2
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("train", "loss", "mse"),
        ("train", "seed", 1),
        ("train", "block_size", 5),
        ("train", "lr_encoder", 1e-3),
        ("train", "lr_readout", 1e-3),
        ("train", "validation", []),
        ("train", "roi", "lh"),
        ("train", "precision", "bf16"),
        ("model", "stride", 0.5),
        ("model", "lora_rank", 2),
        ("model", "delays", [1, 2]),
        ("model", "clock", "scanner"),
    ],
)
def test_a_setting_that_was_edited_is_named(run, part, name, value):
    folder, _ = run
    edit(folder, part, **{name: value})
    log = (folder / "log.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=f"other settings than its config.json holds now: {name} is"):
        resume_run(folder)
    assert (folder / "log.jsonl").read_bytes() == log


def test_more_epochs_give_the_run_that_was_asked_for_more_at_once(run, tmp_path):
    folder, config = run
    summary = resume_run(folder, changes={"epochs": 2})
    assert (summary["epochs"], RunConfig.from_json(folder / "config.json").train.epochs) == (2, 2)
    start_run(tmp_path / "two", config.with_settings({"epochs": 2}))
    assert losses(folder) == losses(tmp_path / "two")
    assert validations(folder) == validations(tmp_path / "two")
    a, b = weights(folder, 2), weights(tmp_path / "two", 2)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_fewer_epochs_than_are_done(run):
    folder, _ = run
    resume_run(folder, changes={"epochs": 2})
    (folder / "summary.json").unlink()
    with pytest.raises(CheckpointError, match="epochs is 1, but 2 are done"):
        resume_run(folder, changes={"epochs": 1})


def test_data_and_model_that_moved(run, tmp_path, small_tree, tiny_wavlm):
    folder, config = run
    data, model = shutil.copytree(small_tree, tmp_path / "data"), shutil.copytree(tiny_wavlm, tmp_path / "wavlm")
    edit(folder, "model", model="/nowhere/wavlm")
    content = json.loads((folder / "config.json").read_text()) | {"data": "/nowhere/data"}
    (folder / "config.json").write_text(json.dumps(content))
    command = ["train", "--resume", str(folder), "--data", str(data), "--model", str(model), "--cache-gb", "0"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    moved = config.with_settings({"model": str(model), "cache_gb": 0.0, "epochs": 2})
    assert RunConfig.from_json(folder / "config.json") == replace(moved, data=str(data))
    assert [r["step"] for r in read_log(folder / "log.jsonl") if r["kind"] == "step"] == list(range(1, 13))


def test_another_model_in_the_place_of_the_first(run, tmp_path, tiny_wavlm):
    folder, _ = run
    other = shutil.copytree(tiny_wavlm, tmp_path / "other")
    change_weight(other)
    with pytest.raises(CheckpointError, match="was tuned on a base model with digest"):
        resume_run(folder, changes={"epochs": 2, "model": str(other)})


def test_what_the_command_line_may_not_change(run):
    folder, _ = run
    result = CliRunner().invoke(app, ["train", "--resume", str(folder), "--loss", "mse", "--epochs", "2"])
    assert result.exit_code == 2
    assert "--resume takes loss from" in result.stderr
    assert "epochs" in result.stderr
