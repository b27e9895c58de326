"""The training loop: one Adam step a block of TRs, whole stories to validate, saves so that a kill costs little."""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import TrainConfig
from ..errors import BwlmError, RankLostError
from ..model import BrainWavLM
from ..ops import correlation
from ..progress import Advance, Progress
from .checkpoint import Position, save_checkpoint
from .log import RunLog
from .losses import training_loss
from .response_loader import ResponseLoader, Responses
from .step import Step, sharing_windows
from .training_data import Block, TrainingData, predict_story

_CONTINUE = "Continue with: bwlm train --resume"


class TrainingStopped(BwlmError):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved itself."""


def make_optimizer(model: BrainWavLM, config: TrainConfig) -> torch.optim.Adam:
    """Adam over the encoder's trainable weights and the readout, each at its own rate (paper: 1e-4 both)."""
    encoder = [p for p in model.encoder.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": list(model.readout.parameters()), "lr": config.lr_readout}]
    if encoder:
        groups.insert(0, {"params": encoder, "lr": config.lr_encoder})
    return torch.optim.Adam(groups)


class StepResult:
    """A step's loss, gradient norm and wish to stop, which on a GPU are there a little later.

    Attributes
    ----------
    number, epoch, batch : the step, its epoch (from 1), and its blocks.
    """

    def __init__(self, number: int, epoch: int, batch: Sequence[Block], values: Tensor) -> None:
        self.number, self.epoch, self.batch = number, epoch, batch
        self._event: torch.cuda.Event | None = None
        if values.device.type == "cuda":  # read a step later, so that the GPU never waits for the host
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._values = values

    @property
    def late(self) -> bool:
        """Whether reading it now would wait."""
        return self._event is not None

    def read(self) -> tuple[float, float, bool]:
        """Loss, gradient norm, whether a rank wants to stop.

        Raises
        ------
        BwlmError : loss or norm is not finite.
        """
        if self._event is not None:
            self._event.synchronize()
        loss, norm, stop = self._values.tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            block = self.batch[0]
            raise BwlmError(
                f"step {self.number} ({block.story}, TRs {block.start} to {block.stop - 1}): the loss is {loss}, its "
                f"gradient's norm {norm}. Nothing of it is saved; the last checkpoint stands. Lower the learning rates."
            )
        return loss, norm, stop > 0


@dataclass
class Loop:
    """A run in motion. ``position`` counts optimiser steps and finished epochs; ``fresh`` is a run not yet saved.

    ``trained`` counts seconds of steps, loading included; ``feed.waited`` those of them spent waiting for responses.
    """

    run: Path
    config: TrainConfig
    model: BrainWavLM
    optimizer: torch.optim.Adam
    material: TrainingData
    step: Step
    feed: ResponseLoader
    log: RunLog
    progress: Progress
    position: Position
    fresh: bool
    trained: float = 0.0
    _resumed: float = 0.0

    def train(self) -> None:
        """Train from ``position`` to the last epoch.

        Raises
        ------
        TrainingStopped : after a signal to any rank, once the step in flight is done and saved.
        RankLostError : another rank has ended; the last checkpoint stands.
        BwlmError : the loss or a gradient is not finite; the last checkpoint stands.
        """
        try:
            with _stop_requested() as stopped:
                if self.fresh:
                    self._validate()
                    self._save(end_of_epoch=True)
                while self.position.epoch < self.config.epochs:
                    self._epoch(stopped)
                    self.position = Position(self.position.step, self.position.epoch + 1, 0)
                    self._validate()
                    self._save(end_of_epoch=True)
        except RankLostError as error:
            raise RankLostError(f"{error} The last checkpoint of {self.run} stands. {_CONTINUE} {self.run}") from error

    def _epoch(self, stopped: Callable[[], bool]) -> None:
        blocks, size, ranks = self.material.blocks, self.step.n_blocks, self.step.ranks
        done = self.position.block
        self.model.train()
        unread: deque[StepResult] = deque()
        with self.progress.task(f"epoch {self.position.epoch + 1}/{self.config.epochs}", len(blocks)) as advance:
            advance(done)
            self._resumed = time.perf_counter()
            for start in range(done, len(blocks), size):
                batch = blocks[start : start + size]
                block = self.step.own(batch)
                measured = {} if block is None else self.feed.story(block.story)
                if block is not None:
                    measured = {subject: values[block.start : block.stop] for subject, values in measured.items()}
                unread.append(self._step(batch, measured, stopped))
                stop = False
                while unread and not (unread[0].late and len(unread) == 1):
                    stop |= self._report(unread.popleft(), advance)
                stop = stop if ranks.size > 1 else stopped()
                at_save = (self.position.block // size) % self.config.save_every == 0
                if stop or at_save or self.position.block == len(blocks):
                    while unread:
                        self._report(unread.popleft(), advance)
                if stop:
                    self._save(end_of_epoch=False)
                    ranks.barrier()
                    raise ranks.shared(
                        TrainingStopped(
                            f"stopped after step {self.position.step}, which is saved. {_CONTINUE} {self.run}"
                        )
                    )
                if at_save and self.position.block < len(blocks):
                    self._save(end_of_epoch=False)

    def _step(self, batch: Sequence[Block], measured: Responses, stopped: Callable[[], bool]) -> StepResult:
        number = self.position.step + 1
        values = self.step.gradient(number, batch, measured, stop=stopped())
        outcome = StepResult(number, self.position.epoch + 1, batch, values)
        if not outcome.late:
            self._check(outcome)
        self.optimizer.step()
        self.position = Position(number, self.position.epoch, self.position.block + len(batch))
        return outcome

    def _check(self, outcome: StepResult) -> tuple[float, float, bool]:
        try:
            return outcome.read()
        except BwlmError as error:
            raise self.step.ranks.shared(error) from None

    def _report(self, outcome: StepResult, advance: Advance) -> bool:
        """Log a step; whether a rank wants to stop."""
        loss, norm, stop = self._check(outcome)
        now = time.perf_counter()
        seconds, self._resumed = now - self._resumed, now
        self.trained += seconds
        self.log.step(
            outcome.number,
            epoch=outcome.epoch,
            story=outcome.batch[0].story,
            start=outcome.batch[0].start,
            loss=loss,
            grad_norm=norm,
            seconds=round(seconds, 4),
        )
        epochs_left = self.config.epochs - outcome.epoch
        later = f", then {epochs_left} more" if epochs_left else ""
        advance(len(outcome.batch), note=f"loss {loss:+.4f}  {1 / seconds:.1f} steps/s{later}")
        return stop

    @torch.no_grad()
    def _validate(self) -> None:
        self.model.eval()
        found: dict[str, dict[str, dict[str, float]]] = {}
        with sharing_windows(self.model, self.step.ranks):
            for name in self.material.split.validation:
                responses = self.feed.story(name)
                predicted = predict_story(
                    self.model,
                    self.material.stories[name],
                    self.config.block_size,
                    list(responses),
                    with_context=self.config.block_context,
                )
                for subject, measured in responses.items():
                    found.setdefault(subject, {})[name] = {
                        "loss": float(training_loss(self.config.loss, predicted[subject], measured)),
                        "correlation": float(correlation(predicted[subject], measured, axis=0).mean()),
                    }
        scores = {name: _mean_scores([s[name] for s in found.values() if name in s]) for name in _stories(found)}
        more = {"subjects": found} if len(self.material.subjects) > 1 else {}
        self.log.validation(self.position.step, self.position.epoch, scores, **more)
        if scores:
            mean = _mean_scores(list(scores.values()))["correlation"]
            self.progress.say(f"epoch {self.position.epoch}: validation correlation of the readout {mean:.4f}")

    def _save(self, *, end_of_epoch: bool) -> None:
        if self.step.ranks.is_main:
            carried = None if end_of_epoch else self.step.carried
            save_checkpoint(
                self.run, self.position, self.model, self.optimizer, end_of_epoch=end_of_epoch, carried=carried
            )
        self._resumed = time.perf_counter()


def _stories(found: dict[str, dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for scores in found.values() for name in scores))


def _mean_scores(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}


@contextmanager
def _stop_requested() -> Iterator[Callable[[], bool]]:
    """Yields a question: has SIGINT or SIGTERM come? A second Ctrl-C stops at once.

    SIGTERM may come twice from one who ends a job (``torchrun`` does so), and must not keep the save from happening.
    """
    seen: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        if number == signal.SIGINT:
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
