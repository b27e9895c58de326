"""WavLM's attention and transformer layer, computed through the projection modules.

``transformers`` hands the projections' weights to a fused function, so that a LoRA adapter wrapped around
``q_proj.forward`` is never called and never trains. Here each projection is called as a module: adapters, their
dropout, and merged weights all work. Queries may be a subset of the frames, since only one is read from the last layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(attention: Any, hidden: Tensor, bias: Tensor, queries: slice) -> Tensor:
    """Gated relative-position attention of the frames in ``queries`` over all frames.

    Parameters
    ----------
    attention : a ``WavLMAttention``; only its parameters and projections are used.
    hidden : (n_windows, n_frames, width).
    bias : (n_heads, n_queries, n_frames) position bias of the first layer, ungated.
    queries : which frames ask.

    Returns
    -------
    (n_windows, n_queries, width)
    """
    n_windows, _, width = hidden.shape
    heads = attention.num_heads
    asking = hidden[:, queries]

    def split(x: Tensor) -> Tensor:
        return x.reshape(n_windows, x.shape[1], heads, width // heads).transpose(1, 2)

    dropout = attention.dropout if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(
        split(attention.q_proj(asking)),
        split(attention.k_proj(hidden)),
        split(attention.v_proj(hidden)),
        attn_mask=gate(attention, split(asking)) * bias.to(hidden.dtype),
        dropout_p=dropout,
    )
    return attention.out_proj(mixed.transpose(1, 2).reshape(n_windows, asking.shape[1], width))


def gate(attention: Any, asking: Tensor) -> Tensor:
    """WavLM's gate on the position bias: (n_windows, n_heads, n_queries, 1) from queries' hidden states by head."""
    gates = attention.gru_rel_pos_linear(asking).unflatten(-1, (2, 4)).sum(-1).sigmoid()
    update, reset = gates.unbind(-1)
    return (update * (reset * attention.gru_rel_pos_const[..., 0] - 1.0) + 2.0).unsqueeze(-1)


def layer_forward(layer: Any, hidden: Tensor, bias: Tensor, queries: slice, *, stable: bool) -> Tensor:
    """One transformer layer for the frames in ``queries``: (n_windows, n_queries, width).

    ``stable`` is WavLM Large's order (layer norms before the blocks) instead of Base's (after).
    """
    residual = hidden[:, queries]
    attended = attend(layer.attention, layer.layer_norm(hidden) if stable else hidden, bias, queries)
    out = residual + layer.dropout(attended)
    if stable:
        return out + layer.feed_forward(layer.final_layer_norm(out))
    out = layer.layer_norm(out)
    return layer.final_layer_norm(out + layer.feed_forward(out))


def position_bias(first_layer: Any, n_frames: int) -> Tensor:
    """The relative position bias that the first layer owns and all layers share: (n_heads, n_frames, n_frames)."""
    return first_layer.attention.compute_bias(n_frames, n_frames)


def skip_layer(index: int, probability: float, training: bool) -> bool:
    """WavLM's layer drop: any layer but the first, in training only, drawn from torch's CPU generator."""
    return training and index > 0 and probability > 0.0 and bool(torch.rand([]) < probability)
