"""``bwlm partition``: its table and picture, read back, and bad use in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from brainwavlm_fast.cli.main import app
from tests.helpers.run_folder import CONSTANT_VOXEL, N_VOXELS, NAN_VOXEL, STORIES


def bwlm(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, [command, *map(str, arguments)])


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "mine.hf5", "w") as file:
        for story, n_trs in STORIES.items():
            file[story] = rng.standard_normal((n_trs, 3))
    return tmp_path / "mine.hf5"


def test_tables_a_picture_and_the_same_as_json(run: Path, mine: Path) -> None:
    options = (run, "--spaces", "", "--target", mine, "--candidates", 2, "--chunk", 4)
    refused = bwlm("partition", *options)
    assert refused.exit_code == 2
    assert "has not been evaluated" in refused.stderr
    assert bwlm("evaluate", run, "--chunk", 4).exit_code == 0
    shown = bwlm("partition", *options)
    assert shown.exit_code == 0, shown.output
    for words in ("explained variance (mean R2 over", "unique model", "with mine", "beyond mel", "gain"):
        assert words in shown.stdout
    folder = run / "partition"
    assert (folder / "partition.png").read_bytes()[:4] == b"\x89PNG"
    summary = json.loads((folder / "summary.json").read_text())
    with h5py.File(folder / "voxels.hf5") as file:
        assert list(file.attrs["spaces"]) == ["model", "mel", "mine"]
        full, weights = file["tuned/full"][:], file["tuned/weights"][:]
        ac = file["voxel_sets/ac"][:]
    assert np.isnan(full[[NAN_VOXEL, CONSTANT_VOXEL]]).all()
    assert weights.shape == (3, N_VOXELS)
    used = ac & np.isfinite(full)
    assert summary["sets"]["ac"]["tuned"]["full"]["value"] == pytest.approx(full[used].mean())
    again = bwlm("partition", *options, "--json")
    assert "nothing to do" in again.stderr
    assert json.loads(again.stdout) == summary
    other = bwlm("partition", *options, "--seed", 1)
    assert other.exit_code == 2
    assert "holds results of other settings" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--chunk", "4", "--spaces", "tone"], "--spaces: 'tone' is unknown; there are timing, phones."),
        (["--chunk", "4", "--spaces", "phones"], "TextGrid"),
        (["--chunk", "4", "--target", "nowhere.hf5"], "nowhere.hf5"),
        (["--chunk", "4"], "TextGrid"),
        (["--spaces", "", "--memory-gb", "0"], "--memory-gb"),
        (["--spaces", ""], "use a smaller chunk_length"),
    ],
)
def test_bad_use_is_one_sentence(run: Path, arguments: list[str], message: str) -> None:
    (run / "evaluation").mkdir()
    (run / "evaluation" / "summary.json").write_text('{"best_epoch": 1}')
    result = bwlm("partition", run, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("bwlm: ")
    assert "Traceback" not in result.output
    assert not (run / "partition").exists()
