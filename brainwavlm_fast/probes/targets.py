"""What probes predict, at TR rate: filterbank energies of the sound, embeddings of the words, or the user's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import (
    SAMPLE_RATE,
    Dataset,
    load_audio,
    read_target,
    read_textgrid,
    response_times,
    usable_dimensions,
    words,
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
    name, title : short, and for people.
    stories : story -> (n_trs, n_dimensions), a row a response.
    notes : what should be said about it, in the summary.
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
    found = {}
    for story in stories:
        frames = log_mel(load_audio(dataset.require(dataset.audio_path(story))), hop=_HOP, n_mels=N_BANDS)
        frames -= frames.mean(axis=0)
        times = (np.arange(len(frames)) * _HOP + WINDOW_SAMPLES / 2) / SAMPLE_RATE
        found[story] = lanczos_weights(times, response_times(dataset.n_trs(story), clock=clock)) @ frames.astype(float)
    return Target("mel", f"log-mel filterbank ({N_BANDS} bands)", found)


def word_target(
    dataset: Dataset, stories: Sequence[str], embeddings: Path | str, *, clock: Any = "sound", cache: Path | None = None
) -> Target:
    """Embeddings of the words that are said, summed at TRs by a Lanczos filter over the words' middles.

    Words that the file does not have are left out and counted.

    Raises
    ------
    DataError : a TextGrid or the embeddings will not do, or not one word of a story has an embedding.
    """
    spoken = {story: words(read_textgrid(dataset.require(dataset.textgrid_path(story)))) for story in stories}
    counts = Counter(word.text for said in spoken.values() for word in said)
    table = read_embeddings(embeddings, counts, cache=cache)
    found = {}
    for story, said in spoken.items():
        known = [word for word in said if word.text in table.vectors]
        if not known:
            raise DataError(
                f"not one of the {len(said)} words of story '{story}' is in {embeddings}; words are in lower case."
            )
        middles = np.array([(word.start + word.end) / 2 for word in known])
        vectors = np.array([table.vectors[word.text] for word in known], dtype=np.float64)
        found[story] = lanczos_weights(middles, response_times(dataset.n_trs(story), clock=clock)) @ vectors
    missing = Counter({word: n for word, n in counts.items() if word not in table.vectors})
    notes = {
        "embeddings": str(embeddings),
        "n_words": counts.total(),
        "n_out_of_vocabulary": missing.total(),
        "most_frequent_out_of_vocabulary": [word for word, _ in missing.most_common(10)],
    }
    return Target("words", f"word embeddings ({table.n_dimensions} dimensions)", found, notes)


def file_target(path: Path | str, dataset: Dataset, stories: Sequence[str]) -> Target:
    """The user's own: an HDF5 file with a dataset (n_trs, n_dimensions) a story, a row a response.

    Raises
    ------
    DataError : a story is missing, has another shape, or holds what is not a number; or no dimension varies.
    """
    path = Path(path)
    varies = usable_dimensions(path, dataset, stories)
    found = {story: read_target(path, dataset, story)[:, varies].astype(np.float64) for story in stories}
    notes = {"file": str(path), "n_constant": int((~varies).sum())}
    return Target(path.stem, f"{path.name} ({varies.sum()} dimensions)", found, notes)
