"""Training, validation and test stories: disjoint by construction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import ConfigError, DataError, suggest

PAPER_VALIDATION = ("fromboyhoodtofatherhood", "onapproachtopluto")
PAPER_TEST = ("wheretheressmoke",)


@dataclass(frozen=True)
class StorySplit:
    """Stories by use.

    Attributes
    ----------
    train, validation, test : tuple[str, ...]
        Names of stories; no story is in two of them.
    absent : tuple[str, ...], default ()
        Held-out stories of the paper that this data set does not have.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    absent: tuple[str, ...] = ()


def make_split(
    stories: Iterable[str], *, validation: Sequence[str] = PAPER_VALIDATION, test: Sequence[str] = PAPER_TEST
) -> StorySplit:
    """Split stories: the named ones are held out, all others train.

    The paper's own held-out stories may be absent from a data set (``onapproachtopluto`` is absent from ds003020) and
    are then left out; any other name must exist.

    Parameters
    ----------
    stories : Iterable[str]
        All stories of a data set or a subject, in any order.
    validation, test : Sequence[str]
        The stories to hold out; by default the paper's.

    Raises
    ------
    ConfigError
        A story is named twice, or does not exist.
    DataError
        Nothing is left to train on, or to test.
    """
    known = sorted(set(stories))
    named = [*validation, *test]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise ConfigError(f"story {', '.join(twice)} is named more than once among validation and test stories.")
    for name in named:
        if name not in known and name not in (*PAPER_VALIDATION, *PAPER_TEST):
            raise ConfigError(f"unknown story '{name}': {suggest(name, known)}")
    split = StorySplit(
        train=tuple(name for name in known if name not in named),
        validation=tuple(name for name in validation if name in known),
        test=tuple(name for name in test if name in known),
        absent=tuple(name for name in named if name not in known),
    )
    if not split.train:
        raise DataError(f"no story is left to train on: all {len(known)} are held out.")
    if not split.test:
        raise DataError(f"the test story {', '.join(test)} is not in the data set; name one with --test.")
    return split
