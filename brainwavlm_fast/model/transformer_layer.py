"""One transformer layer of WavLM, for all frames or for the one that is read, and the positional convolution before it.

Both of WavLM's orders are here: layer norms after the blocks (Base) and before them (Large, ``stable``). ``dtype`` is
what large matrix multiplications are computed in. Hidden states, gates, LoRA's factors and the one-frame form stay in
the hidden states' own type.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .lora import adapted, dropped, low_rank
from .products import product

_PITCH = 8  # elements: CUDA's memory-efficient kernel copies a mask whose rows start elsewhere


def layer_forward(layer: Any, hidden: Tensor, bias: Tensor, dtype: torch.dtype, *, stable: bool) -> Tensor:
    """All frames through a layer: (n_windows, n_frames, width) -> the same; large products in ``dtype``."""
    attended = attend(layer.attention, layer.layer_norm(hidden) if stable else hidden, bias, dtype)
    return _feed_forward(layer, hidden, attended, dtype, stable=stable)


def layer_forward_one(layer: Any, hidden: Tensor, bias: Tensor, frame: int, *, stable: bool) -> Tensor:
    """One frame through a layer, attending to all: (n_windows, n_frames, width) -> (n_windows, width).

    A hundredth of a layer's work, so that it is never worth computing in less than the hidden states' type.
    """
    attended = attend_one(layer.attention, layer.layer_norm(hidden) if stable else hidden, bias, frame)
    return _feed_forward(layer, hidden[:, frame], attended, hidden.dtype, stable=stable)


def _feed_forward(layer: Any, residual: Tensor, attended: Tensor, dtype: torch.dtype, *, stable: bool) -> Tensor:
    """What follows attention: residual sums, layer norms, and the feed-forward block."""
    hidden = residual + layer.dropout(attended)
    if not stable:
        hidden = layer.layer_norm(hidden)
    block, inputs = layer.feed_forward, layer.final_layer_norm(hidden) if stable else hidden
    inner = product(block.intermediate_dense, inputs, dtype, block.intermediate_act_fn)
    out = block.output_dropout(product(block.output_dense, block.intermediate_dropout(inner), dtype))
    return hidden + out if stable else layer.final_layer_norm(hidden + out)


def round_weights(layer: Any) -> None:
    """Convert a layer's frozen weights to bfloat16, except the gate's, which stays in the hidden states' type."""
    for module in layer.modules():
        if isinstance(module, nn.Linear) and module is not layer.attention.gru_rel_pos_linear:
            for parameter in module.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.bfloat16()


