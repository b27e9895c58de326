from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.data import Dataset


def check(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_a_whole_tree_exits_0(small_tree):
    result = check("--data", small_tree)
    assert result.exit_code == 0, result.output
    assert "UTS01" in result.stdout
    report = json.loads(check("--data", small_tree, "--subject", "S01", "--json").stdout)
    assert report["trainable"] == ["UTS01"]
    assert report["commands"] == []


def test_a_tree_that_was_not_fetched_exits_1_and_says_what_to_run(small_tree, tmp_path):
    root = shutil.copytree(small_tree, tmp_path / "tree")
    path = Dataset(root).audio_path("avatar")
    path.unlink()
    path.symlink_to("../.git/annex/objects/x/MD5E-s1000--0.wav")
    result = check("--data", root)
    assert result.exit_code == 1
    assert "datalad get stimuli" in result.output
    printed = check("--data", root, "--json")
    assert printed.exit_code == 1
    assert json.loads(printed.stdout)["trainable"] == []


def test_the_data_folder_comes_from_the_environment(small_tree, monkeypatch):
    monkeypatch.setenv("BWLM_DATA", str(small_tree))
    assert check().exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"), [(["--data", "nowhere"], "no such data folder"), (["--subject", "S77"], "unknown subject")]
)
def test_bad_input(small_tree, arguments, says, monkeypatch):
    monkeypatch.setenv("BWLM_DATA", str(small_tree))
    result = check(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
