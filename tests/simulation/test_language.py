"""The planted language: meaning cannot be heard, and everything said is where the TextGrid says it is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwavlm_fast.data import read_textgrid, words
from brainwavlm_fast.simulation.layout import write_sound, write_textgrid
from brainwavlm_fast.simulation.lexicon import N_TOPICS, SYLLABLES, make_lexicon, make_meaning_apart, syllable_counts
from brainwavlm_fast.simulation.speech import WAV_RATE, synthesize_syllables
from brainwavlm_fast.simulation.stories import tell_story, window_meaning

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_every_topic_uses_every_syllable_once_and_no_word_repeats(seed):
    lexicon = make_lexicon(np.random.default_rng(seed))
    assert lexicon.words.shape == (36, 2)
    for topic in range(N_TOPICS):
        assert sorted(lexicon.words[lexicon.topics == topic].ravel()) == list(range(len(SYLLABLES)))
    assert len({tuple(sorted(word)) for word in lexicon.words}) == 36
    assert len(set(lexicon.spellings)) == 36


@given(seeds)
def test_no_linear_map_of_syllable_counts_reaches_the_meaning(seed):
    lexicon = make_lexicon(np.random.default_rng(seed))
    assert np.abs(syllable_counts(lexicon.words).T @ lexicon.embeddings).max() < 1e-9
    np.testing.assert_allclose(lexicon.embeddings.std(axis=0), 1.0)


@given(seeds)
def test_the_meaning_of_its_own_is_predicted_by_nothing_in_the_shared_one(seed):
    rng = np.random.default_rng(seed)
    lexicon = make_lexicon(rng)
    apart = make_meaning_apart(lexicon, rng)
    np.testing.assert_allclose(apart.std(axis=0), 1.0)
    for known in (syllable_counts(lexicon.words), np.eye(N_TOPICS)[lexicon.topics], lexicon.embeddings):
        assert np.abs(known.T @ apart).max() < 1e-9


@pytest.fixture(scope="module")
def told():
    rng = np.random.default_rng(3)
    lexicon = make_lexicon(rng)
    return lexicon, tell_story(lexicon, synthesize_syllables(rng), 40.0, rng)


def test_a_story_is_sound_where_words_are_and_quiet_elsewhere(told):
    _, spoken = told
    assert len(spoken.sound) == 40 * WAV_RATE
    assert np.isfinite(spoken.sound).all()
    assert np.abs(spoken.sound).max() <= 1
    assert 1.5 < len(spoken.words) / 40 < 3  # words a second
    assert len(spoken.phones) == 4 * len(spoken.words)
    last = int(spoken.words[-1][1] * WAV_RATE)  # after it comes a word that was cut off, and silence
    speech = np.zeros(last, bool)
    for start, end, _ in spoken.words:
        speech[int(start * WAV_RATE) : int(end * WAV_RATE) + 1] = True
    assert spoken.sound[:last][speech].std() > 10 * spoken.sound[:last][~speech].std()


def test_the_textgrid_says_what_was_said(told, tmp_path):
    lexicon, spoken = told
    write_textgrid(tmp_path / "s.TextGrid", spoken, lexicon)
    grid = read_textgrid(tmp_path / "s.TextGrid")
    read = words(grid)
    assert [word.text for word in read] == [lexicon.spellings[word] for *_, word in spoken.words]
    np.testing.assert_allclose([w.start for w in read], [start for start, *_ in spoken.words], atol=1e-5)
    for tier in grid.tiers.values():
        assert tier[0].start == 0
        assert all(abs(a.end - b.start) < 1e-5 for a, b in pairwise(tier))
    assert list(grid.tiers) == ["phone", "word"]


def test_sound_is_44100_hz_16_bit_stereo_or_mono(told, tmp_path):
    import soundfile

    _, spoken = told
    for mono in (False, True):
        write_sound(tmp_path / "s.wav", spoken, mono=mono, rng=np.random.default_rng(0))
        info = soundfile.info(tmp_path / "s.wav")
        assert (info.samplerate, info.subtype, info.channels) == (44_100, "PCM_16", 1 if mono else 2)
        assert info.frames == len(spoken.sound)


@settings(max_examples=20)
@given(st.lists(st.floats(0.5, 40.0), min_size=1, max_size=20), st.floats(0.5, 6.0))
def test_a_windows_meaning_is_the_mean_of_its_words(told, ends, window):
    lexicon, spoken = told
    found = window_meaning(spoken, lexicon.embeddings, np.array(ends), window)
    for end, row in zip(ends, found, strict=True):
        inside = [w for start, stop, w in spoken.words if end - window <= (start + stop) / 2 < end]
        expected = lexicon.embeddings[inside].mean(axis=0) if inside else np.zeros(12)
        np.testing.assert_allclose(row, expected, atol=1e-9)
