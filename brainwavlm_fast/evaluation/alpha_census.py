"""How many voxels took an end of the grid of alphas: a grid that is too narrow shows there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..progress import Progress
from ..results.folders import crowded_ends
from ..ridge.alphas import count_ends
from ..stats.significance import Significance
from .encoding import RidgeSettings
from .epoch_selection import EpochSelection
from .run_statistics import FALSE_DISCOVERY_RATE


def alpha_census(
    selection: EpochSelection, ridge: RidgeSettings, tests: Mapping[str, Significance], progress: Progress
) -> dict[str, Any]:
    """Voxels at the smallest and the largest alpha, pre-trained and tuned; says so where they are many.

    Counted are the voxels that are predicted above chance.
    """
    among = "voxels above chance (false discovery rate 5 %)"
    census: dict[str, Any] = {"grid": list(ridge.alphas), "penalty": ridge.penalty, "among": among}
    for name, encoding in (("pretrained", selection.epochs[0]), ("tuned", selection.tuned)):
        predicted = np.nan_to_num(tests[name].q, nan=1.0) <= FALSE_DISCOVERY_RATE
        census[name] = count_ends(encoding.alphas, ridge.alphas, predicted & ~encoding.excluded)
        for end, n, n_all in crowded_ends(census[name]) if len(ridge.alphas) > 1 else ():
            alpha = min(ridge.alphas) if end == "smallest" else max(ridge.alphas)
            progress.say(
                f"warning: {n} of {n_all} {census['among']} ({name}) chose the {end} alpha, {alpha:g}; a wider grid "
                "(--alphas) may fit them better."
            )
    return census
