"""``bwlm evaluate``: its table, its JSON, its errors, and once as a process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from brainwavlm_fast.cli.main import app


def bwlm(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_table_then_the_same_as_json(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["train"]["roi"] = "all - (ac | rh)"
    (run / "config.json").write_text(json.dumps(config))
    shown = bwlm(run, "--chunk", 4, "--epochs", "1-2")
    assert shown.exit_code == 0, shown.output
    for words in ("all: whole cortex", "nonac: all but auditory cortex", "pre-trained", "tuned", "teacher"):
        assert words in shown.stdout
    assert shown.stdout.count("all - (ac | rh)") == 4  # as asked for: title, scores, intervals, significance
    assert "Significant voxels, false discovery rate 5 % within the set" in shown.stdout
    assert "2 voxels with NaN or a constant" in shown.stdout
    assert "chosen by mean correlation on the validation stories" in shown.stdout
    command = [sys.executable, "-m", "brainwavlm_fast.cli.main", "evaluate", str(run), "--chunk", "4", "--json"]
    process = subprocess.run([*command, "--epochs", "1,2"], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    printed = json.loads(process.stdout)
    assert printed == json.loads((run / "evaluation/summary.json").read_text())
    assert f"{printed['encoding']['ac']['pretrained']:.4f}" in shown.stdout
    low, high = printed["encoding"]["ac"]["intervals"]["tuned"]
    assert f"[{low:.3f}, {high:.3f}]" in shown.stdout
    assert low < printed["encoding"]["ac"]["tuned"] < high
    assert "nothing to do" in process.stderr
    assert (run / "evaluation/curve.png").read_bytes()[:4] == b"\x89PNG"


def test_help_holds_an_example() -> None:
    assert "bwlm evaluate runs/" in bwlm("--help").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alphas", "10"], "--alphas is '10'"),
        (["--alphas", "0,10,3"], "alphas are positive"),
        (["--epochs", "x"], "--epochs is 'x'"),
        (["--epochs", "9"], "no checkpoint of epoch 9"),
        (["--memory-gb", "0"], "--memory-gb"),
        (["--out", "a/b"], "--out is 'a/b'"),
        (["--data", "nowhere"], "no such data folder"),
        (["--block", "often"], "--block is 'often'; it must be auto, or a number of TRs"),
        (["--block", "0"], "--block is '0'"),
        (["--block", "23"], "--block: the test stories have 44 TRs, less than two blocks of 23"),
        ([], "use a smaller chunk_length"),  # stories of the test data are shorter than 40 TRs
    ],
)
def test_bad_use_is_one_sentence_and_status_2(run: Path, arguments: list[str], message: str) -> None:
    result = bwlm(run, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("bwlm: ")
    assert "Traceback" not in result.output
    assert not (run / "evaluation/summary.json").exists()


@pytest.mark.parametrize(("option", "value", "least"), [("--chunk", 0, 1), ("--seed", -1, 0)])
def test_numbers_below_their_least_are_refused(run: Path, option: str, value: int, least: int) -> None:
    result = bwlm(run, option, value)
    assert result.exit_code == 2
    shown = " ".join(result.stderr.replace("│", " ").split())
    assert option in shown
    assert re.search(rf"greater than or equal to {least}|x>={least}", shown)
    assert not (run / "evaluation/summary.json").exists()


def test_not_a_run(tmp_path: Path) -> None:
    result = bwlm(tmp_path)
    assert result.exit_code == 2
    assert "is not a run (no config.json)" in result.stderr
