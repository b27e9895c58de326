"""What the step benchmarks share: the same weights, story and responses in our form and in the published one."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import WavLMModel

from brainwavlm_fast.config import CacheType, ModelConfig
from brainwavlm_fast.model import BrainWavLM, Story, cache_front_end
from brainwavlm_fast.training.losses import training_loss
from tests.helpers.tiny import randomise_lora, save_tiny

from .published_step import PublishedStep

QUIET = {f"{name}_dropout": 0.0 for name in ("hidden", "activation", "attention", "feat_proj")}
QUIET |= {"layerdrop": 0.0, "mask_time_prob": 0.0}


@dataclass(frozen=True)
class Size:
    """A step: seconds between windows, rows of a story, responses of the block that is compared.

    Blocks are as published, without the rows before them: those are the step's before, where context is carried.
    """

    stride: float
    n_trs: int
    start: int
    stop: int


class Pair:
    """The same weights, story and responses in our form and in the published one."""

    def __init__(self, folder: str, size: Size, n_voxels: int, device: str, **changes: Any) -> None:
        torch.manual_seed(0)
        self.size, self.device = size, device
        self.config = ModelConfig(model=folder, stride=size.stride, lora_dropout=0.0, **changes)
        self.model = BrainWavLM(self.config, n_voxels).to(device).train()
        randomise_lora(self.model, std=0.05)
        self.wavlm = WavLMModel.from_pretrained(folder, attn_implementation="eager").to(device).train()
        rng = np.random.default_rng(0)
        self.audio = rng.standard_normal(16_000 * (2 * size.n_trs + 20)).astype(np.float32)
        self.measured = torch.from_numpy(rng.standard_normal((size.n_trs, n_voxels), dtype=np.float32)).to(device)

    def double(self) -> Pair:
        self.model, self.wavlm, self.measured = self.model.double(), self.wavlm.double(), self.measured.double()
        return self

    def published(self) -> PublishedStep:
        return PublishedStep(self.model, self.wavlm, self.audio, self.size.n_trs)

    def story(self, dtype: CacheType | None = None) -> Story:
        """The story, its feature encoder cached as ``dtype``."""
        story = Story(self.audio, self.size.n_trs, self.config, for_training=True)
        story.audio = story.audio.to(self.measured.dtype)
        if dtype is not None:
            cache_front_end(self.model.encoder, story, dtype=dtype)
        return story

    def ours(self, story: Story, start: int | None = None) -> Tensor:
        """Our loss of a block, with its graph."""
        start, n = self.size.start if start is None else start, self.size.stop - self.size.start
        predicted = self.model(story, start, start + n, with_context=False)
        return training_loss("voxels", predicted, self.measured[start : start + n])

    def theirs(self, published: PublishedStep) -> Tensor:
        size = self.size
        return published.loss(self.measured[size.start : size.stop], size.start, size.stop, with_context=False)

    def trained(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def small(device: str, folder: str) -> Pair:
    """A pair for proofs: a random network of four layers, without its regularizers."""
    save_tiny(Path(folder), **QUIET)
    return Pair(folder, Size(0.5, 16, 4, 14), 50, device, layer=3, bottleneck=5)


def seconds_of(step: Callable[[], Any]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def system_seconds() -> float:
    """Seconds that the system has worked for this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime
