"""The ``bwlm`` application: one command per module, registered here by what it is for."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

import brainwavlm_fast

from .check import check
from .evaluate import evaluate
from .export import export
from .features import features
from .figures import figures
from .info import info
from .partition import partition
from .probe import probe
from .report import report
from .rois import rois
from .simulate import simulate
from .text_features import text_features
from .train import train
from .transfer import transfer

GROUPS = {
    "Data": (simulate, check, rois),
    "Training": (train,),
    "Evaluation": (evaluate, transfer, probe, partition),
    "Results": (figures, report, export),
    "Features": (features, text_features),
    "Installation": (info,),
}
app = typer.Typer(
    name="bwlm", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)
for _group, _commands in GROUPS.items():
    for _command in _commands:
        app.command(_command.__name__.replace("_", "-"), rich_help_panel=_group)(_command)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"bwlm {brainwavlm_fast.__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Fine-tune WavLM with LoRA on fMRI responses to stories, and measure what it gained."""


def main() -> None:
    """The console script."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    app()


if __name__ == "__main__":
    main()
