"""The header of a WAV: how many samples it promises, and whether its writer knew.

libsndfile trims what a header promises to what the file holds, so that it does not see a file that was cut.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class WavHeader:
    """Of a plain RIFF WAV.

    Attributes
    ----------
    promised : int
        Frames that the header promises; 0 if its writer did not know.
    unknown_at : int
        Where a size stands that its writer did not know; 0 if it did.
    """

    promised: int
    unknown_at: int = 0


def read_wav_header(path: Path) -> WavHeader | None:
    """The header of a plain WAV; None of any other file."""
    size_of_file = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        frame = 0
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"fmt ":
                frame = int.from_bytes(file.read(size)[12:14], "little")
            elif chunk[:4] == b"data":
                start = file.tell()
                left = size_of_file - start
                streamed = _is_placeholder(size) or (size == 0 and left > 0 and not _chunks_follow(file, size_of_file))
                if not streamed:
                    return WavHeader(size // frame if frame else 0)
                return WavHeader(0, unknown_at=start - 4)
            else:
                file.seek(size + size % 2, 1)
    return None


def with_length(path: Path, header: WavHeader) -> io.BytesIO:
    """The file with its true length in the place of the one that its writer did not know."""
    raw = bytearray(path.read_bytes())
    at = header.unknown_at
    for place, start in ((4, 8), (at, at + 4)):
        raw[place : place + 4] = min(len(raw) - start, 0xFFFFFFFF).to_bytes(4, "little")
    return io.BytesIO(raw)


def _is_placeholder(size: int) -> bool:
    """Whether a size was written into a pipe by a program that did not know the length yet.

    The largest sizes with or without a sign, less a header or rounded to blocks: 0x7FFFF000 (SoX), 0x7FFFFF00
    (arecord), 0xFFFF0000 (GStreamer), 0xFFFFFFFF (FFmpeg). Others write 0.
    """
    return size >= 0xFFFF0000 or 0x7FFF0000 <= size <= 0x80000000


def _chunks_follow(file: BinaryIO, size_of_file: int) -> bool:
    """Whether the rest of the file is chunks, not samples."""
    while len(chunk := file.read(8)) == 8 and chunk[:4].isascii() and chunk[:4].decode().isprintable():
        size = int.from_bytes(chunk[4:], "little")
        file.seek(size + size % 2, 1)
    return file.tell() == size_of_file and not chunk
