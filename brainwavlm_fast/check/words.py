"""The stories' words: TextGrids that can be read and hold some."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import Dataset, read_textgrid, words
from ..errors import DataError
from .parts import Part


def check_words(dataset: Dataset, stories: Sequence[str]) -> Part:
    """Every story's TextGrid. Training can do without; probes of words cannot."""
    part = Part("TextGrids", get="datalad get derivative/TextGrids")
    for story in stories:
        path = dataset.textgrid_path(story)
        if part.add(path):
            try:
                if not words(read_textgrid(path)):
                    part.problems.append(f"{path.name} holds no words")
            except DataError as error:
                part.problems.append(str(error))
    return part
