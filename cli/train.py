"""``bwlm train``: options to a configuration, one library call, a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from brainwavlm_fast.errors import ConfigError

from .output import DataOption, JsonOption, first_process, print_json, print_table, progress, shared_command


def _option(help: str, *names: str) -> Any:
    return typer.Option(*names, help=help, show_default=False)


@shared_command
def train(
    subject: Annotated[
        str | None, _option("Subject, as S02 or UTS02; several, as S01,S02, tune one encoder.", "--subject")
    ] = None,
    roi: Annotated[
        str | None,
        _option(
            "Voxels: all, lh, ac, 'all - ac', 'lh & svg:V1', file:mask.nii.gz; `bwlm rois` lists names. Default all.",
            "--roi",
        ),
    ] = None,
    data: DataOption = None,
    target: Annotated[
        Path | None, _option("HDF5 to train on, not responses: (n_trs, n_dimensions) a story.", "--target")
    ] = None,
    out: Annotated[
        Path | None, _option("Run folder to make. Default runs/SUBJECT-ROI, or SUBJECT-TARGET.", "--out")
    ] = None,
    resume: Annotated[Path | None, _option("Continue this run; takes no other option.", "--resume")] = None,
    preset: Annotated[str | None, _option("paper (default) or authors-release.", "--preset")] = None,
    model: Annotated[str | None, _option("WavLM: a folder, or a name on the hub.", "--model")] = None,
    layer: Annotated[int | None, _option("Hidden state that is read (paper: 9).", "--layer")] = None,
    token: Annotated[str | None, _option("Frame read: first (paper), last, mean.", "--token")] = None,
    window: Annotated[float | None, _option("Seconds of audio in a window (paper: 4.0).", "--window")] = None,
    stride: Annotated[float | None, _option("Seconds between windows (paper: 0.25).", "--stride")] = None,
    no_lora: Annotated[bool, _option("Fine-tune every weight of the encoder instead of LoRA.", "--no-lora")] = False,
    freeze: Annotated[bool, _option("Train the readout alone: the linear baseline.", "--freeze")] = False,
    lora_rank: Annotated[int | None, _option("LoRA's rank; its scale stays 1 (paper: 4).", "--lora-rank")] = None,
    lora_dropout: Annotated[float | None, _option("LoRA's dropout (paper: 0.1).", "--lora-dropout")] = None,
    no_regularisers: Annotated[
        bool, _option("Switch WavLM's dropout, layer drop and SpecAugment off.", "--no-regularisers")
    ] = False,
    bottleneck: Annotated[int | None, _option("Width of the readout's middle, 0 for none (paper: 100).")] = None,
    loss: Annotated[str | None, _option("voxels (paper), time, or mse.", "--loss")] = None,
    block_size: Annotated[int | None, _option("TRs in a step (paper: 10).", "--block-size")] = None,
    epochs: Annotated[int | None, _option("Passes over the stories (paper: 20).", "--epochs")] = None,
    lr: Annotated[float | None, _option("Adam's rate for the encoder (paper: 1e-4).", "--lr")] = None,
    lr_readout: Annotated[float | None, _option("Adam's rate for the readout (paper: 1e-4).", "--lr-readout")] = None,
    seed: Annotated[int | None, _option("Shuffling, initial readout, dropout (42).", "--seed")] = None,
    precision: Annotated[str | None, _option("fp32 (default), or bf16 for the transformer.", "--precision")] = None,
    validation: Annotated[str | None, _option("Validation stories, comma-separated.", "--validation")] = None,
    test: Annotated[str | None, _option("Test stories, comma-separated.", "--test")] = None,
    save_every: Annotated[int | None, _option("Steps between saves inside an epoch (200).", "--save-every")] = None,
    cache_gb: Annotated[float | None, _option("Memory for the kept front end, GiB (4).", "--cache-gb")] = None,
    cache_dir: Annotated[
        Path | None, _option("Keep the front end on disk instead, in this folder; runs share it.", "--cache-dir")
    ] = None,
    cache_dtype: Annotated[str | None, _option("Keep it as fp16 (default) or fp32.", "--cache-dtype")] = None,
    activation_checkpointing: Annotated[
        str | None,
        _option(
            "Activation checkpointing: on (less memory, slower), off, or auto (default).", "--activation-checkpointing"
        ),
    ] = None,
    responses_gb: Annotated[
        float | None,
        _option("Memory for kept responses, GiB (4); the rest is read ahead.", "--responses-gb"),
    ] = None,
    carry_context: Annotated[
        bool, _option("Take a block's context rows from the step before instead of computing them.", "--carry-context")
    ] = False,
    parallelism: Annotated[
        str | None, _option("Under torchrun, share windows of a block (default) or blocks.", "--parallelism")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune WavLM on responses of one subject, or of several.

    The run is a folder: configuration, log, TensorBoard, a checkpoint an epoch. Ctrl-C saves and stops; --resume
    continues with the same numbers as if it had never stopped. On several GPUs: `torchrun --nproc-per-node 4
    --no-python bwlm train ...`.

    Example: `bwlm train --subject S02 --roi lh --data ds003020 --out runs/s02-lh`
    """
    from brainwavlm_fast.anatomy import with_absolute_files
    from brainwavlm_fast.memory import keep_freed_memory

    chosen_model = {
        "model": model,
        "layer": layer,
        "token": token,
        "window": window,
        "stride": stride,
        "finetune": _tune(no_lora, freeze),
        "lora_rank": lora_rank,
        "lora_alpha": None if lora_rank is None else float(lora_rank),
        "lora_dropout": lora_dropout,
        "regularisers": False if no_regularisers else None,
        "bottleneck": bottleneck,
    }
    subjects = _names(subject)
    chosen_train = {
        "subject": subjects[0] if subjects else None,
        "more_subjects": subjects[1:] or None if subjects else None,
        "roi": None if roi is None else with_absolute_files(roi),
        "target": None if target is None else str(target.resolve()),
        "loss": loss,
        "block_size": block_size,
        "epochs": epochs,
        "lr_encoder": lr,
        "lr_readout": lr_readout,
        "seed": seed,
        "precision": precision,
        "validation": _names(validation),
        "test": _names(test),
        "save_every": save_every,
        "cache_gb": cache_gb,
        "cache_dir": None if cache_dir is None else str(cache_dir.resolve()),
        "cache_dtype": cache_dtype,
        "activation_checkpointing": activation_checkpointing,
        "responses_gb": responses_gb,
        "carry_context": True if carry_context else None,
        "parallelism": parallelism,
    }
    keep_freed_memory()
    if resume is not None:
        given = [*_given(chosen_model), *_given(chosen_train)]
        given += [name for name, value in (("data", data), ("out", out), ("preset", preset)) if value is not None]
        if given:
            raise ConfigError(
                f"--resume takes everything from {resume / 'config.json'}; it cannot be changed ({', '.join(given)}). "
                "Start a new run with another --out instead."
            )
        from brainwavlm_fast.training import resume_run

        _report(resume_run(resume, progress=progress()), as_json)
        return
    if not subjects:
        raise ConfigError("--subject is needed (for example --subject S02), or --resume RUN to continue a run.")

    from brainwavlm_fast.config import RunConfig
    from brainwavlm_fast.config import preset as preset_of
    from brainwavlm_fast.data import find_dataset
    from brainwavlm_fast.training import start_run

    name = preset or "paper"
    model_config, train_config = preset_of(name)
    model_config = replace(model_config, **_given(chosen_model))
    train_config = replace(train_config, **_given(chosen_train))
    folder = Path(model_config.model)
    if folder.is_dir():  # the run must open from any working directory
        model_config = replace(model_config, model=str(folder.resolve()))
    dataset = find_dataset(data)
    first, *more = map(dataset.subject, train_config.subjects)
    train_config = replace(train_config, subject=first, more_subjects=tuple(more))
    run = out or Path("runs") / train_config.label
    config = RunConfig(str(dataset.root.resolve()), name, model_config, train_config)
    _report(start_run(run, config, progress=progress()), as_json)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _tune(no_lora: bool, freeze: bool) -> str | None:
    if no_lora and freeze:
        raise ConfigError("--no-lora and --freeze contradict each other: train every weight, or none of the encoder's.")
    return "full" if no_lora else "frozen" if freeze else None


def _report(summary: dict[str, Any], as_json: bool) -> None:
    if not first_process():
        return
    if as_json:
        print_json(summary)
        return
    rows = [
        [epoch + (" (pre-trained)" if epoch == "0" else ""), f"{scores['correlation']:.4f}", f"{scores['loss']:+.4f}"]
        for epoch, scores in summary["readout_validation"].items()
    ]
    if rows:
        print_table("Readout on the validation stories", ["epoch", "correlation", "loss"], rows)
    typer.echo(f"{summary['steps']} steps in {summary['run']}. Next: bwlm evaluate {summary['run']}")
