"""``bwlm figures``: the paper's figures from saved results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DataOption, EvaluationOption, JsonOption
from .output import command, finish_with_json, print_table, progress


@command
def figures(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; also folders of `bwlm transfer` and `bwlm probe`.")],
    figure: Annotated[
        list[str] | None,
        typer.Option(
            "--figure",
            help="performance, improvement, epochs, transfer, probes, scatter, ceiling, flatmap, inflated. May be "
            "repeated.",
            show_default="all but inflated",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the figures.", show_default="RUN/figures, or figures")
    ] = None,
    data: DataOption = None,
    evaluation: EvaluationOption = "evaluation",
    threshold: Annotated[
        float, typer.Option("--threshold", help="Maps color voxels with a pre-trained r above it; -1: all.")
    ] = 0.15,
    error_bars: Annotated[
        str,
        typer.Option(
            "--error-bars",
            help="Of bars over subjects: interval (95 %), sem (within subjects), or sem-morey (with Morey's factor).",
        ),
    ] = "interval",
    as_json: JsonOption = False,
) -> None:
    """Draw what was measured: PNG and PDF, from saved results alone.

    A figure whose results are missing is skipped with the command that makes them. Figures of the same results are
    kept, others never overwritten.

    Example: `bwlm figures runs/UTS02-ac runs/UTS02-all --figure flatmap --figure performance`
    """
    from brainwavlm_fast.figures.catalogue import make_figures

    summary, folder = make_figures(
        runs,
        out=out,
        kinds=figure or (),
        data=data,
        evaluation=evaluation,
        threshold=threshold,
        errors=error_bars,
        progress=progress(),
    )
    if as_json:
        finish_with_json(summary)
    rows = [[name, summary["figures"][name]["kind"]] for name in summary["drawn"]]
    if rows:
        print_table(f"Figures in {folder}, each as .png and .pdf", ["name", "figure"], rows)
    for kind, reason in summary["skipped"].items():
        typer.echo(f"{kind} was skipped: {reason}")
    typer.echo(f"Captions: {folder / 'summary.json'}.")
