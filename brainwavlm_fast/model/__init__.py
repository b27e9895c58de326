"""The model: windows, WavLM with LoRA, TR features, readout; composed, saved and loaded as :class:`BrainWavLM`."""

from __future__ import annotations

from .brainwavlm import BrainWavLM
from .encoder import Encoder, LoraSettings
from .pretrained import load_wavlm, save_wavlm
from .readout import Readout
from .story import Story
from .text import TextModel
from .windows import WindowPlan, lanczos_weights, plan_windows

__all__ = [
    "BrainWavLM",
    "Encoder",
    "LoraSettings",
    "Readout",
    "Story",
    "TextModel",
    "WindowPlan",
    "lanczos_weights",
    "load_wavlm",
    "plan_windows",
    "save_wavlm",
]
