"""``bwlm simulate``: a planted brain to try everything on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption
from .output import command, finish_with_json, print_table, progress


@command
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder to make; must not exist or be empty.")],
    seed: Annotated[int, typer.Option(help="Everything is drawn from it.")] = 0,
    subjects: Annotated[str, typer.Option(help="Which of S01, S02, S03, comma-separated.")] = "S01,S02,S03",
    null: Annotated[bool, typer.Option("--null", help="Plant no teacher: nothing can be gained.")] = False,
    reuse: Annotated[
        Path | None, typer.Option(help="Take student and teachers from this planted brain of the same seed.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a planted brain: a small data set in ds003020's layout whose truth is known.

    Speech-like stories, TextGrids, a tiny pre-trained WavLM, and responses that follow a known teacher. The folder is
    a data set like any other (--data FOLDER); the truth lies under FOLDER/truth.

    Example: `bwlm simulate planted --seed 1 --subjects S01`
    """
    from brainwavlm_fast import simulation
    from brainwavlm_fast.memory import keep_freed_memory

    keep_freed_memory()
    names = tuple(dict.fromkeys(name.strip().upper().removeprefix("UT") for name in subjects.split(",")))
    settings = replace(simulation.Settings(), seed=seed, subjects=tuple(f"UT{name}" for name in names), null=null)
    result = simulation.simulate(folder, settings, reuse=reuse, progress=progress())
    if as_json:
        finish_with_json(result)
    columns = ["true_signal", "latents_ridge", "teacher_ridge"]
    rows = [
        [f"{subject} {which}", *(f"{means[column]:.3f}" for column in columns)]
        for subject, sets in result["truth"].items()
        for which, means in sets.items()
    ]
    heads = ["voxels", "the signal itself", "ridge on its latents", "ridge on the teacher"]
    print_table("What could predict the test story (mean correlation)", heads, rows)
    typer.echo(
        f"Next: bwlm check --data {folder}, then bwlm train --subject {names[0]} --data {folder} "
        f"--model {folder}/student --layer 2 --stride 0.5"
    )
