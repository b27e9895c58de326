"""Word embeddings from a text file in GloVe's format, one word and its numbers per line; only needed words are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import atomic_path
from .audio import default_cache


@dataclass(frozen=True)
class Embeddings:
    """Words and their vectors.

    Attributes
    ----------
    vectors : dict[str, NDArray[np.float32]]
        Word -> float32 (n_dimensions,); words that the file does not have are absent.
    n_dimensions : int
        Of every vector.
    """

    vectors: dict[str, NDArray[np.float32]]
    n_dimensions: int


def read_embeddings(path: Path | str, words: Iterable[str], *, cache: Path | None = None) -> Embeddings:
    """Read the vectors of some words.

    The file is read once from front to back (GloVe's 840B has 5.6 GB) and only lines of wanted words are parsed; what
    was found is kept in a cache. A word2vec header (two whole numbers) is skipped. The first of repeated words counts.

    Parameters
    ----------
    path : a text file: a word, then its numbers, separated by single spaces. Words may hold spaces themselves.
    words : the words wanted, as the file spells them.
    cache : folder of the cache, by default beside that of resampled sound.

    Raises
    ------
    DataError : the file is missing or empty, or the line of a wanted word is broken; names the line.
    """
    path, wanted = Path(path), sorted(set(words))
    if not path.is_file():
        raise DataError(f"{path}: no such embeddings file; give one in GloVe's text format (glove.6B.300d.txt).")
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{' '.join(wanted)}"
    kept = (cache or default_cache().parent / "embeddings") / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    try:
        with np.load(kept, allow_pickle=False) as file:
            return Embeddings(dict(zip(file["words"].tolist(), file["vectors"], strict=True)), file["vectors"].shape[1])
    except (OSError, ValueError, EOFError, KeyError):  # absent, or damaged: made again
        pass
    found = _read(path, set(wanted))
    try:
        with atomic_path(kept) as temporary:
            vectors = np.array(list(found.vectors.values()), np.float32).reshape(-1, found.n_dimensions)
            with temporary.open("wb") as file:
                np.savez(file, words=np.array(list(found.vectors), dtype=str), vectors=vectors)
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else
    return found


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
