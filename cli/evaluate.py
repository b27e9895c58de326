"""``bwlm evaluate``: how much better the tuned model predicts a held-out story."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import options
from .output import finish_with_json, print_table, progress, shared_command

if TYPE_CHECKING:
    from brainwavlm_fast.config import TrainConfig


@shared_command
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder made by `bwlm train`.")],
    subject: Annotated[
        str | None, typer.Option("--subject", help="Of a run on several subjects, which one.", show_default="the first")
    ] = None,
    data: options.DataOption = None,
    model: options.ModelOption = None,
    revision: options.RevisionOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            help="Folder of the results, inside the run.",
            show_default="evaluation, or evaluation-UTS02 for another subject than the first",
        ),
    ] = None,
    epochs: Annotated[
        str | None,
        typer.Option("--epochs", help="Epochs beside 0, as 5,10 or 1-10.", show_default="all that are saved"),
    ] = None,
    alphas: options.AlphasOption = None,
    chunk: options.ChunkOption = 40,
    splits: Annotated[int, typer.Option("--splits", min=1, help="Bootstrap splits.")] = 3,
    gap: Annotated[int, typer.Option("--gap", min=0, help="TRs left out beside held-out chunks.")] = 0,
    seed: options.SeedOption = 0,
    block: options.BlockOption = "auto",
    memory_gb: options.MemoryOption = 4.0,
    save_weights: Annotated[
        bool,
        typer.Option(
            "--save-weights",
            help="Also write weights.hf5: weights and FIR shapes of every voxel, of an evaluation made before, too.",
        ),
    ] = False,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers", help="Also encode with these hidden states, all or as 0,6,12.", show_default="the run's alone"
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Measure a run: ridge from every epoch's features, best epoch by validation, correlation on the test story.

    Writes RUN/evaluation: summary.json, voxels.hf5, curve.png; with --layers also layers.json, layers.hf5, layers.png,
    preferred.png. Stopping it loses at most the story it was in. Under torchrun, processes share stories and voxels.

    Example: `bwlm evaluate runs/UTS02-lh`
    """
    from brainwavlm_fast.config import Places
    from brainwavlm_fast.distributed import opened_ranks
    from brainwavlm_fast.evaluation.encoding import RidgeSettings
    from brainwavlm_fast.evaluation.evaluate import EvaluationOptions, evaluate_run, evaluation_name
    from brainwavlm_fast.evaluation.layers import evaluate_layers
    from brainwavlm_fast.figures.curves import draw_epoch_curves
    from brainwavlm_fast.memory import keep_freed_memory

    options.require_memory(memory_gb)
    ridge = RidgeSettings(chunk_length=chunk, n_splits=splits, gap=gap, seed=seed)
    if alphas is not None:
        ridge = replace(ridge, alphas=options.alpha_grid(alphas))
    wanted = None if epochs is None else options.whole_numbers(epochs, "--epochs")
    signs = options.block_length(block)
    chosen = EvaluationOptions(wanted, ridge, block=signs, memory_gb=memory_gb, save_weights=save_weights)
    wanted_layers: list[int] | Literal["all"] | None = None
    if layers is not None:
        wanted_layers = options.layer_numbers(layers) or "all"
    keep_freed_memory()
    with opened_ranks() as ranks:
        how: dict[str, Any] = {"places": Places(data, model, revision), "options": chosen, "progress": progress()}
        summary = evaluate_run(run, subject=subject, out=out, ranks=ranks, **how)
        tuned_on = summary.get("tuned_on", [summary["subject"]])  # of runs evaluated before there could be several
        folder = run / (out or evaluation_name(tuned_on, summary["subject"]))
        by_layer = wanted_layers and evaluate_layers(run, folder, summary, wanted_layers, ranks=ranks, **how)
    if not ranks.is_main:
        return
    draw_epoch_curves(summary, folder / "curve.png")
    if as_json:
        finish_with_json(summary)
    _print(summary, folder)
    if by_layer:
        _print_layers(by_layer, summary, folder, Path(data or summary["data"]["root"]))


