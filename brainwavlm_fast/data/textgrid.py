"""Praat TextGrids in every form that Praat writes: who said what, when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..files import unreadable
from .textgrid_formats import CHRONOLOGICAL, BinaryValues, FormatError, TextValues, open_values

NOT_WORDS = frozenset(
    {"", "sp", "br", "lg", "ls", "ns", "sl", "cg", "ig", "sentence_start", "sentence_end", "sil", "spn"}
)
"""Marks in the word tier that are not words (pauses, breaths, laughter, lip smacks, noise), also seen in braces."""
_BRACKETED = re.compile(r"<.*>|\[.*\]")  # the Montreal Forced Aligner's marks: <unk>, [bracketed]
_WORD_TIER = re.compile(r"(.* - )?words?", re.IGNORECASE)  # word; the aligner's words, or SPEAKER - words
_PHONE_TIER = re.compile(r"(.* - )?phones?", re.IGNORECASE)  # phone; the aligner's phones, or SPEAKER - phones


@dataclass(frozen=True)
class Interval:
    """Something that was said, in seconds from the sound's onset."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class TextGrid:
    """Tiers by name, in the file's order (ds003020: phone, then word). Points are intervals of no length.

    Attributes
    ----------
    tiers : dict
        Name -> intervals; the first of those that share a name.
    repeated : tuple of str
        Names that a further tier has.
    """

    path: Path
    tiers: dict[str, tuple[Interval, ...]]
    repeated: tuple[str, ...] = ()

    def tier(self, name: str) -> tuple[Interval, ...]:
        """A tier by name, whatever its case; a missing one, or one of several, is a :class:`DataError`."""
        return self._only(name, [key for key in self._names if key.strip().lower() == name.lower()])

    def words(self) -> tuple[Interval, ...]:
        """The tier of words: ``word``, or as the Montreal Forced Aligner names it, ``words`` or ``SPEAKER - words``."""
        return self._only("word", [key for key in self._names if _WORD_TIER.fullmatch(key.strip())])

    def phones(self) -> tuple[Interval, ...]:
        """The tier of phones, ``phone``, ``phones`` or ``SPEAKER - phones``."""
        return self._only("phone", [key for key in self._names if _PHONE_TIER.fullmatch(key.strip())])

    @property
    def _names(self) -> list[str]:
        return [*self.tiers, *self.repeated]

    def _only(self, name: str, found: list[str]) -> tuple[Interval, ...]:
        if not found:
            raise DataError(f"{self.path} has no tier '{name}'; it holds: {', '.join(self._names) or 'nothing'}.")
        if len(found) > 1:
            raise DataError(
                f"{self.path} has {len(found)} tiers that could be '{name}' ({', '.join(found)}); which one counts "
                "cannot be told. Remove or rename the others in Praat."
            )
        return self.tiers[found[0]]


def read_textgrid(path: Path | str) -> TextGrid:
    """Parse a TextGrid: long or short text, chronological, or binary.

    Raises
    ------
    DataError
        It cannot be read, is not a TextGrid, or ends too soon; names the file and the line.
    """
    path = Path(path)
    try:
        values = open_values(path.read_bytes())
    except OSError as error:
        raise DataError(unreadable(path, error)) from error
    try:
        kind = values.head()
        if isinstance(values, TextValues) and kind == CHRONOLOGICAL:
            tiers = _chronological(values)
        elif kind == "TextGrid":
            tiers = _by_tier(values)
        else:
            raise DataError(f"{path} is not a TextGrid (its head should say ooTextFile and TextGrid, got '{kind}').")
    except FormatError as error:
        raise DataError(f"{path}, {error}. The TextGrid is damaged; download it again.") from None
    named: dict[str, tuple[Interval, ...]] = {}
    repeated = []
    for name, intervals in tiers:
        if name in named:
            repeated.append(name)
        else:
            named[name] = intervals
    return TextGrid(path, named, tuple(repeated))


def words(grid: TextGrid) -> list[Interval]:
    """The words of a story, in lower case, in order; marks such as ``sp``, ``{BR}`` or ``<unk>`` are left out."""
    spoken = [Interval(i.start, i.end, i.text.strip().lower()) for i in grid.words()]
    return [word for word in spoken if _is_speech(word.text)]


def phones(grid: TextGrid) -> list[Interval]:
    """The phones of a story, in upper case without marks of stress, in order; silence and noises are left out."""
    return [
        Interval(phone.start, phone.end, phone.text.strip().upper().rstrip("0123456789"))
        for phone in grid.phones()
        if _is_speech(phone.text.strip().lower())
    ]


def _is_speech(text: str) -> bool:
    return not (text.strip("{}") in NOT_WORDS or _BRACKETED.fullmatch(text))


_Tiers = list[tuple[str, tuple[Interval, ...]]]


def _by_tier(values: TextValues | BinaryValues) -> _Tiers:
    """One tier after another, as all files but chronological ones have them."""
    _span(values, "the file")
    tiers: _Tiers = []
    for _ in range(values.count("the number of tiers") if values.exists() else 0):
        kind, name = _tier_head(values)
        read = _interval if kind == "IntervalTier" else _point
        tiers.append((name, tuple([read(values) for _ in range(values.count(f"the size of tier '{name}'"))])))
    return tiers


def _chronological(values: TextValues) -> _Tiers:
    """The heads of all tiers, then intervals and points by time, each with its tier's number."""
    _span(values, "the file")
    heads = [_tier_head(values) for _ in range(values.count("the number of tiers"))]
    found: list[list[Interval]] = [[] for _ in heads]
    while values.more:
        number = values.count("a tier's number")
        if not 1 <= number <= len(heads):
            raise values.error(f"expected the number of one of {len(heads)} tiers, got {number}")
        read = _interval if heads[number - 1][0] == "IntervalTier" else _point
        found[number - 1].append(read(values))
    return [(name, tuple(intervals)) for (_, name), intervals in zip(heads, found, strict=True)]


def _tier_head(values: TextValues | BinaryValues) -> tuple[str, str]:
    """Class and name of a tier."""
    kind = values.object_class("a tier's class")
    if kind not in ("IntervalTier", "TextTier"):
        raise values.error(f"unknown tier class '{kind}'")
    name = values.string("a tier's name")
    _span(values, "a tier")
    return kind, name


def _span(values: TextValues | BinaryValues, what: str) -> tuple[float, float]:
    start, end = values.number(f"{what}'s start"), values.number(f"{what}'s end")
    if end < start:
        raise values.error(f"{what} ends at {end} before it starts at {start}")
    return start, end


def _interval(values: TextValues | BinaryValues) -> Interval:
    start, end = _span(values, "an interval")
    return Interval(start, end, values.string("an interval's text"))


def _point(values: TextValues | BinaryValues) -> Interval:
    time = values.number("a point's time")
    return Interval(time, time, values.string("a point's mark"))
