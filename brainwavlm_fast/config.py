"""Configuration as data: frozen dataclasses to and from JSON, and the two presets.

Nothing here computes anything. Unknown keys are errors, and each value is checked once, on construction.
The numbers of the ``paper`` preset are BrainWavLM's (Vattikonda, Vaidya, Antonello & Huth 2025).
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from .errors import ConfigError, suggest
from .files import read_json, write_json

Token = Literal["first", "last", "mean"]
Finetune = Literal["lora", "full", "frozen"]
Loss = Literal["voxels", "time", "mse"]
Precision = Literal["fp32", "bf16"]
CacheType = Literal["fp16", "fp32"]
ActivationCheckpointing = Literal["auto", "on", "off"]
Parallelism = Literal["windows", "blocks"]
Clock = Literal["sound", "scanner"]


_LATER = "later"  # marks fields that configurations written before they were there lack: their defaults hold


@dataclass(frozen=True)
class ModelConfig:
    """What turns audio into predicted responses.

    Attributes
    ----------
    model : WavLM to start from: a folder in Hugging Face format, or a name on the hub.
    layer : hidden state that is read (0 = input of the first transformer layer, k = output of layer k).
    token : which frame of a window is read: its first (paper), its last, or the mean of all.
    window, stride : seconds of audio in a window, and between the ends of two windows.
    lanczos_lobes : half width of the Lanczos filter, in TRs.
    negative_lobes : False drops the filter's negative lobes in training (authors' release; evaluation keeps them).
    clock : ``sound``: response row k is centred 11 + 2k s after the sound's onset; ``scanner``: 9 s later
        (authors' release).
    delays : FIR delays in TRs, at least 0.
    finetune : ``lora`` (paper), ``full`` (every weight, no LoRA), ``frozen`` (readout only, the linear baseline).
    lora_rank, lora_alpha, lora_dropout : PEFT's, on q, k and v of every layer up to ``layer``.
    bottleneck : width of the readout's middle, 0 for a single linear map.
    regularisers : WavLM's own dropout, layer drop and SpecAugment while training.
    """

    model: str = "microsoft/wavlm-base-plus"
    layer: int = 9
    token: Token = "first"
    window: float = 4.0
    stride: float = 0.25
    lanczos_lobes: int = 3
    negative_lobes: bool = True
    clock: Clock = "sound"
    delays: tuple[int, ...] = (1, 2, 3, 4)
    finetune: Finetune = "lora"
    lora_rank: int = 4
    lora_alpha: float = 4.0
    lora_dropout: float = 0.1
    bottleneck: int = 100
    regularisers: bool = True

    def __post_init__(self) -> None:
        _check_types(self)
        _require(self.layer >= 0, "layer", self.layer, "0 or more")
        _require(self.layer > 0 or self.finetune != "lora", "layer", self.layer, "at least 1 with LoRA")
        _require(self.window > 0, "window", self.window, "a positive number of seconds")
        _require(0 < self.stride <= self.window, "stride", self.stride, f"in (0, window = {self.window}]")
        _require(self.lanczos_lobes >= 1, "lanczos_lobes", self.lanczos_lobes, "1 or more")
        _require(
            len(self.delays) > 0 and min(self.delays) >= 0 and len(set(self.delays)) == len(self.delays),
            "delays",
            self.delays,
            "distinct whole numbers of TRs, 0 or more",
        )
        _require(self.lora_rank >= 1, "lora_rank", self.lora_rank, "1 or more (use finetune = 'full' for no LoRA)")
        _require(self.lora_alpha > 0, "lora_alpha", self.lora_alpha, "positive")
        _require(0 <= self.lora_dropout < 1, "lora_dropout", self.lora_dropout, "in [0, 1)")
        _require(self.bottleneck >= 0, "bottleneck", self.bottleneck, "0 or more")

    @property
    def context(self) -> int:
        """TRs of features needed before a story's first response."""
        return max(self.delays)


@dataclass(frozen=True)
class TrainConfig:
    """What the model is trained on, and how.

    Attributes
    ----------
    subject, roi : whose responses, and which voxel set, a name or an expression (:func:`.data.voxel_set`).
    more_subjects : further subjects, each with a readout of its own on the one encoder; a block's loss is the mean over
        the subjects that heard its story.
    target : HDF5 file whose matrix a story (n_trs, n_dimensions) is trained on in the place of responses; empty: none.
        The subject then says which stories, and the voxel set which voxels choose the best epoch.
    validation, test : held-out stories; every other story of the subject trains.
    loss : ``voxels``: minus the correlation across voxels at each TR (paper); ``time``: across the block's TRs for
        each voxel; ``mse``.
    block_size : TRs in a step.
    block_context : True brings the true features before a block along; False fills with zeros (authors' release).
    carry_context : these features are the ones that the step before computed, without a gradient: fewer windows a step.
    lr_encoder, lr_readout : Adam's learning rates.
    epochs, seed, precision : as named; the seed shuffles stories once and keys each step's randomness.
    save_every : steps between checkpoints inside an epoch.
    cache_gb : the frozen front end's output is kept in memory when all training windows fit this many GiB.
    cache_dir : folder in which it is kept on disk instead, whatever its size; empty: in memory.
    cache_dtype : type in which it is kept.
    activation_checkpointing : ``on`` computes activations again in the backward pass, layer by layer, a few windows
        at a time: the same numbers for half as much time again; ``off`` keeps them; ``auto``: on if they would not fit.
    responses_gb : responses stay in memory up to this many GiB (on a GPU: half of what is free there); other stories
        are read ahead of their turn.
    parallelism : how work is sharded over processes: the ``windows`` of each block (a single process's numbers), or
        whole ``blocks`` (as many blocks per step as there are processes).
    """

    subject: str = "UTS01"
    roi: str = "all"
    target: str = field(default="", metadata={_LATER: True})
    validation: tuple[str, ...] = ("fromboyhoodtofatherhood", "onapproachtopluto")
    test: tuple[str, ...] = ("wheretheressmoke",)
    loss: Loss = "voxels"
    block_size: int = 10
    block_context: bool = True
    lr_encoder: float = 1e-4
    lr_readout: float = 1e-4
    epochs: int = 20
    seed: int = 42
    precision: Precision = "fp32"
    save_every: int = 200
    cache_gb: float = 4.0
    cache_dir: str = field(default="", metadata={_LATER: True})
    cache_dtype: CacheType = field(default="fp16", metadata={_LATER: True})
    activation_checkpointing: ActivationCheckpointing = field(default="auto", metadata={_LATER: True})
    more_subjects: tuple[str, ...] = field(default=(), metadata={_LATER: True})
    carry_context: bool = field(default=False, metadata={_LATER: True})
    responses_gb: float = field(default=4.0, metadata={_LATER: True})
    parallelism: Parallelism = field(default="windows", metadata={_LATER: True})

    def __post_init__(self) -> None:
        _check_types(self)
        _require(len(self.test) > 0, "test", self.test, "at least one story")
        _require(self.block_size >= 1, "block_size", self.block_size, "1 or more TRs")
        _require(
            self.loss != "time" or self.block_size >= 3,
            "block_size",
            self.block_size,
            "3 or more for loss 'time'",
        )
        _require(self.lr_encoder >= 0, "lr_encoder", self.lr_encoder, "0 or more")
        _require(self.lr_readout >= 0, "lr_readout", self.lr_readout, "0 or more")
        _require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(self.save_every >= 1, "save_every", self.save_every, "1 or more steps")
        _require(self.cache_gb >= 0, "cache_gb", self.cache_gb, "0 or more")
        _require(self.responses_gb >= 0, "responses_gb", self.responses_gb, "0 or more")
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
        """Whose responses, and which: the name of a run, for people."""
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
    preset: str = "paper"
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_json(self, path: Path | str) -> None:
        """Write the configuration, atomically."""
        write_json(path, as_dict(self))

    @classmethod
    def from_json(cls, path: Path | str) -> RunConfig:
        """Read a configuration; unknown or missing keys are a :class:`ConfigError` naming the file."""
        return from_dict(cls, read_json(path), where=str(path))


_AUTHORS_RELEASE = (
    {"negative_lobes": False, "clock": "scanner"},
    {"block_context": False},
)
PRESETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "paper": ({}, {}),
    "authors-release": _AUTHORS_RELEASE,
}


