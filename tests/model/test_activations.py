"""Activations computed again give the same numbers as kept ones; the estimate of a step's memory is what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.model import BrainWavLM, Encoder, Story, activations, step_memory, story_features
from brainwavlm_fast.model.activations import StepMemory, frames_at_once, stored_bytes
from brainwavlm_fast.training.losses import training_loss
from brainwavlm_fast.training.randomness import keyed
from tests.helpers.tiny import large_layout, randomise_lora, save_tiny

AUDIO = np.random.default_rng(0).standard_normal(45 * 16_000).astype(np.float32)
MEASURED = torch.from_numpy(np.random.default_rng(1).standard_normal((10, 23), dtype=np.float32))


@pytest.mark.parametrize(
    ("layout", "changes", "precision"),
    [
        ({}, {}, "fp32"),
        ({}, {"token": "last"}, "bf16"),
        (large_layout(), {"token": "mean"}, "fp32"),
        ({}, {"finetune": "full"}, "bf16"),
    ],
)
def test_computed_again_is_the_same_to_the_last_bit(tmp_path, layout, changes, precision):
    """Dropout, LoRA's dropout, layer drop and SpecAugment draw the same numbers the second time."""
    folder = save_tiny(tmp_path / "wavlm", **(layout | {"layerdrop": 0.3}))
    config = replace(ModelConfig(model=str(folder), layer=3, stride=1.0, bottleneck=5), **changes)
    results = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = BrainWavLM(config, 23).train()
        randomise_lora(model)
        model.encoder.use_precision(precision)
        model.encoder.recompute = recompute
        story = Story(AUDIO, 14, config, for_training=True)
        gradients = []
        for step in range(2):
            model.zero_grad()
            with keyed(0, step):
                loss = training_loss("voxels", model(story, 2, 12), MEASURED)
                loss.backward()
                after = torch.rand(())  # whoever draws next is not disturbed either
            gradients += [loss.detach(), after, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
        results.append(gradients)
    assert len(results[0]) > 20
    for kept, again in zip(*results, strict=True):
        assert torch.equal(kept, again)


def test_what_a_window_keeps_is_measured_without_leaving_a_trace(tmp_path):
    config = ModelConfig(model=str(save_tiny(tmp_path / "wavlm")), layer=3, bottleneck=5)
    model = BrainWavLM(config, 23).train()
    settings = dict(model.encoder.base.config.to_dict())
    state = torch.get_rng_state()
    training = stored_bytes(model.encoder, 199)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.encoder.base.config.to_dict() == settings
    assert training == stored_bytes(model.encoder, 199)
    assert 0 < stored_bytes(model.eval().encoder, 199) < training  # no masks
    frozen = BrainWavLM(replace(config, finetune="frozen"), 23)
    assert stored_bytes(frozen.encoder, 199) == 0


def test_keeping_is_chosen_when_four_fifths_of_what_is_free_hold_it():
    needed = StepMemory(keep=800, recompute=100)
    assert needed.choose(1000) == "off"
    assert needed.choose(999) == "on"


MEASURE = """
import gc, json, sys
import numpy as np, torch
from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.memory import peak_memory
from brainwavlm_fast.model import BrainWavLM, Story, cache_front_end, step_memory
from brainwavlm_fast.training.losses import training_loss

def now():
    return 1024 * int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])

torch.set_num_threads(1)
config = ModelConfig(model=sys.argv[1], layer=4, stride=1.0, bottleneck=20)
model = BrainWavLM(config, 1000).train()
story = Story(np.random.default_rng(0).standard_normal(50 * 16000).astype(np.float32), 16, config, for_training=True)
cache_front_end(model.encoder, story)
measured = torch.randn(10, 1000)
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
n_windows = len(story.rows(*model.block_span(story, 6, 16, with_context=True)[:2])[0])
needed = step_memory(model.encoder, model, n_windows=n_windows, n_samples=64000)
took = {}
for memory in ("recompute", "keep"):
    model.encoder.recompute = memory == "recompute"
    gc.collect()
    open("/proc/self/clear_refs", "w").write("5")
    before = now()
    training_loss("voxels", model(story, 6, 16), measured).backward()
    optimizer.step()
    took[memory] = peak_memory() - before
print(json.dumps({"n_windows": n_windows, "needed": vars(needed), "took": took}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory can be reset on Linux alone")
def test_the_estimate_is_what_a_step_takes(tmp_path):
    folder = save_tiny(
        tmp_path / "wavlm",
        hidden_size=128,
        num_hidden_layers=4,
        intermediate_size=512,
        conv_dim=(32,) * 7,
        layerdrop=0.0,
    )
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)], check=True, capture_output=True, text=True, env=environment
    )
    found = json.loads(done.stdout)
    for memory in ("keep", "recompute"):
        assert 0.75 <= found["took"][memory] / found["needed"][memory] <= 1.15, found
    assert found["took"]["recompute"] < 0.5 * found["took"]["keep"]


def test_the_papers_step_fits_a_small_gpu_when_computed_again(tmp_path):
    """121 windows at Base+'s width, estimated from two layers; what a window keeps grows with the layers."""
    folder = save_tiny(
        tmp_path / "wavlm",
        hidden_size=768,
        num_attention_heads=12,
        intermediate_size=3072,
        num_hidden_layers=2,
        conv_dim=(512,) * 7,
        num_conv_pos_embeddings=128,
        num_conv_pos_embedding_groups=16,
    )
    model = BrainWavLM(ModelConfig(model=str(folder), layer=2), 90_000).train()
    one_layer = step_memory(model.encoder, model, n_windows=121, n_samples=64_000)
    assert one_layer.recompute < one_layer.keep
    nine = one_layer.recompute + 7 * 16 * stored_bytes(model.encoder, 199)
    assert nine < 0.8 * 8 * 2**30


def test_what_goes_through_together_follows_free_memory_and_changes_no_feature(tmp_path, monkeypatch):
    config = ModelConfig(model=str(save_tiny(tmp_path / "wavlm")), layer=2, stride=0.5, finetune="frozen")
    encoder = Encoder(config, all_layers=True).eval()
    story = Story(AUDIO, 14, config, for_training=False)
    real, batches, features, at_once = Encoder.layer_features, [], [], []

    def watched(self, front, layers):
        batches.append(front.shape[0] * front.shape[1])
        return real(self, front, layers)

    monkeypatch.setattr(Encoder, "layer_features", watched)
    for free in (10**10, 10**7, 1):
        batches.clear()
        monkeypatch.setattr(activations, "free_memory", lambda device, free=free: free)
        features.append(story_features(encoder, story, layers=[0, 2]))
        at_once.append(frames_at_once(encoder, 199))
        assert max(batches) <= at_once[-1]
    assert at_once[0] == 12_800 > at_once[1] > at_once[2] == 199  # a window is the least
    for other in features[1:]:
        torch.testing.assert_close(other, features[0], rtol=1e-5, atol=5e-6)  # MKL's sums depend on the batch
