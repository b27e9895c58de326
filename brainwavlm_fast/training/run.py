"""A run is a folder: made once, never written over, resumed from its last checkpoint.

``config.json`` (everything that was chosen), ``log.jsonl``, ``tensorboard/``, ``voxels.hf5`` (the voxels trained on),
``checkpoints/epoch-NNN``, and ``summary.json`` once it is done.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ..config import RunConfig, as_dict
from ..data import SAMPLE_RATE, Dataset, open_hdf5
from ..errors import BwlmError, CheckpointError
from ..files import atomic_path, provenance, read_json, write_json
from ..memory import peak_memory
from ..model import BrainWavLM, Kept, free_memory, keep_front_ends, step_memory
from ..progress import Progress
from .checkpoint import Position, latest_checkpoint, load_checkpoint
from .log import RunLog, read_log
from .loop import Loop, make_optimizer
from .material import Material, open_material
from .randomness import keyed

_CONFIG = "config.json"
_SUMMARY = "summary.json"
GIB = 1 << 30


def start_run(run: Path | str, config: RunConfig, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train a new run in the folder ``run``, which must not hold anything yet; returns its summary.

    Raises
    ------
    BwlmError : the folder is in use, or the data, the model or the configuration will not do.
    """
    run, progress = Path(run), progress or Progress()
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        kind = "another run" if (run / _CONFIG).exists() else "other files"
        raise BwlmError(
            f"{run} already holds {kind}; nothing was written. Choose another --out"
            + (f", or continue it with --resume {run}." if kind == "another run" else ".")
        )
    dataset = Dataset(Path(config.data))
    material = open_material(config, dataset, progress)
    model = _new_model(config, material)
    run.mkdir(parents=True, exist_ok=True)
    config = _settle_memory(config, model, material, progress)
    with _only_one(run):
        config.to_json(run / _CONFIG)
        _write_voxels(run / "voxels.hf5", material)
        log = RunLog(run, after_step=0)
        log.note(0, started=material.summary(), config=as_dict(config), **provenance())
        return _train(run, config, model, material, log, None, progress)


def resume_run(run: Path | str, *, progress: Progress | None = None) -> dict[str, Any]:
    """Continue a run from its last checkpoint, giving the numbers of a run that was never stopped.

    A run that is complete returns its summary unchanged.

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
    with _only_one(run):
        checkpoint = latest_checkpoint(run)
        material = open_material(config, Dataset(Path(config.data)), progress)
        _require_same_voxels(run / "voxels.hf5", material)
        model = _new_model(config, material)
        config = _settle_memory(config, model, material, progress)
        return _train(run, config, model, material, None, checkpoint, progress)


def _new_model(config: RunConfig, material: Material) -> BrainWavLM:
    with keyed(config.train.seed, 0):
        model = BrainWavLM(config.model, len(material.voxels))
    model.encoder.use_precision(config.train.precision)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _settle_memory(config: RunConfig, model: BrainWavLM, material: Material, progress: Progress) -> RunConfig:
    """Tell the encoder what to do with activations; the configuration with ``auto`` replaced by what was chosen.

    Written down when a run starts: on a GPU the choice groups windows, and so their dropout, which a resume repeats.
    """
    train = config.train
    if train.memory == "auto":
        device = next(model.parameters()).device
        n_windows = max(
            len(story.rows(*model.block_span(story, block.start, block.stop, with_history=train.block_history)[:2])[0])
            for block in material.blocks
            for story in [material.stories[block.story]]
        )
        n_samples = round(config.model.window * SAMPLE_RATE)
        needed = step_memory(model.train().encoder, model, n_windows=n_windows, n_samples=n_samples)
        free = free_memory(device)
        train = replace(train, memory=needed.choose(free))
        progress.say(
            f"memory: {free / GIB:.1f} GiB are free; a step of {n_windows} windows takes some {needed.keep / GIB:.1f} "
            f"with its activations kept, {needed.recompute / GIB:.1f} with them computed again: --memory {train.memory}"
        )
    model.encoder.recompute = train.memory == "recompute"
    return replace(config, train=train)


def _train(
    run: Path,
    config: RunConfig,
    model: BrainWavLM,
    material: Material,
    log: RunLog | None,
    checkpoint: Path | None,
    progress: Progress,
) -> dict[str, Any]:
    optimizer = make_optimizer(model, config.train)
    position = Position(0, 0)
    if checkpoint is not None:
        position, _ = load_checkpoint(checkpoint, model, optimizer)
        progress.say(f"resuming after step {position.step} ({checkpoint.name})")
    kept = keep_front_ends(
        material.stories,
        model.encoder,
        limit_gb=config.train.cache_gb,
        folder=Path(config.train.cache_dir) if config.train.cache_dir else None,
        dtype=config.train.cache_dtype,
        progress=progress,
    )
    if log is None:
        log = RunLog(run, after_step=position.step)
        log.note(position.step, resumed=True, **provenance())
    started = time.perf_counter()
    loop = Loop(run, config.train, model, optimizer, material, log, progress, position, fresh=checkpoint is None)
    try:
        loop.train()
    finally:
        log.close()
    summary = _summary(run, config, material, loop.position, time.perf_counter() - started, kept)
    write_json(run / _SUMMARY, summary)
    return summary


def _summary(
    run: Path, config: RunConfig, material: Material, position: Position, seconds: float, kept: Kept
) -> dict[str, Any]:
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
        "data": {"version": material.dataset.version, "subject": material.subject, **material.summary()},
        "steps": position.step,
        "epochs": position.epoch,
        "readout_validation": {str(epoch): scores for epoch, scores in sorted(curve.items())},
        "best_readout_epoch": best,
        "seconds_this_session": round(seconds, 1),
        "peak_memory_gib": round(peak_memory() / GIB, 2),
        "peak_gpu_memory_gib": round(torch.cuda.max_memory_allocated() / GIB, 2) if torch.cuda.is_available() else None,
        "memory": config.train.memory,
        "front_end": {"kept": kept.where, "gib": round(kept.gib, 3)},
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "provenance": provenance(),
    }


def _write_voxels(path: Path, material: Material) -> None:
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["trained"], file["excluded"] = material.voxels, material.excluded
        file.attrs["subject"], file.attrs["data_version"] = material.subject, material.dataset.version
        file.attrs["target"] = material.target


def _require_same_voxels(path: Path, material: Material) -> None:
    """A set's name stays when the file behind it changes; a readout must not go on with other voxels."""
    with open_hdf5(path) as file:
        same = np.array_equal(file["trained"][:], material.voxels)
    if not same:
        raise CheckpointError(
            f"{path} names other voxels than the data set gives now for this run; surfaces, masks or responses have "
            "changed since it started. Put them back, or start a new run with another --out."
        )


@contextmanager
def _only_one(run: Path) -> Iterator[None]:
    """Hold the run's lock, so that two processes never write into one folder."""
    with (run / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BwlmError(
                f"{run} is being trained by another process; wait for it, or choose another --out."
            ) from None
        yield
