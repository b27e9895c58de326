"""The noise ceiling of a story of a data set, from its individual repeats, read a few voxels at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data import Dataset, n_voxels, open_hdf5, read_repeats, read_responses
from ..memory import GIB
from ..progress import Progress
from ..stats.noise_ceiling import NoiseCeiling, agreement, composition, noise_ceiling

_DATA_IS = {
    "plain mean": "the plain mean of the repeats",
    "mean of z-scored": "the mean of z-scored repeats",
    "both": "the mean of the repeats, z-scored or not",
    "neither": "neither the plain mean of the repeats nor that of z-scored ones",
}


@dataclass(frozen=True)
class StoryCeiling:
    """A subject's noise ceilings for a story.

    Attributes
    ----------
    ceiling : NoiseCeiling
        Of the mean that the measured responses are; of the plain mean where they are neither.
    n_repeats : int
        Presentations.
    data_is : str
        What the measured responses are of their repeats, in words.
    agreement : dict
        Median correlation over time of the measured responses with ``plain`` and ``standardized`` means.
    """

    ceiling: NoiseCeiling
    n_repeats: int
    data_is: str
    agreement: dict[str, float | None]

    @property
    def fits(self) -> bool:
        """Whether the measured responses are a mean that the ceiling is of."""
        return self.data_is != _DATA_IS["neither"]


def dataset_noise_ceiling(
    dataset: Dataset, subject: str, story: str, *, memory_gb: float = 2.0, progress: Progress | None = None
) -> StoryCeiling | None:
    """Noise ceilings of a subject's mean response to a story.

    None where the data set holds no individual repeats of the story (they exist for the test story only).
    """
    progress = progress or Progress()
    path = dataset.require(dataset.response_path(subject, story))
    with open_hdf5(path) as file:
        if "individual_repeats" not in file or file["individual_repeats"].ndim != 3:
            return None
        n_repeats, *shape = file["individual_repeats"].shape
    n, n_trs = n_voxels(dataset, subject), dataset.n_trs(story)
    if n_repeats < 2:
        return None
    if shape != [n_trs, n]:
        progress.say(
            f"left out: the noise ceiling. {path}: 'individual_repeats' has {shape[0]} TRs of {shape[1]} voxels, "
            f"'data' {n_trs} of {n}."
        )
        return None
    width = max(1, int(memory_gb * GIB / (12 * n_repeats * n_trs)))  # float32, and float64 while it is summed
    plain, standardized, agreed = [], [], []
    with progress.task("noise ceiling", n) as advance:
        for first in range(0, n, width):
            wanted = np.arange(first, min(first + width, n))
            repeats = read_repeats(dataset, subject, story, voxels=wanted)
            agreed.append(agreement(read_responses(dataset, subject, story, voxels=wanted), repeats))
            plain.append(noise_ceiling(repeats))
            standardized.append(noise_ceiling(repeats, standardize=True))
            advance(len(wanted))
    together = np.concatenate(agreed, axis=1)
    known = np.isfinite(together).all(axis=0)
    medians = np.median(together[:, known], axis=1).tolist() if known.any() else [None, None]
    kind = composition(together)
    parts = standardized if kind == "mean of z-scored" else plain
    ceiling = NoiseCeiling(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("value", "floor")))
    found = StoryCeiling(
        ceiling, int(n_repeats), _DATA_IS[kind], dict(zip(("plain", "standardized"), medians, strict=True))
    )
    if not found.fits:
        progress.say(
            f"warning: {path}: 'data' is {found.data_is} in 'individual_repeats' (median correlations "
            f"{medians[0] or 0:.3f} and {medians[1] or 0:.3f}); the noise ceiling is that of the plain mean, and "
            "may not hold for it."
        )
    return found
