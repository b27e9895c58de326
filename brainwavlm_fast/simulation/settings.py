"""The size of a simulated ("planted") brain, and the random stream that each part of it draws from."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from ..config import Finetune, ModelConfig
from ..errors import ConfigError, suggest

VERSION = 1  # raised whenever the same seed would give other data
SUBJECTS = ("UTS01", "UTS02", "UTS03")
OWN_TEACHER = "UTS03"  # whose meaning is another than the one that the others share
NPZ_SURFACES = "UTS02"  # as in the real data, the others' are gifti
TEST, VALIDATION = "wheretheressmoke", "fromboyhoodtofatherhood"
TRAINING = (
    "alternateithicatom",
    "avatar",
    "howtodraw",
    "legacy",
    "life",
    "myfirstdaywiththeyankees",
    "naked",
    "odetostepfather",
    "souls",
    "undertheinfluence",
)
MONO = ("avatar", "naked")  # a few of the real stories are mono, too


@dataclass(frozen=True)
class Settings:
    """A simulated brain's size and seed; the same settings make the same data set.

    Attributes
    ----------
    seed : int, default 0
        Everything is drawn from it, each part from a separate stream.
    subjects : tuple[str, ...], default SUBJECTS
        Which of UTS01 to UTS03.
    null : bool, default False
        Plant no teacher: meaning, and what auditory cortex follows, is what the pre-trained student hears already.
    n_training, training_trs, validation_trs, test_trs : int
        Training stories, and the lengths of stories in TRs of 2 s.
    n_voxels, n_ac : int
        Voxels of each subject, and those of auditory cortex among them.
    lesson_minutes : float, default 20.0
        Speech for the student's pre-training and the teacher's lessons, apart from the stories.
    student_steps, teacher_steps : int, default 400
        Optimizer steps.
    """

    seed: int = 0
    subjects: tuple[str, ...] = SUBJECTS
    null: bool = False
    n_training: int = 8
    training_trs: int = 100
    validation_trs: int = 150
    test_trs: int = 250
    n_voxels: int = 800
    n_ac: int = 200
    lesson_minutes: float = 20.0
    student_steps: int = 400
    teacher_steps: int = 400

    def __post_init__(self) -> None:
        for name in self.subjects:
            if name not in SUBJECTS:
                raise ConfigError(f"unknown simulated subject '{name}': {suggest(name, SUBJECTS)}")
        if not self.subjects or not 1 <= self.n_training <= len(TRAINING) or self.seed < 0:
            raise ConfigError(
                f"a simulated brain needs a subject, 1 to {len(TRAINING)} training stories and a seed >= 0."
            )
        if self.lesson_minutes < 5:
            raise ConfigError(f"lesson_minutes is {self.lesson_minutes}; student and teacher need at least 5.")

    @property
    def stories(self) -> dict[str, int]:
        """Responses of each story."""
        lengths = dict.fromkeys(TRAINING[: self.n_training], self.training_trs)
        return lengths | {VALIDATION: self.validation_trs, TEST: self.test_trs}

    @property
    def training(self) -> list[str]:
        """Stories that train."""
        return list(TRAINING[: self.n_training])

    def stream(self, name: str) -> np.random.Generator:
        """The random numbers of one part: independent of every other part's."""
        return np.random.default_rng([self.seed, VERSION, zlib.crc32(name.encode())])

    def number(self, name: str) -> int:
        """A seed for the parts that torch draws."""
        return int(self.stream(name).integers(2**31))


def planted_model(student: str, *, finetune: Finetune = "lora") -> ModelConfig:
    """The teacher's model, and the one to fine-tune: both layers, windows every half second.

    The paper's quarter of a second doubles every cost and adds nothing on speech this slow.
    """
    return ModelConfig(model=student, layer=2, stride=0.5, finetune=finetune, lora_dropout=0.0, regularizers=False)
