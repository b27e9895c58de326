"""What every command shares: where results and progress go, and how errors end."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import typer

from brainwavlm_fast.errors import BwlmError, PeerError
from brainwavlm_fast.files import json_text
from brainwavlm_fast.progress import Progress, TerminalProgress

Result = TypeVar("Result")
_FOR_PEOPLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_POSIX = {"fcntl", "resource"}


def command(function: Callable[..., Result]) -> Callable[..., Result]:
    """Wrap a command of one process; of several that ``torchrun`` started, the first runs it and the others end."""
    alone = shared_command(function)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Result:
        if not first_process():
            raise typer.Exit()
        return alone(*args, **kwargs)

    return wrapped


def shared_command(function: Callable[..., Result]) -> Callable[..., Result]:
    """Wrap a command: errors meant for people become one sentence on stderr and exit status 2."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Result:
        try:
            return function(*args, **kwargs)
        except PeerError:
            raise typer.Exit(2) from None
        except BwlmError as error:
            fail(str(error))
        except ImportError as error:
            if error.name not in _POSIX:
                raise
            fail(f"this system has no module {error.name}; Linux and macOS are supported (on Windows: in WSL).")
        except BrokenPipeError:  # the reader of a pipe went away: nothing is left to say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except OSError as error:
            if error.errno not in _FOR_PEOPLE:
                raise
            fail(f"{error.filename or 'a file'}: {os.strerror(error.errno)}.")
        except KeyboardInterrupt:
            fail("stopped.", status=130)

    return wrapped


def fail(message: str, status: int = 2) -> NoReturn:
    """Print one error for people and exit; among several processes, say whose it is."""
    typer.echo(f"bwlm: {message}" if first_process() else f"bwlm, rank {os.environ['RANK']}: {message}", err=True)
    raise typer.Exit(status)


def finish_with_json(value: Any, status: int = 0) -> NoReturn:
    """End a ``--json`` call with its result: one object on standard output, NaN refused."""
    typer.echo(json_text(value, where="--json", indent=2))
    raise typer.Exit(status)


def first_process() -> bool:
    """Whether this process is the one that reports: always, unless ``torchrun`` started several."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"


def progress() -> Progress:
    """Live progress on standard error."""
    return TerminalProgress() if first_process() else Progress()


def print_table(title: str, columns: list[str], rows: list[list[str]], *, to_stderr: bool = False) -> None:
    """A table for people; the first column is left-aligned, the rest are right-aligned."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console = Console(stderr=to_stderr, highlight=False, markup=False)
    # Not the table's own title, which would be broken to the table's width.
    console.print(title, style="bold", soft_wrap=True)
    console.print(table)
