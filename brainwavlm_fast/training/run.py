"""A run is a folder: made once, never written over, resumed from its last checkpoint.

``config.json`` (everything that was chosen), ``log.jsonl``, ``tensorboard/``, ``voxels.hf5`` (the voxels trained on),
``checkpoints/epoch-NNN``, and ``summary.json`` once it is done.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ..config import RunConfig, as_dict
from ..data import Dataset, open_hdf5
from ..errors import BwlmError, CheckpointError
from ..files import atomic_path, provenance, read_json, write_json
from ..memory import peak_memory
from ..model import BrainWavLM
from ..progress import Progress
from .checkpoint import Position, latest_checkpoint, load_checkpoint
from .log import RunLog, read_log
from .loop import Loop, make_optimizer
from .material import Material, keep_front_ends, open_material
from .randomness import keyed

_CONFIG = "config.json"
_SUMMARY = "summary.json"


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
        return _train(run, config, model, material, None, checkpoint, progress)


def _new_model(config: RunConfig, material: Material) -> BrainWavLM:
    with keyed(config.train.seed, 0):
        model = BrainWavLM(config.model, len(material.voxels))
    model.encoder.use_precision(config.train.precision)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


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
    kept = keep_front_ends(material, model.encoder, config.train.cache_gb, progress)
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
    run: Path, config: RunConfig, material: Material, position: Position, seconds: float, kept: float
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
        "peak_memory_gib": round(peak_memory() / (1 << 30), 2),
        "front_end_kept_gib": round(kept, 3),
        "threads": torch.get_num_threads(),
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
