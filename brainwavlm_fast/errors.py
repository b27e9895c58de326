"""The errors that are meant for people.

A message says what was wrong, where (a file or an option), what was expected, and what to do. The command
line prints the message alone and exits with status 2; it never shows a traceback for one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BwlmError(ValueError):
    """Bad use or bad input: the message is complete, no traceback is needed to act on it."""


class DataError(BwlmError):
    """Something in the data set is missing, damaged, or disagrees with something else in it."""


class NotFetchedError(DataError):
    """A file of the data set is known to git-annex, but its contents were not downloaded."""


class ConfigError(BwlmError):
    """An option or a configuration value is unknown, of the wrong type, or contradicts another."""


class CheckpointError(BwlmError):
    """A saved model or run is damaged, incomplete, or belongs to another configuration."""


class RankLostError(BwlmError):
    """Another process of the job has ended, or cannot be reached."""


class PeerError(BwlmError):
    """The job ends for a reason that its first process reports."""


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known names, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}." if known else "none are known here."
