"""How much memory a training step takes, whether it needs activation checkpointing, and how many frames go through an
encoder at once without a gradient.

    step = gradients and Adam's two moments of everything trained
         + windows in the step x (feature encoder's output + hidden state 0)
         + windows stored x activations stored for the gradient
         + windows at once x the largest temporaries

    frames at once without a gradient = free memory / (hidden states, products and masks of a frame)

*Windows stored* is all of them, or one group with activation checkpointing. *Windows at once* is a group, or all of
them on a GPU without it. What a window stores is not a formula that must follow the code: a pass is watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ActivationCheckpointing
from ..memory import available_memory
from .encoder import CPU_GROUP, GPU_GROUP, Encoder

_SHARE = 0.8  # of what is free: the rest is for what is not counted, and for gaps between blocks of memory
_MOST_FRAMES = 12_800  # 64 windows of 4 s: what is made once for all of them is a hundredth of their work then
_HIDDEN_STATES = 8  # of a frame in a layer, and in the positional convolution's transform
_TEMPORARIES = 3  # of the widest thing in a layer, while its gradient is formed


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step takes, beside weights and data, with activations stored or recomputed."""

    keep: int
    recompute: int

    def choose(self, free: int) -> ActivationCheckpointing:
        """``off`` if keeping activations fits four fifths of ``free`` bytes, else ``on``."""
        return "off" if self.keep <= _SHARE * free else "on"


def step_memory(encoder: Encoder, trained: nn.Module, *, n_windows: int, n_samples: int) -> StepMemory:
    """Estimate a step of ``n_windows`` windows of ``n_samples``; ``trained`` holds all trained weights."""
    anchor = _anchor(encoder)
    itemsize, n_frames = anchor.itemsize, encoder.n_frames(n_samples)
    config = encoder.base.config
    state = 3 * sum(p.nbytes for p in trained.parameters() if p.requires_grad)
    inputs = n_frames * (encoder.front_width + config.hidden_size) * itemsize
    widest = max(config.intermediate_size, config.num_attention_heads * n_frames)
    stored, temporary = stored_bytes(encoder, n_frames), _TEMPORARIES * n_frames * widest * itemsize
    on_cpu = anchor.device.type == "cpu"
    group = min(CPU_GROUP if on_cpu else GPU_GROUP, n_windows)
    return StepMemory(
        keep=state + n_windows * (inputs + stored) + (group if on_cpu else n_windows) * temporary,
        recompute=state + n_windows * inputs + group * (stored + temporary),
    )


def stored_bytes(encoder: Encoder, n_frames: int) -> int:
    """Bytes that each further window of ``n_frames`` frames stores between the layers' forward and backward pass."""
    devices = [anchor.device] if (anchor := _anchor(encoder)).device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        one, two = (_watch(encoder, n_windows, n_frames) for n_windows in (1, 2))
    return two - one


def frames_at_once(encoder: Encoder, n_frames: int) -> int:
    """Frames, in windows of ``n_frames``, that go through an encoder together when nothing is stored for a gradient."""
    fitting = int(_SHARE * free_memory(_anchor(encoder).device) / frame_bytes(encoder, n_frames))
    return max(n_frames, min(fitting, _MOST_FRAMES))


def frame_bytes(encoder: Encoder, n_frames: int) -> int:
    """Bytes that a frame takes on its way through the layers, at most, in a window of ``n_frames``."""
    config = encoder.base.config
    masks = config.num_attention_heads * n_frames
    numbers = _HIDDEN_STATES * config.hidden_size + 2 * config.intermediate_size + _TEMPORARIES * masks
    return numbers * _anchor(encoder).itemsize


def free_memory(device: torch.device) -> int:
    """Bytes that new work can have on a device, with what torch holds there unused."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return available_memory()


def _watch(encoder: Encoder, n_windows: int, n_frames: int) -> int:
    stored: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        stored[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    anchor = _anchor(encoder)
    front = anchor.new_zeros(n_windows, n_frames, encoder.front_width)
    recompute = encoder.recompute
    try:
        encoder.recompute = False
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output: Any = encoder.transformer(front)
    finally:
        encoder.recompute = recompute
    del output
    return sum(tensor.untyped_storage().nbytes() for tensor in stored.values())


def _anchor(encoder: Encoder) -> Tensor:
    return encoder.base.feature_projection.layer_norm.weight
