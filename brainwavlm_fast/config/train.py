"""What a model is trained on, and how: the options of training, with the paper's numbers as defaults."""
# ruff: noqa: RUF009, since options are dataclass fields

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ..errors import ConfigError
from .options import ANY, COUNT, check_settings, documented, option

Loss = Literal["voxels", "time", "mse"]
Precision = Literal["fp32", "bf16"]
CacheType = Literal["fp16", "fp32"]
ActivationCheckpointing = Literal["auto", "on", "off"]
Parallelism = Literal["windows", "blocks"]
StoryOrder = Literal["numpy", "python"]

_data = partial(option, panel="Data")
_training = partial(option, panel="Training")
_speed = partial(option, panel="Speed and memory")


@documented
@dataclass(frozen=True)
class TrainConfig:
    """What the model is trained on, and how."""

    subject: str = _data(
        "UTS01",
        "Subject, as S02 or UTS02. Several, as S01,S02, share one encoder; each has its own readout.",
        required=True,
    )
    roi: str = _data(
        "all", "Voxels: a set or an expression, such as 'lh & svg:V1' or file:mask.nii.gz; `bwlm rois` lists the sets."
    )
    target: str = _data(
        "",
        "HDF5 file to train on in place of responses: one dataset (n_trs, n_dimensions) per story. The subject then "
        "says which stories, and the voxels choose the best epoch.",
        path=True,
        later=True,
    )
    validation: tuple[str, ...] = _data(
        ("fromboyhoodtofatherhood", "onapproachtopluto"), "Stories for validation, not trained on.", metavar="STORY,..."
    )
    test: tuple[str, ...] = _data(("wheretheressmoke",), "Stories for the test, not trained on.", metavar="STORY,...")
    loss: Loss = _training(
        "voxels",
        "Minus the correlation across voxels at each TR (voxels) or over a block's TRs per voxel (time); or the mean "
        "squared error (mse).",
    )
    block_size: int = _training(10, "TRs per block; each training step is on one block.", bounds=COUNT)
    block_context: bool = _training(
        True,
        "Compute the features of the TRs before a block, which FIR delays need (authors' release: zeros instead).",
        old_names=("block_history",),
    )
    lr_encoder: float = _training(1e-4, "Adam's learning rate for the encoder.", bounds=ANY, old_names=("lr",))
    lr_readout: float = _training(1e-4, "Adam's learning rate for the readout.", bounds=ANY)
    epochs: int = _training(20, "Passes over the training stories.", bounds=COUNT, changeable=True)
    seed: int = _training(42, "Seed of the order of stories, the initial readout and dropout.", bounds=ANY)
    story_order: StoryOrder = _training(
        "numpy",
        "Whose generator shuffles the stories by the seed: NumPy's, or Python's random.shuffle (authors' release).",
        later=True,
    )
    precision: Precision = _speed("fp32", "Type of the transformer's matrix products; all else stays in fp32.")
    save_every: int = _training(
        200, "Training steps between checkpoints within an epoch.", bounds=COUNT, changeable=True
    )
    cache_gb: float = _speed(
        4.0,
        "The frozen feature encoder's output is kept in memory if it fits in this many GiB.",
        bounds=ANY,
        changeable=True,
    )
    cache_dir: str = _speed(
        "",
        "Keep that output on disk instead, in this folder, which runs may share.",
        path=True,
        later=True,
        changeable=True,
    )
    cache_dtype: CacheType = _speed("fp16", "Type of the kept output.", later=True)
    activation_checkpointing: ActivationCheckpointing = _speed(
        "auto",
        "Compute activations again in the backward pass: the same numbers in less memory, for half as much time again; "
        "auto: if they would not fit.",
        old_names=("memory",),
        old_values={"keep": "off", "recompute": "on"},
        later=True,
        changeable=True,
    )
    more_subjects: tuple[str, ...] = _data(
        (),
        "Further subjects; a block's loss is the mean over those who heard its story.",
        given_with="subject",
        later=True,
    )
    carry_context: bool = _speed(
        False,
        "Reuse the previous step's detached features as context: fewer windows per step.",
        old_names=("carry_history",),
        later=True,
    )
    responses_gb: float = _speed(
        4.0,
        "GiB of memory for responses (on a GPU at most half of what is free); the rest is read ahead of its turn.",
        bounds=ANY,
        later=True,
        changeable=True,
    )
    parallelism: Parallelism = _speed(
        "windows",
        "How work is sharded across the processes of torchrun: each block's windows (the numbers of one process), or "
        "whole blocks (as many per step as there are processes).",
        old_names=("split",),
        later=True,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.test:
            raise ConfigError("test is empty; it must name at least one story.")
        if self.loss == "time" and self.block_size < 3:
            raise ConfigError(f"block_size is {self.block_size}; it must be 3 or more for loss 'time'.")
        twice = sorted({name for name in self.subjects if self.subjects.count(name) > 1})
        if twice:
            raise ConfigError(f"subject {', '.join(twice)} is named more than once; name each subject once.")
        if self.target and self.more_subjects:
            raise ConfigError("a target is the same for every subject; name one subject, whose stories are used.")
        if self.carry_context and not self.block_context:
            raise ConfigError("carry_context is on, but blocks have no context here (block_context is off).")

    @property
    def subjects(self) -> tuple[str, ...]:
        """Everyone whose responses are trained on."""
        return (self.subject, *self.more_subjects)

    @property
    def label(self) -> str:
        """The name of a run, and of its folder: subjects, and voxel set as one word or target."""
        return f"{'+'.join(self.subjects)}-{Path(self.target).stem if self.target else self.roi_name}"

    @property
    def roi_name(self) -> str:
        """The voxel set as one word, for names of files and datasets: ``lh & (ac | V1)`` is lh-and-ac-or-V1."""
        words = self.roi.replace("&", " and ").replace("|", " or ").replace(" - ", " minus ")
        return re.sub(r"[^\w.]+", "-", words).strip("-")

    @property
    def trained_on(self) -> str:
        """The voxel set as it was asked for, or the target's name, for people."""
        return Path(self.target).stem if self.target else self.roi

    def set_as_written(self, name: str) -> str:
        """A voxel set's name in results, for people: the run's own as it was asked for, others are names already."""
        return self.roi if name == self.roi_name else name
