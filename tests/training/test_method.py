"""Training against the method written out plainly: features, losses, gradients, in both presets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import WavLMModel

from brainwavlm_fast.config import preset
from brainwavlm_fast.model import BrainWavLM, Story, cache_front_end
from brainwavlm_fast.training.losses import training_loss
from tests.helpers import method
from tests.helpers.tiny import randomise_lora

METHODS = {"paper": method.PAPER, "authors-release": method.AUTHORS_RELEASE}
N_TRS, N_VOXELS = 7, 37
PREFIX = "encoder.wavlm.base_model.model."


class Case:
    """A model in a preset, in float64, and what the oracle makes of its tensors."""

    def __init__(self, folder, name):
        torch.manual_seed(0)
        self.method, (config, self.train) = METHODS[name], preset(name)
        # WavLM's own random regularizers are off; LoRA's dropout is the preset's, which the release does not have.
        sizes = {"layer": self.method.layer, "bottleneck": 5, "stride": self.method.stride / method.RATE}
        config = replace(config, model=str(folder), regularizers=False, **sizes)
        if name == "paper":
            config = replace(config, lora_dropout=0.0)
        self.model = BrainWavLM(config, N_VOXELS).double().train()
        randomise_lora(self.model)
        rng = np.random.default_rng(3)
        self.audio = rng.standard_normal(16_000 * 38 + 700).astype(np.float32)
        self.measured = torch.from_numpy(rng.standard_normal((N_TRS, N_VOXELS)))
        self.story = Story(self.audio, N_TRS, config, for_training=True)
        self.story.audio = self.story.audio.double()
        cache_front_end(self.model.encoder, self.story)
        self.leaves = {n: p.detach().clone().requires_grad_() for n, p in self.model.named_parameters() if trains(n)}
        lora = {n.removeprefix(PREFIX): t for n, t in self.leaves.items() if "lora_" in n}
        self.lora = {
            n.replace(".lora_A.default.weight", ".A").replace(".lora_B.default.weight", ".B"): t
            for n, t in lora.items()
        }
        self.readout = [self.leaves[f"readout.layers.{k}.{part}"] for k in (0, 1) for part in ("weight", "bias")]
        wavlm = WavLMModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        self.windows = method.window_features(self.method, wavlm, self.lora, torch.from_numpy(self.audio).double())

    def expected(self, kind, block):
        wanted = method.rows_of_block(self.method, block)
        rows = method.tr_features(self.method, *self.windows, wanted)
        predicted = method.predict(self.method, dict(zip(wanted, rows, strict=True)), self.readout, block)
        return method.loss(kind, predicted, self.measured[block.start : block.stop])


def trains(name):
    return "lora_" in name or name.startswith("readout")


@pytest.fixture(scope="module", params=METHODS)
def case(request, tiny_wavlm):
    return Case(tiny_wavlm, request.param)


def test_features_are_those_of_the_method(case):
    times, features = case.windows
    rows = method.tr_features(case.method, times, features, range(-4, N_TRS))
    first = case.story.context
    windows, weights = case.story.rows(first - 4, first + N_TRS)
    with torch.no_grad():
        found = weights @ case.model.encoder.encode(case.story, windows)
    assert (found - rows).abs().max() <= 1e-12 * rows.abs().max()


@pytest.mark.parametrize(
    ("kind", "block"), [("voxels", range(4)), ("voxels", range(3, 7)), ("time", range(3, 7)), ("mse", range(4))]
)
def test_losses_and_gradients_are_those_of_the_method(case, kind, block):
    predicted = case.model(case.story, block.start, block.stop, with_context=case.train.block_context)
    loss = training_loss(kind, predicted, case.measured[block.start : block.stop])
    parameters = {n: p for n, p in case.model.named_parameters() if p.requires_grad}
    assert parameters.keys() == case.leaves.keys()
    ours = torch.autograd.grad(loss, list(parameters.values()))
    expected = case.expected(kind, block)
    theirs = torch.autograd.grad(expected, list(case.leaves.values()), retain_graph=True)
    assert abs(loss.item() - expected.item()) <= 1e-12 * abs(expected.item())
    for name, found, wanted in zip(parameters, ours, theirs, strict=True):
        scale = wanted.abs().max()
        if "lora_" in name:
            assert scale > 1e-6, name
        # A correlation over time does not change with a bias: what is left of its gradient is rounding.
        assert (found - wanted).abs().max() <= 1e-12 * scale + 1e-15, name
