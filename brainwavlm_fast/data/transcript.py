"""The words of a story on the clock of its sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .audio import SAMPLE_RATE
from .textgrid import Interval, read_textgrid, words
from .tree import Dataset

_FRAME = SAMPLE_RATE // 20  # samples: 50 ms
_TREND = 201  # frames: 10 s
_FARTHEST = 2400  # frames: 2 minutes
_SHOWS = 0.3  # correlation of words and loudness from which pauses are audible
_ROUNDING = 0.1  # seconds by which a last interval may pass the sound's end


def story_words(dataset: Dataset, story: str, sound: NDArray[np.float32] | None) -> list[Interval]:
    """A story's words as :func:`.textgrid.words` gives them, which must fit its sound.

    Whatever needs words asks here, ``bwlm check`` and probes alike.

    Parameters
    ----------
    sound : NDArray or None
        The story's, as of :func:`.audio.story_audio`; None if it is not here, and nothing can be compared.

    Raises
    ------
    DataError
        The TextGrid is missing or damaged, holds no word or several tiers of words, or is on another clock.
    """
    path = dataset.require(dataset.textgrid_path(story))
    said = words(read_textgrid(path))
    if not said:
        raise DataError(f"{path} holds no words.")
    first, last = min(word.start for word in said), max(word.end for word in said)
    if first < -_ROUNDING:
        raise DataError(f"{path}: its first word starts {-first:.1f} s before the sound does. {_OTHER_CLOCK}")
    if sound is None:
        return said
    seconds = len(sound) / SAMPLE_RATE
    if last > seconds + _ROUNDING:
        raise DataError(
            f"{path}: its last word ends at {last:.1f} s, but the sound lasts {seconds:.1f} s. {_OTHER_CLOCK}"
        )
    late = seconds_late(said, sound)
    if late:
        raise DataError(
            f"{path}: its words fit the loudness of the sound if they are moved by {-late:+.1f} s. {_OTHER_CLOCK}"
        )
    return said


def seconds_late(said: Sequence[Interval], sound: NDArray[np.float32]) -> float:
    """By how much words come after the loud parts of the sound; 0 where they fit, or where no pause tells.

    Words and loudness, without their trends over 10 s, are correlated at all shifts up to two minutes.
    """
    n_frames = len(sound) // _FRAME
    frames = sound[: n_frames * _FRAME].reshape(n_frames, _FRAME)
    loudness = np.log(np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / _FRAME + 1e-8)
    spoken = np.zeros(n_frames)
    for word in said:
        spoken[max(0, round(word.start * 20)) : max(0, round(word.end * 20))] = 1
    x, y = _normal(spoken), _normal(loudness)
    size = 2 * n_frames
    by_shift = np.fft.irfft(np.fft.rfft(x, size) * np.conj(np.fft.rfft(y, size)), size)  # words late by k frames
    farthest = min(_FARTHEST, n_frames // 2)
    shifts = np.arange(-farthest, farthest + 1)
    fit = by_shift[shifts]
    best = int(fit.argmax())
    here = fit[np.abs(shifts) <= 10].max()
    return float(shifts[best]) / 20 if fit[best] > _SHOWS and fit[best] > 2 * here else 0.0


def _normal(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without its trend, with norm 1 (0 if it is constant)."""
    weights = np.ones(min(_TREND, len(x)))
    trend = np.convolve(x, weights, "same") / np.convolve(np.ones(len(x)), weights, "same")
    x = x - trend
    norm = np.linalg.norm(x)
    return x / norm if norm > 1e-9 else np.zeros_like(x)


_OTHER_CLOCK = "The TextGrid belongs to another recording, or is on another clock; take the one that fits the sound."
