"""95 % intervals of mean scores, of gains, and of the curve over epochs, by their places in the summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..stats.intervals import LEVEL, LeftOut, combined, mean_over, percent_change, units_in_words
from .encoding import Encoding

Sets = Mapping[str, NDArray[np.bool_]]


def about_intervals(n_test_stories: int) -> dict[str, Any]:
    """What every interval of a summary is."""
    return {"level": LEVEL, "method": "delete-a-block jackknife, Student's t", "over": units_in_words(n_test_stories)}


def gain_intervals(before: Encoding, after: Encoding, voxels: NDArray[np.bool_]) -> dict[str, Any]:
    """Tuned minus pre-trained on the test stories, and in percent, with intervals and standard errors.

    ``intervals`` and ``standard_errors`` are of ``pretrained``, ``tuned``, ``difference`` and ``percent``; None where
    the test stories are too short, or a percentage has no positive start.
    """
    means = [mean_over(encoding.test, encoding.left_out, voxels) for encoding in (before, after)]
    numbers: dict[str, LeftOut | None] = dict(zip(("pretrained", "tuned"), means, strict=True))
    pretrained, tuned = means
    known = pretrained is not None and tuned is not None
    numbers["difference"] = combined(np.subtract, tuned, pretrained) if known else None  # type: ignore[arg-type]
    numbers["percent"] = combined(percent_change, pretrained, tuned) if known else None  # type: ignore[arg-type]
    return {
        **{name: _finite(numbers[name]) for name in ("difference", "percent")},
        "intervals": {name: None if number is None else number.interval() for name, number in numbers.items()},
        "standard_errors": {name: None if n is None else n.standard_error for name, n in numbers.items()},
    }


def curve_intervals(encoding: Encoding, sets: Sets) -> dict[str, Any]:
    """Of an epoch's means: ``validation`` and ``test`` -> voxel set -> interval."""
    kinds = {"validation": encoding.validation, "test": encoding.test}
    found: dict[str, Any] = {}
    for kind, scores in kinds.items():
        means = {name: mean_over(scores, encoding.left_out, mask) for name, mask in sets.items()}
        found[kind] = {name: None if mean is None else mean.interval() for name, mean in means.items()}
    return found


def _finite(number: LeftOut | None) -> float | None:
    return None if number is None or not np.isfinite(number.value) else number.value
