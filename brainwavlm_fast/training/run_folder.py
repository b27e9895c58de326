"""A run is a folder: made once, never overwritten, resumed from its last checkpoint.

``config.json`` (everything that was chosen), ``log.jsonl``, ``tensorboard/``, ``voxels.hf5`` (the voxels trained on;
one file per subject where there are several), ``checkpoints/epoch-NNN``, and ``summary.json`` once it is done.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ..config import RunConfig, as_dict
from ..data import SAMPLE_RATE, Dataset, StorySplit, find_dataset, open_hdf5
from ..distributed import Ranks, opened_ranks
from ..errors import BwlmError, CheckpointError
from ..files import atomic_path, provenance, read_json, write_json
from ..memory import GIB, peak_memory
from ..model import BrainWavLM, CacheStatus, Encoder, cache_front_ends, free_memory, step_memory
from ..model.products import warn_if_bfloat16_is_slow
from ..progress import Progress
from .checkpoint import Position, clear_unfinished, latest_checkpoint, load_checkpoint, require_same_settings
from .gradient import BlockGradient
from .log import RunLog, read_log
from .loop import Loop, make_optimizer
from .randomness import keyed
from .response_loader import ResponseLoader
from .training_data import SubjectData, TrainingData, choose_voxels, open_training_data
from .validation import mean_scores

_CONFIG = "config.json"
_SUMMARY = "summary.json"


def start_run(run: Path | str, config: RunConfig, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train a new run in the folder ``run``, which must not hold anything yet; returns its summary.

    Under ``torchrun`` every rank calls this; the first one reads and checks responses, writes, and shows progress.

    Raises
    ------
    BwlmError
        The folder is in use, or the data, the model or the configuration is invalid.
    """
    run, progress = Path(run), progress or Progress()
    with opened_ranks() as ranks:
        progress = progress if ranks.is_main else Progress()

        def checked() -> RunConfig:
            _refuse_used(run)
            return _open_base(config)

        config = ranks.broadcast_from_main(checked)
        gradient = _make_gradient(config, _open(config, ranks, progress), ranks)
        config = _settle_memory(config, gradient, progress)
        with _claimed(run, ranks):
            if ranks.is_main:
                config.to_json(run / _CONFIG)
                _write_voxels(run, gradient.training_data)
            return _train(run, config, gradient, None, progress)


