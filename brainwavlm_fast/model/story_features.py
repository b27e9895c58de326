"""All windows of a story through an encoder: its TR features, and the feature encoder's output computed once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cached_files import key_digest
from ..config import CacheType
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import ConfigError
from ..memory import GIB
from ..progress import Progress
from .activations import frames_at_once
from .encoder import Encoder
from .front_cache import Batches, cache_in_memory, cache_key, cache_on_disk, cache_path
from .identity import architecture, tensors_digest
from .story import Story

_WINDOWS_PER_PART = 256  # through the encoder between two reports of progress


@dataclass(frozen=True)
class CacheStatus:
    """What :func:`cache_front_ends` cached: GiB, and where (``memory``, ``disk``; ``no``: computed in every step)."""

    gib: float
    where: str


@torch.no_grad()
def story_features(
    encoder: Encoder,
    story: Story,
    *,
    layers: Sequence[int] | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    progress: Progress | None = None,
    label: str = "features",
) -> Tensor:
    """TR features of every row of a story, from an encoder in evaluation mode.

    Returns
    -------
    Tensor
        (context + n_trs, width); with ``layers`` those hidden states, (context + n_trs, len(layers), width).
    """
    windows, weights = story.rows(0, story.context + story.n_trs)
    parts = np.array_split(windows, max(1, len(windows) // _WINDOWS_PER_PART))
    at_once = frames_at_once(encoder, int(frames_per_window(encoder, story)[windows].max()))
    features = []
    with (progress or Progress()).task(label, len(parts)) as advance:
        for part in parts:
            features.append(encoder.encode(story, part, ranks=ranks, batch_frames=at_once, layers=layers))
            advance()
    return torch.tensordot(weights.to(features[0]), torch.cat(features), dims=1)


def cache_front_end(
    encoder: Encoder,
    story: Story,
    *,
    dtype: CacheType = "fp32",
    folder: Path | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> None:
    """Compute the frozen feature encoder once for every window of a story: in memory, or in a file in ``folder``.

    ``advance`` is told of windows as they are done.
    """
    story.front_cache = None
    n_frames, width, stored_as = frames_per_window(encoder, story), encoder.front_width, _stored_as(encoder, dtype)

    def batches() -> Batches:
        return encoder.front_ends(story, np.arange(story.plan.n_windows))

    if folder is None:
        story.front_cache = cache_in_memory(batches(), n_frames, width, stored_as, advance)
    else:
        key = _key(encoder, story, dtype)
        path = cache_path(folder, key)
        story.front_cache = cache_on_disk(path, key, batches, n_frames, width, stored_as, advance)


def cache_front_ends(
    encoder: Encoder,
    stories: Mapping[str, Story],
    *,
    limit_gb: float,
    folder: Path | None,
    dtype: CacheType,
    ranks: Ranks = SINGLE_PROCESS,
    progress: Progress,
) -> CacheStatus:
    """Cache the feature encoder's output of every story: in files in ``folder``, else in memory if ``limit_gb`` allows.

    Says the size before anything is computed. Nothing is cached if every weight is trained, since it would change.
    Ranks share the files to be written.

    Raises
    ------
    ConfigError
        The folder's disk has no room for what is still to be written.
    """
    if encoder.finetune == "full":
        return CacheStatus(0.0, "no")
    needed = sum(front_bytes(encoder, story, dtype) for story in stories.values()) / GIB
    if folder is None:
        if needed > limit_gb:
            progress.say(
                f"feature encoder: caching its output would take {needed:.1f} GiB ({dtype}, --cache-gb {limit_gb:g}); "
                "it is computed again in every step. --cache-dir keeps it on disk."
            )
            return CacheStatus(0.0, "no")
        missing = set(stories)
    else:
        missing = {n for n, s in stories.items() if not cache_path(folder, _key(encoder, s, dtype)).is_file()}
        _check_room(folder, sum(front_bytes(encoder, stories[name], dtype) for name in missing), needed, progress)
    local = {name for k, name in enumerate(stories) if folder is None or k % ranks.size == ranks.rank}
    n_windows = sum(stories[name].plan.n_windows for name in missing & local)
    with progress.task(f"feature encoder, computed once ({needed:.2f} GiB, {dtype})", n_windows) as advance:
        for name in (name for name in stories if name in local):

            def done(n: int, name: str = name) -> None:
                advance(n if name in missing else 0, note=name)

            cache_front_end(encoder, stories[name], dtype=dtype, folder=folder, advance=done)
    if len(local) < len(stories):
        ranks.barrier()  # each rank has written its share; now the others' can be opened
        for name in stories.keys() - local:
            cache_front_end(encoder, stories[name], dtype=dtype, folder=folder)
    return CacheStatus(needed, "memory" if folder is None else "disk")


def front_bytes(encoder: Encoder, story: Story, dtype: CacheType) -> int:
    """Bytes that caching the feature encoder's output of a story takes."""
    return int(frames_per_window(encoder, story).sum()) * encoder.front_width * _stored_as(encoder, dtype).itemsize


def frames_per_window(encoder: Encoder, story: Story) -> NDArray[np.int64]:
    """Frames of each of a story's windows."""
    lengths = story.plan.lengths
    of_length = {int(n): encoder.n_frames(int(n)) for n in np.unique(lengths)}
    return np.array([of_length[int(n)] for n in lengths], dtype=np.int64)


def _key(encoder: Encoder, story: Story, dtype: CacheType) -> dict[str, str]:
    return cache_key(_front_digest(encoder), story.audio, story.plan.starts, story.plan.ends, dtype)


def _front_digest(encoder: Encoder) -> str:
    """A digest of the feature encoder's weights and settings."""
    parts = (encoder.base.feature_extractor, encoder.base.feature_projection.layer_norm)
    return key_digest([architecture(encoder.base.config), *(tensors_digest(part.state_dict()) for part in parts)])


def _stored_as(encoder: Encoder, dtype: CacheType) -> torch.dtype:
    """``fp16``, or the feature encoder's own type."""
    return torch.float16 if dtype == "fp16" else encoder.base.feature_projection.layer_norm.weight.dtype


def _check_room(folder: Path, missing: int, needed: float, progress: Progress) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if missing > free:
        raise ConfigError(
            f"--cache-dir {folder}: {missing / GIB:.1f} GiB are still to be written and {free / GIB:.1f} GiB are free. "
            "Choose another disk, or leave --cache-dir out: the feature encoder is then computed again in every step."
        )
    progress.say(
        f"feature encoder: {needed:.1f} GiB in {folder}, of which {missing / GIB:.1f} GiB are still to be computed."
    )
