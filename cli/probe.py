"""``bwlm probe``: what acoustics and what meaning every layer holds, tuned against pre-trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .output import command, finish_with_json, print_table, progress


@command
def probe(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders.", show_default="without --model the newest in runs/")
    ] = None,
    layers: options.LayersOption = "all",
    embeddings: options.EmbeddingsOption = None,
    target: options.TargetOption = None,
    data: options.DataOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the results.", show_default="RUN/probes, or probes")
    ] = None,
    epoch: options.EpochOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Without RUNS the pre-trained WavLM to probe: a folder, or a name on the hub. With them theirs, if it "
            "has moved; other weights are refused.",
            show_default="as the runs say, else microsoft/wavlm-base-plus",
        ),
    ] = None,
    revision: options.RevisionOption = None,
    stories: Annotated[
        int | None, typer.Option("--stories", min=1, help="Train on the first N stories only.", show_default="all")
    ] = None,
    alphas: options.AlphasOption = None,
    chunk: options.ChunkOption = 40,
    seed: options.SeedOption = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Predict filterbank energies and word embeddings from every layer, and say what tuning changed.

    Writes summary.json, probes.hf5, layers.png. Features are cached: a second call computes none again.

    Example: `bwlm probe --layers all runs/UTS02-lh --embeddings glove.6B.300d.txt`
    """
    from dataclasses import replace

    from brainwavlm_fast.config import Places
    from brainwavlm_fast.figures.probes import draw_layers
    from brainwavlm_fast.memory import keep_freed_memory
    from brainwavlm_fast.probes.fit import ProbeSettings
    from brainwavlm_fast.probes.run import ProbeOptions, probe_runs

    settings = ProbeSettings(chunk_length=chunk, seed=seed)
    if alphas is not None:
        settings = replace(settings, alphas=options.alpha_grid(alphas))
    chosen = ProbeOptions(options.layer_numbers(layers), epoch, embeddings, target or (), stories, settings)
    keep_freed_memory()
    places = Places(data, model, revision)
    summary, folder = probe_runs(runs or [], places=places, out=out, options=chosen, progress=progress())
    draw_layers(summary, folder / "layers.png")
    if as_json:
        finish_with_json(summary)
    _print(summary, folder)


def _print(summary: dict[str, Any], folder: Path) -> None:
    for target in summary["targets"].values():
        tuned = list(target["tuned"])
        rows = []
        for k, layer in enumerate(summary["layers"]):
            scores = [target["pretrained"], *target["tuned"].values()]
            row = [str(layer), *(f"{score[k]:.3f}" for score in scores)]
            if target["improvement"] is not None:
                spread = "" if target["sem"] is None else f" ± {target['sem'][k]:.3f}"
                row.append(f"{target['improvement'][k]:+.3f}{spread}")
            rows.append(row)
        columns = ["layer", "pre-trained", *tuned, *(["change"] if tuned else [])]
        print_table(f"Probes: {target['title']}, mean correlation on held-out stories", columns, rows)
    words = summary["settings"]["targets"].get("words")
    if words and words["n_out_of_vocabulary"]:
        typer.echo(
            f"{words['n_out_of_vocabulary']:,} of {words['n_words']:,} words have no embedding and are left out, "
            f"most often: {', '.join(words['most_frequent_out_of_vocabulary'])}."
        )
    if not words:
        typer.echo("No word embeddings were given, so meaning was not probed; name a GloVe file with --embeddings.")
    typer.echo(f"Results: {folder / 'summary.json'}, probes.hf5 and layers.png beside it.")
