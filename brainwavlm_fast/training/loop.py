"""The training loop: one Adam step per block of TRs, whole stories to validate, saves so that a kill costs little."""

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
from ..progress import Advance, Progress
from .checkpoint import Position, save_checkpoint
from .gradient import BlockGradient
from .log import RunLog
from .response_loader import ResponseLoader
from .training_data import Block
from .validation import mean_over_subjects, mean_scores, validate

_CONTINUE = "Continue with: bwlm train --resume"


class TrainingStopped(BwlmError):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved itself."""


def make_optimizer(model: BrainWavLM, config: TrainConfig) -> torch.optim.Adam:
    """Adam over the encoder's trainable weights and the readout, each at its rate (paper: 1e-4 both)."""
    encoder = [p for p in model.encoder.parameters() if p.requires_grad]  # none where it is frozen
    rates = ((encoder, config.lr_encoder), (model.readout.parameters(), config.lr_readout))
    fused = next(model.parameters()).is_cuda or None  # on a GPU one kernel, not a few per parameter
    return torch.optim.Adam([{"params": list(parameters), "lr": lr} for parameters, lr in rates], fused=fused)


class StepResult:
    """A step's loss, gradient norm and requests to stop, which a GPU gives a little later.

    Attributes
    ----------
    number, epoch : int
        Of the step and its epoch, both from 1.
    batch : sequence of Block
        Its blocks.
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
        BwlmError
            Loss or norm is not finite.
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
    """A run being trained.

    Attributes
    ----------
    run : Path
        The run's folder.
    gradient : BlockGradient
        Of a step; it holds the model, the data and the ranks.
    position : Position
        Optimizer steps and epochs done.
    seconds : float
        In steps, loading included; ``loader.waited`` seconds of them were spent waiting for responses.
    """

    run: Path
    gradient: BlockGradient
    optimizer: torch.optim.Adam
    loader: ResponseLoader
    log: RunLog
    progress: Progress
    position: Position
    seconds: float = 0.0
    _step_started: float = 0.0

    def train(self, *, fresh: bool) -> None:
        """Train from ``position`` to the last epoch; a ``fresh`` run is validated and saved first.

        Raises
        ------
        TrainingStopped
            After a signal to any rank, once the step in flight is done and saved.
        RankLostError
            Another rank has ended; the last checkpoint stands.
        BwlmError
            The loss or a gradient is not finite; the last checkpoint stands.
        """
        try:
            with _stop_requested() as stopped:
                if fresh:
                    self._end_epoch()
                while self.position.epoch < self.gradient.config.epochs:
                    self._train_epoch(stopped)
                    self.position = Position(self.position.step, self.position.epoch + 1, 0)
                    self._end_epoch()
        except RankLostError as error:
            raise RankLostError(f"{error} The last checkpoint of {self.run} stands. {_CONTINUE} {self.run}") from error

    def _train_epoch(self, stopped: Callable[[], bool]) -> None:
        blocks, n_blocks, ranks = self.gradient.training_data.blocks, self.gradient.n_blocks, self.gradient.ranks
        config, done = self.gradient.config, self.position.block
        self.gradient.model.train()
        unread: deque[StepResult] = deque()
        label = f"epoch {self.position.epoch + 1}/{config.epochs}"
        with self.progress.task(label, len(blocks), done=done) as advance:
            self._step_started = time.perf_counter()
            for start in range(done, len(blocks), n_blocks):
                unread.append(self.train_step(blocks[start : start + n_blocks], stopped))
                stop = False
                while unread and not (unread[0].late and len(unread) == 1):
                    stop |= self._report(unread.popleft(), advance)
                stop = stop if ranks.size > 1 else stopped()
                at_save = (self.position.block // n_blocks) % config.save_every == 0
                if stop or at_save or self.position.block == len(blocks):
                    while unread:
                        self._report(unread.popleft(), advance)
                if stop:
                    self._save(end_of_epoch=False)
                    ranks.barrier()
                    raise ranks.report_once(
                        TrainingStopped(
                            f"stopped after step {self.position.step}, which is saved. {_CONTINUE} {self.run}"
                        )
                    )
                if at_save and self.position.block < len(blocks):
                    self._save(end_of_epoch=False)

    def train_step(self, batch: Sequence[Block], stopped: Callable[[], bool]) -> StepResult:
        """One optimizer step over a batch of blocks."""
        number, block = self.position.step + 1, self.gradient.local_block(batch)
        responses = {} if block is None else self.loader.block(block)
        values = self.gradient.compute(number, batch, responses, stop=stopped())
        result = StepResult(number, self.position.epoch + 1, batch, values)
        if not result.late:
            self._read(result)
        self.optimizer.step()
        self.position = Position(number, self.position.epoch, self.position.block + len(batch))
        return result

    def _read(self, result: StepResult) -> tuple[float, float, bool]:
        try:
            return result.read()
        except BwlmError as error:
            raise self.gradient.ranks.report_once(error) from None

    def _report(self, result: StepResult, advance: Advance) -> bool:
        """Log a step; whether a rank wants to stop."""
        loss, norm, stop = self._read(result)
        now = time.perf_counter()
        seconds, self._step_started = now - self._step_started, now
        self.seconds += seconds
        self.log.step(
            result.number,
            epoch=result.epoch,
            story=result.batch[0].story,
            start=result.batch[0].start,
            loss=loss,
            grad_norm=norm,
            seconds=round(seconds, 4),
        )
        epochs_left = self.gradient.config.epochs - result.epoch
        later = f", then {epochs_left} more" if epochs_left else ""
        advance(len(result.batch), note=f"loss {loss:+.4f}  {1 / seconds:.1f} steps/s{later}")
        return stop

    def _end_epoch(self) -> None:
        gradient = self.gradient
        per_subject = validate(gradient, self.loader)
        scores = mean_over_subjects(per_subject)
        more = {"subjects": per_subject} if len(gradient.training_data.subjects) > 1 else {}
        self.log.validation(self.position.step, self.position.epoch, scores, **more)
        if scores:
            mean = mean_scores(list(scores.values()))["correlation"]
            self.progress.say(f"epoch {self.position.epoch}: validation correlation of the readout {mean:.4f}")
        self._save(end_of_epoch=True)

    def _save(self, *, end_of_epoch: bool) -> None:
        gradient = self.gradient
        if gradient.ranks.is_main:
            context = None if end_of_epoch else gradient.carried_context
            save_checkpoint(
                self.run,
                self.position,
                gradient.model,
                self.optimizer,
                train=gradient.config,
                end_of_epoch=end_of_epoch,
                context=context,
            )
        self._step_started = time.perf_counter()


@contextmanager
def _stop_requested() -> Iterator[Callable[[], bool]]:
    """Yields a function: whether SIGINT or SIGTERM was received. A second Ctrl-C stops at once.

    SIGTERM may come twice when a job is ended (``torchrun`` sends it twice), and must not keep the save from happening.
    """
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        received.append(number)
        if number == signal.SIGINT:
            signal.signal(number, before[number])

    try:
        for watched in (signal.SIGINT, signal.SIGTERM):
            before[watched] = signal.signal(watched, note)
    except ValueError:  # not the main thread: signals belong to other code
        before.clear()
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
