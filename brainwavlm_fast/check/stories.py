"""The stories' sound and words: present, readable, long enough for the responses, and on one clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..data import Dataset, story_audio, story_words
from ..errors import DataError
from ..progress import Progress
from .parts import Part


def check_stories(
    dataset: Dataset, stories: Sequence[str], listed: Collection[str], progress: Progress
) -> tuple[Part, Part]:
    """Every story's sound and TextGrid; training can do without the latter, probes of words cannot.

    A sound's length is compared with the responses of stories ``listed`` in ``respdict.json``.
    """
    audio = Part("audio", get=dataset.get_command(dataset.root / "stimuli"))
    grids = Part("TextGrids", get=dataset.get_command(dataset.textgrid_path("x").parent))
    with progress.task("audio and words", len(stories)) as advance:
        for story in stories:
            sound = None
            if audio.add(dataset, dataset.audio_path(story)) and story in listed:
                try:
                    sound = story_audio(dataset, story)
                except DataError as error:
                    audio.problems.append(str(error))
            if grids.add(dataset, dataset.textgrid_path(story)):
                try:
                    story_words(dataset, story, sound)
                except DataError as error:
                    grids.problems.append(str(error))
            advance(note=story)
    return audio, grids
