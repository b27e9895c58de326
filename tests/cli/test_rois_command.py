from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app


def rois(*arguments):
    return CliRunner().invoke(app, ["rois", *map(str, arguments)])


def test_every_set_with_its_size(planted_tree):
    root, anatomy = planted_tree
    found = json.loads(rois("--subject", "S02", "--data", root, "--json").stdout)
    assert found["subject"] == "UTS02"
    sizes = found["sets"]
    assert (sizes["all"], sizes["lh"], sizes["rh"], sizes["ac"], sizes["nonac"]) == (800, 400, 400, 200, 600)
    assert sizes["svg:AC"] == anatomy.ac.sum()
    assert sizes["a2009s:Medial_wall"] == 0
    assert (found["neither"], found["both"], found["missing"]) == (0, 0, {})
    shown = rois("--subject", "S02", "--data", root)
    assert shown.exit_code == 0
    for words in ("Voxel sets of UTS02", "a2009s:S_temporal_sup", "aparc:transversetemporal", "svg:AC", "both"):
        assert words in shown.stdout


def test_the_size_of_an_expression(planted_tree):
    found = rois("--subject", "1", "--data", planted_tree[0], "--roi", "rh - ac", "--json")
    assert json.loads(found.stdout) == {"subject": "UTS01", "roi": "rh - ac", "n_voxels": 300, "n_all": 800}
    assert (
        "rh - ac: 300 of 800 voxels of UTS01"
        in rois("--subject", "1", "--data", planted_tree[0], "--roi", "rh - ac").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--subject", "S09"], "unknown subject"),
        (["--subject", "S01", "--roi", "lhs"], "did you mean lh?"),
        (["--subject", "S01", "--roi", ""], "the voxel set is empty"),
        (["--subject", "S01", "--roi", "lh & rh"], "holds no voxel"),
    ],
)
def test_bad_input_is_one_sentence(planted_tree, arguments, says):
    result = rois(*arguments, "--data", planted_tree[0])
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_transform_that_is_not_this_surfaces(planted_tree, tmp_path):
    root = shutil.copytree(planted_tree[0], tmp_path / "tree")
    assert "warning" not in rois("--subject", "S01", "--data", root).stdout
    path = root / "derivative/pycortex-db/UTS01/transforms/UTS01_auto/matrices.xfm"
    coord = np.array(json.loads(path.read_text())["coord"])
    coord[:3, 3] += 6
    path.write_text(json.dumps({"coord": coord.tolist()}))
    shown = rois("--subject", "S01", "--data", root)
    assert shown.exit_code == 0
    assert "warning: mask_thick reaches 8 mm" in shown.stdout