def _print_layers(by_layer: dict[str, Any], summary: dict[str, Any], folder: Path, data: Path) -> None:
    from brainwavlm_fast.data import find_dataset
    from brainwavlm_fast.errors import DataError
    from brainwavlm_fast.figures.layer_encoding import draw_layer_encoding, draw_preferred_layer
    from brainwavlm_fast.figures.style import sets_in_order

    names = sets_in_order(by_layer["sets"])
    rows = []
    for k, layer in enumerate(by_layer["layers"]):
        pairs = [[by_layer["sets"][name][state][k] for state in ("pretrained", "tuned")] for name in names]
        rows.append([str(layer), *(f"{_number(before)} -> {_number(after)}" for before, after in pairs)])
    print_table("Mean correlation by layer, pre-trained -> tuned", ["layer", *names], rows)
    draw_layer_encoding(by_layer, folder / "layers.png")
    try:
        draw_preferred_layer(find_dataset(data), summary["subject"], folder)
    except DataError as error:
        typer.echo(f"No map of preferred layers: {error}")
    typer.echo(f"By layer: {folder / 'layers.json'}, layers.hf5 and layers.png beside it.")


def _print(summary: dict[str, Any], folder: Path) -> None:
    from brainwavlm_fast.figures.style import explain_sets, sets_in_order
    from brainwavlm_fast.results.folders import interval_words, read_run_config, teacher_score

    rows, intervals, train = [], [], read_run_config(folder.parent).train
    for name in sets_in_order(summary["encoding"]):
        label, numbers = train.set_as_written(name), summary["encoding"][name]
        before, after = numbers["pretrained"], numbers["tuned"]
        gain = f"{100 * (after / before - 1):+.1f} %" if before and after is not None and before > 0 else "-"
        scores = [_number(before), _number(after), gain, _number(teacher_score(numbers))]
        forms = {"pretrained": ".3f", "tuned": ".3f", "percent": "+.1f"}
        intervals.append([label, *(interval_words(numbers, name, form) or "-" for name, form in forms.items())])
        rows.append([label, *scores, f"{numbers['n_voxels']:,}"])
    stories = ", ".join(summary["settings"]["stories"]["test"])
    title = f"{summary['subject']}, tuned on {summary['trained_on']}: mean correlation on {stories}"
    print_table(title, ["voxels", "pre-trained", "tuned", "gain", "teacher", "n"], rows)
    typer.echo(explain_sets(summary["encoding"]))
    if about := summary.get("intervals"):
        title = f"{100 * about['level']:.0f} % intervals, over {about['over']}"
        print_table(title, ["voxels", "pre-trained", "tuned", "gain in %"], intervals)
    _print_significance(summary, train)
    if summary["noise_ceiling"] and "all" in summary["noise_ceiling"]["sets"]:
        typer.echo(_ceiling_words(summary["noise_ceiling"]))
    excluded = summary["encoding"].get("all", {}).get("n_excluded", 0)
    if excluded:
        typer.echo(f"{excluded:,} voxels with NaN or a constant in some story are left out.")
    typer.echo(f"Tuned is epoch {summary['best_epoch']}, chosen by {summary['best_epoch_by']}.")
    beside = (
        "voxels.hf5, weights.hf5 and curve.png" if (folder / "weights.hf5").exists() else "voxels.hf5 and curve.png"
    )
    typer.echo(f"Results: {folder / 'summary.json'}, {beside} beside it.")


def _print_significance(summary: dict[str, Any], train: TrainConfig) -> None:
    from brainwavlm_fast.figures.style import sets_in_order
    from brainwavlm_fast.results.folders import SIGNIFICANT, significance_cells, significance_words

    tested = summary["significance"] or {}  # earlier versions could leave it out
    rows = [[train.set_as_written(name), *significance_cells(summary, name)] for name in sets_in_order(tested)]
    if rows:
        print_table(SIGNIFICANT, ["voxels", "pre-trained > 0", "tuned > 0", "better", "worse"], rows)
    if words := significance_words(summary):
        typer.echo(words)


def _ceiling_words(ceiling: dict[str, Any]) -> str:
    from brainwavlm_fast.results.folders import floor_words

    top, data_is = ceiling["sets"]["all"], ceiling.get("data_is", "their mean")
    shares = [f"mean r / ceiling {_number(top['pretrained'])} pre-trained, {_number(top['tuned'])} tuned"]
    if means := top.get("ratio_of_means"):
        shares.append(f"mean r / mean ceiling {_number(means['pretrained'])} and {_number(means['tuned'])}")
    return (
        f"Noise ceiling {_number(top['ceiling'])} from {ceiling['n_repeats']} repeats of the test story (the responses "
        f"are {data_is}); {'; '.join(shares)}, over {top['n_normalised']:,} voxels with a ceiling "
        f"{floor_words(ceiling)}."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
