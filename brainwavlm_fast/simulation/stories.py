"""Stories: words that follow drifting topics, spoken, with every word and phone's time known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lexicon import N_TOPICS, SYLLABLES, Lexicon
from .speech import WAV_RATE

TOPIC_SECONDS = 10.0  # mean time on a topic: slow enough for fMRI to follow
ON_TOPIC = 0.85  # share of words from the current topic
_PAUSE_EVERY = 9  # words, on average, between longer pauses
_CONSONANT = 0.05  # s of a syllable that its consonant takes


@dataclass(frozen=True)
class Spoken:
    """A story as sound and text.

    Attributes
    ----------
    sound : NDArray[np.float32]
        float32 (n_samples,) at 44.1 kHz.
    words : list[tuple[float, float, int]]
        (start, end, index into the lexicon), in seconds, in order.
    phones : list[tuple[float, float, str]]
        (start, end, name), in seconds, in order.
    """

    sound: NDArray[np.float32]
    words: list[tuple[float, float, int]]
    phones: list[tuple[float, float, str]]


def tell_story(
    lexicon: Lexicon, tokens: list[list[NDArray[np.float32]]], seconds: float, rng: np.random.Generator
) -> Spoken:
    """Speak for ``seconds``: about two words a second, the first syllable of a word louder, short pauses between."""
    sound = (0.002 * rng.standard_normal(int(seconds * WAV_RATE))).astype(np.float32)
    words: list[tuple[float, float, int]] = []
    phones: list[tuple[float, float, str]] = []
    by_topic = [np.flatnonzero(lexicon.topics == topic) for topic in range(N_TOPICS)]
    time, topic, change = 0.3, int(rng.integers(N_TOPICS)), rng.exponential(TOPIC_SECONDS)
    while True:
        if time > change:
            topic, change = int(rng.integers(N_TOPICS)), time + rng.exponential(TOPIC_SECONDS)
        chosen = topic if rng.random() < ON_TOPIC else int(rng.integers(N_TOPICS))
        word = int(rng.choice(by_topic[chosen]))
        start = time
        for position, syllable in enumerate(lexicon.words[word]):
            token = tokens[syllable][int(rng.integers(len(tokens[syllable])))]
            begin, end = int(time * WAV_RATE), int(time * WAV_RATE) + len(token)
            if end > len(sound) - WAV_RATE // 2:
                return Spoken(sound, words, phones[: 4 * len(words)])
            level = (0.30 if position == 0 else 0.18) * rng.uniform(0.85, 1.15)
            sound[begin:end] += level * token
            consonant, vowel = (phone.upper() for phone in SYLLABLES[syllable])
            finish = end / WAV_RATE
            phones += [(time, time + _CONSONANT, consonant), (time + _CONSONANT, finish, f"{vowel}1")]
            time = finish
        words.append((start, time, word))
        time += rng.exponential(0.5) if rng.random() < 1 / _PAUSE_EVERY else rng.uniform(0.06, 0.12)


def window_meaning(
    spoken: Spoken, embeddings: NDArray[np.float64], ends: NDArray, window: float
) -> NDArray[np.float64]:
    """Mean embedding of the words whose middle lies in each window of ``window`` s: (n_windows, n_dimensions)."""
    middles = np.array([(start + end) / 2 for start, end, _ in spoken.words])
    totals = np.concatenate(
        [np.zeros((1, embeddings.shape[1])), np.cumsum(embeddings[[w for *_, w in spoken.words]], 0)]
    )
    first, last = np.searchsorted(middles, ends - window), np.searchsorted(middles, ends)
    return (totals[last] - totals[first]) / np.maximum(last - first, 1)[:, None]
