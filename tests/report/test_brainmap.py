"""The interactive map: unpacked as the page's script does, it is the view, the values and the names that went in."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from brainwavlm_fast.anatomy import voxel_set
from brainwavlm_fast.data import find_dataset
from brainwavlm_fast.figures.brains import Brain, VoxelMap
from brainwavlm_fast.figures.drawn import load_overlay
from brainwavlm_fast.figures.views import BrainView, open_view
from brainwavlm_fast.report.brainmap import VoxelNames, encode_map, mean_by_region, pack_pixels


def unpack(packed, kind):
    return np.frombuffer(base64.b64decode(packed), kind)


def unpack_pixels(packed):
    runs = unpack(packed, "<u4")
    return np.repeat(runs >> 8, runs & 255)


@pytest.fixture(scope="module")
def brain(planted_tree, tmp_path_factory):
    dataset = find_dataset(planted_tree[0])
    view = open_view(dataset, "UTS01", width=320, cache=tmp_path_factory.mktemp("views"))
    return Brain(dataset, view, load_overlay(dataset, "UTS01")[0], ())


def test_what_is_packed_comes_out(brain, planted_tree):
    values = np.random.default_rng(0).uniform(-1, 1, 800)
    values[3] = np.nan
    names = VoxelNames(brain, "UTS01", 800)
    before = values / 2
    maps = [VoxelMap("gain", "a title", "a unit", values, before), VoxelMap("tuned", "another", "a unit", values)]
    data = json.loads(json.dumps(encode_map(brain, maps, before, names), allow_nan=False))
    pixels = unpack_pixels(data["pixels"]).reshape(data["height"], data["width"]).astype(np.int64)
    assert ((pixels == 0xFFFFFF) == (brain.view.vertices < 0)).all()
    inside = brain.view.vertices >= 0
    assert (pixels[inside] - 1 == brain.view.voxels[inside]).all()
    assert [(m["scores"], m["minus"], m["colors"]) for m in data["maps"]] == [(0, 1, "RdBu_r"), (0, None, "viridis")]
    assert (len(data["scores"]), data["pretrained"]) == (2, 1)
    assert [m["centered"] for m in data["maps"]] == [True, False]
    assert data["legend"]["filtered"]["gray"] == "not shown (no pre-trained r above LEVEL, or no voxel)"
    assert data["legend"]["unfiltered"] == {"white": "no change", "gray": "no value, or no voxel"}
    for packed, expected in zip(data["scores"], (values, before), strict=True):
        steps = unpack(packed, "<i2")
        assert steps[3] == -32768
        np.testing.assert_allclose(steps[4:] * data["step"], expected[4:], atol=data["step"] / 2 + 1e-12)
    labels = [data["labels"][k] for k in unpack(data["label"], "<u2")]
    assert len(labels) == 800
    dataset = brain.dataset
    lh, drawn = voxel_set(dataset, "UTS01", "lh"), voxel_set(dataset, "UTS01", "svg:AC")
    for voxel, label in enumerate(labels):
        assert label.split(", ")[0] == ("left" if lh[voxel] else "right")
        assert ("AC" in label.split(", ")) == drawn[voxel]


def test_long_runs_are_cut(brain):
    voxels = np.repeat(np.array([5, -1, 70_000, 5], np.int32), [1000, 255, 256, 1]).reshape(1, -1)
    inside = np.ones(voxels.shape, bool)
    inside[0, -1] = False
    found = np.repeat(pack_pixels(voxels, inside) >> 8, pack_pixels(voxels, inside) & 255)
    expected = np.where(inside, voxels + 1, 0xFFFFFF).ravel()
    assert (found == expected).all()


def test_means_by_region(brain):
    names = VoxelNames(brain, "UTS01", 800)
    left, ac = voxel_set(brain.dataset, "UTS01", "lh"), voxel_set(brain.dataset, "UTS01", "svg:AC")
    values = np.where(left & ac, 0.5, 0.1)
    values[np.flatnonzero(left & ac)[0]] = np.nan
    rows = {row[0]: row for row in mean_by_region(names, [("tuned", values)])}
    assert rows["left AC"][1:] == [f"{(left & ac).sum() - 1}", "0.500"]
    assert rows["right AC"][2] == "0.100"
    assert {"left", "right", "left G_precentral"} <= set(rows)


def test_a_subject_without_anatomy_has_no_names(brain, small_tree):
    known = Brain(find_dataset(small_tree), brain.view, brain.overlay, ())
    names = VoxelNames(known, "UTS01", 800)
    assert names.labels == [""]
    assert "Voxels have no names" in names.missing[0]


def test_maps_of_four_runs_at_full_width_are_small(brain):
    """Three subjects must stay below 10 MB. 95,556 voxels, and runs of five pixels on a picture of 1000 x 600."""
    n = 95_556
    rng = np.random.default_rng(0)
    seen = np.repeat(rng.integers(0, n, 120_000), 5).reshape(600, 1000).astype(np.int32)
    gray = rng.choice(np.array([158, 209], np.uint8), seen.shape)
    view = BrainView("flat", seen, gray, np.arange(n, dtype=np.int32), n // 2, 1.0, np.zeros((2, 2)))
    names = VoxelNames.__new__(VoxelNames)
    names.labels, names.of_voxels = [""], np.zeros(n, np.int64)
    before, *runs = rng.uniform(-0.2, 0.8, (5, n))
    maps = [VoxelMap("m", "t", "u", run, minus) for run in runs for minus in (None, before, *runs)]
    whole = json.dumps(encode_map(Brain(brain.dataset, view, brain.overlay, ()), maps, before, names))
    assert len(whole) < 3.2e6
