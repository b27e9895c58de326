"""Encoding by layer: how well each hidden state predicts, pre-trained and tuned, and which layer a voxel prefers.

Beside an evaluation's ``summary.json`` lie ``layers.json`` and ``layers.hf5``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..config import Places, as_dict
from ..data import StorySplit, find_dataset, make_split
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import BwlmError
from ..features.sources import run_sources
from ..features.store import FeatureStore
from ..files import provenance, read_json, write_json
from ..progress import Progress
from ..results.folders import read_run_config, write_arrays
from .encoding import Encoding, EncodingSettings, encode
from .evaluate import EvaluationOptions
from .responses import DatasetResponses, voxel_sets
from .score_intervals import Sets, about_intervals, gain_intervals

LAYERS, ARRAYS = "layers.json", "layers.hf5"


def evaluate_layers(
    run: Path | str,
    folder: Path,
    evaluated: Mapping[str, Any],
    layers: Sequence[int] | Literal["all"],
    *,
    places: Places | None = None,
    options: EvaluationOptions | None = None,
    progress: Progress | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, Any]:
    """Encode with every layer of the pre-trained model and of the epoch that an evaluation chose.

    Parameters
    ----------
    run, folder : the run, and the evaluation's folder in it, where results are written.
    evaluated : the evaluation's summary.
    layers : hidden states, or ``"all"`` of them; features are kept in the user's cache.
    places, options, ranks : as in :func:`.evaluate.evaluate_run`; of the options ``ridge`` and ``memory_gb``.

    Raises
    ------
    BwlmError : a layer does not exist, or ``folder`` holds results of other layers or settings.
    """
    run, options = Path(run), options or EvaluationOptions()
    progress = (progress or Progress()) if ranks.is_main else Progress()
    config, subject, best = read_run_config(run, places), evaluated["subject"], evaluated["best_epoch"]
    dataset, sources = find_dataset(config.data), run_sources(run, config)
    whole = make_split(dataset.stories(subject), validation=config.train.validation, test=config.train.test)
    split = StorySplit(whole.train, (), whole.test)
    stories = [*split.train, *split.test]
    store = FeatureStore([sources[epoch] for epoch in sorted({0, best})], dataset, layers=layers)
    assert store.layers is not None
    settings = {
        "layers": list(store.layers),
        "base": store.base["digest"],
        "epochs": {str(epoch): store.results_identity(epoch, stories) for epoch in store.sources},
        "ridge": as_dict(options.ridge),
        "best_epoch": best,
    }
    if (saved := ranks.broadcast_from_main(lambda: _finished(folder, settings))) is not None:
        progress.say(f"{folder / LAYERS} holds these layers already; nothing to do.")
        return saved
    store.compute(stories, progress=progress, ranks=ranks)
    encodings = _encode(store, subject, split, best, options, progress, ranks)
    sets = voxel_sets(dataset, subject, {config.train.roi_name: config.train.roi}, progress=progress)
    about = {"subject": subject, "trained_on": config.train.trained_on, "settings": settings}
    return ranks.broadcast_from_main(lambda: _write(folder, encodings, sets, about))


def _encode(
    store: FeatureStore,
    subject: str,
    split: StorySplit,
    best: int,
    options: EvaluationOptions,
    progress: Progress,
    ranks: Ranks,
) -> dict[str, list[Encoding]]:
    """An encoding per layer, pre-trained and tuned."""
    memory_gb = options.memory_gb / ranks.local_size / 2
    responses = DatasetResponses(store.dataset, subject, keep_gb=memory_gb)
    settings = EncodingSettings(split, store.source.config.delays, options.ridge)
    encodings: dict[str, list[Encoding]] = {"pretrained": [], "tuned": []}
    for state, epoch in (("pretrained", 0), ("tuned", best)):
        for layer in store.layers or ():
            features = {story: store.load(story, epoch, layer) for story in (*split.train, *split.test)}
            task = partial(progress.task, f"layer {layer}, {state}")
            how: dict[str, Any] = {"memory_gb": memory_gb, "task": task, "ranks": ranks}
            encodings[state].append(encode(features, responses, settings, **how))
    return encodings


def _write(
    folder: Path, encodings: Mapping[str, Sequence[Encoding]], sets: Sets, about: dict[str, Any]
) -> dict[str, Any]:
    layers = about["settings"]["layers"]
    scores = {state: np.stack([encoding.mean_test for encoding in found]) for state, found in encodings.items()}
    preferred = {state: preferred_layer(r, layers) for state, r in scores.items()}
    summary = {
        "layers": layers,
        "sets": {name: _by_layer(encodings, preferred, mask) for name, mask in sets.items()},
        "intervals": about_intervals(len(encodings["tuned"][0].test)),
        **about,
        "provenance": provenance(),
    }
    arrays = scores | {f"preferred/{state}": layer for state, layer in preferred.items()}
    write_arrays(folder / ARRAYS, arrays, layers=layers)
    write_json(folder / LAYERS, summary)  # last: it says that the rest is complete
    return summary


def preferred_layer(scores: NDArray[np.float64], layers: Sequence[int]) -> NDArray[np.float64]:
    """The layer that predicts each voxel best, (n_voxels,), from (n_layers, n_voxels); NaN where there is no score."""
    known = np.isfinite(scores).all(axis=0)
    best = np.asarray(layers, dtype=np.float64)[np.argmax(np.nan_to_num(scores, nan=-np.inf), axis=0)]
    return np.where(known, best, np.nan)


def _by_layer(
    encodings: Mapping[str, Sequence[Encoding]], preferred: Mapping[str, NDArray[np.float64]], voxels: NDArray[np.bool_]
) -> dict[str, Any]:
    """Means over a voxel set, a number per layer, with intervals; and the mean preferred layer."""
    pairs = list(zip(encodings["pretrained"], encodings["tuned"], strict=True))
    changes = [gain_intervals(before, after, voxels) for before, after in pairs]
    means = {state: [_mean(encoding.mean_test[voxels]) for encoding in found] for state, found in encodings.items()}
    ends = {name: [change["intervals"][name] for change in changes] for name in ("pretrained", "tuned", "difference")}
    return {
        **means,
        "difference": [change["difference"] for change in changes],
        "intervals": ends,
        "preferred": {state: _mean(layer[voxels]) for state, layer in preferred.items()},
        "n_voxels": int(voxels.sum()),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _finished(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Results of the same settings; others are not written over."""
    path = folder / LAYERS
    if not path.is_file():
        return None
    summary: dict[str, Any] = read_json(path)
    if summary.get("settings") != settings:
        raise BwlmError(f"{path} holds other layers or settings; it was not overwritten. Give --out another name.")
    return summary
