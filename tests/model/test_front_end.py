"""WavLM's convolutions as products: transformers' own numbers, for every length, layout and sound."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import WavLMModel

from brainwavlm_fast.model import front_end, products
from tests.helpers.tiny import large_layout, tiny_config

LAYOUTS = {"base": {}, "large": large_layout(), "another activation": {"feat_extract_activation": "relu"}}
SOUNDS = {
    "noise": lambda wave: wave,
    "an offset": lambda wave: 0.01 * wave + 3.0,
    "quiet": lambda wave: 1e-4 * wave,
    "half silence": lambda wave: wave * (torch.arange(wave.shape[1]) < wave.shape[1] // 2),
}


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    if not products.ONEDNN_AVAILABLE:
        pytest.skip("this torch has no oneDNN operator: convolutions are its own")
    monkeypatch.setattr(products, "ONEDNN_IS_FASTER", True)


def extractor(**changes: object) -> torch.nn.ModuleList:
    """Convolutions whose norms are not trivial."""
    torch.manual_seed(0)
    layers = WavLMModel(tiny_config(conv_dim=(24,) * 7, **changes)).feature_extractor.conv_layers
    for layer in layers:
        torch.nn.init.normal_(layer.conv.weight, std=layer.conv.weight[0].numel() ** -0.5)
        if hasattr(layer, "layer_norm"):
            torch.nn.init.normal_(layer.layer_norm.weight)
            torch.nn.init.normal_(layer.layer_norm.bias)
    return layers


def in_float64(layers: torch.nn.ModuleList, waves: Tensor) -> Tensor:
    frames = waves.double()[:, None]
    for layer in copy.deepcopy(layers).double():
        frames = layer(frames)
    return frames.transpose(1, 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_samples", [400, 719, 720, 1040, 5000, 12_345])
@torch.no_grad()
def test_products_give_the_convolutions_at_every_length(layout, n_samples, monkeypatch):
    """Places left over by pairs, a single place, and pieces whose ends fall anywhere."""
    monkeypatch.setattr(front_end, "ROWS_AT_ONCE", 6)
    monkeypatch.setattr(products, "FEW_MULTIPLICATIONS", 0)
    layers, waves = extractor(**LAYOUTS[layout]), torch.randn(2, n_samples)
    convolve = front_end.convolutions(layers, waves)
    assert convolve.func is front_end.convolve_as_products
    wanted = in_float64(layers, waves)
    found = convolve(waves)
    assert found.shape == wanted.shape
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("sound", SOUNDS)
@torch.no_grad()
def test_the_norm_inside_the_kernel_is_the_group_norm(sound):
    """No further from float64 than torch's own convolution and norm are."""
    layers, waves = extractor(), SOUNDS[sound](torch.randn(1, 16_000))
    wanted = in_float64(layers[:1], waves)
    found = front_end.convolutions(layers[:1], waves)(waves)
    own = front_end.convolve_with_torch(layers[:1], waves)
    assert (found - wanted).abs().max() <= 2 * (own - wanted).abs().max() + 1e-6


@torch.no_grad()
def test_silence_is_the_norm_s_bias():
    layers, waves = extractor(), torch.zeros(1, 16_000)
    found = front_end.convolutions(layers[:1], waves)(waves)
    bias = layers[0].layer_norm.bias
    torch.testing.assert_close(found[0], layers[0].activation(bias).expand(found.shape[1], -1))


def test_every_weight_gets_its_gradient_from_torch_s_own():
    layers, waves = extractor(), torch.randn(1, 16_000)
    convolve = front_end.convolutions(layers, waves)
    assert convolve.func is front_end.convolve_with_torch
    convolve(waves).sum().backward()
    assert all(layer.conv.weight.grad is not None for layer in layers)


@torch.no_grad()
def test_float64_stays_float64():
    layers, waves = extractor().double(), torch.randn(1, 16_000, dtype=torch.float64)
    assert torch.equal(front_end.convolutions(layers, waves)(waves), in_float64(layers, waves))