def attend(attention: Any, hidden: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """WavLM's gated relative-position attention of all frames over all frames.

    Parameters
    ----------
    attention : WavLMAttention
        Only its parameters and projections are used.
    hidden : Tensor
        (n_windows, n_frames, width).
    bias : Tensor
        (n_heads, n_frames, n_frames) from :func:`position_bias`.
    dtype : torch.dtype
        Type of large products and of the result.

    Returns
    -------
    Tensor
        (n_windows, n_frames, width) in ``dtype``.
    """
    n_windows, n_frames, width = hidden.shape
    heads, size = attention.num_heads, attention.head_dim
    rounded = hidden.to(dtype)
    q, k, v = (
        product(projection, rounded, dtype, unrounded=hidden).view(n_windows, n_frames, heads, size).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mask = gated_bias(gate(attention, hidden), bias, dtype)
    mixed = mix(q, k, v, mask, attention.dropout if attention.training else 0.0)
    return product(attention.out_proj, mixed.transpose(1, 2).reshape(n_windows, n_frames, width), dtype)


def mix(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """softmax(q k^T / sqrt(size) + mask) v, each (n_windows, n_heads, n_frames, size), through the mask with gradient.

    On CUDA torch's memory-efficient kernel, the only fused one that differentiates a mask; on a CPU its fused one
    without a gradient. With one torch would fall back there to a form that computes in float32 and looks for rows
    that are masked out; written out it is faster.
    """
    if q.device.type == "cuda" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    n_windows, heads, n_frames, size = q.shape
    q, k, v = (x.reshape(-1, n_frames, size) for x in (q, k, v))
    scores = torch.baddbmm(mask.reshape(-1, n_frames, n_frames), q, k.transpose(1, 2), alpha=size**-0.5)
    shares = F.dropout(scores.softmax(-1), dropout, training=dropout > 0)
    return (shares @ v).view(n_windows, heads, n_frames, size)


def attend_one(attention: Any, hidden: Tensor, bias: Tensor, frame: int) -> Tensor:
    """Attention of one frame over all frames: (n_windows, n_frames, width) -> (n_windows, width).

    With one query, keys and values are never formed: ``q . (W h_j) = (W^T q) . h_j`` and
    ``sum_j p_j W h_j = W sum_j p_j h_j``, and so for the low-rank updates, whose dropout sees the frames as before.
    ``bias`` is that of all frames, as for :func:`attend`.
    """
    heads, size = attention.num_heads, attention.head_dim
    n_windows, _, width = hidden.shape
    query = hidden[:, frame]
    q = product(attention.q_proj, query, query.dtype).view(n_windows, heads, size) * size**-0.5
    scores = _scores_without_keys(attention.k_proj, hidden, q) + gate(attention, query) * bias[:, frame]
    shares = F.dropout(scores.softmax(-1), attention.dropout, training=attention.training)
    mixed = _mix_without_values(attention.v_proj, hidden, shares).reshape(n_windows, width)
    return product(attention.out_proj, mixed, hidden.dtype)


def gate(attention: Any, hidden: Tensor) -> Tensor:
    """WavLM's gate on the position bias: (n_windows, [n_frames,] width) -> (n_windows, n_heads, [n_frames,] 1).

    The eight outputs of its linear map are only ever summed in two fours: the sum is taken over the weights.
    """
    linear = attention.gru_rel_pos_linear
    weight, constant = linear.weight.unflatten(0, (2, 4)).sum(1), linear.bias.unflatten(0, (2, 4)).sum(1)
    by_head = hidden.unflatten(-1, (attention.num_heads, attention.head_dim))
    update, reset = F.linear(by_head, weight, constant).sigmoid().movedim(-2, 1).unbind(-1)
    scale = attention.gru_rel_pos_const.view(-1, *[1] * (hidden.ndim - 2))
    return (update * (reset * scale - 1.0) + 2.0).unsqueeze(-1)


def position_bias(first_layer: Any, n_frames: int) -> Tensor:
    """The relative position bias, which the first layer holds and all layers share: (n_heads, n_frames, n_frames)."""
    return first_layer.attention.compute_bias(n_frames, n_frames).contiguous()


def gated_bias(gate: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """``gate * bias`` rounded once to ``dtype``, one mask per window: (n_windows, n_heads, n_frames, n_frames)."""
    return _GatedBias.apply(gate, bias, dtype)


class _GatedBias(torch.autograd.Function):
    """A product that keeps only its small factors, and whose padded rows (on CUDA) cost no copy in backward."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(gate, bias)
        n_frames = bias.shape[-1]
        pitch = n_frames + (-n_frames % _PITCH if bias.device.type == "cuda" else 0)
        rows = gate.new_empty(*gate.shape[:-1], pitch, dtype=dtype)[..., :n_frames]
        return torch.mul(gate, bias, out=rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        gate, bias = ctx.saved_tensors
        for_gate = (grad * bias).sum(-1, keepdim=True) if ctx.needs_input_grad[0] else None
        for_bias = (grad * gate).sum(0) if ctx.needs_input_grad[1] else None
        return for_gate, for_bias, None


def _scores_without_keys(projection: Any, hidden: Tensor, q: Tensor) -> Tensor:
    """``q . k_j`` for every frame j, without k: q (n_windows, n_heads, size) -> (n_windows, n_heads, n_frames)."""
    base = getattr(projection, "base_layer", projection)
    heads, size = q.shape[1:]
    scores = torch.einsum("bhd,hdw->bhw", q, base.weight.to(q.dtype).view(heads, size, -1)) @ hidden.transpose(1, 2)
    scores = scores + (q * base.bias.to(q.dtype).view(heads, size)).sum(-1, keepdim=True)
    if adapted(projection):
        down, up, scale = low_rank(projection)
        low_scores = torch.einsum("bhd,hdr->bhr", q, (up * scale).view(heads, size, -1))
        scores = scores + low_scores @ F.linear(dropped(projection, hidden), down).transpose(1, 2)
    return scores


def _mix_without_values(projection: Any, hidden: Tensor, shares: Tensor) -> Tensor:
    """``sum_j shares_j v_j`` without v: shares (n_windows, n_heads, n_frames) -> (n_windows, n_heads, size)."""
    base = getattr(projection, "base_layer", projection)
    heads = shares.shape[1]
    weight = base.weight.to(hidden.dtype).view(heads, -1, hidden.shape[-1])
    mixed = torch.einsum("bhw,hdw->bhd", shares @ hidden, weight)
    # Dropped shares do not sum to one.
    mixed = mixed + shares.sum(-1, keepdim=True) * base.bias.to(hidden.dtype).view(heads, -1)
    if adapted(projection):
        down, up, scale = low_rank(projection)
        low = shares @ F.linear(dropped(projection, hidden), down)
        mixed = mixed + torch.einsum("bhr,hdr->bhd", low, (up * scale).view(heads, mixed.shape[-1], -1))
    return mixed


def positional_conv(embedding: Any, hidden: Tensor) -> Tensor:
    """WavLM's convolutional positional embedding of (n_windows, n_frames, width), by Fourier transform.

    A kernel of 128 frames over a window of 199: the transform needs a fortieth of the direct form's operations.
    """
    conv = embedding.conv
    (n_taps,), groups, n_frames = conv.kernel_size, conv.groups, hidden.shape[1]
    n = 2 * next_fast_len(-(-(n_frames + n_taps - 1) // 2), real=True)  # even, no prime factor above 5
    # Frequency first: one small matrix per frequency and group. Conjugated: a network's convolutions are correlations.
    kernel = torch.fft.rfft(conv.weight, n=n).conj().unflatten(0, (groups, -1)).permute(3, 0, 2, 1)
    spectrum = torch.fft.rfft(hidden, n=n, dim=1).unflatten(2, (groups, -1)).permute(1, 2, 0, 3)
    out = torch.fft.irfft((spectrum @ kernel).permute(2, 0, 1, 3).flatten(2), n=n, dim=1)
    padding = conv.padding[0]
    out = torch.cat([out[:, n - padding :], out[:, : n_frames - padding]], dim=1)[:, :n_frames]
    return embedding.activation(out + conv.bias)
