"""A subject's responses: as many rows as the stories have TRs, the same voxels in each, values that vary."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..data import Dataset, annex_size, n_voxels, story_width, unusable_voxels
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
    folder = dataset.relative(dataset.response_path(subject, "x").parent)
    part = Part(f"{subject} responses", get=f"datalad get {folder}")
    readable, widths = [], {}
    for story in dataset.stories(subject):
        path = dataset.response_path(subject, story)
        present = part.add(path)
        if story not in listed:
            part.problems.append(f"{story} is not in respdict.json")
        elif present:
            try:
                widths[story] = story_width(dataset, subject, story)
                readable.append(story)
            except DataError as error:
                part.problems.append(str(error))
        else:
            widths[story] = _promised_width(path, dataset.n_trs(story))
    part.problems += _width_problems(widths)
    if readable and not part.problems:
        n_unusable = int(unusable_voxels(dataset, subject, readable, progress=progress).sum())
        if n_unusable == n_voxels(dataset, subject):
            part.problems.append("every voxel holds NaN or is constant in some story")
        elif n_unusable:
            part.name += f" ({n_unusable} voxels with NaN or constant, to be excluded)"
    return part, set(filter(None, widths.values()))


def _promised_width(path: Path, n_trs: int) -> int:
    """Voxels of a file that is not here, by the size in its link's name; 0 if that cannot be told.

    Files with repeats, or of another structure, do not hold an integral number of float64 columns and tell nothing.
    """
    numbers, rest = divmod((annex_size(path) or 0) - _HDF5_OVERHEAD, 8)
    width, remainder = divmod(numbers, n_trs)
    return width if rest == remainder == 0 and width > 0 else 0


def _width_problems(widths: dict[str, int]) -> list[str]:
    counts = [width for width in widths.values() if width]
    if not counts:
        return []
    usual = max(set(counts), key=counts.count)
    return [f"{story}.hf5 has {w} voxels, the others {usual}" for story, w in widths.items() if w and w % usual]
