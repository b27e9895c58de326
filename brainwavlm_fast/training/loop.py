"""The training loop: one Adam step a block of TRs, whole stories to validate, saves so that a kill costs little."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import TrainConfig
from ..errors import BwlmError
from ..model import BrainWavLM
from ..ops import correlation
from ..progress import Progress
from .checkpoint import Position, save_checkpoint
from .log import RunLog
from .losses import training_loss
from .material import Block, Material, predict_story
from .randomness import keyed


class TrainingStopped(BwlmError):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved itself."""


def make_optimizer(model: BrainWavLM, config: TrainConfig) -> torch.optim.Adam:
    """Adam over the encoder's trainable weights and the readout, each at its own rate (paper: 1e-4 both)."""
    encoder = [p for p in model.encoder.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": list(model.readout.parameters()), "lr": config.lr_readout}]
    if encoder:
        groups.insert(0, {"params": encoder, "lr": config.lr_encoder})
    return torch.optim.Adam(groups)


@dataclass
class Loop:
    """A run in motion. ``position`` counts optimiser steps and finished epochs; ``fresh`` is a run not yet saved."""

    run: Path
    config: TrainConfig
    model: BrainWavLM
    optimizer: torch.optim.Adam
    material: Material
    log: RunLog
    progress: Progress
    position: Position
    fresh: bool

    def train(self) -> None:
        """Train from ``position`` to the last epoch.

        Raises
        ------
        TrainingStopped : after a signal, once the step in flight is done and saved.
        BwlmError : the loss or a gradient is not finite; the last checkpoint stands.
        """
        with _stop_requested() as stopped:
            if self.fresh:
                self._validate()
                self._save(end_of_epoch=True)
            while self.position.epoch < self.config.epochs:
                self._epoch(stopped)
                self.position = Position(self.position.step, self.position.epoch + 1)
                self._validate()
                self._save(end_of_epoch=True)

    def _epoch(self, stopped: Callable[[], bool]) -> None:
        blocks = self.material.blocks
        done = self.position.step - self.position.epoch * len(blocks)
        name, responses = "", torch.empty(0)
        device = next(self.model.parameters()).device
        epochs_left = self.config.epochs - self.position.epoch - 1
        self.model.train()
        with self.progress.task(f"epoch {self.position.epoch + 1}/{self.config.epochs}", len(blocks)) as advance:
            advance(done)
            for block in blocks[done:]:
                if block.story != name:
                    name, responses = block.story, self.material.responses(block.story, device)
                started = time.perf_counter()
                loss, norm = self._step(block, responses[block.start : block.stop])
                seconds = time.perf_counter() - started
                self.log.step(
                    self.position.step,
                    epoch=self.position.epoch + 1,
                    story=block.story,
                    start=block.start,
                    loss=loss,
                    grad_norm=norm,
                    seconds=round(seconds, 4),
                )
                later = f", then {epochs_left} more" if epochs_left else ""
                advance(1, note=f"loss {loss:+.4f}  {1 / seconds:.1f} steps/s{later}")
                in_epoch = self.position.step - self.position.epoch * len(blocks)
                if stopped():
                    self._save(end_of_epoch=False)
                    raise TrainingStopped(
                        f"stopped after step {self.position.step}, which is saved. Continue with: "
                        f"bwlm train --resume {self.run}"
                    )
                if in_epoch % self.config.save_every == 0 and in_epoch < len(blocks):
                    self._save(end_of_epoch=False)

    def _step(self, block: Block, measured: Tensor) -> tuple[float, float]:
        story = self.material.stories[block.story]
        step = self.position.step + 1
        self.optimizer.zero_grad(set_to_none=True)
        with keyed(self.config.seed, step):
            predicted = self.model(story, block.start, block.stop, with_history=self.config.block_history)
            loss = training_loss(self.config.loss, predicted, measured)
            loss.backward()
        norm = float(
            torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in self._trained() if p.grad is not None]))
        )
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise BwlmError(
                f"step {step} ({block.story}, TRs {block.start} to {block.stop - 1}): the loss is {value}, its "
                f"gradient's norm {norm}. Nothing changed; the last checkpoint stands. Lower the learning rates."
            )
        self.optimizer.step()
        self.position = Position(step, self.position.epoch)
        return value, norm

    def _trained(self) -> Iterator[Tensor]:
        for group in self.optimizer.param_groups:
            yield from group["params"]

    @torch.no_grad()
    def _validate(self) -> None:
        scores = {}
        self.model.eval()
        for name in self.material.split.validation:
            story = self.material.stories[name]
            measured = self.material.responses(name, next(self.model.parameters()).device)
            predicted = predict_story(self.model, story, self.config.block_size, with_history=self.config.block_history)
            scores[name] = {
                "loss": float(training_loss(self.config.loss, predicted, measured)),
                "correlation": float(correlation(predicted, measured, axis=0).mean()),
            }
        self.log.validation(self.position.step, self.position.epoch, scores)
        if scores:
            mean = sum(score["correlation"] for score in scores.values()) / len(scores)
            self.progress.say(f"epoch {self.position.epoch}: validation correlation of the readout {mean:.4f}")

    def _save(self, *, end_of_epoch: bool) -> None:
        save_checkpoint(self.run, self.position, self.model, self.optimizer, end_of_epoch=end_of_epoch)


@contextmanager
def _stop_requested() -> Iterator[Callable[[], bool]]:
    """Yields a question: has SIGINT or SIGTERM come? A second signal stops at once."""
    seen: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.signal(number, before[number])

    try:
        for asked in (signal.SIGINT, signal.SIGTERM):
            before[asked] = signal.signal(asked, note)
    except ValueError:  # not the main thread: signals are somebody else's
        before.clear()
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
