"""``bwlm check``: is this data set ready to train on, and if not, what is to be done?"""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DataOption, JsonOption
from .output import command, finish_with_json, print_table, progress

_SHOWN = 6  # problems printed for each kind of file


@command
def check(
    data: DataOption = None,
    subject: Annotated[str | None, typer.Option("--subject", help="One subject, as S02; all by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Walk a data set and say what is there, what is missing, and what disagrees.

    Exit status 1 if training could not run for any of the subjects, with the `datalad get` lines to run.

    Example: `bwlm check --data ds003020 --subject S02`
    """
    from brainwavlm_fast.check import GB, check_dataset
    from brainwavlm_fast.data.tree import find_dataset

    report = check_dataset(find_dataset(data), [subject] if subject else [], progress=progress())
    if as_json:
        finish_with_json(report.as_dict(), status=0 if report.trainable else 1)
    rows = [
        [
            part.name,
            f"{part.here} of {part.total}",
            f"{part.size / GB:.2f}",
            f"{part.missing_size / GB:.2f}" if part.here < part.total else "-",
            str(len(part.problems)) if part.problems else "-",
        ]
        for part in report.parts
    ]
    print_table(
        f"{report.root}, version {report.version}", ["files", "here", "GB here", "GB missing", "disagree"], rows
    )
    for part in report.parts:
        for problem in part.problems[:_SHOWN]:
            typer.echo(f"{part.name}: {problem}")
        if len(part.problems) > _SHOWN:
            typer.echo(f"{part.name}: and {len(part.problems) - _SHOWN} more (--json lists them all)")
    for note in report.notes:
        typer.echo(f"note: {note}")
    if report.commands:
        typer.echo(f"To fetch what is missing, in {report.root}:")
        for line in report.commands:
            typer.echo(f"    {line}")
    if report.trainable:
        typer.echo(f"Training can run for: {', '.join(report.trainable)}.")
    else:
        typer.echo(f"Training cannot run yet for {', '.join(report.subjects)}.")
        raise typer.Exit(1)
