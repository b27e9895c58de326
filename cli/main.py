"""The ``bwlm`` application: one command a module, registered here."""

from __future__ import annotations

import warnings

import typer

from .check import check
from .evaluate import evaluate
from .export import export
from .features import features
from .figures import figures
from .info import info
from .probe import probe
from .report import report
from .rois import rois
from .simulate import simulate
from .text_features import text_features
from .train import train
from .transfer import transfer

app = typer.Typer(
    name="bwlm",
    help="Fine-tune WavLM with LoRA on fMRI responses to stories, and measure what it gained.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def _root() -> None:
    """Fine-tune WavLM with LoRA on fMRI responses to stories, and measure what it gained."""


app.command()(check)
app.command()(evaluate)
app.command()(export)
app.command()(features)
app.command()(figures)
app.command()(info)
app.command()(probe)
app.command()(report)
app.command()(rois)
app.command()(simulate)
app.command("text-features")(text_features)
app.command()(train)
app.command()(transfer)


def main() -> None:
    """The console script."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    app()


if __name__ == "__main__":
    main()
