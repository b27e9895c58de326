"""The stories' sound: present, readable, and long enough for the responses."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..data import Dataset, require_sound
from ..errors import DataError
from ..progress import Progress
from .parts import Part


def check_sound(dataset: Dataset, stories: Sequence[str], listed: Collection[str], progress: Progress) -> Part:
    """Every story's sound; its length is compared with the responses of stories ``listed`` in ``respdict.json``."""
    part = Part("audio", get="datalad get stimuli")
    with progress.task("audio", len(stories)) as advance:
        for story in stories:
            if part.add(dataset.audio_path(story)) and story in listed:
                try:
                    require_sound(dataset, story)
                except DataError as error:
                    part.problems.append(str(error))
            advance(note=story)
    return part
