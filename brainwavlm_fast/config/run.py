"""A run's configuration, and the presets that it starts from.

Nothing here computes anything. Unknown keys are errors, and each value is checked once, on construction.
The numbers of the ``paper`` preset are BrainWavLM's (Vattikonda, Vaidya, Antonello & Huth 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, suggest
from ..files import read_json, write_json
from .model import ModelConfig
from .options import option, option_words, settings
from .serialize import as_dict, from_dict, package_version
from .train import TrainConfig

_AUTHORS_RELEASE: tuple[dict[str, Any], dict[str, Any]] = (
    {"negative_lobes": False, "clock": "scanner", "lora_dropout": 0.0, "readout_bias": "uniform"},
    {"block_context": False, "story_order": "python"},
)
PRESETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {"paper": ({}, {}), "authors-release": _AUTHORS_RELEASE}


def preset(name: str) -> tuple[ModelConfig, TrainConfig]:
    """The model and training configuration of a preset: ``paper`` or ``authors-release``.

    ``authors-release`` does as the published scripts do (method notes 2, 4, 5 and 7), so that the difference can be
    measured: positive Lanczos lobes only, the scanner's clock, no LoRA dropout (inert there), blocks without context
    and so none of a single TR, the readout's biases as torch draws them, and stories in the order of Python's shuffle.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset '{name}': {suggest(name, PRESETS)}")
    model, train = PRESETS[name]
    return replace(ModelConfig(), **model), replace(TrainConfig(), **train)


def preset_words(name: str) -> str:
    """The options that a preset stands for."""
    model, train = preset(name)
    return " ".join(option_words(model, ModelConfig()) + option_words(train, TrainConfig()))


@dataclass(frozen=True)
class RunConfig:
    """One training run: where the data is, the model, the training, and the preset they started from."""

    data: str
    preset: str = option(
        "paper",
        f"Defaults of all other options: paper, or authors-release ({preset_words('authors-release')}).",
        panel="Model",
    )
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def least_block(self) -> int:
        """TRs that a block needs for a gradient; what is left of a story below it is skipped.

        A correlation over time of two TRs is 1 or -1 whatever they are, and without context the z-score over a block's
        only row is 0.
        """
        return 3 if self.train.loss == "time" else 1 if self.train.block_context and self.model.context else 2

    def with_settings(self, values: Mapping[str, Any]) -> RunConfig:
        """The configuration with some fields, of the model's and the training's, changed."""
        model = {s.name: values[s.name] for s in settings(ModelConfig) if s.name in values}
        train = {s.name: values[s.name] for s in settings(TrainConfig) if s.name in values}
        base = {name: model.pop(name) for name in ("model", "revision") if name in model}
        return replace(self, model=replace(self.model.with_base(**base), **model), train=replace(self.train, **train))

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
