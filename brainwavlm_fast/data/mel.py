"""Log-mel filterbank features: targets of acoustic probes, and the drive of a simulated auditory cortex."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .audio import SAMPLE_RATE, require_audio

N_MELS = 24
WINDOW_SAMPLES = 400  # 25 ms


def log_mel(sound: NDArray[np.float32], *, hop: int = 320, n_mels: int = N_MELS) -> NDArray[np.float32]:
    """Log energies in mel bands: float32 (n_frames, n_mels), one frame per ``hop`` samples."""
    sound = require_audio(sound)
    n_frames = max(0, 1 + (len(sound) - WINDOW_SAMPLES) // hop)
    window = np.hanning(WINDOW_SAMPLES).astype(np.float32)
    bank = _filterbank(n_mels)
    out = np.empty((n_frames, n_mels), np.float32)
    for first in range(0, n_frames, 2000):
        rows = np.arange(first, min(first + 2000, n_frames))
        frames = sound[rows[:, None] * hop + np.arange(WINDOW_SAMPLES)]
        out[rows] = np.log(np.abs(np.fft.rfft(frames * window, 512)) ** 2 @ bank + 1e-4)
    return out


def _filterbank(n_mels: int) -> NDArray[np.float64]:
    """Triangular filters, equally spaced in mel from 60 Hz to 7.6 kHz: (257, n_mels)."""
    lowest, highest = (2595 * np.log10(1 + f / 700) for f in (60.0, 7600.0))
    mel = np.linspace(lowest, highest, n_mels + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    frequency = np.linspace(0, SAMPLE_RATE / 2, 257)[:, None]
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None)
