"""What a pass draws once: layers dropped and SpecAugment's masks, as transformers draws them for one batch."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import torch
from transformers import WavLMModel

from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.model import Encoder, Story
from brainwavlm_fast.model.draws import draw
from tests.helpers.tiny import open_encoder, save_tiny, tiny_config

RANDOM = {"layerdrop": 0.5, "mask_time_prob": 0.4, "mask_feature_prob": 0.3, "mask_feature_length": 4}
QUIET = {f"{name}_dropout": 0.0 for name in ("hidden", "activation", "attention", "feat_proj")}
WAVES = torch.randn(20, 8000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("wavlm"), **RANDOM, **QUIET)


def seeded(function, seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    return function()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_batch_passes_one_subnetwork_that_of_transformers(folder, seed, recompute):
    """20 windows: three groups on a CPU. The same seeds give what transformers computes of them in one forward."""
    encoder = open_encoder(folder, layer=4, finetune="lora", lora_dropout=0.0).double().train()
    encoder.recompute = recompute
    theirs = WavLMModel.from_pretrained(folder, attn_implementation="eager").double().train()
    theirs.config.mask_feature_min_masks = 0  # which WavLM's configuration lacks, and its forward pass reads
    expected = seeded(lambda: theirs(WAVES).last_hidden_state[:, 0], seed)
    found = seeded(lambda: encoder(WAVES), seed)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    found.square().sum().backward()  # recomputed as it was


def test_layers_are_dropped_as_often_as_transformers_drops_them(folder):
    theirs = WavLMModel.from_pretrained(folder).train()
    passed: list[int] = []
    for number, layer in enumerate(theirs.encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: passed.append(number))
    counts = {"ours": collections.Counter(), "theirs": collections.Counter()}
    torch.manual_seed(0)
    hidden = torch.zeros(1, 12, 32)
    for _ in range(2000):
        counts["ours"][draw(tiny_config(layerdrop=0.5), 4, np.array([12])).dropped_layers] += 1
        passed.clear()
        theirs.encoder(hidden)
        counts["theirs"][frozenset(range(4)) - frozenset(passed)] += 1
    assert counts["ours"].keys() == counts["theirs"].keys()
    assert len(counts["ours"]) == 8  # every choice among the upper three, the first is never dropped
    for found in counts.values():
        chi_squared = sum((n - 250) ** 2 / 250 for n in found.values())
        assert chi_squared < 24.3  # p = .001 at 7 degrees of freedom


def test_windows_of_a_block_share_dropped_layers_and_have_masks_of_their_own(folder):
    config = ModelConfig(model=str(folder), layer=4, stride=1.0, lora_dropout=0.0)
    encoder = Encoder(config).train()
    story = Story(
        np.random.default_rng(0).standard_normal(16_000 * 40).astype(np.float32), 15, config, for_training=True
    )
    windows = np.arange(story.plan.n_windows)
    draws = seeded(lambda: encoder.draw(story.plan.lengths[windows]), 3)
    assert len(set(map(len, draws.frames))) > 1  # short windows at the start
    assert 0.05 < np.concatenate(draws.frames).mean() < 0.4
    assert 0.05 < np.concatenate(draws.channels).mean() < 0.3
    whole = encoder.encode(story, windows, draws=draws)
    parts = [encoder.encode(story, windows[k::2], draws=draws.take(range(k, len(windows), 2))) for k in (0, 1)]
    for k, part in enumerate(parts):  # however they are divided
        torch.testing.assert_close(part, whole[k::2], rtol=1e-4, atol=1e-5)


def test_nothing_is_drawn_in_evaluation_or_where_the_model_says_so():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.random.get_rng_state(), np.random.get_state()[2]
    quiet = tiny_config(layerdrop=0.0, mask_time_prob=0.0)
    assert draw(quiet, 4, np.array([12, 12])).dropped_layers == frozenset()
    off = draw(tiny_config(layerdrop=0.0, mask_time_prob=0.9, apply_spec_augment=False), 4, np.array([12]))
    assert not off.frames
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[2] == before[1]
