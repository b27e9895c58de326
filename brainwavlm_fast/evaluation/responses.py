"""Measured responses and voxel sets of a data set, as the evaluation reads them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..anatomy import available_sets, voxel_set
from ..data import Dataset, n_voxels, read_responses
from ..progress import Progress

_GIB = 1 << 30


class DatasetResponses:
    """A subject's responses, read by ranges of voxels; stories that fit the limit are read from disk only once."""

    def __init__(self, dataset: Dataset, subject: str, *, keep_gb: float = 4.0) -> None:
        self._dataset, self._subject = dataset, subject
        self._free = int(keep_gb * _GIB)
        self._stories: dict[str, NDArray[np.float32]] = {}
        self.n_voxels = n_voxels(dataset, subject)

    def read(self, story: str, voxels: slice) -> NDArray[np.float32]:
        """Responses of a story for a range of voxels: float32 (n_trs, n_voxels_wanted), NaN kept."""
        if story not in self._stories:
            size = 4 * self.n_voxels * self._dataset.n_trs(story)
            if size > self._free:
                wanted = np.arange(*voxels.indices(self.n_voxels))
                return read_responses(self._dataset, self._subject, story, voxels=wanted)
            self._stories[story] = read_responses(self._dataset, self._subject, story)
            self._free -= size
        return self._stories[story][:, voxels]


def voxel_sets(
    dataset: Dataset, subject: str, also: Mapping[str, str] | None = None, *, progress: Progress | None = None
) -> dict[str, NDArray[np.bool_]]:
    """The main voxel sets, as far as they can be made, and the expressions of ``also``: name -> bool (n_voxels,).

    Says why a main set is left out.
    """
    names, problems = available_sets(dataset, subject)
    for problem in problems:
        (progress or Progress()).say(f"left out: {problem}")
    wanted = {name: name for name in names} | dict(also or {})
    return {name: voxel_set(dataset, subject, expression) for name, expression in wanted.items()}
