"""Word vectors in GloVe's format: only what is wanted, words with spaces, headers, broken lines, the cache."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.data.embeddings import read_embeddings
from brainwavlm_fast.errors import DataError

LINES = "the 0.1 -0.2 3\n. . . 1 2 3\nhouse 4 5 6e-1\nthe 9 9 9\nbroken 1 2\ncafé 7 8 9\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


def read(path, *words):
    return read_embeddings(path, words, cache=path.parent / "cache")


def test_wanted_words_are_found_and_others_never_parsed(table):
    found = read(table, "house", "the", "café", "nowhere", ". . .")
    assert found.n_dimensions == 3
    assert set(found.vectors) == {"house", "the", "café", ". . ."}
    np.testing.assert_allclose(found.vectors["the"], [0.1, -0.2, 3])  # the first of two
    np.testing.assert_allclose(found.vectors["house"], [4, 5, 0.6])
    np.testing.assert_allclose(found.vectors[". . ."], [1, 2, 3])


def test_a_word2vec_header_is_skipped(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("2 3\na 1 2 3\nb 4 5 6\n")
    found = read(path, "b")
    assert found.n_dimensions == 3
    np.testing.assert_array_equal(found.vectors["b"], [4, 5, 6])


def test_the_cache_is_used_and_notices_a_changed_file(table):
    first = read(table, "house")
    (kept,) = (table.parent / "cache").iterdir()
    again = read(table, "house")
    np.testing.assert_array_equal(first.vectors["house"], again.vectors["house"])
    kept.write_bytes(b"cut off")
    np.testing.assert_array_equal(read(table, "house").vectors["house"], first.vectors["house"])
    table.write_text("house 1 1 1\n")
    np.testing.assert_array_equal(read(table, "house").vectors["house"], [1, 1, 1])


@pytest.mark.parametrize(
    ("text", "word", "message"),
    [
        (LINES, "broken", "line 5: 'broken' should have 3 numbers"),
        ("a 1 2\nb 1 x\n", "b", "line 2: 'b' should have 2 numbers"),
        ("a 1 2\nb 1 nan\n", "b", "line 2: 'b' should have 2 numbers"),
        ("a\n", "a", "line 1: expected a word and its numbers"),
        ("", "a", "is empty"),
    ],
)
def test_what_is_broken_is_named(tmp_path, text, word, message):
    path = tmp_path / "glove.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read(path, word)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="no such embeddings file"):
        read(tmp_path / "nothing.txt", "a")
