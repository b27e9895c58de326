"""Word embeddings from a text file in GloVe's format: one word and its numbers per line, read for given words only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..cached_files import cache_folder, cached, file_digest, key_digest
from ..errors import DataError


@dataclass(frozen=True)
class Embeddings:
    """Words and their vectors.

    Attributes
    ----------
    vectors : word -> float32 (n_dimensions,); words that the file does not have are absent.
    n_dimensions : of every vector.
    """

    vectors: dict[str, NDArray[np.float32]]
    n_dimensions: int


def read_embeddings(path: Path | str, words: Iterable[str], *, cache: Path | None = None) -> Embeddings:
    """Read the vectors of some words.

    The file is read once from front to back (GloVe's 840B has 5.6 GB) and only lines of wanted words are parsed; the
    vectors are kept in a cache. A word2vec header (two whole numbers) is skipped. The first of repeated words counts.

    Parameters
    ----------
    path : a text file: one word per line, then its numbers, separated by single spaces. Words may hold spaces.
    words : the words wanted, as the file spells them.
    cache : folder of the cache, by default beside that of resampled sound.

    Raises
    ------
    DataError : the file is missing or empty, or the line of a wanted word is broken; names the line.
    """
    path, wanted = Path(path), sorted(set(words))
    if not path.is_file():
        raise DataError(f"{path}: no such embeddings file; give one in GloVe's text format (glove.6B.300d.txt).")
    key = {"file": file_digest(path), "words": key_digest(wanted)}
    return cached(
        (cache or cache_folder("embeddings")) / f"{key_digest(key)}.hf5",
        key,
        take=_take,
        make=lambda: _read(path, set(wanted)),
        put=_put,
    )


def _take(file: h5py.File) -> Embeddings:
    words, vectors = file["words"].asstr()[:], file["vectors"][:]
    return Embeddings(dict(zip(words.tolist(), vectors, strict=True)), vectors.shape[1])


def _put(file: h5py.File, table: Embeddings) -> None:
    file.create_dataset("words", data=list(table.vectors), dtype=h5py.string_dtype())
    file["vectors"] = np.array(list(table.vectors.values()), np.float32).reshape(-1, table.n_dimensions)


def _read(path: Path, wanted: set[str]) -> Embeddings:
    vectors: dict[str, NDArray[np.float32]] = {}
    n_dimensions = 0
    spelled = {word.encode(): word for word in wanted}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not n_dimensions:
                fields = line.split()
                if number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
                    continue  # word2vec's header
                n_dimensions = len(fields) - 1
                if n_dimensions < 1:
                    raise DataError(f"{path}, line {number}: expected a word and its numbers, got {line[:60]!r}.")
            word = spelled.get(line.split(b" ", 1)[0])
            if word is None and line.count(b" ") > n_dimensions:  # a word that holds spaces itself
                word = spelled.get(line.rsplit(b" ", n_dimensions)[0])
            if word is None or word in vectors:
                continue
            fields = line.split()[-n_dimensions:] if line.count(b" ") >= n_dimensions else line.split()[1:]
            try:
                values = np.array(fields, dtype=np.float32)
            except ValueError:
                values = np.array([], np.float32)
            if values.shape != (n_dimensions,) or not np.isfinite(values).all():
                raise DataError(
                    f"{path}, line {number}: '{word}' should have {n_dimensions} numbers, got {line[:60]!r}; "
                    "the file is damaged, or cut off."
                )
            vectors[word] = values
    if not n_dimensions:
        raise DataError(f"{path} is empty; expected one word and its numbers per line.")
    return Embeddings(vectors, n_dimensions)