def resume_run(
    run: Path | str,
    *,
    data: Path | str | None = None,
    changes: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Continue a run from its last checkpoint, giving the numbers of a run that was never stopped.

    A run that is complete returns its summary unchanged. The number of processes may be another one than before.

    Parameters
    ----------
    run : Path | str
        Its folder.
    data : Path | str, optional
        The data set, if it has moved.
    changes : Mapping[str, Any], optional
        Settings that a run may change once it has begun: more ``epochs``, where the ``model`` is, memory and caches.
    progress : Progress, optional
        Where to report.

    Raises
    ------
    CheckpointError
        There is no run, its last checkpoint is damaged, or it was written by another configuration.
    """
    run, progress = Path(run), progress or Progress()
    if not (run / _CONFIG).is_file():
        raise CheckpointError(f"{run} is not a run (no {_CONFIG}); give the folder that `bwlm train --out` made.")
    recorded = RunConfig.from_json(run / _CONFIG)
    config = recorded.with_settings(changes or {})
    if data is not None:
        config = replace(config, data=str(find_dataset(data).root.resolve()))
    if (run / _SUMMARY).exists():
        summary = dict(read_json(run / _SUMMARY))
        if config.train.epochs <= summary["epochs"]:
            progress.say(f"{run} is complete; nothing to do.")
            return summary
    with opened_ranks() as ranks, _claimed(run, ranks):
        progress = progress if ranks.is_main else Progress()
        if ranks.is_main:
            clear_unfinished(run)
        checkpoint = ranks.broadcast_from_main(lambda: latest_checkpoint(run))
        require_same_settings(checkpoint, config)
        config = ranks.broadcast_from_main(lambda: _open_base(config, checkpoint))
        training_data = _open(config, ranks, progress)
        _require_same_voxels(run, training_data)
        gradient = _make_gradient(config, training_data, ranks)
        if ranks.is_main and config != recorded:
            config.to_json(run / _CONFIG)
        return _train(run, _settle_memory(config, gradient, progress), gradient, checkpoint, progress)


def _open_base(config: RunConfig, checkpoint: Path | None = None) -> RunConfig:
    """The configuration with the hub's commit of the base model, whose faults are said before any data are read."""
    with keyed(config.train.seed):  # nothing of it stays
        pretrained = Encoder(config.model).pretrained
    if checkpoint is not None:
        pretrained.require(checkpoint)
    return config.with_settings({"revision": pretrained.files.commit or ""})


def _open(config: RunConfig, ranks: Ranks, progress: Progress) -> TrainingData:
    """The data; the first rank alone reads every response."""

    def check() -> tuple[StorySplit, dict[str, SubjectData]]:
        return choose_voxels(config, Dataset(Path(config.data)), progress)

    split, subjects = ranks.broadcast_from_main(check)
    return open_training_data(config, Dataset(Path(config.data)), split, subjects, progress)


def _refuse_used(run: Path) -> None:
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        kind = "another run" if (run / _CONFIG).exists() else "other files"
        raise BwlmError(
            f"{run} already holds {kind}; nothing was written. Choose another --out"
            + (f", or continue it with --resume {run}." if kind == "another run" else ".")
        )


def _make_gradient(config: RunConfig, training_data: TrainingData, ranks: Ranks) -> BlockGradient:
    """A new model, ready to be trained."""
    with keyed(config.train.seed, 0):
        model = BrainWavLM(config.model, training_data.n_voxels)
    if config.train.precision == "bf16":
        warn_if_bfloat16_is_slow(ranks.device)
    model.encoder.use_precision(config.train.precision)
    return BlockGradient(model.to(ranks.device), config.train, training_data, ranks)


def _settle_memory(config: RunConfig, gradient: BlockGradient, progress: Progress) -> RunConfig:
    """Set the encoder's activation checkpointing; the configuration with ``auto`` replaced by what was chosen.

    Recorded when a run starts: on a GPU the choice groups windows, and so their dropout, which a resume repeats.
    """
    train, model, training_data = config.train, gradient.model, gradient.training_data
    if train.activation_checkpointing == "auto":
        spans = [(training_data.stories[block.story], *gradient.rows(block)) for block in training_data.blocks]
        n_windows = max(len(story.rows(first, last)[0]) for story, first, last, _ in spans)
        n_samples = round(config.model.window * SAMPLE_RATE)
        needed = step_memory(model.train().encoder, model, n_windows=n_windows, n_samples=n_samples)
        free = free_memory(gradient.ranks.device)
        chosen = gradient.ranks.broadcast_from_main(lambda: needed.choose(free))
        train = replace(train, activation_checkpointing=chosen)
        progress.say(
            f"memory: {free / GIB:.1f} GiB are free; a step of {n_windows} windows takes some {needed.keep / GIB:.1f} "
            f"with its activations stored, {needed.recompute / GIB:.1f} with activation checkpointing: "
            f"--activation-checkpointing {train.activation_checkpointing}"
        )
    model.encoder.recompute = train.activation_checkpointing == "on"
    return replace(config, train=train)


def _train(
    run: Path, config: RunConfig, gradient: BlockGradient, checkpoint: Path | None, progress: Progress
) -> dict[str, Any]:
    """Train a new run, or one from its checkpoint, to the end; returns its summary."""
    model, training_data, train, ranks = gradient.model, gradient.training_data, config.train, gradient.ranks
    optimizer = make_optimizer(model, train)
    position, fresh = Position(0, 0, 0), checkpoint is None
    about: dict[str, Any] = {"base": model.encoder.pretrained.record()}
    about |= {"started": training_data.summary(), "config": as_dict(config)} if fresh else {"resumed": True}
    if checkpoint is not None:
        blocks = len(training_data.blocks)
        position, gradient.carried_context = load_checkpoint(checkpoint, model, optimizer, blocks_per_epoch=blocks)
        progress.say(f"resuming after step {position.step} ({checkpoint.name})")
    order = [*dict.fromkeys(block.story for block in training_data.blocks), *training_data.split.validation]
    loader = ResponseLoader(training_data, order, ranks.device, limit_gb=train.responses_gb / ranks.local_size)
    loader.ahead(training_data.split.validation[0] if fresh and training_data.split.validation else order[0])
    cache_status = cache_front_ends(
        model.encoder,
        training_data.stories,
        limit_gb=train.cache_gb,
        folder=Path(train.cache_dir) if train.cache_dir else None,
        dtype=train.cache_dtype,
        ranks=ranks,
        progress=progress,
    )
    log = RunLog(run, after_step=position.step, silent=not ranks.is_main)
    log.note(position.step, **about, processes=ranks.size, **provenance())
    started = time.perf_counter()
    loop = Loop(run, gradient, optimizer, loader, log, progress, position)
    try:
        loop.train(fresh=fresh)
    finally:
        log.close()
        loader.close()

    def finish() -> dict[str, Any]:
        summary = _summary(run, config, loop, time.perf_counter() - started, cache_status)
        write_json(run / _SUMMARY, summary)
        return summary

    return ranks.broadcast_from_main(finish)


def _summary(run: Path, config: RunConfig, loop: Loop, seconds: float, cache_status: CacheStatus) -> dict[str, Any]:
    training_data, ranks = loop.gradient.training_data, loop.gradient.ranks
    curve = {
        record["epoch"]: mean_scores(list(record["stories"].values()))
        for record in read_log(run / "log.jsonl")
        if record["kind"] == "validation" and record["stories"]
    }
    best = max(curve, key=lambda epoch: curve[epoch]["correlation"]) if curve else None
    return {
        "run": str(run),
        "config": as_dict(config),
        "base": loop.gradient.model.encoder.pretrained.record(),
        "data": {"version": training_data.dataset.version, "subject": config.train.subject, **training_data.summary()},
        "steps": loop.position.step,
        "epochs": loop.position.epoch,
        "readout_validation": {str(epoch): scores for epoch, scores in sorted(curve.items())},
        "best_readout_epoch": best,
        "seconds_this_session": round(seconds, 1),
        "peak_memory_gib": round(peak_memory() / GIB, 2),
        "peak_gpu_memory_gib": round(torch.cuda.max_memory_allocated() / GIB, 2) if torch.cuda.is_available() else None,
        "activation_checkpointing": config.train.activation_checkpointing,
        "front_end": {"kept": cache_status.where, "gib": round(cache_status.gib, 3)},
        "waited_share": round(loop.loader.waited / loop.seconds, 4) if loop.seconds else 0.0,
        "processes": ranks.size,
        "blocks_per_step": loop.gradient.n_blocks,
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "device": ranks.device.type,
        "provenance": provenance(),
    }


def _voxels_path(run: Path, subject: str, training_data: TrainingData) -> Path:
    """``voxels.hf5``; with several subjects ``voxels-UTS01.hf5`` and so on."""
    return run / ("voxels.hf5" if len(training_data.subjects) == 1 else f"voxels-{subject}.hf5")


def _write_voxels(run: Path, training_data: TrainingData) -> None:
    for subject, subject_data in training_data.subjects.items():
        with atomic_path(_voxels_path(run, subject, training_data)) as temporary, h5py.File(temporary, "w") as file:
            file["trained"], file["excluded"] = subject_data.voxels, subject_data.excluded
            file.attrs["subject"], file.attrs["data_version"] = subject, training_data.dataset.version
            file.attrs["target"] = training_data.target


def _require_same_voxels(run: Path, training_data: TrainingData) -> None:
    """A set's name stays when the file behind it changes; a readout must not go on with other voxels."""
    for subject, subject_data in training_data.subjects.items():
        path = _voxels_path(run, subject, training_data)
        with open_hdf5(path) as file:
            same = np.array_equal(file["trained"][:], subject_data.voxels)
        if not same:
            raise CheckpointError(
                f"{path} names other voxels than the data set gives now for this run; surfaces, masks or responses "
                "have changed since it started. Put them back, or start a new run with another --out."
            )


@contextmanager
def _claimed(run: Path, ranks: Ranks) -> Iterator[None]:
    """Hold the run's lock, so that two jobs never write into one folder, which is made if it is missing."""
    with ExitStack() as stack:
        if ranks.is_main:
            run.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((run / ".lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BwlmError(
                    f"{run} is being trained by another process; wait for it, or choose another --out."
                ) from None
        yield
