"""Word embeddings from a text file in GloVe's format, one word and its numbers per line; only needed words are read."""

from __future__ import annotations

import codecs
import gzip
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..cached_files import cache_folder, cached, file_digest, key_digest
from ..errors import DataError
from ..files import unreadable
from .numbers import require_finite

_BLANKS = (b" ", b"\t")


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

    The file is read once from front to back (GloVe's 840B has 5.6 GB) and only lines of wanted words are parsed; the
    vectors are kept in a cache. A word2vec header (two whole numbers) is skipped. The first of repeated words counts.

    Parameters
    ----------
    path : a text file, as it is or packed by gzip or zip: one word per line, then its numbers, separated by spaces or
        tabs. Words may hold spaces.
    words : the words wanted, as the file spells them.
    cache : folder of the cache, by default beside that of resampled sound.

    Raises
    ------
    DataError : the file is missing or empty, or the line of a wanted word is broken; names the line.
    """
    path, wanted = Path(path), sorted(set(words))
    if not path.is_file():
        raise DataError(f"{path}: no such embeddings file; give one in GloVe's text format (glove.6B.300d.txt).")
    with _lines(path):  # may it be read?
        pass
    key = {"file": file_digest(path), "words": key_digest(wanted), "tokens": "whole"}
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
    with _lines(path) as lines:
        header, n_dimensions, first = _begin(path, lines)
        vectors: dict[str, NDArray[np.float32]] = {}
        spelled = {word.encode(): word for word in wanted}
        for number, line in enumerate(map(bytes.strip, chain(first, lines)), start=header + 1):
            holds_blanks = sum(map(line.count, _BLANKS)) > n_dimensions
            token = (line.rsplit(None, n_dimensions) if holds_blanks else line.split(None, 1) or [b""])[0]
            word = spelled.get(token)
            if word is None or word in vectors:
                continue
            fields = line[len(token) :].split()
            try:
                values = require_finite(np.array(fields, dtype=np.float64), "")
            except ValueError:
                values = np.array([], np.float32)
            if values.shape != (n_dimensions,):
                raise DataError(
                    f"{path}, line {number}: '{word}' should have {n_dimensions} numbers, got {line[:60]!r}; "
                    "the file is damaged, or cut off."
                )
            vectors[word] = values
    return Embeddings(vectors, n_dimensions)


def _begin(path: Path, lines: Iterator[bytes]) -> tuple[int, int, list[bytes]]:
    """Lines of a header (1 or 0), numbers per word, and the lines after it that were read to tell."""
    first = list(islice(lines, 100))
    if not first:
        raise DataError(f"{path} is empty; expected one word and its numbers per line.")
    first[0] = first[0].removeprefix(codecs.BOM_UTF8)
    if b"\0" in b"".join(first):
        raise DataError(
            f"{path} is not UTF-8 text; give word vectors as text, one word and its numbers per line (word2vec's .bin "
            "can be saved so)."
        )
    fields = first[0].split()
    if len(fields) == 2 and all(field.isdigit() for field in fields):  # word2vec's header
        return 1, int(fields[1]), first[1:]
    n_dimensions = Counter(map(_n_numbers, first)).most_common(1)[0][0]
    if n_dimensions < 1:
        raise DataError(f"{path}, line 1: expected a word and its numbers, got {first[0][:60]!r}.")
    return 0, n_dimensions, first


def _n_numbers(line: bytes) -> int:
    """Numbers at the end of a line, after at least one field of another kind or use."""
    _, *fields = line.split() or [b""]
    return sum(1 for _ in takewhile(_is_number, reversed(fields)))


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[bytes]]:
    """The lines of a text file, or of one that was compressed by gzip or zip."""
    try:
        with ExitStack() as stack:
            file: Any = stack.enter_context(path.open("rb"))
            magic = file.read(4)
            file.seek(0)
            if magic.startswith(b"\x1f\x8b"):
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            elif magic == b"PK\3\4":
                archive = stack.enter_context(zipfile.ZipFile(file))
                file = stack.enter_context(archive.open(_only_member(path, archive)))
            yield iter(file)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        damaged = f"{path} cannot be unpacked ({error}); download it again."
        raise DataError(unreadable(path, error, otherwise=damaged)) from error


def _only_member(path: Path, archive: zipfile.ZipFile) -> str:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
    if len(names) != 1:
        raise DataError(
            f"{path} holds {len(names)} files ({', '.join(names[:6])}); unpack it, and give the one that is meant."
        )
    return names[0]
