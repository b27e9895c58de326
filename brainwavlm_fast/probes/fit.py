"""Linear probes: how well each layer predicts acoustic and semantic targets, tuned against pre-trained.

For each layer ridge predicts the targets at a TR from the features of the windows that hold that TR's sound (the
paper's section on layer probes); the score is the correlation on held-out stories, averaged over a target's dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import as_dict
from ..data import Dataset, StorySplit
from ..errors import ConfigError
from ..features.sources import Source
from ..features.store import FeatureStore
from ..files import provenance, write_json
from ..kernels import correlation
from ..model.identity import features_identity
from ..progress import Progress
from ..results.folders import SUMMARY, crowded_ends, finished, write_arrays
from ..ridge.alphas import FIELD_ALPHAS, count_ends, nominally_predicted
from ..ridge.designs import standardize
from ..ridge.estimator import RidgeCV
from ..ridge.row_splits import ChunkBootstrap
from .targets import Target


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is fitted.

    Attributes
    ----------
    delays : rows of features that a target's row is read from. A window looks back, so that the sound of a TR is in
        the windows that end up to ``window`` seconds later: with 4 s, the TR's own row and the two after it.
    alphas : to choose from, one per dimension; their squares are the penalties.
    n_splits, chunk_length, seed : of the bootstrap over training rows.
    """

    delays: tuple[int, ...] = (0, -1, -2)
    alphas: tuple[float, ...] = FIELD_ALPHAS
    n_splits: int = 3
    chunk_length: int = 40
    seed: int = 0


@dataclass(frozen=True)
class LayerScores:
    """Scores of one source.

    Attributes
    ----------
    correlation : target -> (n_layers, n_dimensions) on the held-out stories; NaN where a dimension does not vary.
    at_the_end : dimensions, over layers and targets, whose alpha is the grid's ``smallest`` or ``largest``, of the
        ``n_predicted`` whose correlation exceeds two standard errors.
    """

    correlation: dict[str, NDArray[np.float64]]
    at_the_end: dict[str, int]

    def mean(self, target: str) -> list[float]:
        """Mean over dimensions for each layer."""
        return [float(x) for x in np.nanmean(self.correlation[target], axis=1)]


def probe_layers(
    store: FeatureStore,
    targets: Sequence[Target],
    split: StorySplit,
    settings: ProbeSettings,
    *,
    progress: Progress | None = None,
) -> LayerScores:
    """Fit every layer on the training stories, all targets at once, and score it on the test stories.

    Parameters
    ----------
    store : features of one source, of the layers that are probed.

    Raises
    ------
    ConfigError : a story is shorter than a chunk of the bootstrap.
    """
    progress, layers = progress or Progress(), store.layers or []
    columns = np.cumsum([0, *(target.n_dimensions for target in targets)])
    wanted = {story: np.hstack([t.stories[story] for t in targets]) for story in (*split.train, *split.test)}
    varies = np.all([y.std(axis=0) > 1e-9 for y in wanted.values()], axis=0)
    Y = np.concatenate([_normal(wanted[story][:, varies]) for story in split.train]).astype(np.float32)
    onsets = np.cumsum([0, *(len(wanted[story]) for story in split.train[:-1])]).tolist()
    cv = ChunkBootstrap(settings.n_splits, chunk_length=settings.chunk_length, seed=settings.seed)
    scores = np.full((len(layers), columns[-1]), np.nan)
    alphas = []
    with progress.task(f"probes, {store.source.label}", len(layers)) as advance:
        for k, layer in enumerate(layers):
            rows = {story: _rows(store, story, layer) for story in wanted}
            model = RidgeCV(settings.alphas, cv=cv, delays=settings.delays)
            try:
                model.fit(np.concatenate([rows[story] for story in split.train]), Y, run_onsets=onsets)
            except ValueError as error:
                raise ConfigError(f"probes on {len(Y)} TRs of {len(split.train)} stories: {error}") from None
            on_test = [correlation(model.predict(rows[s]), wanted[s][:, varies], axis=0) for s in split.test]
            scores[k, varies] = np.mean(on_test, axis=0)
            alphas.append(model.alphas_)
            advance(note=f"layer {layer}")
    parts = zip(targets, columns[:-1], columns[1:], strict=True)
    predicted = nominally_predicted(scores[:, varies], sum(len(wanted[story]) for story in split.test)).ravel()
    at_the_end = count_ends(np.concatenate(alphas), settings.alphas, predicted)
    for end, n, n_all in crowded_ends(at_the_end) if len(settings.alphas) > 1 else ():
        progress.say(
            f"warning: {n} of {n_all} probes that predict something ({store.source.label}) chose the {end} alpha; a "
            "wider grid (--alphas) may fit them better."
        )
    return LayerScores({target.name: scores[:, first:last] for target, first, last in parts}, at_the_end)


