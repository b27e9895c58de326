"""Everything that is chosen about a run: the table of options, configurations made of it, and their files."""

from .model import Clock, Finetune, ModelConfig, ReadoutBias, Token
from .options import Setting, option_words, settings
from .places import Places
from .run import PRESETS, RunConfig, preset, preset_words
from .serialize import as_dict, from_dict
from .train import ActivationCheckpointing, CacheType, Loss, Parallelism, Precision, TrainConfig

__all__ = [
    "PRESETS",
    "ActivationCheckpointing",
    "CacheType",
    "Clock",
    "Finetune",
    "Loss",
    "ModelConfig",
    "Parallelism",
    "Places",
    "Precision",
    "ReadoutBias",
    "RunConfig",
    "Setting",
    "Token",
    "TrainConfig",
    "as_dict",
    "from_dict",
    "option_words",
    "preset",
    "preset_words",
    "settings",
]
