"""What probes predict, at TR rate: filterbank energies of the sound, embeddings of the words, or the user's file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cached_files import file_digest, key_digest
from ..data import (
    SAMPLE_RATE,
    Dataset,
    phones,
    read_target,
    read_textgrid,
    response_times,
    story_audio,
    story_words,
    usable_dimensions,
)
from ..data.embeddings import read_embeddings
from ..data.mel import WINDOW_SAMPLES, log_mel
from ..errors import DataError
from ..model import lanczos_weights

N_BANDS = 40
_HOP = 320  # samples: 20 ms


@dataclass(frozen=True)
class Target:
    """One kind of target.

    Attributes
    ----------
    name, title : for file names, and human-readable.
    stories : story -> (n_trs, n_dimensions), one row per response.
    notes : what the summary records of it.
    """

    name: str
    title: str
    stories: dict[str, NDArray[np.float64]]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def n_dimensions(self) -> int:
        """Columns."""
        return int(next(iter(self.stories.values())).shape[1])


def mel_target(dataset: Dataset, stories: Sequence[str], *, clock: Any = "sound") -> Target:
    """Log energies of 40 mel bands (60 Hz to 7.6 kHz, 25 ms windows every 20 ms), brought to TRs as features are.

    Each band's mean is taken out before the Lanczos filter, so that a story's edges do not look quiet.
    """
    energies = {}
    for story in stories:
        frames = log_mel(story_audio(dataset, story), hop=_HOP, n_mels=N_BANDS)
        frames -= frames.mean(axis=0)
        times = (np.arange(len(frames)) * _HOP + WINDOW_SAMPLES / 2) / SAMPLE_RATE
        weights = lanczos_weights(times, response_times(dataset.n_trs(story), clock=clock))
        energies[story] = weights @ frames.astype(float)
    return Target("mel", f"log-mel filterbank ({N_BANDS} bands)", energies)


def word_target(
    dataset: Dataset, stories: Sequence[str], embeddings: Path | str, *, clock: Any = "sound", cache: Path | None = None
) -> Target:
    """Embeddings of the words that are said, summed at TRs by a Lanczos filter over the words' middles.

    Words that the file does not have are left out and counted.

    Raises
    ------
    DataError : a TextGrid or the embeddings are missing or invalid, or not one word of a story has an embedding.
    """
    transcripts = {story: dataset.require(dataset.textgrid_path(story)) for story in stories}
    spoken = {story: story_words(dataset, story, story_audio(dataset, story)) for story in transcripts}
    counts = Counter(word.text for said in spoken.values() for word in said)
    table = read_embeddings(embeddings, counts, cache=cache)
    summed = {}
    for story, said in spoken.items():
        known = [word for word in said if word.text in table.vectors]
        if not known:
            raise DataError(
                f"not one of the {len(said)} words of story '{story}' is in {embeddings}; words are in lower case."
            )
        middles = np.array([(word.start + word.end) / 2 for word in known])
        vectors = np.array([table.vectors[word.text] for word in known], dtype=np.float64)
        summed[story] = lanczos_weights(middles, response_times(dataset.n_trs(story), clock=clock)) @ vectors
    missing = Counter({word: n for word, n in counts.items() if word not in table.vectors})
    notes = {
        "embeddings": str(embeddings),
        "contents": key_digest([file_digest(path) for path in (Path(embeddings), *transcripts.values())]),
        "n_words": counts.total(),
        "n_out_of_vocabulary": missing.total(),
        "most_frequent_out_of_vocabulary": [word for word, _ in missing.most_common(10)],
    }
    return Target("words", f"word embeddings ({table.n_dimensions} dimensions)", summed, notes)


def timing_target(dataset: Dataset, stories: Sequence[str], *, clock: Any = "sound") -> Target:
    """Words per TR, by a Lanczos filter over their middles, and the position in the story, from -1 to 1."""
    values = {}
    for story in stories:
        said = story_words(dataset, story, story_audio(dataset, story))
        middles = np.array([(word.start + word.end) / 2 for word in said])
        n_trs = dataset.n_trs(story)
        rate = lanczos_weights(middles, response_times(n_trs, clock=clock)) @ np.ones(len(said))
        values[story] = np.stack([rate, np.linspace(-1, 1, n_trs)], axis=1)
    return Target("timing", "word rate and position in the story", values)


def phone_target(dataset: Dataset, stories: Sequence[str], *, clock: Any = "sound") -> Target:
    """How often each phone is said, at TRs by a Lanczos filter over the phones' middles.

    Raises
    ------
    DataError : a TextGrid has no tier of phones, or no phone in it.
    """
    spoken = {story: phones(read_textgrid(dataset.require(dataset.textgrid_path(story)))) for story in stories}
    silent = [story for story, said in spoken.items() if not said]
    if silent:
        raise DataError(f"{dataset.textgrid_path(silent[0])} holds no phones.")
    inventory = sorted({phone.text for said in spoken.values() for phone in said})
    values = {}
    for story, said in spoken.items():
        middles = np.array([(phone.start + phone.end) / 2 for phone in said])
        which = np.array([[phone.text == symbol for symbol in inventory] for phone in said], dtype=np.float64)
        values[story] = lanczos_weights(middles, response_times(dataset.n_trs(story), clock=clock)) @ which
    return Target("phones", f"phones ({len(inventory)})", values)


def file_target(path: Path | str, dataset: Dataset, stories: Sequence[str]) -> Target:
    """The user's target: an HDF5 file with one dataset (n_trs, n_dimensions) per story, one row per response.

    Raises
    ------
    DataError : a story is missing, has another shape, or holds NaN or infinity; or no dimension varies.
    """
    path = Path(path)
    varies = usable_dimensions(path, dataset, stories)
    values = {story: read_target(path, dataset, story)[:, varies].astype(np.float64) for story in stories}
    notes = {"file": str(path), "contents": file_digest(path), "n_constant": int((~varies).sum())}
    return Target(path.stem, f"{path.name} ({varies.sum()} dimensions)", values, notes)
