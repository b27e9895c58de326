"""A run is a folder: made once, never written over, resumed from its last checkpoint.

``config.json`` (everything that was chosen), ``log.jsonl``, ``tensorboard/``, ``voxels.hf5`` (the voxels trained on;
one file a subject where there are several), ``checkpoints/epoch-NNN``, and ``summary.json`` once it is done.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ..config import RunConfig, as_dict
from ..data import SAMPLE_RATE, Dataset, StorySplit, open_hdf5
from ..distributed import Ranks, opened_ranks
from ..errors import BwlmError, CheckpointError
from ..files import atomic_path, provenance, read_json, write_json
from ..memory import GIB, peak_memory
from ..model import BrainWavLM, CacheStatus, free_memory, keep_front_ends, step_memory
from ..progress import Progress
from .checkpoint import Position, clear_unfinished, latest_checkpoint, load_checkpoint
from .log import RunLog, read_log
from .loop import Loop, make_optimizer
from .randomness import keyed
from .response_loader import ResponseLoader
from .step import Step
from .training_data import SubjectData, TrainingData, choose_voxels, open_training_data

_CONFIG = "config.json"
_SUMMARY = "summary.json"


def start_run(run: Path | str, config: RunConfig, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train a new run in the folder ``run``, which must not hold anything yet; returns its summary.

    Under ``torchrun`` every rank calls this; the first one reads and checks responses, writes, and shows progress.

    Raises
    ------
    BwlmError : the folder is in use, or the data, the model or the configuration will not do.
    """
    run, progress = Path(run), progress or Progress()
    with opened_ranks() as ranks:
        progress = progress if ranks.is_main else Progress()
        material = _open(config, ranks, progress, run_to_be=run)
        model = _new_model(config, material, ranks)
        config = _settle_memory(config, model, material, ranks, progress)
        step = Step(model, config.train, material, ranks)
        with _claimed(run, ranks):
            if ranks.is_main:
                config.to_json(run / _CONFIG)
                _write_voxels(run, material)
            log = RunLog(run, after_step=0, silent=not ranks.is_main)
            log.note(0, started=material.summary(), processes=ranks.size, config=as_dict(config), **provenance())
            return _train(run, config, step, material, log, None, progress)


def resume_run(run: Path | str, *, progress: Progress | None = None) -> dict[str, Any]:
    """Continue a run from its last checkpoint, giving the numbers of a run that was never stopped.

    A run that is complete returns its summary unchanged. The number of processes may be another one than before.

    Raises
    ------
    CheckpointError : there is no run, its last checkpoint is damaged, or it was written by another configuration.
    """
    run, progress = Path(run), progress or Progress()
    if not (run / _CONFIG).is_file():
        raise CheckpointError(f"{run} is not a run (no {_CONFIG}); give the folder that `bwlm train --out` made.")
    config = RunConfig.from_json(run / _CONFIG)
    if (run / _SUMMARY).exists():
        progress.say(f"{run} is complete; nothing to do.")
        return dict(read_json(run / _SUMMARY))
    with opened_ranks() as ranks, _claimed(run, ranks):
        progress = progress if ranks.is_main else Progress()
        if ranks.is_main:
            clear_unfinished(run)
        checkpoint = ranks.on_first(lambda: latest_checkpoint(run))
        material = _open(config, ranks, progress)
        _require_same_voxels(run, material)
        model = _new_model(config, material, ranks)
        config = _settle_memory(config, model, material, ranks, progress)
        step = Step(model, config.train, material, ranks)
        return _train(run, config, step, material, None, checkpoint, progress)


def _open(config: RunConfig, ranks: Ranks, progress: Progress, *, run_to_be: Path | None = None) -> TrainingData:
    """The material; the first rank alone checks that the folder is free and reads every response."""

    def check() -> tuple[StorySplit, dict[str, SubjectData]]:
        if run_to_be is not None:
            _refuse_used(run_to_be)
        return choose_voxels(config, Dataset(Path(config.data)), progress)

    split, subjects = ranks.on_first(check)
    return open_training_data(config, Dataset(Path(config.data)), split, subjects, progress)


def _refuse_used(run: Path) -> None:
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        kind = "another run" if (run / _CONFIG).exists() else "other files"
        raise BwlmError(
            f"{run} already holds {kind}; nothing was written. Choose another --out"
            + (f", or continue it with --resume {run}." if kind == "another run" else ".")
        )


def _new_model(config: RunConfig, material: TrainingData, ranks: Ranks) -> BrainWavLM:
    with keyed(config.train.seed, 0):
        model = BrainWavLM(config.model, material.n_voxels)
    model.encoder.use_precision(config.train.precision)
    return model.to(ranks.device)


def _settle_memory(
    config: RunConfig, model: BrainWavLM, material: TrainingData, ranks: Ranks, progress: Progress
) -> RunConfig:
    """Tell the encoder what to do with activations; the configuration with ``auto`` replaced by what was chosen.

    Written down when a run starts: on a GPU the choice groups windows, and so their dropout, which a resume repeats.
    """
    train = config.train
    if train.activation_checkpointing == "auto":
        n_windows = max(
            len(story.rows(*model.block_span(story, block.start, block.stop, with_context=train.block_context)[:2])[0])
            for block in material.blocks
            for story in [material.stories[block.story]]
        )
        n_samples = round(config.model.window * SAMPLE_RATE)
        needed = step_memory(model.train().encoder, model, n_windows=n_windows, n_samples=n_samples)
        free = free_memory(ranks.device)
        train = replace(train, activation_checkpointing=ranks.on_first(lambda: needed.choose(free)))
        progress.say(
            f"memory: {free / GIB:.1f} GiB are free; a step of {n_windows} windows takes some {needed.keep / GIB:.1f} "
            f"with its activations kept, {needed.recompute / GIB:.1f} with them computed again: "
            f"--activation-checkpointing {train.activation_checkpointing}"
        )
    model.encoder.recompute = train.activation_checkpointing == "on"
    return replace(config, train=train)