def preset(name: str) -> tuple[ModelConfig, TrainConfig]:
    """The model and training configuration of a preset: ``paper`` or ``authors-release``.

    ``authors-release`` switches on three behaviours of the published scripts (method notes 4, 5 and 7), so that the
    difference each makes can be measured: positive Lanczos lobes only, the scanner's clock, blocks without context.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset '{name}': {suggest(name, PRESETS)}")
    model, train = PRESETS[name]
    return replace(ModelConfig(), **model), replace(TrainConfig(), **train)


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return _jsonable(asdict(config))


def from_dict(cls: type[Any], values: Any, *, where: str) -> Any:
    """Build a configuration dataclass from JSON values; ``where`` names their source in errors."""
    if not isinstance(values, dict):
        raise ConfigError(
            f"{where}: expected an object with the fields of {cls.__name__}, got {type(values).__name__}."
        )
    names = {f.name for f in fields(cls)}
    for key in values:
        if key not in names:
            raise ConfigError(f"{where}: unknown key '{key}': {suggest(key, names)}")
    missing = sorted({f.name for f in fields(cls) if not f.metadata.get(_LATER)} - values.keys())
    if missing:
        raise ConfigError(f"{where}: missing {', '.join(missing)}; the file is damaged or of another version.")
    hints = get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        if hasattr(hints[key], "__dataclass_fields__"):
            value = from_dict(hints[key], value, where=f"{where}: {key}")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[key] = value
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value


def _require(condition: bool, name: str, value: Any, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{name} is {value!r}; it must be {expected}.")


def _check_types(config: Any) -> None:
    """Hold each field to its annotation: the few kinds that configurations are made of."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        choices = get_args(hint)
        if choices and all(isinstance(choice, str) for choice in choices):
            if value not in choices:
                raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
        elif choices:  # tuple[kind, ...]
            kind = choices[0]
            if not isinstance(value, tuple) or any(type(item) is not kind for item in value):
                raise ConfigError(f"{name} is {value!r}; it must be a list of {kind.__name__}.")
        elif hint is float:
            if type(value) not in (int, float) or not math.isfinite(value):
                raise ConfigError(f"{name} is {value!r}; it must be a finite number.")
        elif type(value) is not hint:
            raise ConfigError(f"{name} is {value!r}; it must be of type {hint.__name__}.")
