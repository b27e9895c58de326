"""Checkpoints: whole folders that appear at once, hold every number needed to go on, and are checked when opened.

A checkpoint is a :class:`BrainWavLM` folder (PEFT adapter and readout) with ``optimizer.safetensors``, perhaps
``carried.safetensors``, and ``state.json`` (step, epoch, blocks of the next epoch that are done, hashes of the files).
``epoch-003`` is kept for evaluation; ``step-000450``, saved inside an epoch, goes when the next checkpoint is complete.
Only the last two keep their optimizer.
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ..config import ModelConfig, RunConfig, TrainConfig, as_dict, settings
from ..errors import BwlmError, CheckpointError
from ..files import atomic_folder, provenance, read_json, sha256, write_json
from ..model import BrainWavLM
from ..model.weights import load_tensors, save_tensors

_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"
_CARRIED = "carried.safetensors"
_KEPT_OPTIMIZERS = 2


@dataclass(frozen=True)
class Position:
    """Where training stands: optimizer steps done, epochs done (all of their blocks), and blocks of the next one."""

    step: int
    epoch: int
    block: int


@dataclass(frozen=True)
class CarriedContext:
    """The previous block's last TR features, detached: context of the block of ``story`` that starts at ``start``."""

    story: str
    start: int
    rows: Tensor


def save_checkpoint(
    run: Path,
    position: Position,
    model: BrainWavLM,
    optimizer: torch.optim.Optimizer,
    *,
    train: TrainConfig,
    end_of_epoch: bool,
    context: CarriedContext | None = None,
) -> None:
    """Write a checkpoint completely or not at all, then delete what it replaces.

    Raises
    ------
    CheckpointError
        The disk is full or cannot be written; earlier checkpoints are untouched.
    """
    name = f"epoch-{position.epoch:03d}" if end_of_epoch else f"step-{position.step:07d}"
    folder = run / "checkpoints" / name
    try:
        with atomic_folder(folder) as temporary:
            model.write(temporary)
            save_tensors(temporary / _OPTIMIZER, _optimizer_tensors(model, optimizer))
            state: dict[str, Any] = asdict(position)
            if context is not None:
                save_tensors(temporary / _CARRIED, {"rows": context.rows})
                state |= {"carried": {"story": context.story, "start": context.start}}
            hashes = {str(p.relative_to(temporary)): sha256(p) for p in sorted(temporary.rglob("*")) if p.is_file()}
            state |= {"settings": as_dict(model.config) | as_dict(train)}
            state |= {"end_of_epoch": end_of_epoch, "files": hashes, "provenance": provenance()}
            write_json(temporary / _STATE, state)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} could not be written ({error}). Earlier checkpoints are untouched: "
            f"free some space, then continue with `bwlm train --resume {run}`."
        ) from error
    _drop_replaced(run)


def clear_unfinished(run: Path) -> None:
    """Remove what a kill in the middle of a save has left behind."""
    for folder in (run / "checkpoints").glob(".[es]*-*"):
        shutil.rmtree(folder, ignore_errors=True)


def latest_checkpoint(run: Path) -> Path:
    """The checkpoint with the most steps; raises :class:`CheckpointError` if there is none."""
    checkpoints = list_checkpoints(run)
    if not checkpoints:
        raise CheckpointError(f"{run} has no checkpoint yet; start it again with a new --out.")
    return checkpoints[-1]


