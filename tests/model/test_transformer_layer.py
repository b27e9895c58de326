"""Attention in its pieces: the one-frame form against explicit keys and values, dropout included; masks; placing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from brainwavlm_fast.model import transformer_layer
from brainwavlm_fast.model.products import product
from brainwavlm_fast.model.transformer_layer import (
    attend,
    attend_one,
    gate,
    gated_bias,
    mix,
    position_bias,
    positional_conv,
)
from tests.helpers.tiny import open_encoder, randomise_lora, save_tiny

N_WINDOWS, N_FRAMES, WIDTH, HEADS = 3, 21, 32, 4


@pytest.fixture
def encoder(tmp_path):
    encoder = open_encoder(save_tiny(tmp_path / "wavlm"), layer=2, finetune="lora", lora_dropout=0.5).double()
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    randomise_lora(encoder)
    return encoder.eval()


@pytest.fixture
def hidden():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N_WINDOWS, N_FRAMES, WIDTH, dtype=torch.float64, generator=generator).requires_grad_()


def layer_of(encoder, index=1):
    layers = encoder.base.encoder.layers
    return layers[index].attention, position_bias(layers[0], N_FRAMES).detach()


@pytest.mark.parametrize("frame", [0, 5, N_FRAMES - 1])
def test_one_frame_is_that_frame_of_all(encoder, hidden, frame):
    attention, bias = layer_of(encoder)
    attention.requires_grad_(True)
    inputs = [hidden, *(p for p in attention.parameters())]
    weights = torch.randn(N_WINDOWS, WIDTH, dtype=torch.float64)
    whole = attend(attention, hidden, bias, torch.float64)[:, frame]
    one = attend_one(attention, hidden, bias, frame)
    torch.testing.assert_close(one, whole, rtol=1e-12, atol=1e-13)
    expected = torch.autograd.grad((whole * weights).sum(), inputs)
    found = torch.autograd.grad((one * weights).sum(), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


class FixedMask(nn.Module):
    """Dropout whose mask is known: (n_windows, n_frames, width), or one frame of it."""

    def __init__(self, mask, frame):
        super().__init__()
        self.mask, self.frame = mask, frame

    def forward(self, x):
        return x * (self.mask if x.ndim == 3 else self.mask[:, self.frame])


@pytest.mark.parametrize("frame", [0, N_FRAMES - 1])
def test_dropout_in_the_one_frame_form_is_dropout_of_keys_values_and_shares(encoder, hidden, monkeypatch, frame):
    attention, bias = layer_of(encoder)
    attention.train()
    attention.dropout = 0.25
    masks = {}
    for name in ("q_proj", "k_proj", "v_proj"):
        masks[name] = 2.0 * torch.randint(0, 2, (N_WINDOWS, N_FRAMES, WIDTH)).double()
        getattr(attention, name).lora_dropout["default"] = FixedMask(masks[name], frame)
    shares_mask = (torch.rand(N_WINDOWS, HEADS, N_FRAMES) > 0.25).double() / 0.75
    asked = []

    def fixed(x, p, training):
        asked.append((p, training))
        return x * shares_mask

    monkeypatch.setattr(transformer_layer.F, "dropout", fixed)
    found = attend_one(attention, hidden, bias, frame)
    assert asked == [(0.25, True)]

    def linear(name):
        projection = getattr(attention, name)
        a, b = projection.lora_A["default"].weight, projection.lora_B["default"].weight
        full = hidden @ projection.base_layer.weight.T + projection.base_layer.bias
        full = full + projection.scaling["default"] * (hidden * masks[name]) @ a.T @ b.T
        return full.view(N_WINDOWS, N_FRAMES, HEADS, -1)

    q, k, v = (linear(name) for name in masks)
    scores = torch.einsum("bhd,blhd->bhl", q[:, frame], k) / q.shape[-1] ** 0.5
    scores = scores + gate(attention, hidden)[:, :, frame] * bias[:, frame]
    mixed = torch.einsum("bhl,blhd->bhd", scores.softmax(-1) * shares_mask, v).reshape(N_WINDOWS, WIDTH)
    expected = attention.out_proj(mixed)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    a, b = (torch.autograd.grad(x.square().sum(), [p for p in attention.parameters() if p.requires_grad])
            for x in (found, expected))  # fmt: skip
    for f, e in zip(a, b, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-10, atol=1e-11)


def test_lora_s_own_dropout_is_drawn_in_training_alone(encoder, hidden):
    attention, bias = layer_of(encoder)
    attention.dropout = 0.0
    assert torch.equal(attend_one(attention, hidden, bias, 0), attend_one(attention, hidden, bias, 0))
    attention.train()
    draws = torch.stack([attend_one(attention, hidden, bias, 0) for _ in range(4)])
    assert draws.std(0).max() > 1e-3


def test_written_out_attention_is_torchs():
    q, k, v = (torch.randn(2, 3, 11, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    mask = torch.randn(2, 3, 11, 11, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, 11, 8, dtype=torch.float64)
    ours = mix(q, k, v, mask, 0.0)
    torchs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-13)
    for a, b in zip(*(torch.autograd.grad((x * weights).sum(), [q, k, v, mask]) for x in (ours, torchs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_attention_s_dropout_keeps_shares_right_on_average():
    torch.manual_seed(0)
    q, k = (torch.randn(1, 1, 30, 4) for _ in range(2))
    v, mask = torch.ones(1, 1, 30, 4), torch.zeros(1, 1, 30, 30)
    assert torch.allclose(mix(q, k, v, mask, 0.0), v)
    dropped = torch.stack([mix(q, k, v, mask, 0.3) for _ in range(200)])
    assert dropped.std() > 0.05
    assert abs(dropped.mean() - 1) < 0.01


def test_a_gated_bias_has_its_gradients():
    g = torch.rand(2, 3, 7, 1, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, 7, 7, dtype=torch.float64, requires_grad=True)
    assert torch.equal(gated_bias(g, b, torch.float64), g * b)
    assert torch.autograd.gradcheck(lambda x, y: gated_bias(x, y, torch.float64), (g, b))
    rounded = gated_bias(g.float(), b.float(), torch.bfloat16)
    assert torch.equal(rounded, (g.float() * b.float()).bfloat16())  # rounded once


def test_an_update_below_bfloat16_s_step_is_not_lost(encoder, hidden):
    """Added to a base product that is rounded already it vanishes; rounded once with it, it survives on average."""
    projection = encoder.base.encoder.layers[0].attention.q_proj.float()
    many, up = torch.randn(4000, WIDTH), projection.lora_B["default"].weight
    with torch.no_grad():
        up.mul_(5e-4 / (many @ projection.lora_A["default"].weight.T @ up.T).abs().mean())
        update = many @ projection.lora_A["default"].weight.T @ up.T
        tuned = product(projection, many.bfloat16(), torch.bfloat16, unrounded=many)
        projection.merged_adapters.append("default")  # from here on the base product alone
        base = product(projection, many.bfloat16(), torch.bfloat16, unrounded=many)
    assert tuned.dtype == torch.bfloat16

    def kept(result):  # regression on what should have been added
        return float(((result.float() - base.float()) * update).sum() / update.square().sum())

    assert 0.9 < kept(tuned) < 1.1
    assert kept((base.float() + update).bfloat16()) < 0.5


def test_rounded_once_has_the_gradients_of_its_parts(encoder, hidden):
    projection = encoder.base.encoder.layers[0].attention.v_proj.float()
    x = hidden.detach().float().requires_grad_()
    inputs = [x, projection.lora_A["default"].weight, projection.lora_B["default"].weight]
    weights = torch.randn(N_WINDOWS, N_FRAMES, WIDTH)
    results = [product(projection, x.to(dtype), dtype, unrounded=x) for dtype in (torch.float32, torch.bfloat16)]
    torch.testing.assert_close(results[1].float(), results[0], rtol=2e-2, atol=5e-2)
    exact, found = (torch.autograd.grad((y.float() * weights).sum(), inputs) for y in results)
    for a, b in zip(found, exact, strict=True):
        assert (a - b).norm() < 1e-2 * b.norm()


@pytest.mark.parametrize(("taps", "n_frames"), [(16, 21), (16, 5), (7, 21), (7, 2), (128, 199)])
def test_placing_by_transform_is_the_convolution(tmp_path, taps, n_frames):
    folder = save_tiny(tmp_path / "wavlm", num_conv_pos_embeddings=taps)
    embedding = open_encoder(folder, layer=1, finetune="full").double().base.encoder.pos_conv_embed
    nn.init.normal_(embedding.conv.bias)
    x = torch.randn(2, n_frames, WIDTH, dtype=torch.float64, requires_grad=True)
    ours, plain = positional_conv(embedding, x), embedding(x)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(plain)
    inputs = [x, *embedding.parameters()]
    for a, b in zip(*(torch.autograd.grad((y * weights).sum(), inputs) for y in (ours, plain)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
