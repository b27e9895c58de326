"""One transformer layer of WavLM, whole or for the frame that is read, and the convolution that places frames.

Both of WavLM's orders are here: layer norms after the blocks (Base) and before them (Large, ``stable``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .attention import attend, attend_one
from .products import product


def layer_forward(layer: Any, hidden: Tensor, bias: Tensor, dtype: torch.dtype, *, stable: bool) -> Tensor:
    """All frames through a layer: (n_windows, n_frames, width) -> the same; large products in ``dtype``."""
    attended = attend(layer.attention, layer.layer_norm(hidden) if stable else hidden, bias, dtype)
    return _after_attention(layer, hidden, attended, dtype, stable=stable)


def layer_forward_one(layer: Any, hidden: Tensor, bias: Tensor, frame: int, *, stable: bool) -> Tensor:
    """One frame through a layer, seeing all: (n_windows, n_frames, width) -> (n_windows, width).

    A hundredth of a layer's work, so that it is never worth computing in less than the hidden states' type.
    """
    attended = attend_one(layer.attention, layer.layer_norm(hidden) if stable else hidden, bias, frame)
    return _after_attention(layer, hidden[:, frame], attended, hidden.dtype, stable=stable)


def _after_attention(layer: Any, residual: Tensor, attended: Tensor, dtype: torch.dtype, *, stable: bool) -> Tensor:
    out = residual + layer.dropout(attended)
    if stable:
        return out + _feed_forward(layer.feed_forward, layer.final_layer_norm(out), dtype)
    out = layer.layer_norm(out)
    return layer.final_layer_norm(out + _feed_forward(layer.feed_forward, out, dtype))


def _feed_forward(block: Any, hidden: Tensor, dtype: torch.dtype) -> Tensor:
    inner = product(block.intermediate_dense, hidden, dtype, block.intermediate_act_fn)
    return block.output_dropout(product(block.output_dense, block.intermediate_dropout(inner), dtype))


def skip_layer(index: int, probability: float, training: bool) -> bool:
    """WavLM's layer drop: any layer but the first, in training only, drawn from torch's CPU generator."""
    return training and index > 0 and probability > 0.0 and bool(torch.rand([]) < probability)


def positional_conv(embedding: Any, hidden: Tensor) -> Tensor:
    """WavLM's position convolution of (n_windows, n_frames, width), by Fourier transform.

    A kernel of 128 frames over a window of 199: the transform needs a fortieth of the direct form's operations.
    """
    conv = embedding.conv
    (n_taps,), groups, n_frames = conv.kernel_size, conv.groups, hidden.shape[1]
    n = _good_length(n_frames + n_taps - 1)
    # Frequency first: one small matrix a frequency and group. Conjugated: convolutions of networks are correlations.
    kernel = torch.fft.rfft(conv.weight, n=n).conj().unflatten(0, (groups, -1)).permute(3, 0, 2, 1)
    spectrum = torch.fft.rfft(hidden, n=n, dim=1).unflatten(2, (groups, -1)).permute(1, 2, 0, 3)
    placed = torch.fft.irfft((spectrum @ kernel).permute(2, 0, 1, 3).flatten(2), n=n, dim=1)
    padding = conv.padding[0]
    placed = torch.cat([placed[:, n - padding :], placed[:, : n_frames - padding]], dim=1)[:, :n_frames]
    return embedding.activation(placed + conv.bias)


def _good_length(n: int) -> int:
    """The smallest even number from ``n`` on with no prime factor above 5."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and n % 2 == 0:
            return n
        n += 1
