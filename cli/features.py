"""``bwlm features``: every layer at TR rate, in one file for other pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .output import command, finish_with_json, progress


@command
def features(
    what: Annotated[str, typer.Argument(help="A run folder, or a WavLM: a folder, or a name on the hub.")],
    out: Annotated[Path, typer.Option("--out", help="The HDF5 file to make.")],
    layers: options.LayersOption = "all",
    stories: options.StoriesOption = None,
    data: options.DataOption = None,
    model: options.ModelOption = None,
    revision: options.RevisionOption = None,
    epoch: options.EpochOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Write hidden states at TR rate: a dataset (n_layers, context + n_trs, width) a story.

    Features are cached story by story: a stopped call goes on where it was, and a second one computes none again.

    Example: `bwlm features microsoft/wavlm-base-plus --layers 0-12 --data ds003020 --out wavlm.h5`
    """
    from brainwavlm_fast.config import Places
    from brainwavlm_fast.features.export import export_features
    from brainwavlm_fast.memory import keep_freed_memory

    keep_freed_memory()
    head = export_features(
        what,
        out,
        places=Places(data, model, revision),
        stories=options.story_names(stories),
        layers=options.layer_numbers(layers),
        epoch=epoch,
        progress=progress(),
    )
    if as_json:
        finish_with_json(head)
    typer.echo(
        f"{out}: {len(head['stories'])} stories, layers {', '.join(map(str, head['layers']))} of {head['source']}; "
        f"the first {head['context']} rows of each lie before its first response."
    )
