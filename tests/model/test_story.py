"""A story's windows are cut out of its audio as they were planned."""

from __future__ import annotations

import numpy as np
import torch

from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.data import SAMPLE_RATE
from brainwavlm_fast.model import Story


def test_windows_cut_from_their_stretch_of_audio():
    audio = np.random.default_rng(0).standard_normal(45 * SAMPLE_RATE).astype(np.float32)
    story = Story(audio, 14, ModelConfig(stride=0.5), for_training=True)
    full = np.flatnonzero(story.plan.ends - story.plan.starts == 4 * SAMPLE_RATE)
    for windows in (full[3:9], full[[2, 4, 10]], np.array([0])):
        expected = np.stack([audio[story.plan.starts[w] : story.plan.ends[w]] for w in windows])
        np.testing.assert_array_equal(story.waveforms(windows, torch.device("cpu")).numpy(), expected)
