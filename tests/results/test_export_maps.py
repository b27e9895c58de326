"""``bwlm export``: an evaluation's numbers as maps."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from brainwavlm_fast.anatomy import vertex_voxels, voxel_space
from brainwavlm_fast.cli.main import app
from brainwavlm_fast.data import Dataset
from tests.helpers.run_folder import N_VOXELS
from tests.helpers.volume import read_volume


@pytest.fixture
def evaluated(run: Path) -> Path:
    """The run, with the file of an evaluation."""
    rng = np.random.default_rng(1)
    (run / "evaluation").mkdir()
    with h5py.File(run / "evaluation/voxels.hf5", "w") as file:
        for name in ("pretrained", "tuned"):
            file[f"encoding/{name}"] = rng.standard_normal(N_VOXELS)
        file["curve/test"] = np.zeros((2, N_VOXELS))
        file["voxel_sets/lh"] = np.arange(N_VOXELS) < 18
    return run


def export(*arguments: object):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_nifti_by_default(evaluated: Path, tree: Path) -> None:
    result = export(evaluated, "--json")
    assert result.exit_code == 0, result.output
    files = [Path(path) for path in json.loads(result.stdout)["files"]]
    assert [path.name for path in files] == [
        "UTS02-gain.nii.gz", "UTS02-encoding-pretrained.nii.gz", "UTS02-encoding-tuned.nii.gz",
    ]  # fmt: skip
    space = voxel_space(Dataset(tree), "S02")
    gain, before, after = (read_volume(path, space) for path in files)
    with h5py.File(evaluated / "evaluation/voxels.hf5") as file:
        np.testing.assert_array_equal(before, file["encoding/pretrained"][:])
        np.testing.assert_array_equal(after, file["encoding/tuned"][:])
    np.testing.assert_array_equal(gain, after - before)
    about = json.loads((evaluated / "evaluation/maps/UTS02-gain.json").read_text())
    assert (about["map"], about["subject"]) == ("gain", "UTS02")
    assert "nibabel" in about["provenance"]["versions"]


def test_gifti_of_a_surface(evaluated: Path, tree: Path, tmp_path: Path) -> None:
    result = export(evaluated, "--as", "gifti", "--surface", "flat", "--what", "voxel_sets/lh", "--out", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(tmp_path / f"m/UTS02-voxel_sets-lh.{side}.func.gii") for side in ("lh", "rh")]
    for side, expected in (("lh", 1), ("rh", 0)):
        shown = nibabel.load(tmp_path / f"m/UTS02-voxel_sets-lh.{side}.func.gii").agg_data()
        columns = vertex_voxels(Dataset(tree), "S02", side)
        assert (columns >= 0).any()
        assert (shown[columns >= 0] == expected).all()
        assert nibabel.load(tmp_path / f"m/UTS02-flat.{side}.surf.gii").agg_data("pointset").shape == (len(columns), 3)
    more = export(evaluated, "--as", "gifti", "--surface", "flat", "--what", "gain", "--out", tmp_path / "m")
    assert more.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--as", "png"], "--as is 'png'"),
        (["--what", "encoding/tund"], "has no map 'encoding/tund': did you mean encoding/tuned"),
        (["--what", "curve/test"], "has no map 'curve/test'"),
        (["--as", "gifti", "--surface", "white"], "unknown surface 'white'"),
        (["--evaluation", "other"], "run `bwlm evaluate"),
    ],
)
def test_bad_input(evaluated: Path, arguments: list[str], says: str) -> None:
    result = export(evaluated, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (evaluated / "evaluation/maps").exists()


def test_maps_are_never_overwritten(evaluated: Path) -> None:
    assert export(evaluated).exit_code == 0
    before = (evaluated / "evaluation/maps/UTS02-gain.nii.gz").read_bytes()
    again = export(evaluated)
    assert again.exit_code == 2
    assert "exists; nothing was written" in again.stderr
    assert (evaluated / "evaluation/maps/UTS02-gain.nii.gz").read_bytes() == before


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    result = export(tmp_path)
    assert result.exit_code == 2
    assert "is not a run" in result.stderr
