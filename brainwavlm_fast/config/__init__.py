"""Everything that is chosen about a run: the table of options, configurations made of it, and their files."""

from .options import Setting, option_words, settings
from .run import (
    PRESETS,
    ActivationCheckpointing,
    CacheType,
    Clock,
    Finetune,
    Loss,
    ModelConfig,
    Parallelism,
    Precision,
    RunConfig,
    Token,
    TrainConfig,
    preset,
)
from .serialize import as_dict, from_dict

__all__ = [
    "PRESETS",
    "ActivationCheckpointing",
    "CacheType",
    "Clock",
    "Finetune",
    "Loss",
    "ModelConfig",
    "Parallelism",
    "Precision",
    "RunConfig",
    "Setting",
    "Token",
    "TrainConfig",
    "as_dict",
    "from_dict",
    "option_words",
    "preset",
    "settings",
]
