"""What a run trains on, opened once: the split, the voxels, and each story's windows and responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import RunConfig
from ..data import (
    Dataset,
    Split,
    load_audio,
    make_split,
    read_responses,
    read_target,
    unusable_voxels,
    usable_dimensions,
    voxel_set,
)
from ..errors import DataError
from ..model import BrainWavLM, Story
from ..progress import Progress


@dataclass(frozen=True)
class Block:
    """One optimiser step: responses ``start`` to ``stop - 1`` of a story."""

    story: str
    start: int
    stop: int


@dataclass(frozen=True)
class Material:
    """The opened data of a run.

    Attributes
    ----------
    voxels : indices into the subject's voxels that are trained on: the voxel set without unusable ones; or into the
        dimensions of ``target``.
    excluded : indices of the set's voxels that hold a NaN, or one value only, in some training or validation story.
    target : file that is trained on in the place of responses; empty: none.
    blocks : an epoch's steps, in order: stories shuffled once by the seed, blocks in time order.
    """

    dataset: Dataset
    subject: str
    split: Split
    voxels: NDArray[np.int64]
    excluded: NDArray[np.int64]
    stories: dict[str, Story]
    blocks: tuple[Block, ...]
    target: str = ""

    def responses(self, story: str, device: torch.device) -> Tensor:
        """Measured responses of a story for the voxels trained on: float32 (n_trs, n_voxels)."""
        if self.target:
            return torch.from_numpy(read_target(self.target, self.dataset, story)[:, self.voxels]).to(device)
        return torch.from_numpy(read_responses(self.dataset, self.subject, story, voxels=self.voxels)).to(device)

    def summary(self) -> dict[str, Any]:
        """Counts for the log."""
        return {
            "stories": {name: list(getattr(self.split, name)) for name in ("train", "validation", "test")},
            "n_voxels": len(self.voxels),
            "n_excluded": len(self.excluded),
            "steps_per_epoch": len(self.blocks),
        }


def open_material(config: RunConfig, dataset: Dataset, progress: Progress) -> Material:
    """Check and open everything a run needs, before any training.

    Raises
    ------
    DataError : a file is missing or damaged, or no voxel is left.
    """
    train = config.train
    subject = dataset.subject(train.subject)
    split = make_split(dataset.stories(subject), validation=train.validation, test=train.test)
    used = [*split.train, *split.validation]
    wanted = voxel_set(dataset, subject, train.roi)
    if train.target:
        usable = usable_dimensions(train.target, dataset, used)
        wanted, unusable = np.ones_like(usable), ~usable
    else:
        unusable = unusable_voxels(dataset, subject, used, progress=progress)
    voxels, excluded = np.flatnonzero(wanted & ~unusable), np.flatnonzero(wanted & unusable)
    if len(voxels) == 0:
        raise DataError(
            f"every one of the {int(wanted.sum())} voxels of '{train.roi}' in {subject} holds NaN or a constant in a "
            f"story; nothing can be trained. Run `bwlm check --subject {subject}` to see which files are damaged."
        )
    stories = {}
    with progress.task("opening audio", len(used)) as advance:
        for name in used:
            try:
                audio = load_audio(dataset.require(dataset.audio_path(name)))
                stories[name] = Story(audio, dataset.n_trs(name), config.model, for_training=True)
            except DataError as error:
                raise DataError(f"story {name}: {error}") from None
            advance(note=name)
    order = np.random.default_rng(train.seed).permutation(len(split.train))
    blocks = tuple(
        Block(story, start, min(start + train.block_size, stories[story].n_trs))
        for story in (split.train[k] for k in order)
        for start in range(0, stories[story].n_trs, train.block_size)
    )
    return Material(dataset, subject, split, voxels, excluded, stories, blocks, train.target)


@torch.no_grad()
def predict_story(model: BrainWavLM, story: Story, block_size: int, *, with_history: bool) -> Tensor:
    """Predicted responses of a whole story, block by block as in training: (n_trs, n_voxels), no gradient.

    Features are computed once for the story in evaluation mode and normalised per block, exactly as a training
    step normalises them.
    """
    features = model.encode_story(story, label="validation features")
    predicted = []
    for start in range(0, story.n_trs, block_size):
        stop = min(start + block_size, story.n_trs)
        first, last, n_lead = model.block_span(story, start, stop, with_history=with_history)
        predicted.append(model.readout(features[first:last], n_lead, stop - start))
    return torch.cat(predicted)
