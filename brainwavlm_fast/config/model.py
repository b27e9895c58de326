"""What turns audio into predicted responses: the options of the model, with the paper's numbers as defaults."""
# ruff: noqa: RUF009, since options are dataclass fields

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ..errors import ConfigError
from .options import ANY, COUNT, check_settings, documented, option

Token = Literal["first", "last", "mean"]
Finetune = Literal["lora", "full", "frozen"]
Clock = Literal["sound", "scanner"]
ReadoutBias = Literal["zeros", "uniform"]

_model = partial(option, panel="Model")


@documented
@dataclass(frozen=True)
class ModelConfig:
    """What turns audio into predicted responses."""

    model: str = _model(
        "microsoft/wavlm-base-plus",
        "WavLM to start from: a folder, or a name on the Hugging Face hub.",
        changeable=True,  # where it is; its weights are held against those that the run began with
    )
    revision: str = _model(
        "",
        "Commit, tag or branch of a model on the hub; its main branch by default. A run records the commit.",
        later=True,
        changeable=True,
    )
    layer: int = _model(
        9, "Hidden state to read: 0 is the input of the first transformer layer, k the output of layer k.", bounds=ANY
    )
    token: Token = _model("first", "Frame of each window to read: the first, the last, or the mean of all.")
    window: float = _model(4.0, "Seconds of audio per window; WavLM needs 0.025.", bounds=(0.025, math.inf))
    stride: float = _model(
        0.25, "Seconds between the ends of successive windows; a frame of WavLM is 0.02.", bounds=(0.02, math.inf)
    )
    lanczos_lobes: int = _model(
        3, "Half width, in TRs, of the Lanczos filter that brings features to the TR rate.", bounds=COUNT
    )
    negative_lobes: bool = _model(
        True, "Keep that filter's negative lobes in training (the authors' release drops them; evaluation never does)."
    )
    clock: Clock = _model(
        "sound", "Response k is centered 11 + 2k s after the sound's onset (sound), or 9 s later (authors' release)."
    )
    delays: tuple[int, ...] = _model((1, 2, 3, 4), "FIR delays in TRs, comma-separated.", bounds=ANY, metavar="TR,...")
    finetune: Finetune = _model(
        "lora",
        "What to train besides the readout: LoRA, every weight of the encoder (full), or nothing (frozen: the linear "
        "baseline).",
        old_names=("tune",),
        flags={"--no-lora": "full", "--freeze": "frozen"},
    )
    lora_rank: int = _model(4, "Rank of LoRA on q, k and v of every layer up to --layer.", bounds=COUNT)
    lora_alpha: float = _model(
        4.0,
        "LoRA is scaled by alpha / rank. If only --lora-rank is given, alpha equals it.",
        bounds=ANY,
        positive=True,
        follows="lora_rank",
    )
    lora_dropout: float = _model(0.1, "Dropout of LoRA's input.", bounds=(0, 1))
    bottleneck: int = _model(100, "Width of the readout's hidden layer; 0: a single linear map.", bounds=ANY)
    readout_bias: ReadoutBias = _model(
        "zeros",
        "Initial biases of the readout: zeros, or uniform, torch's default for a linear map (authors' release).",
        later=True,
    )
    regularizers: bool = _model(
        True, "Use WavLM's own dropout, layer drop and SpecAugment in training.", old_names=("regularisers",)
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.layer == 0 and self.finetune == "lora":
            raise ConfigError("layer is 0; it must be at least 1 with LoRA.")
        if self.stride > self.window:
            raise ConfigError(f"stride is {self.stride}; it must not exceed window = {self.window}.")
        if not self.delays or len(set(self.delays)) < len(self.delays):
            raise ConfigError(f"delays is {self.delays}; it must be distinct whole numbers of TRs, 0 or more.")

    def with_base(self, model: Path | str | None = None, revision: str | None = None) -> ModelConfig:
        """The same settings with the pre-trained model elsewhere; whose weights those are, its digest decides.

        A folder's path becomes absolute, so that it is found from any working directory; another model's revision is
        its own.
        """
        if model is None:
            return self if revision is None else replace(self, revision=revision)
        place = str(Path(model).resolve() if Path(model).is_dir() else model)
        own = self.revision if place == self.model else ""
        return replace(self, model=place, revision=own if revision is None else revision)

    @property
    def context(self) -> int:
        """TRs of features needed before a story's first response."""
        return max(self.delays)
