"""Stories with features and responses that follow them through known weights, for tests of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainwavlm_fast.data import StorySplit

DELAYS = (1, 2, 3, 4)
SPLIT = StorySplit(("a", "b", "c", "d"), ("v",), ("t",))
LENGTHS = {"a": 130, "b": 90, "c": 101, "d": 140, "v": 80, "t": 120}


@dataclass
class Arrays:
    """Responses held in memory."""

    stories: dict[str, NDArray]

    @property
    def n_voxels(self) -> int:
        return next(iter(self.stories.values())).shape[1]

    def read(self, story: str, voxels: slice) -> NDArray:
        return self.stories[story][:, voxels]


def plain_design(features: NDArray, n_trs: int) -> NDArray:
    """z-score over all rows, each delay a slice that reaches into the context: (n_trs, 4 * width)."""
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    return np.concatenate([z[4 - d : 4 - d + n_trs] for d in DELAYS], axis=1)


def planted(
    n_voxels: int = 30, width: int = 6, *, noise: float = 1.0, seed: int = 0, dtype: type = np.float64
) -> tuple[dict[str, NDArray], Arrays]:
    """Features (4 + n_trs, width) smooth in time, and responses that follow their delays plus noise."""
    generator = np.random.default_rng(seed)
    weights = generator.standard_normal((4 * width, n_voxels)) / np.sqrt(4 * width)
    features, responses = {}, {}
    for story, n_trs in LENGTHS.items():
        x = generator.standard_normal((4 + n_trs, width))
        x[1:] += 0.3 * x[:-1]
        y = plain_design(x, n_trs) @ weights
        y += noise * generator.standard_normal(y.shape)
        features[story], responses[story] = x.astype(dtype), y.astype(dtype)
    return features, Arrays(responses)