def _train(
    run: Path,
    config: RunConfig,
    step: Step,
    material: TrainingData,
    log: RunLog | None,
    checkpoint: Path | None,
    progress: Progress,
) -> dict[str, Any]:
    model, train, ranks = step.model, config.train, step.ranks
    optimizer = make_optimizer(model, train)
    position = Position(0, 0, 0)
    if checkpoint is not None:
        blocks = len(material.blocks)
        position, step.carried = load_checkpoint(checkpoint, model, optimizer, blocks_per_epoch=blocks)
        progress.say(f"resuming after step {position.step} ({checkpoint.name})")
    order = [*dict.fromkeys(block.story for block in material.blocks), *material.split.validation]
    feed = ResponseLoader(material, order, ranks.device, limit_gb=train.responses_gb / ranks.local_size)
    fresh = checkpoint is None
    feed.ahead(material.split.validation[0] if fresh and material.split.validation else order[0])
    kept = keep_front_ends(
        material.stories,
        model.encoder,
        limit_gb=train.cache_gb,
        folder=Path(train.cache_dir) if train.cache_dir else None,
        dtype=train.cache_dtype,
        progress=progress,
    )
    if log is None:
        log = RunLog(run, after_step=position.step, silent=not ranks.is_main)
        log.note(position.step, resumed=True, processes=ranks.size, **provenance())
    started = time.perf_counter()
    loop = Loop(run, train, model, optimizer, material, step, feed, log, progress, position, fresh)
    try:
        loop.train()
    finally:
        log.close()
        feed.close()

    def finish() -> dict[str, Any]:
        summary = _summary(run, config, loop, time.perf_counter() - started, kept)
        write_json(run / _SUMMARY, summary)
        return summary

    return ranks.on_first(finish)


def _summary(run: Path, config: RunConfig, loop: Loop, seconds: float, kept: CacheStatus) -> dict[str, Any]:
    material, ranks = loop.material, loop.step.ranks
    records = read_log(run / "log.jsonl")
    curve = {
        record["epoch"]: {
            name: sum(story[name] for story in record["stories"].values()) / len(record["stories"])
            for name in ("loss", "correlation")
        }
        for record in records
        if record["kind"] == "validation" and record["stories"]
    }
    best = max(curve, key=lambda epoch: curve[epoch]["correlation"]) if curve else None
    return {
        "run": str(run),
        "config": as_dict(config),
        "data": {"version": material.dataset.version, "subject": config.train.subject, **material.summary()},
        "steps": loop.position.step,
        "epochs": loop.position.epoch,
        "readout_validation": {str(epoch): scores for epoch, scores in sorted(curve.items())},
        "best_readout_epoch": best,
        "seconds_this_session": round(seconds, 1),
        "peak_memory_gib": round(peak_memory() / GIB, 2),
        "peak_gpu_memory_gib": round(torch.cuda.max_memory_allocated() / GIB, 2) if torch.cuda.is_available() else None,
        "activation_checkpointing": config.train.activation_checkpointing,
        "front_end": {"kept": kept.where, "gib": round(kept.gib, 3)},
        "waited_share": round(loop.feed.waited / loop.trained, 4) if loop.trained else 0.0,
        "processes": ranks.size,
        "blocks_per_step": loop.step.n_blocks,
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "device": ranks.device.type,
        "provenance": provenance(),
    }


def _voxels_path(run: Path, subject: str, material: TrainingData) -> Path:
    """``voxels.hf5``; with several subjects ``voxels-UTS01.hf5`` and so on."""
    return run / ("voxels.hf5" if len(material.subjects) == 1 else f"voxels-{subject}.hf5")


def _write_voxels(run: Path, material: TrainingData) -> None:
    for subject, measured in material.subjects.items():
        with atomic_path(_voxels_path(run, subject, material)) as temporary, h5py.File(temporary, "w") as file:
            file["trained"], file["excluded"] = measured.voxels, measured.excluded
            file.attrs["subject"], file.attrs["data_version"] = subject, material.dataset.version
            file.attrs["target"] = material.target


def _require_same_voxels(run: Path, material: TrainingData) -> None:
    """A set's name stays when the file behind it changes; a readout must not go on with other voxels."""
    for subject, measured in material.subjects.items():
        path = _voxels_path(run, subject, material)
        with open_hdf5(path) as file:
            same = np.array_equal(file["trained"][:], measured.voxels)
        if not same:
            raise CheckpointError(
                f"{path} names other voxels than the data set gives now for this run; surfaces, masks or responses "
                "have changed since it started. Put them back, or start a new run with another --out."
            )


@contextmanager
def _claimed(run: Path, ranks: Ranks) -> Iterator[None]:
    """Hold the run's lock, so that two jobs never write into one folder, which is made if it is not there."""
    with ExitStack() as held:
        if ranks.is_main:
            run.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((run / ".lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BwlmError(
                    f"{run} is being trained by another process; wait for it, or choose another --out."
                ) from None
        yield
