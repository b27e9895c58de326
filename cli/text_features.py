"""``bwlm text-features``: a language model's states at TR rate, to train on or to probe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DataOption, JsonOption, RevisionOption, StoriesOption, story_names
from .output import command, finish_with_json, progress


@command
def text_features(
    model: Annotated[str, typer.Argument(help="A causal language model: a folder, or a name on the hub.")],
    out: Annotated[Path, typer.Option("--out", help="The HDF5 file to make.")],
    layer: Annotated[int | None, typer.Option("--layer", help="Hidden state.", show_default="the middle one")] = None,
    context: Annotated[int, typer.Option("--context", help="Tokens in view at once.")] = 256,
    stories: StoriesOption = None,
    data: DataOption = None,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a language model's hidden states of the words that are said: (n_trs, width) a story.

    For `bwlm train --target` (a speech model tuned on a language model instead of a brain) and `bwlm probe --target`.

    Example: `bwlm text-features huggyllama/llama-7b --layer 16 --data ds003020 --out llama.h5`
    """
    from brainwavlm_fast.features.export import export_text_features

    wanted = story_names(stories)
    head = export_text_features(
        model,
        out,
        revision=revision or "",
        data=data,
        stories=wanted,
        layer=layer,
        context=context,
        progress=progress(),
    )
    if as_json:
        finish_with_json(head)
    stories_made = f"{len(head['stories'])} stories, layer {head['layer']} of {model}"
    typer.echo(f"{out}: {stories_made}. Next: bwlm train --target {out}")
