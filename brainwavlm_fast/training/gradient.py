"""The gradient of one optimizer step: a block's windows sharded over ranks, or one block per rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import TrainConfig
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import ConfigError
from ..model import BrainWavLM
from .checkpoint import CarriedContext
from .losses import training_loss
from .randomness import keyed
from .response_loader import Responses
from .training_data import Block, TrainingData

_DROPOUT = 1  # key of what each rank draws by itself, element by element


class BlockGradient:
    """Puts the gradient of a step's blocks into the model's parameters, the same on every rank.

    The loss is the mean over the step's blocks and over the subjects who heard each: a block's features are computed
    once for all of them. With ``parallelism`` ``windows`` every rank encodes its shard of one block's windows, gathers
    all features, and computes readout and loss by itself: the encoder's gradients are summed over ranks, the readouts'
    are complete on each. With ``blocks`` each rank has one block, and all gradients are summed.

    Attributes
    ----------
    n_blocks : int
        Blocks per step.
    carried_context : CarriedContext or None
        The previous block's last rows, which the next block reuses as context (``carry_context``).
    """

    def __init__(self, model: BrainWavLM, config: TrainConfig, training_data: TrainingData, ranks: Ranks) -> None:
        """Check that every rank has work.

        Raises
        ------
        ConfigError
            Some rank would have nothing to do, or carried context has no order to be carried in.
        """
        self.model, self.config, self.training_data, self.ranks = model, config, training_data, ranks
        self.carried_context: CarriedContext | None = None
        self.n_blocks = ranks.size if config.parallelism == "blocks" else 1
        self._window_ranks = ranks if config.parallelism == "windows" else SINGLE_PROCESS
        delays = model.config.delays
        self._n_carried = max(delays) - min(delays) if config.carry_context else 0
        if ranks.size > 1:
            self._check_shards()

    def _check_shards(self) -> None:
        config, blocks, size = self.config, self.training_data.blocks, self.ranks.size
        if config.parallelism == "blocks":
            if config.carry_context:
                raise ConfigError(
                    "--carry-context needs blocks one after another; it goes with --parallelism windows only."
                )
            if size > len(blocks):
                raise ConfigError(f"there are {size} processes, but only {len(blocks)} blocks; start fewer.")
            return
        for block in blocks:
            first, last, _ = self.rows(block)
            first += self._n_carried if block.start else 0
            windows, _ = self.training_data.stories[block.story].rows(first, last)
            if not np.bincount(windows % size, minlength=size).all():
                raise ConfigError(
                    f"there are {size} processes, but the block of {block.story} at TR {block.start} has only "
                    f"{len(windows)} windows to share; start fewer, or give each a block with --parallelism blocks."
                )

    def local_block(self, batch: Sequence[Block]) -> Block | None:
        """The block of a step that this rank works on; None where a step at an epoch's end has none for it."""
        if self.config.parallelism == "windows":
            return batch[0]
        return batch[self.ranks.rank] if self.ranks.rank < len(batch) else None

    def compute(self, number: int, batch: Sequence[Block], responses: Responses, *, stop: bool) -> Tensor:
        """Leave the gradient of step ``number`` in the parameters. Nothing waits for the device.

        Parameters
        ----------
        number : int
            Of the step, from 1: it seeds the step's dropout.
        batch : sequence of Block
            Blocks of the step, over all ranks.
        responses : Responses
            To this rank's block, subject -> (n_trs, n_voxels).
        stop : bool
            Whether this rank was asked to stop.

        Returns
        -------
        Tensor
            (3,): loss, norm of the gradient, ranks that want to stop.
        """
        model, block, single = self.model, self.local_block(batch), self.ranks.size == 1
        model.zero_grad(set_to_none=True)
        value = next(model.readout.parameters()).new_zeros(())
        if block is not None:
            story, carried = self.training_data.stories[block.story], self._carried_rows(block)
            first, last, context = self.rows(block)
            windows, weights = story.rows(first + len(carried), last)
            with keyed(self.config.seed, number, self.ranks.rank if self._window_ranks.size == 1 else 0):
                draws = model.encoder.draw(story.plan.lengths[windows])
            with keyed(self.config.seed, number, self.ranks.rank, _DROPOUT):
                features = model.encoder.encode(story, windows, ranks=self._window_ranks, draws=draws)
                rows = self._join_context(block, carried, weights.to(features) @ features)
                loss = self._loss(block, rows, context, responses) / len(batch)
                loss.backward()
                value = loss.detach()
        n_stops = value.new_tensor(float(stop))
        if not single:
            value, n_stops = self._all_reduce(batch, value, n_stops)
        norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        return torch.stack([value, torch.linalg.vector_norm(torch.stack(norms)), n_stops])

    def rows(self, block: Block) -> tuple[int, int, int]:
        """Rows of TR features that a block needs: (first row, last row + 1, context rows)."""
        story, with_context = self.training_data.stories[block.story], self.config.block_context
        return self.model.block_span(story, block.start, block.stop, with_context=with_context)

    def _carried_rows(self, block: Block) -> Tensor:
        """The first TR features of a block that the previous one has computed: (n_rows, width), maybe none."""
        context = self.carried_context
        if context is None or (context.story, context.start) != (block.story, block.start):
            return torch.empty(0, self.model.encoder.width)
        return context.rows

    def _join_context(self, block: Block, carried: Tensor, computed: Tensor) -> Tensor:
        """All TR features of a block; its last ones are carried over to the next."""
        if not self.config.carry_context:
            return computed
        rows = torch.cat([carried.to(computed), computed]) if len(carried) else computed
        self.carried_context = CarriedContext(block.story, block.stop, rows[len(rows) - self._n_carried :].detach())
        return rows

    def _loss(self, block: Block, rows: Tensor, context: int, responses: Responses) -> Tensor:
        losses = [
            training_loss(self.config.loss, self.model.readout_of(subject)(rows, context, block.n_trs), measured)
            for subject, measured in responses.items()
        ]
        return torch.stack(losses).mean()

    def _all_reduce(self, batch: Sequence[Block], value: Tensor, n_stops: Tensor) -> tuple[Tensor, Tensor]:
        trained = [p for p in self.model.encoder.parameters() if p.requires_grad]
        if self.config.parallelism == "blocks":
            subjects = sorted({subject for block in batch for subject in self.training_data.heard_by(block.story)})
            trained += [p for subject in subjects for p in self.model.readout_of(subject).parameters()]
        for parameter in trained:
            if parameter.grad is None:  # a layer that was dropped here, or no block for this rank
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in trained if p.grad is not None]
        *gradients, total, n_stops = self.ranks.all_reduce([*gradients, value, n_stops])
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        return (total if self.config.parallelism == "blocks" else value), n_stops
