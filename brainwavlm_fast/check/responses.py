"""A subject's responses: as many rows as the stories have TRs, the same voxels in each, values that vary."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from ..data import Dataset, annex_size, usable_voxels
from ..errors import DataError
from ..progress import Progress
from .parts import Part

_HDF5_OVERHEAD = 2048  # bytes of a ds003020 response file beside its float64 numbers


def check_responses(
    dataset: Dataset, subject: str, listed: Collection[str], progress: Progress
) -> tuple[Part, set[int]]:
    """A subject's responses, and the numbers of voxels that its files have, or promise by their size.

    Parameters
    ----------
    listed : Collection[str]
        Stories in ``respdict.json``.
    """
    folder = dataset.response_path(subject, "x").parent
    part = Part(f"{subject} responses", get=dataset.get_command(folder))
    usable, promised = {}, {}
    stories = dataset.stories(subject)
    with progress.task(f"responses of {subject}", len(stories)) as advance:
        for story in stories:
            path = dataset.response_path(subject, story)
            present = part.add(dataset, path)
            if story not in listed:
                part.problems.append(f"{story} is not in respdict.json")
            elif present:
                try:
                    usable[story] = usable_voxels(dataset, subject, story)
                except DataError as error:
                    part.problems.append(str(error))
            else:
                promised[story] = _promised_width(path, dataset.n_trs(story))
            advance(note=story)
    widths = {story: len(voxels) for story, voxels in usable.items()}
    part.problems += _width_problems(widths, promised)
    if usable and len(set(widths.values())) == 1:
        n_unusable = int((~np.logical_and.reduce(list(usable.values()))).sum())
        if n_unusable == next(iter(widths.values())):
            part.problems.append("every voxel holds NaN or is constant in some story")
        elif n_unusable:
            part.name += f" ({n_unusable} voxels with NaN, a fill value or a constant, to be excluded)"
    return part, set(filter(None, (widths | promised).values()))


def _promised_width(path: Path, n_trs: int) -> int:
    """Voxels of a file that is not here, by the size in its link's name; 0 if that cannot be told.

    Files with repeats, or of another structure, do not hold an integral number of float64 columns and tell nothing.
    """
    numbers, rest = divmod((annex_size(path) or 0) - _HDF5_OVERHEAD, 8)
    width, remainder = divmod(numbers, n_trs)
    return width if rest == remainder == 0 and width > 0 else 0


def _width_problems(widths: dict[str, int], promised: dict[str, int]) -> list[str]:
    """Stories that have other voxels than most; what a link promises may count repeats, too."""
    counts = [width for width in (widths | promised).values() if width]
    usual = max(set(counts), key=counts.count, default=0)
    odd = {story: width for story, width in widths.items() if width != usual}
    odd |= {story: width for story, width in promised.items() if width and width % usual}
    return [f"{story}.hf5 has {width} voxels, the others {usual}" for story, width in odd.items()]
