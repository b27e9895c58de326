"""A source-filter synthesizer: glottal pulses through three moving formants, one syllable at a time.

It is speech-like where the model looks: voicing, formant transitions from consonant to vowel, pauses, pitch and rate
that vary from token to token. Each syllable is made a few times over, and stories draw from these tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from .lexicon import SYLLABLES

WAV_RATE = 44_100
N_TOKENS = 6  # variants of each syllable
_BLOCK = 0.005  # s between updates of the filters
_BANDWIDTHS = (80.0, 110.0, 160.0)  # Hz
# First three formants of the vowels, and where each consonant's formants start from (its locus), in Hz.
_FORMANTS = {"aa": (730, 1090, 2440), "iy": (270, 2290, 3010), "uw": (300, 870, 2240), "eh": (530, 1840, 2480)}
_LOCI = {"b": (200, 700, 2100), "d": (200, 1750, 2650), "g": (200, 2200, 2300)}
_TRANSITION = 0.05  # s from locus to vowel


def synthesize_syllables(rng: np.random.Generator) -> list[list[NDArray[np.float32]]]:
    """Tokens of every syllable: ``tokens[syllable][variant]`` is float32 sound at 44.1 kHz, peak about 1."""
    return [[_syllable(*syllable, rng) for _ in range(N_TOKENS)] for syllable in SYLLABLES]


def _syllable(consonant: str, vowel: str, rng: np.random.Generator) -> NDArray[np.float32]:
    duration, pitch = rng.uniform(0.16, 0.21), rng.uniform(105, 135)
    tract = rng.uniform(0.96, 1.04)  # vocal tract length
    n = int(duration * WAV_RATE)
    seconds = np.arange(n) / WAV_RATE
    phase = np.cumsum(pitch * (1 - 0.15 * seconds / duration)) / WAV_RATE
    pulses = np.diff(np.floor(phase), prepend=0.0)
    source = lfilter([1.0], [1.0, -0.95], pulses) + 0.003 * rng.standard_normal(n)
    burst = int(0.012 * WAV_RATE)
    source[:burst] += 0.3 * rng.standard_normal(burst) * np.exp(-np.linspace(0, 4, burst))
    sound = source
    block = int(_BLOCK * WAV_RATE)
    for formant, bandwidth in enumerate(_BANDWIDTHS):
        blend = np.clip(seconds[::block] / _TRANSITION, 0, 1)
        track = tract * ((1 - blend) * _LOCI[consonant][formant] + blend * _FORMANTS[vowel][formant])
        sound = _resonate(sound, track, bandwidth, block)
    envelope = np.minimum(1, np.minimum(seconds / 0.01, (duration - seconds) / 0.03))
    sound = sound * np.clip(envelope, 0, 1)
    return (sound / np.abs(sound).max()).astype(np.float32)


def _resonate(sound: NDArray, track: NDArray, bandwidth: float, block: int) -> NDArray:
    """A two-pole resonator whose center follows ``track``, one value per block."""
    out, state = np.empty_like(sound), np.zeros(2)
    radius = np.exp(-np.pi * bandwidth / WAV_RATE)
    for k, center in enumerate(track):
        angle = 2 * np.pi * center / WAV_RATE
        a = [1.0, -2 * radius * np.cos(angle), radius**2]
        piece = slice(k * block, (k + 1) * block)
        out[piece], state = lfilter([1 - radius], a, sound[piece], zi=state)
    return out
