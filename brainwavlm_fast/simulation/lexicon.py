"""A small language whose meaning cannot be heard: 36 words, 6 topics, and embeddings unrelated to their sounds.

Words are pairs of 12 syllables. Each topic's six words use every syllable exactly once (a perfect matching of the
syllables), so topics sound alike on average; embeddings are orthogonal to syllable counts, so that no linear map from
what is heard, averaged over time, reaches what is meant. Meaning lies in which syllable follows which.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONSONANTS = ("b", "d", "g")
VOWELS = ("aa", "iy", "uw", "eh")
SYLLABLES = tuple((c, v) for c in CONSONANTS for v in VOWELS)
N_TOPICS = 6
N_DIMENSIONS = 12
WORD_SPREAD = 0.5  # size of a word's meaning relative to its topic's


@dataclass(frozen=True)
class Lexicon:
    """The words of a simulated brain's language.

    Attributes
    ----------
    words : NDArray[np.int64]
        (n_words, 2) syllables of each word, as indices into ``SYLLABLES``.
    topics : NDArray[np.int64]
        (n_words,) topic of each word.
    embeddings : NDArray[np.float64]
        (n_words, 12) meaning of each word, unit variance in each dimension.
    """

    words: NDArray[np.int64]
    topics: NDArray[np.int64]
    embeddings: NDArray[np.float64]

    @property
    def spellings(self) -> list[str]:
        """Each word as written in TextGrids and embedding files."""
        return ["".join("".join(SYLLABLES[s]) for s in word) for word in self.words]


def make_lexicon(rng: np.random.Generator) -> Lexicon:
    """Draw a lexicon: six disjoint matchings of the syllables, one per topic, and balanced embeddings."""
    words, topics = [], []
    renamed = rng.permutation(len(SYLLABLES))
    for topic, pairs in enumerate(rng.permutation(_matchings(len(SYLLABLES)))[:N_TOPICS]):
        for pair in pairs:
            words.append(renamed[rng.permutation(pair)])
            topics.append(topic)
    table, topic_of = np.array(words), np.array(topics)
    # meaning is a topic's center plus a part per word, made orthogonal to syllable counts
    centers = rng.standard_normal((N_TOPICS, N_DIMENSIONS))
    raw = centers[topic_of] + WORD_SPREAD * rng.standard_normal((len(table), N_DIMENSIONS))
    # each word holds two syllables, so their counts' span includes the constant
    return Lexicon(table, topic_of, _without(raw, syllable_counts(table)))


def make_meaning_apart(lexicon: Lexicon, rng: np.random.Generator) -> NDArray[np.float64]:
    """Embeddings (n_words, 12) that a lexicon's embeddings do not predict: orthogonal to them, to topics, to sounds."""
    raw = rng.standard_normal((len(lexicon.words), N_DIMENSIONS))
    topics = np.eye(N_TOPICS)[lexicon.topics]
    return _without(raw, np.hstack([syllable_counts(lexicon.words), topics, lexicon.embeddings]))


def _without(raw: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of each column when all that is linear in ``known`` is taken off, at unit variance."""
    left = raw - known @ np.linalg.lstsq(known, raw, rcond=None)[0]
    return left / left.std(axis=0)


def syllable_counts(words: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each word holds each syllable: (n_words, n_syllables)."""
    return np.stack([np.bincount(word, minlength=len(SYLLABLES)) for word in words]).astype(np.float64)


def _matchings(n: int) -> NDArray[np.int64]:
    """The n - 1 disjoint perfect matchings of n things (a round robin): (n - 1, n / 2, 2)."""
    rounds = []
    for shift in range(n - 1):
        pairs = [(shift, n - 1)]
        pairs += [((shift + k) % (n - 1), (shift - k) % (n - 1)) for k in range(1, n // 2)]
        rounds.append(pairs)
    return np.array(rounds)
