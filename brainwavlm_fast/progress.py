"""Where long work reports its progress: a silent sink for libraries; bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

Advance = Callable[..., None]
_SECONDS_PER_LINE = 30.0


class Progress:
    """The silent sink. Library functions take one of these, so that they never print by themselves."""

    @contextmanager
    def task(self, description: str, total: int, *, done: int = 0) -> Iterator[Advance]:
        """Work of ``total`` units, ``done`` of them before: yields ``advance(n=1, note="")``, called as they finish."""
        yield lambda n=1, note="": None

    def say(self, message: str) -> None:
        """One line for the reader, between bars."""


class TerminalProgress(Progress):
    """Bars with a rate and an ETA on standard error.

    Where that is no terminal but a log, each task prints a line at its start, at most one per 30 s, and one at its end.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to standard error; ``clock`` gives seconds."""
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)
        self._clock = clock

    @contextmanager
    def task(self, description: str, total: int, *, done: int = 0) -> Iterator[Advance]:
        draw = self._bar if self._console.is_terminal else self._lines
        with draw(description, total, done) as advance:
            yield advance

    @contextmanager
    def _bar(self, description: str, total: int, done: int) -> Iterator[Advance]:
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
            handle = live.add_task(description, total=total, completed=done, note="")

            def advance(n: int = 1, note: str = "") -> None:
                live.update(handle, advance=n)
                if note:
                    live.update(handle, note=note)

            yield advance

    @contextmanager
    def _lines(self, description: str, total: int, done: int) -> Iterator[Advance]:
        if done == total:  # no work, no line
            yield lambda n=1, note="": None
            return
        started = last_line = self._clock()
        count, last_note = done, ""
        self.say(f"{description}: {done}/{total}")

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal count, last_line, last_note
            count, last_note, now = count + n, note or last_note, self._clock()
            if now - last_line >= _SECONDS_PER_LINE and done < count < total:
                last_line, rate = now, (count - done) / (now - started)
                per = f"{rate:.1f} per s" if rate >= 1 else f"{60 * rate:.1f} per min"
                eta = timedelta(seconds=round((total - count) / rate))
                self.say(f"{description}: {count}/{total}  {per}  eta {eta}  {last_note}".rstrip())

        yield advance
        took = timedelta(seconds=round(self._clock() - started))
        self.say(f"{description}: {count}/{total} in {took}  {last_note}".rstrip())

    def say(self, message: str) -> None:
        self._console.print(message, markup=False, soft_wrap=True)  # unbroken in a log; a terminal breaks it by itself
        sys.stderr.flush()
