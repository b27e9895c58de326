"""Praat TextGrids, in the long and in the short text format: who said what, when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError

NOT_WORDS = frozenset({"", "sp", "br", "lg", "ls", "ns", "sl", "cg", "ig", "sentence_start", "sentence_end"})
"""Marks in the word tier that are not words (pauses, breaths, laughter, lip smacks, noise), also seen in braces."""

# A token is a quoted string (quotes inside are doubled), a number, or a flag; everything else is decoration
# (keys such as `xmin =`, indices in brackets), present in the long format and absent from the short one.
_TOKEN = re.compile(r'"(?:[^"]|"")*"|<exists>|<absent>|(?<![\w.\[])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w\]])')


@dataclass(frozen=True)
class Interval:
    """Something that was said, in seconds from the sound's onset."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class TextGrid:
    """Tiers by name, in the file's order (ds003020: phone, then word). Points are intervals of no length."""

    path: Path
    tiers: dict[str, tuple[Interval, ...]]

    def tier(self, name: str) -> tuple[Interval, ...]:
        """A tier by name, whatever its case; a missing one is a :class:`DataError`."""
        for key, intervals in self.tiers.items():
            if key.lower() == name.lower():
                return intervals
        raise DataError(f"{self.path} has no tier '{name}'; it holds: {', '.join(self.tiers) or 'nothing'}.")


def read_textgrid(path: Path | str) -> TextGrid:
    """Parse a TextGrid.

    Raises
    ------
    DataError
        It cannot be read, is not a TextGrid, or ends too soon; names the file and the line.
    """
    path = Path(path)
    return _Parser(path, _decode(path)).parse()


def words(grid: TextGrid) -> list[Interval]:
    """The words of a story, in lower case, in order; marks such as ``sp`` or ``{BR}`` are left out."""
    spoken = [Interval(i.start, i.end, i.text.strip().lower()) for i in grid.tier("word")]
    return [word for word in spoken if word.text.strip("{}") not in NOT_WORDS]


def _decode(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # older Praat wrote the machine's own encoding


class _Parser:
    """Reads a TextGrid's values one after another; both formats hold the same values in the same order."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.tokens = list(_TOKEN.finditer(text))
        self.next = 0

    def parse(self) -> TextGrid:
        if self._string("a file type") != "ooTextFile" or self._string("an object class") != "TextGrid":
            raise DataError(f"{self.path} is not a TextGrid (its head should say ooTextFile and TextGrid).")
        self._number("the start time"), self._number("the end time")
        if self._take("<exists>") == "<absent>":
            return TextGrid(self.path, {})
        tiers: dict[str, tuple[Interval, ...]] = {}
        for _ in range(self._count("the number of tiers")):
            kind = self._string("a tier's class")
            read = {"IntervalTier": self._interval, "TextTier": self._point}.get(kind)
            if read is None:
                raise self._error(f"unknown tier class '{kind}'")
            name = self._string("a tier's name")
            self._number("a tier's start"), self._number("a tier's end")
            tiers[name] = tuple(read() for _ in range(self._count(f"the size of tier '{name}'")))
        return TextGrid(self.path, tiers)

    def _interval(self) -> Interval:
        start, end = self._number("an interval's start"), self._number("an interval's end")
        if end < start:
            raise self._error(f"an interval ends at {end} before it starts at {start}")
        return Interval(start, end, self._string("an interval's text"))

    def _point(self) -> Interval:
        time = self._number("a point's time")
        return Interval(time, time, self._string("a point's mark"))

    def _string(self, what: str) -> str:
        token = self._take(what)
        if not token.startswith('"'):
            raise self._error(f"expected {what} in quotes, got {token}")
        return token[1:-1].replace('""', '"')

    def _number(self, what: str) -> float:
        token = self._take(what)
        try:
            return float(token)
        except ValueError:
            raise self._error(f"expected {what}, got {token}") from None

    def _count(self, what: str) -> int:
        number = self._number(what)
        if number != int(number) or number < 0:
            raise self._error(f"expected {what}, got {number}")
        return int(number)

    def _take(self, what: str) -> str:
        if self.next >= len(self.tokens):
            raise self._error(f"the file ends where {what} should be")
        self.next += 1
        return self.tokens[self.next - 1].group()

    def _error(self, problem: str) -> DataError:
        last = self.tokens[self.next - 1].start() if self.next else 0
        line = self.text.count("\n", 0, last) + 1
        return DataError(f"{self.path}, line {line}: {problem}. The TextGrid is damaged; download it again.")
