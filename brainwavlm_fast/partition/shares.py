"""Unique and shared parts of explained variance, as means over voxel sets, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..stats.intervals import LeftOut, combined, mean_over
from .fit import NestedScores, Subset

Parts = dict[str, Any]


def parts_of(r2: Mapping[Subset, Any], spaces: Sequence[str]) -> Parts:
    """Parts of explained variance from the R2 of nested models: numbers, or arrays of one shape.

    ``full``; ``only``, ``unique`` of each space (less all the others); ``shared``, by two or more; and of every space
    but the first, ``with``: what it and the first explain both, and ``beyond``: what the first adds to it. ``only`` of
    the first is ``with`` plus ``beyond``, for each of the others.
    """
    whole = tuple(spaces)
    first = whole[0]
    rest = {name: tuple(other for other in whole if other != name) for name in whole}
    parts: Parts = {"full": r2[whole]}
    parts |= {f"only {name}": r2[(name,)] for name in whole}
    parts |= {f"unique {name}": r2[whole] - r2[rest[name]] for name in whole}
    parts["shared"] = r2[whole] - sum(parts[f"unique {name}"] for name in whole)
    for name in whole[1:]:
        parts[f"with {name}"] = r2[(first,)] + r2[(name,)] - r2[(first, name)]
        parts[f"beyond {name}"] = r2[(first, name)] - r2[(name,)]
    return parts


def summarise_parts(
    scores: Mapping[str, NestedScores], spaces: Sequence[str], voxels: NDArray[np.bool_]
) -> dict[str, Any] | None:
    """Mean parts over a voxel set, pre-trained, tuned, and the gain, their difference: value and interval of each.

    ``scores`` are of ``pretrained`` and ``tuned``. None where no voxel of the set can be used.
    """
    states = []
    for fit in (scores["pretrained"], scores["tuned"]):
        means = {subset: mean_over(fit.r2[subset], fit.left_out[subset], voxels) for subset in fit.r2}
        known = {subset: mean for subset, mean in means.items() if mean is not None}
        if len(known) < len(means):
            return None
        states.append(_parts_of_means(known, spaces))
    pretrained, tuned = states
    gain = {name: combined(np.subtract, tuned[name], pretrained[name]) for name in tuned}
    return {
        "pretrained": {name: _number(part) for name, part in pretrained.items()},
        "tuned": {name: _number(part) for name, part in tuned.items()},
        "gain": {name: _number(part) for name, part in gain.items()},
        "n_voxels": int(voxels.sum()),
    }


def voxel_parts(scores: NestedScores, spaces: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Parts at every voxel, means over the test stories, (n_voxels,)."""
    means = {subset: np.mean(list(stories.values()), axis=0) for subset, stories in scores.r2.items()}
    return parts_of(means, spaces)


def _parts_of_means(means: Mapping[Subset, LeftOut], spaces: Sequence[str]) -> dict[str, LeftOut]:
    values = parts_of({subset: mean.value for subset, mean in means.items()}, spaces)
    without = parts_of({subset: mean.without for subset, mean in means.items()}, spaces)
    return {name: LeftOut(float(value), np.asarray(without[name])) for name, value in values.items()}


def _number(part: LeftOut) -> dict[str, Any]:
    return {"value": part.value, "interval": part.interval()}
