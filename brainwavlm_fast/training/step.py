"""The gradient of one step: a block's windows shared by all ranks, or a block of its own for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..config import TrainConfig
from ..distributed import Ranks
from ..errors import ConfigError
from ..model import BrainWavLM
from .checkpoint import CarriedContext
from .losses import training_loss
from .randomness import keyed
from .response_loader import Responses
from .training_data import Block, TrainingData


@contextmanager
def sharing_windows(model: BrainWavLM, ranks: Ranks) -> Iterator[None]:
    """Let all ranks share the windows of what is encoded here."""
    before, model.encoder.ranks = model.encoder.ranks, ranks
    try:
        yield
    finally:
        model.encoder.ranks = before


class Step:
    """Puts a step's gradient into the model's parameters, the same on every rank.

    The loss is the mean over the step's blocks and over the subjects who heard each: a block's features are computed
    once for all of them. With ``parallelism`` ``windows`` every rank encodes its share of one block's windows, is given
    all features, and goes on to readout and loss by itself: the encoder's gradients are sums over ranks, the readouts'
    are there already. With ``blocks`` each rank has a block, and all gradients are sums.

    Attributes
    ----------
    carried : what the next block takes over from the last one (``carry_context``).
    """

    def __init__(self, model: BrainWavLM, config: TrainConfig, material: TrainingData, ranks: Ranks) -> None:
        """Parallelism the model's work.

        Raises
        ------
        ConfigError : some rank would have nothing to do, or carried context has no order to be carried in.
        """
        self.model, self.config, self.ranks = model, config, ranks
        self._material = material
        self.carried: CarriedContext | None = None
        self.n_blocks = ranks.size if config.parallelism == "blocks" else 1
        delays = model.config.delays
        self._n_carried = max(delays) - min(delays) if config.carry_context else 0
        if ranks.size > 1:
            self._check_shares()
        if config.parallelism == "windows":
            model.encoder.ranks = ranks

    def _check_shares(self) -> None:
        config, blocks, size = self.config, self._material.blocks, self.ranks.size
        if config.parallelism == "blocks":
            if config.carry_context:
                raise ConfigError(
                    "--carry-context needs blocks one after another; it goes with --parallelism windows only."
                )
            if size > len(blocks):
                raise ConfigError(f"there are {size} processes, but only {len(blocks)} blocks; start fewer.")
            return
        for block in blocks:
            story = self._material.stories[block.story]
            first, last, _ = self._rows(block)
            windows, _ = story.rows(first + (self._n_carried if block.start else 0), last)
            if not np.bincount(windows % size, minlength=size).all():
                raise ConfigError(
                    f"there are {size} processes, but the block of {block.story} at TR {block.start} has only "
                    f"{len(windows)} windows to share; start fewer, or give each a block with --parallelism blocks."
                )

    def own(self, batch: Sequence[Block]) -> Block | None:
        """The block of a step that this rank works on; None where a step at an epoch's end has none for it."""
        if self.config.parallelism == "windows":
            return batch[0]
        return batch[self.ranks.rank] if self.ranks.rank < len(batch) else None

    def gradient(self, number: int, batch: Sequence[Block], measured: Responses, *, stop: bool) -> Tensor:
        """Leave the gradient of step ``number`` in the parameters: (loss, its norm, ranks that want to stop).

        ``measured`` are the responses to this rank's block, subject -> (n_trs, n_voxels). Nothing waits for the device.
        """
        self.model.zero_grad(set_to_none=True)
        block = self.own(batch)
        value = next(self.model.readout.parameters()).new_zeros(())
        alone = self.ranks.size == 1
        with keyed(self.config.seed, number, *([] if alone else [self.ranks.rank])):
            if block is not None:
                loss = self._loss(block, measured) / len(batch)
                loss.backward()
                value = loss.detach()
        asked = value.new_tensor(float(stop))
        if not alone:
            value, asked = self._share(batch, value, asked)
        norms = [p.grad.norm() for p in self.model.parameters() if p.grad is not None]
        return torch.stack([value, torch.linalg.vector_norm(torch.stack(norms)), asked])

    def _loss(self, block: Block, measured: Responses) -> Tensor:
        features, context = self._features(block)
        n_trs = block.stop - block.start
        losses = [
            training_loss(self.config.loss, self.model.readout_of(subject)(features, context, n_trs), values)
            for subject, values in measured.items()
        ]
        return torch.stack(losses).mean() if len(losses) > 1 else losses[0]

    def _features(self, block: Block) -> tuple[Tensor, int]:
        """TR features of a block and how many of them lie before its first response."""
        story, model = self._material.stories[block.story], self.model
        first, last, context = self._rows(block)
        if not self.config.carry_context:
            return model.block_features(story, first, last), context
        carried = self.carried
        if carried is not None and (carried.story, carried.start) == (block.story, block.start):
            new = model.block_features(story, first + len(carried.rows), last)
            features = torch.cat([carried.rows.to(new), new])
        else:
            features = model.block_features(story, first, last)
        rows = features[len(features) - self._n_carried :].detach()
        self.carried = CarriedContext(block.story, block.stop, rows)
        return features, context

    def _rows(self, block: Block) -> tuple[int, int, int]:
        story, with_context = self._material.stories[block.story], self.config.block_context
        return self.model.block_span(story, block.start, block.stop, with_context=with_context)

    def _share(self, batch: Sequence[Block], value: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        trained = [p for p in self.model.encoder.parameters() if p.requires_grad]
        apart = self.config.parallelism == "windows"
        if not apart:
            here = sorted({subject for block in batch for subject in self._material.heard_by(block.story)})
            trained += [p for subject in here for p in self.model.readout_of(subject).parameters()]
        for parameter in trained:
            if parameter.grad is None:  # a layer that was dropped here, or no block for this rank
                parameter.grad = torch.zeros_like(parameter)
        *gradients, total, asked = self.ranks.sum([*(p.grad for p in trained if p.grad is not None), value, asked])
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        return (value if apart else total), asked
