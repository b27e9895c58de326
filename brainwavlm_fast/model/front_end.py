"""WavLM's feature encoder, convolutions over the waveform: torch's own, or on a CPU as matrix multiplications.

With frames as rows, the inputs of an output position are contiguous: a convolution is the product of a matrix whose
rows overlap, made a few at a time; it takes three quarters of the time. Two identities then save work, exactly but for
rounding:

- Base's first norm, each channel's over the window, needs the channel's mean and variance alone. Both follow from those
  of the ten samples under the kernel, so that the norm is folded into the kernel, and is never a pass over the window.
- Of three taps two frames apart, the outer two meet frames that the next output position's meet, too: two positions
  share a product (Winograd's F(2, 2)), and take five of 512 x 512 instead of six.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .products import frozen_product, onednn_is_faster, pack_weight

ROWS_AT_ONCE = 1024  # output positions at once: they, the kernel and the result stay in a core's cache


def convolutions(layers: Sequence[Any], waveforms: Tensor) -> Callable[[Tensor], Tensor]:
    """A feature encoder's layers, made ready for many windows like ``waveforms`` (n_windows, n_samples).

    Returns a function: (n_windows, n_samples) -> (n_windows, n_frames, n_channels). Differentiated, on a GPU, or in
    another type than float32 it is torch's own; never in TF32.
    """
    if torch.is_grad_enabled() or not onednn_is_faster(waveforms[:1], layers[0].conv.out_channels):
        return partial(convolve_with_torch, layers)
    return partial(convolve_as_products, [_as_product(layer) for layer in layers])


def type_of_frames(weight: Tensor) -> torch.dtype:
    """The type of sound and frames, which is that of the weights.

    Raises
    ------
    ConfigError
        The model was converted to half precision as a whole.
    """
    if weight.dtype in (torch.float32, torch.float64):
        return weight.dtype
    raise ConfigError(
        f"the model's weights are {str(weight.dtype).removeprefix('torch.')}: its feature encoder, gates and norms "
        "need float32 or float64. Undo .half() or .bfloat16() with .float(), and call "
        'encoder.use_precision("bf16"), which rounds the large products alone.'
    )


def convolve_with_torch(layers: Sequence[Any], waveforms: Tensor) -> Tensor:
    cudnn = torch.backends.cudnn  # which rounds float32 convolutions to TF32 unless told otherwise
    frames = waveforms[:, None]
    with cudnn.flags(cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, allow_tf32=False):
        for layer in layers:
            frames = layer(frames)
    return frames.transpose(1, 2)


def convolve_as_products(layers: Sequence[_Conv], waveforms: Tensor) -> Tensor:
    windows = []
    for frames in waveforms.unsqueeze(-1):
        for layer in layers:
            frames = layer(frames)
        windows.append(frames)
    return torch.stack(windows)


def _as_product(layer: Any) -> _Conv:
    if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
        return _GroupNormConv(layer)
    conv = layer.conv
    return _WinogradConv(layer) if (conv.kernel_size[0], conv.stride[0]) == (3, 2) else _Conv(layer)


class _Conv:
    """A convolution of one window as a matrix multiplication: (n_frames, n_channels) -> (n_positions, n_outputs)."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.conv, self.after = layer, layer.conv, layer.activation
        if isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm):  # every layer of Large has one
            self.after = nn.Sequential(layer.layer_norm, layer.activation)
        self.n_taps, self.stride = self.conv.kernel_size[0], self.conv.stride[0]
        self.kernel = self.conv.weight.transpose(1, 2).flatten(1)
        self.weight, self.bias = pack_weight(self.kernel), self.conv.bias

    def __call__(self, frames: Tensor) -> Tensor:
        return self.outputs(self.receptive_fields(frames), self.weight, self.bias)

    def receptive_fields(self, frames: Tensor) -> Tensor:
        """The kernel's inputs at each output position: a view (n_positions, n_taps x n_channels)."""
        n_frames, n_channels = frames.shape
        n_positions = (n_frames - self.n_taps) // self.stride + 1
        return frames.contiguous().as_strided((n_positions, self.n_taps * n_channels), (self.stride * n_channels, 1))

    def outputs(self, fields: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's outputs at every position."""
        return torch.cat(
            [frozen_product(rows.contiguous(), weight, bias, self.after) for rows in fields.split(ROWS_AT_ONCE)]
        )


class _GroupNormConv(_Conv):
    """Followed by Base's group norm, whose groups are single channels."""

    def __call__(self, frames: Tensor) -> Tensor:
        fields, kernel, norm = self.receptive_fields(frames), self.kernel.double(), self.layer.layer_norm
        samples = fields.double()
        mean = samples.mean(dim=0)
        centered = samples - mean
        variance = ((kernel @ (centered.T @ centered / len(centered))) * kernel).sum(dim=1)
        scale = norm.weight.double() / (variance + norm.eps).sqrt()
        bias = norm.bias.double() - scale * (kernel @ mean)
        return self.outputs(fields, (kernel * scale[:, None]).to(frames.dtype), bias.to(frames.dtype))


class _WinogradConv(_Conv):
    """Of three taps a, b, c, two frames apart: output positions in pairs (Winograd's F(2, 2)).

    Of a pair's five frames f0 to f4, with m = (a + c) f2: the first output, a f0 + b f1 + c f2, is
    a (f0 - f2) + b f1 + m; the second, a f2 + b f3 + c f4, is b f3 - c (f2 - f4) + m.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        a, b, c = self.conv.weight.detach().unbind(dim=2)
        self.first, self.second = pack_weight(torch.cat([a, b], dim=1)), pack_weight(torch.cat([b, -c], dim=1))
        self.shared = pack_weight(a + c)

    def __call__(self, frames: Tensor) -> Tensor:
        frames = frames.contiguous()
        n_positions, width = (len(frames) - 3) // 2 + 1, frames.shape[1]
        out = frames.new_empty(n_positions, self.conv.out_channels)
        for start in range(0, n_positions - 1, ROWS_AT_ONCE):
            end = min(start + ROWS_AT_ONCE, n_positions - n_positions % 2)
            frame = frames[2 * start : 2 * end].view(-1, 4, width).unbind(dim=1)
            fourth = frames[2 * start + 4 : 2 * end + 1 : 4]
            shared = frozen_product(frame[2].contiguous(), self.shared, self.bias)
            pairs = out[start:end].view(len(shared), 2, -1)
            first = frozen_product(torch.cat([frame[0] - frame[2], frame[1]], dim=1), self.first, None)
            pairs[:, 0] = self.after(first.add_(shared))
            second = frozen_product(torch.cat([frame[3], frame[2] - fourth], dim=1), self.second, None)
            pairs[:, 1] = self.after(second.add_(shared))
        if n_positions % 2:
            out[-1:] = super().__call__(frames[2 * (n_positions - 1) :])
        return out
