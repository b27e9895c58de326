"""Features of stories at TR rate, computed once and kept: one HDF5 file per state of an encoder and story.

Each file is keyed by everything that its numbers depend on (:mod:`..model.identity`, and the story's sound), so that
a file of another model is never used, and features, probes and a second call share one computation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..cached_files import cache_folder, key_digest, read_cached, write_cached
from ..data import Dataset, audio_identity, story_audio
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import ConfigError, DataError
from ..model import Encoder, Story, cache_front_end, front_bytes, story_features
from ..model.identity import features_identity, tuned_digest
from ..progress import Progress
from .sources import Source

Layers = Sequence[int] | Literal["all"] | None
_FRONT_LIMIT = 2 << 30  # bytes of front end output kept for one story while its epochs are computed


class FeatureStore:
    """Features of stories from one encoder, in one or several states of its training.

    Attributes
    ----------
    sources : epoch -> the encoder's state; the epoch of the pre-trained model is None.
    layers : hidden states, rising; None for the output of the layer that the configuration reads, as in training.
    base : what a result says of the pre-trained weights that are read: ``model``, ``commit`` and ``digest``.
    identities : epoch -> digest of what the features of that state depend on, apart from the story.
    width : feature dimension.
    """

    def __init__(
        self, sources: Sequence[Source], dataset: Dataset, folder: Path | None = None, *, layers: Layers = None
    ) -> None:
        """Open the encoder; nothing is computed yet.

        Parameters
        ----------
        sources : states of one encoder: the same configuration, other checkpoints.
        dataset : the stories.
        folder : where features are kept; by default ``features`` in the user's cache.
        layers : hidden states, ``"all"`` of them, or None for the output of the layer that the configuration reads.

        Raises
        ------
        ConfigError : a layer does not exist.
        CheckpointError : the model cannot be opened, a checkpoint is damaged, or was tuned on another base model.
        """
        self.sources = {source.epoch: source for source in sources}
        self.source, self.dataset = sources[0], dataset
        config = self.source.config
        encoder = Encoder(config, all_layers=layers is not None)
        self._encoder = encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self._loaded: Source | None = None
        self.layers = None if layers is None else self._existing(layers)
        self.width, self.context = encoder.width, config.context
        self.base = encoder.pretrained.record(all_layers=layers is not None)
        self.identities = {}
        for source in sources:
            tuned = ""
            if source.checkpoint is not None:
                encoder.pretrained.require(source.checkpoint)
                if self.layers is not None and max(self.layers) > config.layer:
                    encoder.pretrained.require(source.checkpoint, all_layers=True)
                tuned = tuned_digest(source.checkpoint, config)
            self.identities[source.epoch] = features_identity(config, base=self.base["digest"], tuned=tuned)
        self._folder = folder or cache_folder("features")

    def _existing(self, layers: Sequence[int] | Literal["all"]) -> list[int]:
        n_layers = self._encoder.n_layers
        wanted = sorted(set(range(n_layers + 1) if layers == "all" else layers))
        unknown = [str(k) for k in wanted if not isinstance(k, int) or not 0 <= k <= n_layers]
        if unknown or not wanted:
            raise ConfigError(
                f"--layers: layer {', '.join(unknown) or '(none given)'} does not exist; {self.source.config.model} "
                f"has hidden states 0 to {n_layers}."
            )
        return wanted

    def results_identity(self, epoch: int | None, stories: Sequence[str]) -> str:
        """A digest of what features of these stories depend on, for the settings that a result records."""
        return key_digest({story: self.key(story, epoch) for story in stories})

    def key(self, story: str, epoch: int | None) -> dict[str, Any]:
        """What features of a story depend on."""
        sound = audio_identity(self.dataset.require(self.dataset.audio_path(story)))
        return {"features": self.identities[epoch], "n_trs": self.dataset.n_trs(story), **sound}

    def compute(
        self,
        stories: Sequence[str],
        epochs: Sequence[int | None] | None = None,
        *,
        progress: Progress | None = None,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        """Compute what is missing, story by story, so that epochs share a story's frozen front end.

        Stories are sharded over processes, which go on together. Stopping loses at most one story and epoch.

        Raises
        ------
        DataError : a story's sound is missing or invalid.
        """
        # epochs of a frozen encoder are one state, computed once
        states = {self.identities[epoch]: epoch for epoch in (self.sources if epochs is None else epochs)}.values()
        own = stories[ranks.rank :: ranks.size]
        todo = {story: missing for story in own if (missing := self._missing(story, states))}
        total = sum(map(len, todo.values()))
        if total:
            label = "features" if len(self.sources) > 1 else f"features, {self.source.label}"
            with (progress or Progress()).task(label, total) as advance:
                for story, missing in todo.items():
                    prepared = self._prepare(story)
                    for epoch, layers in missing.items():
                        self._write(story, epoch, layers, self._encode(prepared, epoch, layers))
                        advance(note=story if len(self.sources) == 1 else f"{story}, epoch {epoch}")
        ranks.barrier()

    def load(self, story: str, epoch: int | None = None, layer: int | None = None) -> NDArray[np.float32]:
        """Features of a story that were computed: float32 (context + n_trs, width).

        Parameters
        ----------
        epoch : of the state; by default that of :attr:`source`.
        layer : one of :attr:`layers`.
        """
        epoch = self.source.epoch if epoch is None else epoch
        features = read_cached(self._path(story, epoch), self.key(story, epoch), lambda file: file[_name(layer)][:])
        if features is None:
            raise DataError(f"features of story {story} are missing; compute them first.")
        return features

    def _prepare(self, story: str) -> Story:
        config = self.source.config
        try:
            audio = story_audio(self.dataset, story)
            prepared = Story(audio, self.dataset.n_trs(story), config, for_training=False)
        except DataError as error:
            raise DataError(f"story {story}: {error}") from None
        reused = self.layers is None and config.finetune != "full"
        if reused and front_bytes(self._encoder, prepared, "fp32") <= _FRONT_LIMIT:
            cache_front_end(self._encoder, prepared)
        return prepared

    def _encode(self, story: Story, epoch: int | None, layers: list[int]) -> NDArray[np.float32]:
        """Features of a story: (context + n_trs, width), or (.., len(layers), width) of several hidden states."""
        source = self.sources[epoch]
        if source.checkpoint is not None and source is not self._loaded:
            self._encoder.load(source.checkpoint)
            self._loaded = source
        return story_features(self._encoder, story, layers=layers or None).float().cpu().numpy()

    def _path(self, story: str, epoch: int | None) -> Path:
        return self._folder / self.identities[epoch] / f"{story}.hf5"

    def _missing(self, story: str, epochs: Iterable[int | None]) -> dict[int | None, list[int]]:
        """Epochs to compute, and hidden states of them; none where the output is meant."""
        missing = {}
        for epoch in epochs:
            saved = read_cached(self._path(story, epoch), self.key(story, epoch), set) or set()
            layers = [layer for layer in self.layers or () if _name(layer) not in saved]
            if layers or (self.layers is None and _name(None) not in saved):
                missing[epoch] = layers
        return missing

    def _write(self, story: str, epoch: int | None, layers: list[int], features: NDArray[np.float32]) -> None:
        path, key = self._path(story, epoch), self.key(story, epoch)
        arrays = read_cached(path, key, lambda file: {name: file[name][:] for name in file}) or {}
        arrays |= {_name(layer): features[:, k] for k, layer in enumerate(layers)} or {_name(None): features}
        with write_cached(path, key) as file:
            for name, values in arrays.items():
                file[name] = values


def _name(layer: int | None) -> str:
    return "features" if layer is None else f"layer-{layer:02d}"
