"""Word vectors in GloVe's format: only what is wanted, words with spaces, headers, broken lines, the cache."""

from __future__ import annotations

import gzip
import zipfile

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


def test_a_token_that_holds_blanks_is_not_its_first_word(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("at name@domain.com 1 2 3\nat 4 5 6\n1 2 7 8 9\n1 0 0 1\nnew york 1 1 1\nplain 2 2 2 \n")
    found = read(path, "at", "at name@domain.com", "1", "new york", "new", "plain", "1 2")
    assert {word: vector.tolist() for word, vector in found.vectors.items()} == {
        "at name@domain.com": [1, 2, 3], "at": [4, 5, 6], "1 2": [7, 8, 9], "1": [0, 0, 1], "new york": [1, 1, 1],
        "plain": [2, 2, 2],
    }  # fmt: skip


PLAIN = "the 1 2\n. . 3 4\ndog 5 6\n"


def packed(tmp_path, kind):
    path = tmp_path / f"vectors.{kind}"
    if kind == "mark":
        path.write_text(PLAIN, encoding="utf-8-sig")
    elif kind == "tabs":
        path.write_text(PLAIN.replace("the ", "the\t").replace("5 6", "5\t6\r"))
    elif kind == "marked header":
        path.write_text("3 2\n" + PLAIN, encoding="utf-8-sig")
    elif kind == "gz":
        path.write_bytes(gzip.compress(PLAIN.encode()))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("glove/", "")
            archive.writestr("__MACOSX/._glove.txt", b"\0")
            archive.writestr("glove/glove.txt", PLAIN)
    return path


@pytest.mark.parametrize("kind", ["mark", "tabs", "marked header", "gz", "zip"])
def test_a_mark_tabs_and_packed_files(tmp_path, kind):
    found = read(packed(tmp_path, kind), "the", ". .", "dog")
    assert {word: vector.tolist() for word, vector in found.vectors.items()} == {
        "the": [1, 2],
        ". .": [3, 4],
        "dog": [5, 6],
    }


def test_packed_files_that_cannot_be_read(tmp_path):
    path = packed(tmp_path, "gz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"vectors\.gz cannot be unpacked"):
        read(path, "the")
    with zipfile.ZipFile(tmp_path / "six.zip", "w") as archive:
        archive.writestr("glove.50d.txt", PLAIN)
        archive.writestr("glove.100d.txt", PLAIN)
    with pytest.raises(DataError, match=r"holds 2 files \(glove.50d.txt, glove.100d.txt\); unpack it"):
        read(tmp_path / "six.zip", "the")
    (tmp_path / "w2v.bin").write_bytes(b"3 2\nthe \0\0\x80\x3f\0\0\0@")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read(tmp_path / "w2v.bin", "the")


@pytest.mark.parametrize(
    ("text", "word", "message"),
    [
        (LINES, "broken", "line 5: 'broken' should have 3 numbers"),
        ("a 1 2\nb 1 x\n", "b", "line 2: 'b' should have 2 numbers"),
        ("a 1 2\nb 1e39 2\n", "b", "line 2: 'b' should have 2 numbers"),
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