def probe_sources(
    sources: Sequence[Source],
    targets: Sequence[Target],
    split: StorySplit,
    dataset: Dataset,
    out: Path,
    *,
    layers: Sequence[int] | None = None,
    settings: ProbeSettings | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Probe tuned encoders and the pre-trained one they started from; returns the summary that is also written.

    Parameters
    ----------
    sources : tuned encoders, or the pre-trained model alone.
    targets, split : what is predicted, and from which stories.
    out : folder of the results: ``summary.json`` (means), ``probes.hf5`` (every dimension). The same
        settings are read back, others never overwritten.
    layers : hidden states; all by default.

    Returns
    -------
    ``targets``: name -> ``pretrained`` (n_layers,), ``tuned`` {label: (n_layers,)}, and, of tuned minus pre-trained,
    ``improvement`` and ``sem`` (n_layers,) over the sources; None without tuned ones (``sem``: with fewer than two).

    Raises
    ------
    BwlmError : a model or a story is missing or invalid, sources differ in their base model or windows, or ``out``
        holds other results.
    """
    settings, progress = settings or ProbeSettings(), progress or Progress()
    stores = _open_stores(sources, dataset, layers)
    start, *tuned = stores
    stories = [*split.train, *split.test]
    record = _settings(stores, targets, split, settings)
    saved = finished(out, record)
    if saved is not None:
        progress.say(f"{out / SUMMARY} holds these probes already; nothing to do.")
        return saved
    scores: dict[str, LayerScores] = {}
    for store in stores:
        store.compute(stories, progress=progress)
        scores[store.source.label] = probe_layers(store, targets, split, settings, progress=progress)
    labels = [store.source.label for store in tuned]
    summary = {
        "layers": start.layers,
        "targets": {target.name: _summarise(target, scores, start.source.label, labels) for target in targets},
        "at_the_end_of_the_grid": {label: score.at_the_end for label, score in scores.items()},
        "model": start.source.config.model,
        "base": start.base,
        "data": {"root": str(dataset.root), "version": dataset.version},
        "settings": record,
        "provenance": provenance(),
    }
    arrays = {f"{label}/{name}": r for label, score in scores.items() for name, r in score.correlation.items()}
    write_arrays(out / "probes.hf5", arrays, layers=start.layers)
    write_json(out / SUMMARY, summary)  # last: it says that the rest is complete
    return summary


def _settings(
    stores: Sequence[FeatureStore], targets: Sequence[Target], split: StorySplit, settings: ProbeSettings
) -> dict[str, Any]:
    """Everything that the results depend on."""
    stories = [*split.train, *split.test]
    epochs = {store: store.source.epoch for store in stores}
    return {
        "base": stores[0].base["digest"],
        "sources": {
            store.source.label: {"fingerprint": store.results_identity(epoch, stories), "epoch": epoch}
            for store, epoch in epochs.items()
        },
        "layers": stores[0].layers,
        "stories": {"train": list(split.train), "test": list(split.test)},
        "targets": {target.name: target.notes for target in targets},
        "probe": as_dict(settings),
    }


def _open_stores(sources: Sequence[Source], dataset: Dataset, layers: Sequence[int] | None) -> list[FeatureStore]:
    """Features of the pre-trained model, and of each tuned one."""
    tuned = [source for source in sources if source.checkpoint is not None]
    if len({source.label for source in tuned}) < len(tuned):
        raise ConfigError("two of the runs are of the same subject and voxel set; probe them separately.")
    stores = [
        FeatureStore([source], dataset, layers="all" if layers is None else layers)
        for source in (sources[0].pretrained, *tuned)
    ]
    start = features_identity(stores[0].source.config, base=stores[0].base["digest"])
    if any(features_identity(store.source.pretrained.config, base=store.base["digest"]) != start for store in stores):
        raise ConfigError(
            "the runs start from different models, or cut windows in different ways; probe them separately."
        )
    return stores


def _summarise(target: Target, scores: dict[str, LayerScores], start: str, tuned: list[str]) -> dict[str, Any]:
    before = scores[start].mean(target.name)
    after = {label: scores[label].mean(target.name) for label in tuned}
    gains = np.array([np.subtract(values, before) for values in after.values()])
    return {
        "title": target.title,
        "n_dimensions": target.n_dimensions,
        "pretrained": before,
        "tuned": after,
        "improvement": gains.mean(axis=0).tolist() if tuned else None,
        "sem": (gains.std(axis=0, ddof=1) / np.sqrt(len(gains))).tolist() if len(tuned) > 1 else None,
    }


def _rows(store: FeatureStore, story: str, layer: int) -> NDArray[np.float32]:
    """A layer's features at a story's responses, z-scored over them: (n_trs, width)."""
    return standardize(store.load(story, layer=layer)[store.context :])


def _normal(y: NDArray[np.float64]) -> NDArray[np.float64]:
    return (y - y.mean(axis=0)) / y.std(axis=0)
