"""The ways in which Praat writes a TextGrid's values: text (long, short, chronological) and binary.

Praat's manual, "TextGrid file formats": a text file is a row of strings in quotes, numbers and flags that stand free
between blanks; all else, and whatever follows an exclamation mark, is decoration.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

CHRONOLOGICAL = "Praat chronological TextGrid text file"
_BINARY = b"ooBinaryFile"
_TOKEN = re.compile(r'"(?:[^"]|"")*+"(?!\S)|!.*|\S+')  # quotes inside a string are doubled, a blank follows it
_VALUE = tuple('"<+-0123456789')  # what strings, flags and numbers start with
_NUMBER = re.compile(r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)[a-zA-Z]*")  # a unit may follow, as in 1.5s


class FormatError(Exception):
    """What is wrong in a file, and where."""


class TextValues:
    """Values of a text file, one after another."""

    def __init__(self, raw: bytes) -> None:
        self._text = _decode(raw).replace("\r\n", "\n").replace("\r", "\n")
        self._tokens = [token for token in _TOKEN.finditer(self._text) if token[0].startswith(_VALUE)]
        self._next = 0

    @property
    def more(self) -> bool:
        """Whether a value follows."""
        return self._next < len(self._tokens)

    def head(self) -> str:
        """What the file says it is: ``TextGrid``, or :data:`CHRONOLOGICAL`."""
        kind = self.string("a file type")
        return self.object_class("an object class") if kind in ("ooTextFile", "ooTextFile short") else kind

    def string(self, what: str) -> str:
        """The next value, which must be a string."""
        token = self._take(what)
        if not token.startswith('"'):
            raise self.error(f"expected {what} in quotes, got {token}")
        if len(token) == 1 or not token.endswith('"') or '"' in token[1:-1].replace('""', ""):
            raise self.error(f"{what} does not end, or a quote in it is not doubled: {token}")
        return token[1:-1].replace('""', '"')

    object_class = string

    def number(self, what: str) -> float:
        """The next value, which must be a number."""
        token = self._take(what)
        match = _NUMBER.fullmatch(token)
        if match is None or not math.isfinite(float(match[1])):
            raise self.error(f"expected {what}, got {token}")
        return float(match[1])

    def count(self, what: str) -> int:
        """The next value, which must be a whole number."""
        number = self.number(what)
        if number != int(number) or number < 0:
            raise self.error(f"expected {what}, got {number}")
        return int(number)

    def exists(self) -> bool:
        """The flag that says whether there are tiers."""
        flag = self._take("<exists>")
        if flag not in ("<exists>", "<absent>"):
            raise self.error(f"expected <exists>, got {flag}")
        return flag == "<exists>"

    def error(self, problem: str) -> FormatError:
        """A problem with the value that was read last."""
        last = self._tokens[self._next - 1].start() if self._next else 0
        return FormatError(f"line {self._text.count(chr(10), 0, last) + 1}: {problem}")

    def _take(self, what: str) -> str:
        if not self.more:
            raise self.error(f"the file ends where {what} should be")
        self._next += 1
        return self._tokens[self._next - 1][0]


class BinaryValues:
    """Values of a binary file, big-endian, one after another."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._next = raw, len(_BINARY)

    def head(self) -> str:
        """What the file says it is."""
        return self.object_class("an object class")

    def object_class(self, what: str) -> str:
        """A class: its length in one byte, then ASCII."""
        return self._take(what, self._unpack(what, "B")).decode("latin-1")

    def string(self, what: str) -> str:
        """A text: its length in two bytes, then ASCII; or -1, its number of characters, and UTF-16."""
        length: int = self._unpack(what, "H")
        if length != 0xFFFF:
            return self._take(what, length).decode("latin-1")
        text = b""
        for _ in range(self._unpack(what, "H")):
            text += self._take(what, 2)
            if 0xD8 <= text[-2] < 0xDC:  # the first of a pair
                text += self._take(what, 2)
        try:
            return text.decode("utf-16-be")
        except UnicodeDecodeError:
            raise self.error(f"{what} is not UTF-16") from None

    def number(self, what: str) -> float:
        """A float of 8 bytes."""
        number: float = self._unpack(what, "d")
        if not math.isfinite(number):
            raise self.error(f"expected {what}, got {number}")
        return number

    def count(self, what: str) -> int:
        """A whole number of 4 bytes."""
        count: int = self._unpack(what, "i")
        if count < 0:
            raise self.error(f"expected {what}, got {count}")
        return count

    def exists(self) -> bool:
        """The flag that says whether there are tiers."""
        return bool(self._unpack("a flag", "B"))

    def error(self, problem: str) -> FormatError:
        """A problem with the value that was read last."""
        return FormatError(f"byte {self._next}: {problem}")

    def _unpack(self, what: str, kind: str) -> Any:
        (value,) = struct.unpack(f">{kind}", self._take(what, struct.calcsize(f">{kind}")))
        return value

    def _take(self, what: str, n_bytes: int) -> bytes:
        found = self._raw[self._next : self._next + n_bytes]
        if len(found) < n_bytes:
            raise self.error(f"the file ends where {what} should be")
        self._next += n_bytes
        return found


def open_values(raw: bytes) -> TextValues | BinaryValues:
    """The values of a file of either kind."""
    return BinaryValues(raw) if raw.startswith(_BINARY) else TextValues(raw)


def _decode(raw: bytes) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif 0 in raw[:2]:  # UTF-16 without a mark: the first character is ASCII
        encoding = "utf-16-be" if raw[0] == 0 else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # older Praat wrote the machine's own encoding
