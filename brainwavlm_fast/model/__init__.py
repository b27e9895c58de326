"""The model: windows, WavLM with LoRA, TR features, readout; composed, saved and loaded as :class:`BrainWavLM`."""

from __future__ import annotations

from .activations import free_memory, step_memory
from .brainwavlm import BrainWavLM
from .encoder import Encoder
from .pretrained import load_wavlm, save_wavlm
from .readout import Readout
from .story import Story
from .story_features import CacheStatus, cache_front_end, cache_front_ends, front_bytes, story_features
from .text import TextModel
from .windows import WindowPlan, lanczos_weights, plan_windows
