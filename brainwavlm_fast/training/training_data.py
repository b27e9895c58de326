"""What a run trains on, opened once: the split, the voxels of each subject, and each story's windows and responses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..anatomy import voxel_set
from ..config import RunConfig, TrainConfig
from ..data import (
    Dataset,
    StorySplit,
    make_split,
    read_responses,
    read_target,
    story_audio,
    unusable_voxels,
    usable_dimensions,
)
from ..errors import ConfigError, DataError
from ..model import Story
from ..progress import Progress


@dataclass(frozen=True)
class Block:
    """Part of an optimiser step, or all of it: responses ``start`` to ``stop - 1`` of a story."""

    story: str
    start: int
    stop: int

    @property
    def n_trs(self) -> int:
        """Responses in it."""
        return self.stop - self.start


@dataclass(frozen=True)
class SubjectData:
    """What is trained on of one subject.

    Attributes
    ----------
    stories : tuple of str
        Training and validation stories that this subject has responses for.
    voxels : NDArray
        int64 indices into the subject's voxels that are trained on: the voxel set without unusable ones; or into the
        dimensions of the target.
    excluded : NDArray
        int64 indices of the set's voxels that hold a NaN, or one value only, in some training or validation story.
    """

    stories: tuple[str, ...]
    voxels: NDArray[np.int64]
    excluded: NDArray[np.int64]


@dataclass(frozen=True)
class TrainingData:
    """The opened data of a run.

    Attributes
    ----------
    subjects : dict
        Subject -> what is trained on, in the order they were named.
    split : StorySplit
        Stories of all subjects together.
    blocks : tuple of Block
        Of an epoch, in order: stories shuffled once by the seed, blocks in time order; without what is left of a story
        below ``RunConfig.least_block``.
    target : str
        File that is trained on in the place of responses; empty: none.
    """

    dataset: Dataset
    subjects: dict[str, SubjectData]
    split: StorySplit
    stories: dict[str, Story]
    blocks: tuple[Block, ...]
    target: str = ""

    @property
    def n_voxels(self) -> int | dict[str, int]:
        """Voxels trained on; per subject where there are several."""
        numbers = {subject: len(subject_data.voxels) for subject, subject_data in self.subjects.items()}
        return numbers if len(numbers) > 1 else next(iter(numbers.values()))

    def heard_by(self, story: str) -> list[str]:
        """The subjects that have responses to a story."""
        return [subject for subject, subject_data in self.subjects.items() if story in subject_data.stories]

    def responses(self, subject: str, story: str) -> Tensor:
        """Measured responses of a story for the voxels trained on: float32 (n_trs, n_voxels)."""
        voxels = self.subjects[subject].voxels
        if self.target:
            return torch.from_numpy(read_target(self.target, self.dataset, story)[:, voxels])
        return torch.from_numpy(read_responses(self.dataset, subject, story, voxels=voxels))

    def summary(self) -> dict[str, Any]:
        """Counts for the log."""
        return {
            "stories": {name: list(getattr(self.split, name)) for name in ("train", "validation", "test")},
            "n_voxels": sum(len(subject_data.voxels) for subject_data in self.subjects.values()),
            "n_excluded": sum(len(subject_data.excluded) for subject_data in self.subjects.values()),
            "subjects": {
                subject: {
                    "n_voxels": len(subject_data.voxels),
                    "n_excluded": len(subject_data.excluded),
                    "n_training_stories": len(set(subject_data.stories) & set(self.split.train)),
                }
                for subject, subject_data in self.subjects.items()
            },
            "blocks_per_epoch": len(self.blocks),
        }


def choose_voxels(config: RunConfig, dataset: Dataset, progress: Progress) -> tuple[StorySplit, dict[str, SubjectData]]:
    """The split, and what is trained on of each subject; every story's responses are read once and checked.

    What can be wrong with less is found before: voxel sets, and sound that is not there.

    Raises
    ------
    DataError
        A file is missing or damaged, no voxel is left, or a subject shares no training story with another.
    """
    train = config.train
    heard = {dataset.subject(name): dataset.stories(name) for name in train.subjects}
    if len(heard) < len(train.subjects):
        raise ConfigError(f"a subject is named more than once ({', '.join(train.subjects)}); name each once.")
    everything = sorted({story for stories in heard.values() for story in stories})
    split = make_split(everything, validation=train.validation, test=train.test)
    _check_shared({subject: set(stories) & set(split.train) for subject, stories in heard.items()})
    used = (*split.train, *split.validation)
    for story in used:
        dataset.require(dataset.audio_path(story))
    wanted = {subject: voxel_set(dataset, subject, train.roi) for subject in heard}
    used_by = {subject: tuple(story for story in used if story in stories) for subject, stories in heard.items()}
    return split, {
        subject: _choose_subject_voxels(train, dataset, subject, used_by[subject], wanted[subject], progress)
        for subject in heard
    }


def _check_shared(training: dict[str, set[str]]) -> None:
    for subject, stories in training.items():
        others = set().union(*(theirs for name, theirs in training.items() if name != subject))
        if len(training) > 1 and not stories & others:
            raise DataError(
                f"{subject} shares no training story with {', '.join(name for name in training if name != subject)} "
                f"(it has {len(stories)}); one encoder for all of them would learn nothing from one to the other. "
                "Train it in a separate run."
            )


def _choose_subject_voxels(
    train: TrainConfig,
    dataset: Dataset,
    subject: str,
    stories: Sequence[str],
    wanted: NDArray[np.bool_],
    progress: Progress,
) -> SubjectData:
    if train.target:
        usable = usable_dimensions(train.target, dataset, stories)
        wanted, unusable = np.ones_like(usable), ~usable
    else:
        unusable = unusable_voxels(dataset, subject, stories, progress=progress)
    voxels, excluded = np.flatnonzero(wanted & ~unusable), np.flatnonzero(wanted & unusable)
    if len(voxels) == 0:
        raise DataError(
            f"every one of the {int(wanted.sum())} voxels of '{train.roi}' in {subject} holds NaN or a constant in a "
            f"story; nothing can be trained. Run `bwlm check --subject {subject}` to see which files are damaged."
        )
    return SubjectData(tuple(stories), voxels, excluded)


def story_blocks(story: str, n_trs: int, size: int) -> list[Block]:
    """A story cut into blocks of ``size`` TRs, in time order; the last one may be shorter."""
    return [Block(story, start, min(start + size, n_trs)) for start in range(0, n_trs, size)]


def open_training_data(
    config: RunConfig, dataset: Dataset, split: StorySplit, subjects: dict[str, SubjectData], progress: Progress
) -> TrainingData:
    """Open the sound of every story that is used, and cut training stories into blocks.

    Raises
    ------
    DataError
        A sound file is missing or damaged.
    """
    train, used = config.train, [*split.train, *split.validation]
    stories = {}
    with progress.task("opening audio", len(used)) as advance:
        for name in used:
            try:
                audio = story_audio(dataset, name)
                stories[name] = Story(audio, dataset.n_trs(name), config.model, for_training=True)
            except DataError as error:
                raise DataError(f"story {name}: {error}") from None
            advance(note=name)
    return TrainingData(dataset, subjects, split, stories, _epoch(config, split, stories), train.target)


def _epoch(config: RunConfig, split: StorySplit, stories: dict[str, Story]) -> tuple[Block, ...]:
    """The blocks of an epoch, in order."""
    train = config.train
    if train.story_order == "python":
        shuffled = list(split.train)
        random.Random(train.seed).shuffle(shuffled)
    else:
        shuffled = [split.train[k] for k in np.random.default_rng(train.seed).permutation(len(split.train))]
    blocks = [block for name in shuffled for block in story_blocks(name, stories[name].n_trs, train.block_size)]
    trained = tuple(block for block in blocks if block.n_trs >= config.least_block)
    if not trained:
        raise DataError(f"no training story has {config.least_block} TRs in a block, which a gradient needs here.")
    return trained
