"""Where long work reports what it is doing: a silent sink for libraries, a live one for terminals."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[..., None]


class Progress:
    """The silent sink. Library functions take one of these, so that they never print by themselves."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """A piece of work of ``total`` steps: yields ``advance(n=1, note="")``, to be called as they are done."""
        yield lambda n=1, note="": None

    def say(self, message: str) -> None:
        """One line for the reader, between bars."""


class TerminalProgress(Progress):
    """Bars with a rate and an ETA on standard error; one plain line a task where there is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(bar_width=24),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("eta"),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[note]}"),
        )
        with bars.Progress(*columns, console=self._console, refresh_per_second=4) as live:
            handle = live.add_task(description, total=total, note="")

            def advance(n: int = 1, note: str = "") -> None:
                live.update(handle, advance=n)
                if note:
                    live.update(handle, note=note)

            yield advance

    def say(self, message: str) -> None:
        self._console.print(message, markup=False, soft_wrap=True)  # whole in a log; a terminal breaks it by itself
        sys.stderr.flush()
