"""A walk through a data set before training: what is here, what is missing, what disagrees, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import PAPER_TEST, PAPER_VALIDATION, Dataset, make_split
from ..errors import BwlmError, DataError
from ..progress import Progress
from .anatomy import check_mask, check_surfaces
from .parts import Part, Report
from .responses import check_responses
from .stories import check_stories


def check_dataset(dataset: Dataset, subjects: Sequence[str] = (), *, progress: Progress | None = None) -> Report:
    """Check everything that training the given subjects needs (all of the data set's by default).

    Opens every file that is here (shapes, lengths, NaN), and compares the size that a git-annex link promises for
    every one that is not.

    Raises
    ------
    DataError
        A subject is unknown, or the data set has none; anything else is in the report.
    """
    chosen = [dataset.subject(name) for name in subjects] or dataset.subjects()
    if not chosen:
        raise DataError(f"{dataset.root} has no subjects under derivative/preprocessed_data.")
    progress = progress or Progress()
    stories = sorted({story for subject in chosen for story in dataset.stories(subject)})
    listed = dataset.stories()
    sound, grids = check_stories(dataset, stories, listed, progress)
    parts: list[Part] = [sound, grids]
    trainable, notes = [], []
    for subject in chosen:
        responses, widths = check_responses(dataset, subject, listed, progress)
        mask = check_mask(dataset, subject, widths)
        parts += [responses, mask, check_surfaces(dataset, subject)]
        if sound.complete and responses.complete and not mask.problems:
            try:
                make_split(dataset.stories(subject))
                trainable.append(subject)
            except BwlmError as error:
                notes.append(f"{subject}: {error}")
    absent = [story for story in (*PAPER_VALIDATION, *PAPER_TEST) if story not in stories]
    if absent:
        notes.append(f"the paper's held-out {', '.join(absent)} is not in this data set; it is left out of the split")
    return Report(str(dataset.root), dataset.version, chosen, parts, trainable, notes)
