"""The published method written out plainly in float64, from the paper and the authors' description: an oracle.

Nothing of the package is used, and nothing is fast: all windows go through a plain ``transformers`` WavLM whose weights
hold ``W + (alpha / r) B A``; filter and delays are loops over rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

RATE = 16_000
DELAYS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Method:
    """What ``paper`` and the authors' release do differently, and the sizes of a test.

    Attributes
    ----------
    first_time : seconds after the sound's onset to which response 0 belongs.
    negative_lobes : whether the Lanczos filter keeps them.
    history : whether delays see the features before a block; otherwise zeros.
    """

    first_time: float
    negative_lobes: bool
    history: bool
    layer: int = 2
    stride: int = RATE  # samples; a quarter of a second as published, four times the work
    scale: float = 1.0  # alpha / r


PAPER = Method(first_time=11.0, negative_lobes=True, history=True)
AUTHORS_RELEASE = Method(first_time=20.0, negative_lobes=False, history=False)


def window_features(method: Method, wavlm: Any, lora: dict[str, Tensor], audio: Tensor) -> tuple[list[float], Tensor]:
    """End times of a story's 4 s windows, ``stride`` apart, and hidden state ``layer`` at the first frame of each.

    ``lora``: A and B by the names of the projections that they update, ``"encoder.layers.0.attention.q_proj.A"``.
    """
    weights = {name: p.detach() for name, p in wavlm.named_parameters()}
    for name in [n.removesuffix(".A") for n in lora if n.endswith(".A")]:
        weights[f"{name}.weight"] = weights[f"{name}.weight"] + method.scale * lora[f"{name}.B"] @ lora[f"{name}.A"]
    ends = range(method.stride, len(audio) + 1, method.stride)
    whole = [audio[end - 4 * RATE : end] for end in ends if end >= 4 * RATE]
    short = [audio[:end] for end in ends if end < 4 * RATE]  # at the story's start

    def read(windows: Tensor) -> Tensor:
        states = functional_call(wavlm, weights, (windows,), {"output_hidden_states": True}).hidden_states
        return states[method.layer][:, 0]

    features = [read(window[None]) for window in short] + [read(part) for part in torch.stack(whole).split(32)]
    return [end / RATE for end in ends], torch.cat(features)


def tr_features(method: Method, times: list[float], features: Tensor, rows: range) -> Tensor:
    """Features at the TRs of ``rows``, 2 s apart (0: the first response), by a Lanczos filter of three lobes."""
    out = []
    for row in rows:
        total = torch.zeros_like(features[0])
        for time, feature in zip(times, features, strict=True):
            x = (method.first_time + 2.0 * row - time) / 2.0  # in TRs: the cutoff is their rate
            weight = sinc(x) * sinc(x / 3) if abs(x) < 3 else 0.0
            if weight > 0 or (weight < 0 and method.negative_lobes):
                total = total + weight * feature
        out.append(total)
    return torch.stack(out)


def sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


def predict(method: Method, at: dict[int, Tensor], readout: list[Tensor], block: range) -> Tensor:
    """Responses of a block from its rows ``at`` TRs: z-scored over them, delayed, through two linear maps."""
    stacked = torch.stack([at[row] for row in sorted(at)])
    mean = stacked.mean(dim=0)
    variance = ((stacked - mean) ** 2).mean(dim=0)
    scored = {row: (at[row] - mean) / torch.sqrt(variance + 1e-5) for row in at}
    nothing, predicted = torch.zeros_like(mean), []
    first_weight, first_bias, second_weight, second_bias = readout
    for row in block:
        delayed = torch.cat([scored.get(row - delay, nothing) for delay in DELAYS])
        predicted.append(second_weight @ (first_weight @ delayed + first_bias) + second_bias)
    return torch.stack(predicted)


def rows_of_block(method: Method, block: range) -> range:
    """Rows that a block's z-score and delays are taken over: with history those before it, down to what is not read."""
    return range(block.start - max(DELAYS), block.stop - min(DELAYS)) if method.history else block


def loss(kind: str, predicted: Tensor, measured: Tensor) -> Tensor:
    """Minus the mean over TRs of the correlation across voxels; over voxels of that over time; the squared error."""
    if kind == "mse":
        return ((predicted - measured) ** 2).mean()
    lines = zip(predicted, measured, strict=True) if kind == "voxels" else zip(predicted.T, measured.T, strict=True)
    return -torch.stack([correlation(p, m) for p, m in lines]).mean()


def correlation(x: Tensor, y: Tensor) -> Tensor:
    u, v = x - x.mean(), y - y.mean()
    if not u.any() or not v.any():  # a constant: 0, without a gradient
        return x.new_zeros(())
    return (u @ v) / torch.sqrt((u @ u) * (v @ v))