def list_checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, fewest steps first (an epoch's end comes after a save at the same step)."""
    folders = [path for path in (run / "checkpoints").glob("[es]*-*") if (path / _STATE).is_file()]
    return sorted(folders, key=lambda path: (_step_of(path), path.name.startswith("epoch")))


def load_checkpoint(
    folder: Path, model: BrainWavLM, optimizer: torch.optim.Optimizer, *, blocks_per_epoch: int
) -> tuple[Position, CarriedContext | None]:
    """Load a checkpoint's weights and optimizer; returns its position and the context that the next block reuses.

    Raises
    ------
    CheckpointError
        A file is missing, damaged, or of another configuration; names the file and what to do.
    """
    state = read_json(folder / _STATE)
    try:
        hashes, step, epoch = dict(state["files"]), int(state["step"]), int(state["epoch"])
        # checkpoints written before several blocks could make a step do not count blocks
        position = Position(step, epoch, int(state.get("block", step - epoch * blocks_per_epoch)))
        carried = (str(state["carried"]["story"]), int(state["carried"]["start"])) if "carried" in state else None
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{folder / _STATE} is not a checkpoint's state; {_go_back(folder)}") from None
    for name, digest in hashes.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; {_go_back(folder)}")
        if sha256(path) != digest:
            raise CheckpointError(f"{path} is damaged (its contents changed after it was saved); {_go_back(folder)}")
    model.load(folder)
    _load_optimizer(folder / _OPTIMIZER, model, optimizer)
    return position, None if carried is None else CarriedContext(*carried, load_tensors(folder / _CARRIED)["rows"])


def require_same_settings(folder: Path, config: RunConfig) -> None:
    """Refuse to go on from a checkpoint with settings that decide its numbers and were others when it was saved.

    Raises
    ------
    CheckpointError
        A setting is another, or fewer epochs are asked for than are done.
    """
    state = read_json(folder / _STATE)
    now, saved = as_dict(config.model) | as_dict(config.train), state.get("settings")
    if not isinstance(saved, dict):
        warnings.warn(
            f"{folder} was saved by an earlier version; whether settings changed is not checked.", stacklevel=1
        )
        return
    table = (*settings(ModelConfig), *settings(TrainConfig))
    changed = [
        f"{s.name} is {now[s.name]!r} and was {saved[s.name]!r}"
        for s in table
        if not s.option.changeable and s.name in saved and now[s.name] != saved[s.name]
    ]
    if changed:
        raise CheckpointError(
            f"the run was trained so far with other settings than its config.json holds now: {'; '.join(changed)}. Put "
            "them back, or start a new run with another --out."
        )
    if config.train.epochs < int(state["epoch"]):
        raise CheckpointError(
            f"epochs is {config.train.epochs}, but {state['epoch']} are done; give that many or more."
        )


def _optimizer_tensors(model: BrainWavLM, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value)
    return tensors


def _load_optimizer(path: Path, model: BrainWavLM, optimizer: torch.optim.Optimizer) -> None:
    tensors = load_tensors(path)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, kind = key.rpartition("/")
        if name not in parameters:
            raise CheckpointError(
                f"{path}: {name} is not trained in this configuration; the checkpoint is another run's."
            )
        parameter = parameters[name]
        if value.ndim and value.shape != parameter.shape:
            raise CheckpointError(f"{path}: {key} has shape {tuple(value.shape)}, expected {tuple(parameter.shape)}.")
        optimizer.state[parameter][kind] = value.to(parameter.device) if value.ndim else value
    if tensors and {key.rpartition("/")[0] for key in tensors} != parameters.keys():
        raise CheckpointError(
            f"{path}: optimizer state is missing for some parameters; the checkpoint is another run's."
        )


def _drop_replaced(run: Path) -> None:
    checkpoints = list_checkpoints(run)
    for folder in checkpoints[:-1]:
        if folder.name.startswith("step"):
            shutil.rmtree(folder)
    epochs = [folder for folder in checkpoints if folder.exists()]
    for folder in epochs[:-_KEPT_OPTIMIZERS]:
        (folder / _OPTIMIZER).unlink(missing_ok=True)


def _go_back(folder: Path) -> str:
    return f"remove the folder {folder} to continue from the checkpoint before it, if there is one."


def _step_of(folder: Path) -> int:
    try:
        return int(read_json(folder / _STATE)["step"])
    except (BwlmError, KeyError, TypeError, ValueError):
        raise CheckpointError(f"{folder / _STATE} is damaged; {_go_back(folder)}") from None
