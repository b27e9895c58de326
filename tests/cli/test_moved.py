"""Runs whose base model and data set have moved: every command takes where they are now, and holds the weights."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from tests.helpers.run_folder import make_run
from tests.helpers.tiny import change_weight


@pytest.fixture
def moved(tree, tiny_wavlm, tmp_path):
    """A run, and the places that its data set and base model were moved to."""
    base, data = shutil.copytree(tiny_wavlm, tmp_path / "wavlm"), shutil.copytree(tree, tmp_path / "ds003020")
    run = make_run(tmp_path / "run", data, base, n_epochs=1)
    return run, data.rename(tmp_path / "other-disk"), base.rename(tmp_path / "models")


def bwlm(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def commands(run, out):
    """The commands that open a run's encoder, each with the file that it writes, or None."""
    evaluation = run / "evaluation/summary.json"
    return {
        "evaluate": (["evaluate", run, "--chunk", 4], evaluation),
        "transfer": (["transfer", run, "--subjects", "S02", "--chunk", 4, "--out", out], out / "summary.json"),
        "probe": (["probe", run, "--layers", "1-2", "--chunk", 4], run / "probes/summary.json"),
        "features": (["features", run, "--layers", "2", "--stories", "bicycle", "--out", out / "a.h5", "--json"], None),
    }


def test_every_command_takes_where_things_are_now(moved, tmp_path):
    run, data, base = moved
    for name, (command, written) in commands(run, tmp_path / "out").items():
        gone = bwlm(*command)
        assert gone.exit_code == 2, name
        assert "Traceback" not in gone.output
        found = bwlm(*command, "--data", data, "--model", base)
        assert found.exit_code == 0, found.output
        record = json.loads(written.read_text() if written else found.stdout)["base"]
        assert record["model"] == str(base), name
        assert len(record["digest"]) == 64
    change_weight(base)
    for name, (command, _) in commands(run, tmp_path / "again").items():
        refused = bwlm(*command, "--data", data, "--model", base)
        assert refused.exit_code == 2, name
        assert "was tuned on a base model with digest" in refused.stderr
        assert "--model and --revision" in refused.stderr


def test_a_run_is_resumed_where_things_are_now(config, tree, tiny_wavlm, tmp_path):
    base, data = shutil.copytree(tiny_wavlm, tmp_path / "wavlm"), shutil.copytree(tree, tmp_path / "ds003020")
    words = ["train", "--data", data, "--model", base, "--subject", "S02", "--layer", 2, "--stride", 1.0, "--epochs", 1]
    run = tmp_path / "run"
    words += ["--validation", "fromboyhoodtofatherhood"]
    started = bwlm(*words, "--out", run)
    assert started.exit_code == 0, started.output
    data, base = data.rename(tmp_path / "other-disk"), base.rename(tmp_path / "models")
    gone = bwlm("train", "--resume", run, "--epochs", 2)
    assert gone.exit_code == 2
    resumed = bwlm("train", "--resume", run, "--epochs", 2, "--data", data, "--model", base)
    assert resumed.exit_code == 0, resumed.output
    assert json.loads((run / "config.json").read_text())["model"]["model"] == str(base)
    change_weight(base)
    refused = bwlm("train", "--resume", run, "--epochs", 3, "--data", data, "--model", base)
    assert refused.exit_code == 2
    assert "was tuned on a base model with digest" in refused.stderr


def test_a_folder_has_no_revision(moved):
    run, data, base = moved
    refused = bwlm("evaluate", run, "--data", data, "--model", base, "--revision", "v1")
    assert refused.exit_code == 2
    assert "only names on the hub have revisions" in refused.stderr
