"""A kept front end is the one that would be computed, wherever it is kept, and never another model's or story's."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.data import SAMPLE_RATE
from brainwavlm_fast.errors import ConfigError
from brainwavlm_fast.model import BrainWavLM, Encoder, Story, cache_front_end, cache_front_ends, front_bytes
from brainwavlm_fast.progress import Progress
from tests.helpers.tiny import save_tiny

N_TRS = 8


class Said(Progress):
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return ModelConfig(model=str(save_tiny(tmp_path_factory.mktemp("wavlm"))), layer=2, stride=0.5, bottleneck=0)


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return BrainWavLM(config, 5).eval()


def sound(seed=0):
    return np.random.default_rng(seed).standard_normal(32 * SAMPLE_RATE).astype(np.float32)


def a_story(config, seed=0):
    return Story(sound(seed), N_TRS, config, for_training=True)


def keep(stories, encoder, folder, *, dtype="fp16", limit_gb=4.0, progress=None):
    return cache_front_ends(
        encoder, stories, limit_gb=limit_gb, folder=folder, dtype=dtype, progress=progress or Progress()
    )


@pytest.fixture
def counted(monkeypatch):
    """How many windows went through the convolutions."""
    seen = []
    real = Encoder.front_end

    def front_end(self, waveforms):
        seen.append(len(waveforms))
        return real(self, waveforms)

    monkeypatch.setattr(Encoder, "front_end", front_end)
    return seen


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_features_are_those_of_a_front_end_computed_now(model, config, tmp_path, counted, dtype, where):
    story = a_story(config)
    before = model.encode_story(story)
    kept = keep({"a": story}, model.encoder, tmp_path / "cache" if where == "disk" else None, dtype=dtype)
    assert kept.where == where
    assert kept.gib * 2**30 == front_bytes(model.encoder, story, dtype) == story.front_cache.frames.nbytes
    counted.clear()
    after = model.encode_story(story)
    assert counted == []
    if dtype == "fp32":
        assert torch.equal(after, before)
    else:
        assert 0 < (after - before).norm() / before.norm() < 1e-3


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_disk_and_memory_hold_the_same(model, config, tmp_path, dtype):
    in_memory, on_disk, again = (a_story(config) for _ in range(3))
    keep({"a": in_memory}, model.encoder, None, dtype=dtype)
    for story in (on_disk, again):
        keep({"a": story}, model.encoder, tmp_path, dtype=dtype)
        assert torch.equal(story.front_cache.frames, in_memory.front_cache.frames)


def test_training_with_dropout_and_specaugment_is_the_same(model, config):
    """What is kept lies before everything random, so that a step draws the same numbers."""
    results = []
    for kept in (False, True):
        story = a_story(config)
        if kept:
            cache_front_end(model.encoder, story)
        model.train()
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002 - transformers' SpecAugment draws from it
        results.append(model(story, 1, 6))
    assert torch.equal(*results)


def test_a_second_run_computes_nothing(model, config, tmp_path, counted):
    stories = {"a": a_story(config), "b": a_story(config, 1)}
    keep(stories, model.encoder, tmp_path)
    n_windows = sum(story.plan.n_windows for story in stories.values())
    assert sum(counted) == n_windows
    counted.clear()
    said = Said()
    keep({"a": a_story(config), "b": a_story(config, 1)}, model.encoder, tmp_path, progress=said)
    assert counted == []
    assert "of which 0.0 GiB are still to be computed" in said.lines[0]


def test_a_build_that_was_stopped_goes_on(model, config, tmp_path, monkeypatch, counted):
    stories = {"a": a_story(config), "b": a_story(config, 1)}
    real, done = Encoder.front_ends, []

    def dies(self, *args, **kwargs):
        for k, batch in enumerate(real(self, *args, **kwargs)):
            if done and k:
                raise KeyboardInterrupt
            yield batch
        done.append(self)

    monkeypatch.setattr(Encoder, "front_ends", dies)
    with pytest.raises(KeyboardInterrupt):
        keep(stories, model.encoder, tmp_path)
    monkeypatch.setattr(Encoder, "front_ends", real)
    assert len(list(tmp_path.iterdir())) == 1  # the first story, and nothing of the second
    counted.clear()
    keep(stories, model.encoder, tmp_path)
    assert sum(counted) == stories["b"].plan.n_windows


@pytest.mark.parametrize("change", ["weights", "audio", "windows", "type"])
def test_what_is_of_something_else_is_not_used(model, config, tmp_path, counted, change):
    keep({"a": a_story(config)}, model.encoder, tmp_path)
    counted.clear()
    dtype, story = "fp16", a_story(config)
    if change == "weights":
        with torch.no_grad():
            model.encoder.base.feature_extractor.conv_layers[3].conv.weight[0, 0, 0] += 1e-3
    elif change == "audio":
        audio = sound()
        audio[1000] += 1e-3
        story = Story(audio, N_TRS, config, for_training=True)
    elif change == "windows":
        story = a_story(replace(config, stride=0.25))
    else:
        dtype = "fp32"
    keep({"a": story}, model.encoder, tmp_path, dtype=dtype)
    assert sum(counted) == story.plan.n_windows
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "not one", "another's attributes", "another shape"])
def test_a_damaged_file_is_made_again(model, config, tmp_path, counted, damage):
    story = a_story(config)
    keep({"a": story}, model.encoder, tmp_path)
    expected = story.front_cache.frames.clone()
    (path,) = tmp_path.iterdir()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "not one":
        path.write_bytes(b"hello")
    else:
        with h5py.File(path, "a") as file:
            if damage == "another shape":
                frames = file["frames"][:-1]
                del file["frames"]
                file["frames"] = frames
            else:
                file.attrs["head"] = "{}"
    counted.clear()
    fresh = a_story(config)
    keep({"a": fresh}, model.encoder, tmp_path)
    assert sum(counted) == fresh.plan.n_windows
    assert torch.equal(fresh.front_cache.frames, expected)


def test_what_does_not_fit_in_memory_is_said(model, config):
    said, story = Said(), a_story(config)
    kept = keep({"a": story}, model.encoder, None, limit_gb=1e-6, progress=said)
    assert kept.where == "no"
    assert story.front_cache is None
    assert "--cache-dir keeps it on disk" in said.lines[0]


def test_a_disk_without_room_is_refused_before_anything_is_built(model, config, tmp_path, monkeypatch, counted):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(ConfigError, match="still to be written and 0.0 GiB are free"):
        keep({"a": a_story(config)}, model.encoder, tmp_path / "new" / "folder")
    assert counted == []
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_kept_when_every_weight_is_trained(config, tmp_path):
    encoder = Encoder(replace(config, finetune="full"))
    assert keep({"a": a_story(config)}, encoder, tmp_path).where == "no"
    assert list(tmp_path.iterdir()) == []
