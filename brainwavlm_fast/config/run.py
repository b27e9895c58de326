"""Configuration as data: frozen dataclasses whose fields are the table of options, and the two presets.

Nothing here computes anything. Unknown keys are errors, and each value is checked once, on construction.
The numbers of the ``paper`` preset are BrainWavLM's (Vattikonda, Vaidya, Antonello & Huth 2025).
"""
# ruff: noqa: RUF009, since options are dataclass fields

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, suggest
from ..files import read_json, write_json
from .options import check_settings, documented, option, settings
from .serialize import as_dict, from_dict, package_version

Token = Literal["first", "last", "mean"]
Finetune = Literal["lora", "full", "frozen"]
Loss = Literal["voxels", "time", "mse"]
Precision = Literal["fp32", "bf16"]
CacheType = Literal["fp16", "fp32"]
ActivationCheckpointing = Literal["auto", "on", "off"]
Parallelism = Literal["windows", "blocks"]
Clock = Literal["sound", "scanner"]

_data = partial(option, panel="Data")
_model = partial(option, panel="Model")
_training = partial(option, panel="Training")
_speed = partial(option, panel="Speed and memory")
_ANY, _COUNT = (0, float("inf")), (1, float("inf"))


@documented
@dataclass(frozen=True)
class ModelConfig:
    """What turns audio into predicted responses."""

    model: str = _model(
        "microsoft/wavlm-base-plus",
        "WavLM to start from: a folder, or a name on the Hugging Face hub.",
        changeable=True,  # where it is; its weights are held against those that the run began with
    )
    layer: int = _model(
        9, "Hidden state to read: 0 is the input of the first transformer layer, k the output of layer k.", bounds=_ANY
    )
    token: Token = _model("first", "Frame of each window to read: the first, the last, or the mean of all.")
    window: float = _model(4.0, "Seconds of audio per window.", bounds=_ANY, positive=True)
    stride: float = _model(0.25, "Seconds between the ends of successive windows.", bounds=_ANY, positive=True)
    lanczos_lobes: int = _model(
        3, "Half width, in TRs, of the Lanczos filter that brings features to the TR rate.", bounds=_COUNT
    )
    negative_lobes: bool = _model(
        True, "Keep that filter's negative lobes in training (the authors' release drops them; evaluation never does)."
    )
    clock: Clock = _model(
        "sound", "Response k is centered 11 + 2k s after the sound's onset (sound), or 9 s later (authors' release)."
    )
    delays: tuple[int, ...] = _model((1, 2, 3, 4), "FIR delays in TRs, comma-separated.", bounds=_ANY, metavar="TR,...")
    finetune: Finetune = _model(
        "lora",
        "What to train besides the readout: LoRA, every weight of the encoder (full), or nothing (frozen: the linear "
        "baseline).",
        old_names=("tune",),
        flags={"--no-lora": "full", "--freeze": "frozen"},
    )
    lora_rank: int = _model(4, "Rank of LoRA on q, k and v of every layer up to --layer.", bounds=_COUNT)
    lora_alpha: float = _model(
        4.0,
        "LoRA is scaled by alpha / rank. If only --lora-rank is given, alpha equals it.",
        bounds=_ANY,
        positive=True,
        follows="lora_rank",
    )
    lora_dropout: float = _model(0.1, "Dropout of LoRA's input.", bounds=(0, 1))
    bottleneck: int = _model(100, "Width of the readout's hidden layer; 0: a single linear map.", bounds=_ANY)
    regularizers: bool = _model(
        True, "Use WavLM's own dropout, layer drop and SpecAugment in training.", old_names=("regularisers",)
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.layer == 0 and self.finetune == "lora":
            raise ConfigError("layer is 0; it must be at least 1 with LoRA.")
        if self.stride > self.window:
            raise ConfigError(f"stride is {self.stride}; it must be in (0, window = {self.window}].")
        if not self.delays or len(set(self.delays)) < len(self.delays):
            raise ConfigError(f"delays is {self.delays}; it must be distinct whole numbers of TRs, 0 or more.")

    @property
    def context(self) -> int:
        """TRs of features needed before a story's first response."""
        return max(self.delays)


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
    block_size: int = _training(10, "TRs per block; each training step is on one block.", bounds=_COUNT)
    block_context: bool = _training(
        True,
        "Compute the features of the TRs before a block, which FIR delays need (authors' release: zeros instead).",
        old_names=("block_history",),
    )
    lr_encoder: float = _training(1e-4, "Adam's learning rate for the encoder.", bounds=_ANY, old_names=("lr",))
    lr_readout: float = _training(1e-4, "Adam's learning rate for the readout.", bounds=_ANY)
    epochs: int = _training(20, "Passes over the training stories.", bounds=_COUNT, changeable=True)
    seed: int = _training(42, "Seed of the order of stories, the initial readout and dropout.", bounds=_ANY)
    precision: Precision = _speed("fp32", "Type of the transformer's matrix products; all else stays in fp32.")
    save_every: int = _training(
        200, "Training steps between checkpoints within an epoch.", bounds=_COUNT, changeable=True
    )
    cache_gb: float = _speed(
        4.0,
        "The frozen feature encoder's output is kept in memory if it fits in this many GiB.",
        bounds=_ANY,
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
        bounds=_ANY,
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
        """The name of a run, for people: subjects, and voxel set or target."""
        return f"{'+'.join(self.subjects)}-{self.trained_on}"

    @property
    def roi_name(self) -> str:
        """The voxel set as one word, for names of files and datasets: ``lh & (ac | V1)`` is lh-and-ac-or-V1."""
        words = self.roi.replace("&", " and ").replace("|", " or ").replace(" - ", " minus ")
        return re.sub(r"[^\w.]+", "-", words).strip("-")

    @property
    def trained_on(self) -> str:
        """The voxel set's name, or the target's, for people."""
        return Path(self.target).stem if self.target else self.roi_name


@dataclass(frozen=True)
class RunConfig:
    """One training run: where the data is, the model, the training, and the preset they started from."""

    data: str
    preset: str = _model(
        "paper",
        "Defaults of all other options: paper, or authors-release (--no-negative-lobes --clock scanner "
        "--no-block-context).",
    )
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def with_settings(self, values: Mapping[str, Any]) -> RunConfig:
        """The configuration with some fields, of the model's and the training's, changed."""
        model = {s.name: values[s.name] for s in settings(ModelConfig) if s.name in values}
        train = {s.name: values[s.name] for s in settings(TrainConfig) if s.name in values}
        return replace(self, model=replace(self.model, **model), train=replace(self.train, **train))

    def to_json(self, path: Path | str) -> None:
        """Write the configuration, and the package's version, atomically."""
        write_json(path, {"package_version": package_version(), **as_dict(self)})

    @classmethod
    def from_json(cls, path: Path | str) -> RunConfig:
        """Read a configuration; unknown or missing keys are a :class:`ConfigError` naming the file and its version."""
        values = read_json(path)
        version = values.pop("package_version", None) if isinstance(values, dict) else None
        config: RunConfig = from_dict(cls, values, where=str(path), version=version)
        return config


_AUTHORS_RELEASE = ({"negative_lobes": False, "clock": "scanner"}, {"block_context": False})
PRESETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {"paper": ({}, {}), "authors-release": _AUTHORS_RELEASE}


def preset(name: str) -> tuple[ModelConfig, TrainConfig]:
    """The model and training configuration of a preset: ``paper`` or ``authors-release``.

    ``authors-release`` switches on three behaviors of the published scripts (method notes 4, 5 and 7), so that the
    difference each makes can be measured: positive Lanczos lobes only, the scanner's clock, blocks without context.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset '{name}': {suggest(name, PRESETS)}")
    model, train = PRESETS[name]
    return replace(ModelConfig(), **model), replace(TrainConfig(), **train)
