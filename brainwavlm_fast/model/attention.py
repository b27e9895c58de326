"""WavLM's gated relative-position attention, computed through LoRA, whole or for one frame that is read.

``transformers`` hands the projections' weights to a fused function, so that a LoRA adapter wrapped around
``q_proj.forward`` is never called and never trains. Here every projection is :func:`project`: base product and
low-rank update side by side, each adapter with its own dropout; merged weights work, too.

``dtype`` is what large products are computed in. Hidden states, gates, low-rank factors and the one-frame form stay in
the hidden states' own type, and in bfloat16 an update is added before the sum is rounded: a small one is not lost.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .lora import adapted, dropped, low_rank
from .products import product

_PITCH = 8  # elements: CUDA's memory-efficient kernel copies a mask whose rows start elsewhere


def project(projection: Any, hidden: Tensor, rounded: Tensor) -> Tensor:
    """A projection with its LoRA update: (..., width) -> (..., width).

    ``rounded`` is ``hidden`` in the type of the base product and of the result.
    """
    base = getattr(projection, "base_layer", projection)
    if not adapted(projection):
        return product(base, rounded, rounded.dtype)
    down, up, scale = low_rank(projection)
    low = F.linear(dropped(projection, hidden), down)
    if rounded.dtype == hidden.dtype:
        return product(base, hidden, hidden.dtype) + F.linear(low, up * scale)
    return _RoundedOnce.apply(rounded, low, up * scale, base.weight.detach(), base.bias.detach())


class _RoundedOnce(torch.autograd.Function):
    """``x W^T + low up^T + b`` of a frozen W in x's low precision, summed inside one product and rounded once.

    Two rounded terms would not do, whatever they are added in: the first lies on the grid of bfloat16 already, and an
    update of less than half a step leaves it there. ``low`` and ``up`` get gradients in their own type.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, up: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(low, up, weight)
        spare = x.new_zeros(-(low.shape[-1] + 1) % _PITCH)
        inputs = [x, low.to(x.dtype), x.new_ones(*x.shape[:-1], 1), spare.expand(*x.shape[:-1], -1)]
        weights = [weight.to(x.dtype), up.to(x.dtype), bias.to(x.dtype)[:, None], spare.expand(len(weight), -1)]
        return F.linear(torch.cat(inputs, dim=-1), torch.cat(weights, dim=1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        low, up, weight = ctx.saved_tensors
        for_x = grad @ weight.to(grad.dtype) if ctx.needs_input_grad[0] else None
        wide = grad.to(low.dtype)
        return for_x, wide @ up, wide.flatten(0, -2).T @ low.flatten(0, -2), None, None


def attend(attention: Any, hidden: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention of all frames over all frames.

    Parameters
    ----------
    attention : a ``WavLMAttention``; only its parameters and projections are used.
    hidden : (n_windows, n_frames, width).
    bias : (n_heads, n_frames, n_frames) from :func:`position_bias`.

    Returns
    -------
    (n_windows, n_frames, width) in ``dtype``
    """
    n_windows, n_frames, width = hidden.shape
    heads, size = attention.num_heads, attention.head_dim

    def split(x: Tensor) -> Tensor:
        return x.view(n_windows, n_frames, heads, size).transpose(1, 2)

    rounded = hidden.to(dtype)
    q, k, v = (split(project(p, hidden, rounded)) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
    mask = gated_bias(gate(attention, hidden), bias, dtype)
    mixed = mix(q, k, v, mask, attention.dropout if attention.training else 0.0)
    return product(attention.out_proj, mixed.transpose(1, 2).reshape(n_windows, n_frames, width), dtype)


def mix(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """softmax(q k^T / sqrt(size) + mask) v, each (n_windows, n_heads, n_frames, size), through the mask with gradient.

    On CUDA torch's memory-efficient kernel, the only fused one that differentiates a mask; on a CPU its fused one
    without a gradient. With one torch would fall back, there, to a form that computes in float32 and looks for rows
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

    With one query, keys and values are never formed (training-step.md): ``q . (W h_j) = (W^T q) . h_j`` and
    ``sum_j p_j W h_j = W sum_j p_j h_j``, and so for the low-rank updates, whose dropout sees the frames as before.
    ``bias`` is whole, as for :func:`attend`.
    """
    heads, size = attention.num_heads, attention.head_dim
    n_windows, _, width = hidden.shape
    asking = hidden[:, frame]
    q = project(attention.q_proj, asking, asking).view(n_windows, heads, size) * size**-0.5
    scores = _ask(attention.k_proj, hidden, q) + gate(attention, asking) * bias[:, frame]
    shares = F.dropout(scores.softmax(-1), attention.dropout, training=attention.training)
    mixed = _gather(attention.v_proj, hidden, shares).reshape(n_windows, width)
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
    """The relative position bias that the first layer owns and all layers share: (n_heads, n_frames, n_frames)."""
    return first_layer.attention.compute_bias(n_frames, n_frames).contiguous()


def gated_bias(gate: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """``gate * bias`` rounded once to ``dtype``, a mask for each window: (n_windows, n_heads, n_frames, n_frames)."""
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


def _ask(projection: Any, hidden: Tensor, q: Tensor) -> Tensor:
    """``q . k_j`` for every frame j, without k: q (n_windows, n_heads, size) -> (n_windows, n_heads, n_frames)."""
    base = getattr(projection, "base_layer", projection)
    heads, size = q.shape[1:]
    scores = torch.einsum("bhd,hdw->bhw", q, base.weight.to(q.dtype).view(heads, size, -1)) @ hidden.transpose(1, 2)
    scores = scores + (q * base.bias.to(q.dtype).view(heads, size)).sum(-1, keepdim=True)
    if adapted(projection):
        down, up, scale = low_rank(projection)
        asked = torch.einsum("bhd,hdr->bhr", q, (up * scale).view(heads, size, -1))
        scores = scores + asked @ F.linear(dropped(projection, hidden), down).transpose(1, 2)
    return scores


def _gather(projection: Any, hidden: Tensor, shares: Tensor) -> Tensor:
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
