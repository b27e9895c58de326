"""The frozen feature encoder's output for all windows of a story, computed once: in memory, or mapped from a file.

It is taken before dropout and SpecAugment, so that it is valid whatever training does to it. A file is named by, and
says in its attributes, everything that its numbers depend on: the feature encoder's weights, the audio, the windows,
the type. One that does not say the same is computed again; each appears complete or not at all, so that a build that
was stopped continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cached_files import key_digest, read_cached, write_cached
from ..config import CacheType
from ..errors import ConfigError
from .identity import tensors_digest

_FRAMES = "frames"
_FORMAT = "2"
Batches = Iterator[tuple[NDArray[np.int64], Tensor]]
"""Windows of one length, and their frames (n_windows, n_frames, width)."""


class FrontCache:
    """Frames of all windows of a story, one window after the other: (n_frames of all windows, width)."""

    def __init__(self, frames: Tensor, n_frames: NDArray[np.int64]) -> None:
        """Take the frames and how many each window has."""
        self.frames = frames
        self._stops = np.cumsum(n_frames)
        self._starts = self._stops - n_frames

    def take(self, windows: NDArray[np.int64], like: Tensor) -> Tensor:
        """Windows of one length, on ``like``'s device and in its type: (len(windows), n_frames, width)."""
        frames = [self.frames[self._starts[w] : self._stops[w]] for w in windows]
        there = like.device.type == "cuda"  # the host goes on while pinned memory is copied
        gathered = torch.empty((len(frames), *frames[0].shape), dtype=self.frames.dtype, pin_memory=there)
        torch.stack(frames, out=gathered)
        return gathered.to(like.device, non_blocking=True).to(like.dtype)


def cache_in_memory(
    batches: Batches, n_frames: NDArray[np.int64], width: int, dtype: torch.dtype, advance: Callable[[int], None]
) -> FrontCache:
    """A cache in memory of the frames that ``batches`` yields; ``advance`` is told of windows as they are done."""
    frames = torch.empty(int(n_frames.sum()), width, dtype=dtype)
    for span, values in _windows(batches, n_frames, advance):
        frames[span] = values
    return FrontCache(frames, n_frames)


def cache_on_disk(
    path: Path,
    key: Mapping[str, str],
    batches: Callable[[], Batches],
    n_frames: NDArray[np.int64],
    width: int,
    dtype: torch.dtype,
    advance: Callable[[int], None],
) -> FrontCache:
    """A cache mapped from its file; ``batches`` is called only if the file is missing, damaged or of another key.

    Raises
    ------
    ConfigError
        The file does not read back.
    """
    shape, file_dtype = (int(n_frames.sum()), width), torch.empty(0, dtype=dtype).numpy().dtype
    mapped = _open(path, key, shape, file_dtype)
    if mapped is None:
        with write_cached(path, key) as file:
            frames = file.create_dataset(_FRAMES, shape=shape, dtype=file_dtype)
            for span, values in _windows(batches(), n_frames, advance):
                frames[span] = values.cpu().numpy()
        mapped = _open(path, key, shape, file_dtype)
    if mapped is None:
        raise ConfigError(f"{path} was written and does not read back; is {path.parent} a disk that can be relied on?")
    return FrontCache(torch.from_numpy(mapped), n_frames)


def cache_key(
    front_digest: str, audio: Tensor, starts: NDArray[np.int64], ends: NDArray[np.int64], dtype: CacheType
) -> dict[str, str]:
    """Everything that a story's cached frames depend on."""
    windows = tensors_digest({"starts": torch.from_numpy(starts), "ends": torch.from_numpy(ends)})
    sound = tensors_digest({"audio": audio})
    return {"format": _FORMAT, "front_end": front_digest, "audio": sound, "windows": windows, "type": dtype}


def cache_path(folder: Path, key: Mapping[str, str]) -> Path:
    """The file of a key."""
    return folder / f"{key_digest(dict(key))}.hf5"


def _windows(
    batches: Batches, n_frames: NDArray[np.int64], advance: Callable[[int], None]
) -> Iterator[tuple[slice, Tensor]]:
    """Where each window's frames lie among all, and the frames."""
    stops = np.cumsum(n_frames)
    for windows, front in batches:
        for window, values in zip(windows, front, strict=True):
            yield slice(stops[window] - n_frames[window], stops[window]), values
        advance(len(windows))


def _open(path: Path, key: Mapping[str, str], shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """The file's frames, mapped; None if it is absent, damaged, or of another key."""

    def mapped(file: Any) -> NDArray[Any] | None:
        frames = file[_FRAMES]
        offset = frames.id.get_offset()
        if frames.shape != shape or frames.dtype != dtype or offset is None:
            return None
        # Copy on write, of which nothing is written: torch warns of arrays that are read-only.
        return np.memmap(path, dtype=dtype, mode="c", offset=offset, shape=shape)

    return read_cached(path, key, mapped)
