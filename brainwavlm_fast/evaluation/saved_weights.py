"""Weights of an evaluation's two encoding models, voxel by voxel, with the shape of their hemodynamic response."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..data import StorySplit
from ..features.store import FeatureStore
from ..files import atomic_path, provenance
from ..progress import Progress
from ..stats.fir import fir_shape
from .encoding import EncodingSettings, Responses, RidgeSettings, Tiles, all_stories
from .story_ridge import StoryRidge

WEIGHTS = "weights.hf5"
_CHUNK = 1 << 16  # bytes, of whole voxels
_MEANING = (
    "(n_voxels, n_delays, n_features): z-scored responses of a story are predicted by features that are z-scored over "
    "the story and its context, shifted by each delay, times these; NaN at voxels that are left out"
)


def save_weights(
    folder: Path,
    store: FeatureStore,
    responses: Responses,
    split: StorySplit,
    ridge: RidgeSettings,
    memory_gb: float,
    progress: Progress,
) -> None:
    """Write ``weights.hf5`` of an evaluation beside its ``voxels.hf5``, which knows the best epoch and the alphas.

    For each model ``weights``, in chunks of whole voxels, ``fir`` and ``fir_share`` (see :func:`.fir.fir_shape`);
    attributes say what they are of. Responses are read again, a tile of voxels at a time.
    """
    delays = store.source.config.delays
    settings = EncodingSettings(split, delays, ridge)
    with h5py.File(folder / "voxels.hf5", "r") as voxels:
        best = int(voxels.attrs["best_epoch"])
        alphas = {name: np.asarray(voxels[f"alphas/{name}"]) for name in ("pretrained", "tuned")}
    with atomic_path(folder / WEIGHTS) as temporary, h5py.File(temporary, "w") as file:
        for name, epoch in (("pretrained", 0), ("tuned", best)):
            features = {story: store.load(story, epoch) for story in all_stories(split)}
            model = StoryRidge(features, responses.n_voxels, settings, alphas[name], keep_predictions=False)
            group = file.create_group(name)
            group.attrs.update(epoch=epoch, delays=delays, penalty=ridge.penalty, weights=_MEANING)
            width = next(iter(features.values())).shape[1]
            write = partial(_write_tile, model, _Group(group, responses.n_voxels, len(delays), width))
            walk = Tiles(model, responses, memory_gb, partial(progress.task, f"weights, {name}"))
            walk.each(write, all_rows=True)
        for package, version in provenance()["versions"].items():
            file.attrs[f"version {package}"] = version


class _Group:
    """The data sets of one model."""

    def __init__(self, group: h5py.Group, n_voxels: int, n_delays: int, n_features: int) -> None:
        at_once = min(max(1, _CHUNK // (4 * n_delays * n_features)), n_voxels)
        shape = (n_voxels, n_delays, n_features)
        self.weights = group.create_dataset("weights", shape, "f4", chunks=(at_once, *shape[1:]))
        self.fir = group.create_dataset("fir", shape[:2], "f4")
        self.share = group.create_dataset("fir_share", shape[:1], "f4")


def _write_tile(model: StoryRidge, group: _Group, measured: Mapping[str, NDArray[Any]], tile: slice) -> None:
    weights = model.weights_of_tile(measured, tile).T.reshape(-1, *group.weights.shape[1:])
    group.weights[tile] = weights
    group.fir[tile], group.share[tile] = fir_shape(weights)
