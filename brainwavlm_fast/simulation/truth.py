"""Ground truth of a simulated brain: how well anything could predict it, from the signal itself down to the student.

Three truths per voxel, all correlations on the test story: the noise-free signal; ridge on what the brain follows
(meaning as the teacher hears it; for auditory cortex the sound's energies, or what the null has in their place); ridge
on the teacher's features, the best that tuning could reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import StorySplit
from ..errors import BwlmError
from ..evaluation.encoding import Encoding, EncodingSettings, encode
from ..files import write_json
from ..kernels import correlation
from ..model import Encoder, Story
from .brain import DELAYS, Anatomy
from .layout import write_arrays
from .settings import TEST, VALIDATION, Settings
from .teacher import attention_entropy, whole_windows

MAX_ENTROPY = 0.9
MAX_PRETRAINED = 0.6  # of the teacher's ridge, on the validation story
Truth = dict[str, NDArray[np.float64]]


class _InMemory:
    """Responses that were just made, as the encoding model reads them."""

    def __init__(self, measured: Mapping[str, NDArray]) -> None:
        self._measured = measured

    @property
    def n_voxels(self) -> int:
        return int(next(iter(self._measured.values())).shape[1])

    def read(self, story: str, voxels: slice) -> NDArray[Any]:
        return self._measured[story][:, voxels].astype(np.float32)


def measure_truth(
    settings: Settings,
    anatomy: Anatomy,
    measured: Mapping[str, NDArray],
    signals: Mapping[str, NDArray],
    *,
    latents: Mapping[str, NDArray],
    heard: Mapping[str, NDArray],
    teacher: Mapping[str, NDArray],
    student: Mapping[str, NDArray],
) -> Truth:
    """The truths of one subject, each (n_voxels,); ``validation_*`` are for :func:`check_plant`."""
    split = StorySplit(tuple(settings.training), (VALIDATION,), (TEST,))
    responses = _InMemory(measured)

    def ridge(features: Mapping[str, NDArray]) -> Encoding:
        return encode(features, responses, EncodingSettings(split, DELAYS))

    from_teacher, from_student = ridge(teacher), ridge(student)
    return {
        "true_signal": correlation(signals[TEST], measured[TEST], axis=0),
        "latents_ridge": np.where(anatomy.ac, ridge(heard).mean_test, ridge(latents).mean_test),
        "teacher_ridge": from_teacher.mean_test,
        "validation_teacher": from_teacher.validation[VALIDATION],
        "validation_student": from_student.validation[VALIDATION],
        "nonac": (~anatomy.ac).astype(np.float64),
    }


def check_plant(student: Encoder, story: Story, truth: Truth) -> None:
    """Refuse a plant from which nothing could be learned."""
    windows = whole_windows(story)[:32]
    with torch.no_grad():
        fronts = torch.cat([front for _, front in student.front_ends(story, windows)])
    entropy = attention_entropy(student, fronts)
    if entropy > MAX_ENTROPY:
        raise BwlmError(
            f"the student's attention is uniform (entropy {entropy:.2f} of its maximum, over {MAX_ENTROPY}): LoRA "
            "on it would plant nothing. Use another seed, or more student steps."
        )
    outside = truth["nonac"] > 0
    student_r, teacher_r = (float(truth[f"validation_{name}"][outside].mean()) for name in ("student", "teacher"))
    if student_r > MAX_PRETRAINED * teacher_r:
        raise BwlmError(
            f"the student already predicts the simulated voxels ({student_r:.3f}; the teacher {teacher_r:.3f}, on "
            f"{VALIDATION}): little could be gained. Use another seed, or more teacher steps."
        )


def write_truth(folder: Path, anatomy: Anatomy, truths: Mapping[str, Truth]) -> dict[str, Any]:
    """``UTS0N.hf5`` with the truths of each voxel, ``summary.json`` with their means by voxel set."""
    sets = {"all": np.ones_like(anatomy.lh), "lh": anatomy.lh, "rh": anatomy.rh, "ac": anatomy.ac, "nonac": ~anatomy.ac}
    names = ("true_signal", "latents_ridge", "teacher_ridge")
    summary: dict[str, Any] = {}
    for subject, truth in truths.items():
        write_arrays(folder / f"{subject}.hf5", {name: truth[name] for name in names})
        summary[subject] = {
            which: {name: round(float(truth[name][voxels].mean()), 6) for name in names}
            for which, voxels in sets.items()
        }
    write_json(folder / "summary.json", summary)
    return summary
