"""The frozen front end's output, computed once for every window of a story: in memory, or mapped from a file.

What is kept comes before dropout and SpecAugment, so that it is valid whatever training does to it. A file is named by,
and says in its attributes, everything that its numbers depend on: the front end's weights, the audio, the windows, the
type. One that does not say the same is made again; each appears whole or not at all, so that a build that was stopped
goes on where it was.
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
from .encoder import Encoder
from .identity import tensors_digest

_FRAMES = "frames"
_FORMAT = "2"


class FrontCache:
    """Frames of all windows of a story, one window after the other: (n_frames_in_all, front_width)."""

    def __init__(self, frames: Tensor, n_frames: NDArray[np.int64]) -> None:
        """Take the frames and how many each window has."""
        self._frames = frames
        self._stops = np.cumsum(n_frames)
        self._starts = self._stops - n_frames

    @property
    def n_bytes(self) -> int:
        """Bytes kept, in memory or in the file."""
        return self._frames.nbytes

    def take(self, windows: NDArray[np.int64], like: Tensor) -> Tensor:
        """Windows of one length, on ``like``'s device and in its type: (len(windows), n_frames, front_width)."""
        gathered = torch.stack([self._frames[self._starts[w] : self._stops[w]] for w in windows])
        if like.device.type == "cuda":  # the host goes on while it is copied
            gathered = gathered.pin_memory()
        return gathered.to(like.device, non_blocking=True).to(like.dtype)


def keep_in_memory(
    batches: Iterator[tuple[NDArray[np.int64], Tensor]],
    n_frames: NDArray[np.int64],
    encoder: Encoder,
    dtype: CacheType,
    advance: Callable[[int], None],
) -> FrontCache:
    """A cache in memory from batches of (windows, front end's output)."""
    frames = torch.empty(int(n_frames.sum()), encoder.front_width, dtype=stored_type(encoder, dtype))
    cache = FrontCache(frames, n_frames)
    for windows, front in batches:
        for window, values in zip(windows, front, strict=True):
            frames[cache._starts[window] : cache._stops[window]] = values
        advance(len(windows))
    return cache


def keep_on_disk(
    batches: Callable[[], Iterator[tuple[NDArray[np.int64], Tensor]]],
    n_frames: NDArray[np.int64],
    encoder: Encoder,
    dtype: CacheType,
    key: Mapping[str, str],
    folder: Path,
    advance: Callable[[int], None],
) -> FrontCache:
    """A cache mapped from its file in ``folder``; ``batches`` is asked only if the file is not there or not right."""
    path, shape = cache_file(folder, key), (int(n_frames.sum()), encoder.front_width)
    kept_as = torch.empty(0, dtype=stored_type(encoder, dtype)).numpy().dtype
    mapped = _open(path, key, shape, kept_as)
    if mapped is None:
        stops = np.cumsum(n_frames)
        with write_cached(path, key) as file:
            frames = file.create_dataset(_FRAMES, shape=shape, dtype=kept_as)
            for windows, front in batches():
                for window, values in zip(windows, front, strict=True):
                    frames[stops[window] - n_frames[window] : stops[window]] = values.cpu().numpy()
                advance(len(windows))
        mapped = _open(path, key, shape, kept_as)
        if mapped is None:
            raise ConfigError(f"{path} was written and does not read back; is {folder} a disk that can be relied on?")
    return FrontCache(torch.from_numpy(mapped), n_frames)


def describe(
    front_end: str, audio: Tensor, starts: NDArray[np.int64], ends: NDArray[np.int64], dtype: CacheType
) -> dict[str, str]:
    """Everything that a story's kept front end depends on."""
    windows = tensors_digest({"starts": torch.from_numpy(starts), "ends": torch.from_numpy(ends)})
    sound = tensors_digest({"audio": audio})
    return {"format": _FORMAT, "front_end": front_end, "audio": sound, "windows": windows, "type": dtype}


def _open(path: Path, key: Mapping[str, str], shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """The file's frames, mapped; None if it is absent, damaged, or of something else."""

    def mapped(file: Any) -> NDArray[Any] | None:
        frames = file[_FRAMES]
        offset = frames.id.get_offset()
        if frames.shape != shape or frames.dtype != dtype or offset is None:
            return None
        # Copy on write, of which nothing is written: torch warns of arrays that are read-only.
        return np.memmap(path, dtype=dtype, mode="c", offset=offset, shape=shape)

    return read_cached(path, key, mapped)


def cache_file(folder: Path, key: Mapping[str, str]) -> Path:
    return folder / f"{key_digest(dict(key))}.hf5"


def stored_type(encoder: Encoder, dtype: CacheType) -> torch.dtype:
    """``fp16``, or the front end's own type."""
    return torch.float16 if dtype == "fp16" else encoder.base.feature_projection.layer_norm.weight.dtype
