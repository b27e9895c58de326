"""``bwlm report``: one page about saved results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DataOption, EvaluationOption, JsonOption
from .output import command, finish_with_json, progress


@command
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; also folders of `bwlm transfer` and `bwlm probe`.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page.", show_default="RUN/report.html, or report.html")
    ] = None,
    data: DataOption = None,
    evaluation: EvaluationOption = "evaluation",
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page: results, figures, a map to hover, warnings, and how to repeat it.

    The page needs no network and no other file. A page of the same results is kept, others are never overwritten.

    Example: `bwlm report runs/UTS02-ac runs/UTS02-all transfer --out s02.html`
    """
    from brainwavlm_fast.report import write_report

    result = write_report(runs, out=out, data=data, evaluation=evaluation, progress=progress())
    if as_json:
        finish_with_json(result)
    typer.echo(f"{result['file']} ({result['bytes'] / 1e6:.1f} MB): open it in a browser.")
