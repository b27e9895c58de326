"""The blocks of an epoch: their order, and which of them carry a gradient."""

from __future__ import annotations

import random
import shutil

import pytest

from brainwavlm_fast.config import RunConfig, preset
from brainwavlm_fast.data import Dataset
from brainwavlm_fast.errors import BwlmError, DataError
from brainwavlm_fast.progress import Progress
from brainwavlm_fast.training import start_run
from brainwavlm_fast.training.training_data import choose_voxels, open_training_data


def opened(root, tiny_wavlm, name="paper", **changes):
    config = RunConfig(str(root), name, *preset(name))
    changes |= {"model": str(tiny_wavlm), "layer": 2, "stride": 1.0, "validation": ("fromboyhoodtofatherhood",)}
    config = config.with_settings(changes)
    dataset = Dataset(root)
    return open_training_data(config, dataset, *choose_voxels(config, dataset, Progress()), Progress())


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({}, 1),
        ({"loss": "time"}, 3),  # r over two TRs is 1 or -1: no gradient
        ({"block_context": False}, 2),  # a z-scored row alone is 0: none for the encoder
    ],
)
def test_no_step_is_taken_on_a_block_without_a_gradient(small_tree, tiny_wavlm, changes, least):
    story = "avatar"
    n_trs = Dataset(small_tree).n_trs(story)
    for tail in (1, 2, 3):
        data = opened(small_tree, tiny_wavlm, block_size=(n_trs - tail) // 2, **changes)
        rest = n_trs % data.blocks[0].n_trs or data.blocks[0].n_trs
        ends = [b.n_trs for b in data.blocks if b.story == story][-1]
        assert all(b.n_trs >= least for b in data.blocks)
        assert (ends == rest) == (rest >= least)


def test_the_authors_order_of_stories_is_pythons_shuffle_of_seed_42(small_tree, tiny_wavlm):
    data = opened(small_tree, tiny_wavlm, "authors-release", clock="sound")  # the sound ends before theirs
    expected = sorted(data.split.train)
    random.seed(42)
    random.shuffle(expected)
    assert list(dict.fromkeys(b.story for b in data.blocks)) == expected


def test_stories_too_short_for_any_block_are_refused(small_tree, tiny_wavlm):
    with pytest.raises(DataError, match="no training story has 2 TRs in a block"):
        opened(small_tree, tiny_wavlm, block_size=1, block_context=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 40}, "layer is 40, but"),
        ({"model": "no/such/model"}, "no such folder"),
        ({"roi": "nowhere"}, "nowhere"),
        ({"more_subjects": ("UTS02",), "roi": "a2009s:no_parcel"}, "no_parcel"),
    ],
)
def test_responses_are_read_last(two_subjects, tiny_wavlm, tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr("brainwavlm_fast.training.training_data.unusable_voxels", pytest.fail)
    values = {"model": str(tiny_wavlm), "layer": 2, "validation": ("fromboyhoodtofatherhood",)} | changes
    with pytest.raises(BwlmError, match=message):
        start_run(tmp_path / "run", RunConfig(str(two_subjects)).with_settings(values))


def test_sound_that_is_not_there_is_found_before_responses_are_read(small_tree, tiny_wavlm, tmp_path, monkeypatch):
    tree = shutil.copytree(small_tree, tmp_path / "tree")
    (tree / "stimuli/avatar.wav").unlink()
    monkeypatch.setattr("brainwavlm_fast.training.training_data.unusable_voxels", pytest.fail)
    with pytest.raises(DataError, match=r"avatar\.wav is missing"):
        opened(tree, tiny_wavlm)
