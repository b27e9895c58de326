"""``bwlm transfer``: what one subject's tuned encoder is worth for every subject."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from brainwavlm_fast.errors import ConfigError

from . import options
from .output import command, finish_with_json, print_table, progress


@command
def transfer(
    runs: Annotated[list[Path], typer.Argument(help="Run folders that `bwlm evaluate` has been through.")],
    subjects: Annotated[str, typer.Option("--subjects", help="Who is predicted, as S01,S02,S03.")],
    data: options.DataOption = None,
    model: options.ModelOption = None,
    revision: options.RevisionOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("transfer"),
    evaluation: options.EvaluationOption = "evaluation",
    chunk: options.ChunkOption = 40,
    seed: options.SeedOption = 0,
    memory_gb: options.MemoryOption = 4.0,
    as_json: options.JsonOption = False,
) -> None:
    """Evaluate each run's encoder on each subject: percent change over pre-trained, by voxel set.

    Example: `bwlm transfer runs/UTS01-all runs/UTS02-all --subjects S01,S02,S03`
    """
    from brainwavlm_fast.config import Places
    from brainwavlm_fast.evaluation.encoding import RidgeSettings
    from brainwavlm_fast.evaluation.transfer import transfer as evaluate_transfer
    from brainwavlm_fast.memory import keep_freed_memory

    options.require_memory(memory_gb)
    people = options.names(subjects)
    if not people:
        raise ConfigError("--subjects needs at least one subject, such as S01,S02.")
    keep_freed_memory()
    ridge = RidgeSettings(chunk_length=chunk, seed=seed)
    summary = evaluate_transfer(
        runs,
        out,
        subjects=people,
        places=Places(data, model, revision),
        evaluation=evaluation,
        ridge=ridge,
        memory_gb=memory_gb,
        progress=progress(),
    )
    if as_json:
        finish_with_json(summary)
    _print(summary, out)


def _print(summary: dict[str, Any], out: Path) -> None:
    from brainwavlm_fast.figures.style import explain_sets
    from brainwavlm_fast.results.folders import transfer_cells

    for voxels, matrix in summary["matrices"].items():
        rows = [["pre-trained, r", *("-" if r is None else f"{r:.4f}" for r in matrix["pretrained"])]]
        for k, label in enumerate(summary["rows"]):
            rows.append([f"tuned on {label}, %", *transfer_cells(matrix, k)])
        print_table(f"Change on the test story, {voxels}", ["predicted:", *summary["columns"]], rows)
        for label, pooled in matrix.get("pooled", {}).items():
            if pooled:
                low, high = pooled["interval"]
                typer.echo(
                    f"{label} over {pooled['n']} subjects (random effects): {pooled['estimate']:+.1f} % "
                    f"[{low:+.1f}, {high:+.1f}], between subjects {pooled['tau']:.1f} %."
                )
    typer.echo(explain_sets(summary["matrices"]))
    typer.echo(f"Results: {out / 'summary.json'}, and voxels.hf5 beside it.")
