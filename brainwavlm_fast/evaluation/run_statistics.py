"""What is said about a run's scores beside their means: which voxels are significant, and how close to the ceiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..distributed import SINGLE_PROCESS, Ranks
from ..progress import Progress
from ..stats import significance
from ..stats.noise_ceiling import CAVEAT, ESTIMATOR, FLOOR_RULE, normalize_by_ceiling
from ..stats.significance import Significance, compare_models, correlation_test
from .encoding import Encoding, Responses
from .epoch_selection import Arrays, Sets
from .noise_ceiling import StoryCeiling, dataset_noise_ceiling

FALSE_DISCOVERY_RATE = 0.05
SHARED_VARIANCE = 1.3  # from here on 5 % are 7 % or more


def significance_of(
    pretrained: Encoding,
    tuned: Encoding,
    responses: Responses,
    *,
    block: int | None = None,
    progress: Progress | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, Significance]:
    """``pretrained`` and ``tuned`` against chance, and ``gain``: tuned against pre-trained, two-sided.

    Several test stories are joined in time, each z-scored. ``block`` as in :func:`.correlation_test`.
    """
    if pretrained.predictions is None or tuned.predictions is None:
        raise ValueError("pretrained and tuned must hold predictions: encode them with keep_predictions=True.")
    every = slice(0, responses.n_voxels)
    measured = _joined([responses.read(story, every) for story in pretrained.test])
    before, after = (_joined([e.predictions[s] for s in e.test]) for e in (pretrained, tuned) if e.predictions)
    onsets = [0, *accumulate(len(pretrained.predictions[story]) for story in list(pretrained.test)[:-1])]
    chance = partial(correlation_test, run_onsets=onsets, block=block)
    paired = partial(compare_models, run_onsets=onsets, block=block)
    tests = {
        "pretrained": sharded(chance, measured, before, progress=progress, ranks=ranks),
        "tuned": sharded(chance, measured, after, progress=progress, ranks=ranks),
        "gain": sharded(paired, measured, after, before, progress=progress, ranks=ranks),
    }
    worst = max(test.shared_variance for test in tests.values())
    if block is None and worst > SHARED_VARIANCE:
        (progress or Progress()).say(
            f"warning: responses and predictions vary more at the same times of the test story (x {worst:.1f}): their "
            "p values come out too small. --block 20 gives each 20 TRs one sign, and holds there."
        )
    return tests


def sharded(
    test: Callable[..., Significance], *arrays: NDArray[Any], progress: Progress | None = None, ranks: Ranks
) -> Significance:
    """A test of arrays (n_trs, n_voxels) whose voxels are shared by processes; each has the result for all of them.

    Every process tests the same tiles that a single one does, so results do not depend on how many there are.
    """
    n_voxels = arrays[0].shape[1]
    mine = ranks.local_slice(n_voxels, multiple=significance.TILE)
    with (progress or Progress()).task("significance", mine.stop - mine.start) as advance:
        tested = test(*(array[:, mine] for array in arrays), advance=advance)
    statistic, p = np.full(n_voxels, np.nan), np.full(n_voxels, np.nan)
    statistic[mine], p[mine] = tested.statistic, tested.p
    for values in (statistic, p):
        ranks.all_gather_slices(values, multiple=significance.TILE)
    return Significance(statistic, p, tested.least_p, tested.shared_variance)  # of this process's voxels


def summarise_significance(tests: Mapping[str, Significance], sets: Sets) -> dict[str, dict[str, Any]]:
    """Voxels of each set that are significant: above chance (pre-trained, tuned), tuned better, tuned worse.

    At a false discovery rate over the cortex, and, under ``within``, over the set alone; ``reach`` is what each test
    could have found in the set, see :func:`significance_reach`.
    """

    def counts(q: Mapping[str, NDArray[np.float64]], gain: NDArray[np.float64]) -> dict[str, int]:
        found = {name: values <= FALSE_DISCOVERY_RATE for name, values in q.items()}
        return {
            **{name: int(found[name].sum()) for name in ("pretrained", "tuned")},
            "better": int((found["gain"] & (gain > 0)).sum()),
            "worse": int((found["gain"] & (gain < 0)).sum()),
        }

    summary = {}
    for which, mask in sets.items():
        within = {name: test.among(mask) for name, test in tests.items()}
        gain = within["gain"].statistic
        summary[which] = {
            **counts({name: test.q[mask] for name, test in tests.items()}, gain),
            "within": counts({name: test.q for name, test in within.items()}, gain),
            "reach": significance_reach(within),
        }
    return summary


def significance_reach(tests: Mapping[str, Significance]) -> dict[str, dict[str, float | int | None]]:
    """What each test could have found: its smallest p, and how many of its voxels must be at it for any to be
    significant (None: nothing could have been)."""
    return {
        name: {"least_p": test.least_p, "least_found": test.least_found(FALSE_DISCOVERY_RATE)}
        for name, test in tests.items()
    }


def significance_arrays(tests: Mapping[str, Significance]) -> Arrays:
    """Voxel arrays of the tests, by their names in ``voxels.hf5``."""
    return {f"significance/{name}/{kind}": getattr(test, kind) for name, test in tests.items() for kind in ("p", "q")}


def story_ceiling(
    dataset: Dataset, subject: str, stories: Sequence[str], *, memory_gb: float, progress: Progress | None = None
) -> StoryCeiling | None:
    """Noise ceilings of the test story; None without repeats or with several stories."""
    if len(stories) != 1:
        return None
    return dataset_noise_ceiling(dataset, subject, stories[0], memory_gb=memory_gb, progress=progress)


def summarise_ceiling(story: StoryCeiling, pretrained: Encoding, tuned: Encoding, sets: Sets) -> dict[str, Any]:
    """Noise ceilings and normalized correlations by voxel set, over the voxels whose ceiling is above its floor.

    ``pretrained`` and ``tuned`` are means of r / ceiling, those in ``ratio_of_means`` mean r / mean ceiling, which a
    few voxels with small ceilings do not decide. ``n_normalised`` counts these voxels.
    """
    value, models = story.ceiling.value, {"pretrained": pretrained.mean_test, "tuned": tuned.mean_test}
    usable = ~pretrained.excluded & np.isfinite(value)
    counted = usable & story.ceiling.repeats
    ratios = {name: normalize_by_ceiling(r, story.ceiling) for name, r in models.items()}

    def of_means(r: NDArray[np.float64], voxels: NDArray[np.bool_]) -> float | None:
        return float(r[voxels].mean() / value[voxels].mean()) if voxels.any() else None

    return {
        "estimator": ESTIMATOR,
        "caveat": CAVEAT,
        "n_repeats": story.n_repeats,
        "data_is": story.data_is,
        "fits": story.fits,
        "agreement": story.agreement,
        "floor_rule": FLOOR_RULE,
        "sets": {
            which: {
                "ceiling": _mean(value[mask & counted]),
                "floor": _mean(story.ceiling.floor[mask & usable]),
                **{name: _mean(ratio[mask & counted]) for name, ratio in ratios.items()},
                "ratio_of_means": {name: of_means(r, mask & counted) for name, r in models.items()},
                "n_normalised": int((mask & counted).sum()),
            }
            for which, mask in sets.items()
        },
    }


def ceiling_arrays(story: StoryCeiling, pretrained: Encoding, tuned: Encoding) -> Arrays:
    """Voxel arrays of the noise ceiling, by their names in ``voxels.hf5``."""
    return {
        "noise_ceiling": story.ceiling.value,
        "noise_ceiling_floor": story.ceiling.floor,
        "normalised/pretrained": normalize_by_ceiling(pretrained.mean_test, story.ceiling),
        "normalised/tuned": normalize_by_ceiling(tuned.mean_test, story.ceiling),
    }


def _joined(stories: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(n_trs of all stories, n_voxels); a single story is left as it is."""
    if len(stories) == 1:
        return stories[0]
    parts = []
    for values in stories:
        spread = values.std(axis=0, dtype=np.float64)
        parts.append((values - values.mean(axis=0, dtype=np.float64)) / np.where(spread > 0, spread, 1.0))
    return np.concatenate(parts)


def _mean(values: NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
