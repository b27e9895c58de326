"""Which stories' feature encoder output is kept, and where: on disk, in memory if all fits, or nowhere."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..config import CacheType
from ..errors import ConfigError
from ..memory import GIB
from ..progress import Progress
from .encoder import Encoder
from .front_cache import cache_file, stored_type
from .story import Story


@dataclass(frozen=True)
class CacheStatus:
    """What :func:`keep_front_ends` did: GiB kept, and where (``memory``, ``disk``, ``no``: computed in every step)."""

    gib: float
    where: str


def keep_front_ends(
    stories: Mapping[str, Story],
    encoder: Encoder,
    *,
    limit_gb: float,
    folder: Path | None,
    dtype: CacheType,
    progress: Progress,
) -> CacheStatus:
    """Keep the front end's output of every story: in files in ``folder``, else in memory if all fits ``limit_gb`` GiB.

    Says the size before anything is built. Nothing is kept if every weight is trained, since it would change.

    Raises
    ------
    ConfigError : the folder's disk has no room for what is still to be built.
    """
    if encoder.finetune == "full":
        return CacheStatus(0.0, "no")
    needed = sum(front_bytes(story, encoder, dtype) for story in stories.values()) / GIB
    if folder is None:
        if needed > limit_gb:
            progress.say(
                f"front end: {needed:.1f} GiB ({dtype}) would be needed to keep it (--cache-gb {limit_gb:g}); it is "
                "computed again in every step. --cache-dir keeps it on disk."
            )
            return CacheStatus(0.0, "no")
        todo = dict(stories)
    else:
        paths = {name: cache_file(folder, story.front_key(encoder, dtype)) for name, story in stories.items()}
        todo = {name: story for name, story in stories.items() if not paths[name].is_file()}
        _check_room(folder, sum(front_bytes(story, encoder, dtype) for story in todo.values()), needed, progress)
    ranks = encoder.ranks
    own = {name for k, name in enumerate(stories) if folder is None or k % ranks.size == ranks.rank}
    n_windows = sum(story.plan.n_windows for name, story in todo.items() if name in own)
    with progress.task(f"front end, kept once ({needed:.2f} GiB, {dtype})", n_windows) as advance:
        for name, story in stories.items():

            def step(n: int, name: str = name, counts: bool = name in todo) -> None:
                advance(n if counts else 0, note=name)

            if name in own:
                story.keep_front_end(encoder, dtype=dtype, folder=folder, advance=step)
        if len(own) < len(stories):  # each rank has built its share; now the others' are there
            ranks.barrier()
            for name in stories.keys() - own:
                stories[name].keep_front_end(encoder, dtype=dtype, folder=folder)
    return CacheStatus(needed, "memory" if folder is None else "disk")


def front_bytes(story: Story, encoder: Encoder, dtype: CacheType) -> int:
    """Bytes that keeping a story's front end takes."""
    return int(story.n_frames(encoder).sum()) * encoder.front_width * stored_type(encoder, dtype).itemsize


def _check_room(folder: Path, missing: int, needed: float, progress: Progress) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if missing > free:
        raise ConfigError(
            f"--cache-dir {folder}: {missing / GIB:.1f} GiB are still to be written and {free / GIB:.1f} GiB are free. "
            "Choose another disk, or leave --cache-dir out: the front end is then computed again in every step."
        )
    progress.say(f"front end: {needed:.1f} GiB in {folder}, of which {missing / GIB:.1f} GiB are still to be computed.")
