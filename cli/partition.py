"""``bwlm partition``: is what tuning adds sound, meaning, or the model's own?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .output import command, finish_with_json, print_table, progress


@command
def partition(
    run: Annotated[Path, typer.Argument(help="Run folder that `bwlm evaluate` has been through.")],
    spaces: Annotated[
        str, typer.Option("--spaces", help="Beside the filterbank: timing (word rate, position), phones.")
    ] = "timing",
    embeddings: options.EmbeddingsOption = None,
    target: options.TargetOption = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Of a run on several subjects, which one.", show_default="the first")
    ] = None,
    data: options.DataOption = None,
    model: options.ModelOption = None,
    revision: options.RevisionOption = None,
    evaluation: options.EvaluationOption = "evaluation",
    out: Annotated[str, typer.Option("--out", help="Folder of the results, inside the run.")] = "partition",
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, help="Sets of relative weights of the spaces that are tried.")
    ] = 10,
    alphas: options.AlphasOption = None,
    chunk: options.ChunkOption = 40,
    seed: options.SeedOption = 0,
    memory_gb: options.MemoryOption = 4.0,
    as_json: options.JsonOption = False,
) -> None:
    """Divide explained variance between the speech model and simpler features, before and after tuning.

    Banded ridge on all feature spaces together, on each alone, on the model beside each, and without each. Writes
    RUN/partition: summary.json, voxels.hf5, partition.png.

    Example: `bwlm partition runs/UTS02-lh --embeddings glove.6B.300d.txt`
    """
    from dataclasses import replace

    from brainwavlm_fast.config import Places
    from brainwavlm_fast.evaluation.encoding import RidgeSettings
    from brainwavlm_fast.figures.partition import draw_partition
    from brainwavlm_fast.memory import keep_freed_memory
    from brainwavlm_fast.partition.run import PartitionOptions, partition_run

    options.require_memory(memory_gb)
    ridge = RidgeSettings(chunk_length=chunk, seed=seed)
    if alphas is not None:
        ridge = replace(ridge, alphas=options.alpha_grid(alphas))
    chosen = PartitionOptions(options.names(spaces), embeddings, target or (), ridge, candidates, seed, memory_gb)
    keep_freed_memory()
    summary, folder = partition_run(
        run,
        subject=subject,
        places=Places(data, model, revision),
        evaluation=evaluation,
        out=out,
        options=chosen,
        progress=progress(),
    )
    draw_partition(summary, folder / "partition.png")
    if as_json:
        finish_with_json(summary)
    _print(summary, folder)


def _print(summary: dict[str, Any], folder: Path) -> None:
    from brainwavlm_fast.figures.style import sets_in_order

    for name in sets_in_order(summary["sets"]):
        numbers = summary["sets"][name]
        rows = []
        for part in numbers["gain"]:
            states = [numbers[state][part] for state in ("pretrained", "tuned", "gain")]
            rows.append([part, *(f"{number['value']:+.3f}{_ends(number['interval'])}" for number in states)])
        title = f"{summary['subject']}, {name}: explained variance (mean R2 over {numbers['n_voxels']:,} voxels)"
        print_table(title, ["part", "pre-trained", "tuned", "gain"], rows)
    about = summary["intervals"]
    typer.echo(
        f"In brackets: {100 * about['level']:.0f} % intervals, over {about['over']}. unique: less all other spaces; "
        "with: explained by it and by the speech model; beyond: by the model and not by it."
    )
    typer.echo(f"Results: {folder / 'summary.json'}, voxels.hf5 and partition.png beside it.")


def _ends(interval: list[float] | None) -> str:
    return "" if interval is None else f" [{interval[0]:+.3f}, {interval[1]:+.3f}]"
