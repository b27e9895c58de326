"""Features of every layer of a model, tuned or pre-trained, at TR rate: computed once, kept in a cache.

A source is what computes them: a pre-trained WavLM, or an epoch of a run. The cache holds a file a source and story,
keyed by everything that the numbers depend on, so that features, probes and a second call share one computation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from ..config import ModelConfig, as_dict
from ..data import Dataset, default_cache, load_audio
from ..errors import CheckpointError, ConfigError, DataError
from ..files import atomic_path, read_json
from ..model import Encoder, Story
from ..progress import Progress
from ..results.folders import SUMMARY, read_run_config
from .store import encoder_digest, run_checkpoints

# what does not change an encoder's features in evaluation
_UNUSED = (
    "layer",
    "bottleneck",
    "regularizers",
    "negative_lobes",
    "finetune",
    "lora_rank",
    "lora_alpha",
    "lora_dropout",
)


@dataclass(frozen=True)
class Source:
    """An encoder: a pre-trained WavLM, or one that a run tuned.

    Attributes
    ----------
    label : for people.
    config : model, windows and times.
    checkpoint : the run's checkpoint folder; None for the pre-trained model.
    epoch : its epoch; None for the pre-trained model.
    """

    label: str
    config: ModelConfig
    checkpoint: Path | None = None
    epoch: int | None = None

    @property
    def pretrained(self) -> Source:
        """The pre-trained model that the run started from, with the run's windows and times."""
        return pretrained_source(self.config)

    def open(self) -> Encoder:
        """The encoder with all layers, in evaluation mode, on a GPU if there is one."""
        encoder = Encoder.from_config(self.config, whole=True)
        if self.checkpoint is not None:
            encoder.load(self.checkpoint)
        return encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    def fingerprint(self) -> str:
        """A digest of everything that features depend on but the audio."""
        settings = {k: v for k, v in as_dict(self.config).items() if k not in _UNUSED}
        settings["model"] = _weights_of(self.config.model)
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        if self.checkpoint is not None:
            tuned = [self.config.finetune, self.config.layer, self.config.lora_rank, self.config.lora_alpha]
            digest.update(json.dumps(tuned).encode())
            digest.update(encoder_digest(self.checkpoint, self.config).encode())
        return digest.hexdigest()[:16]


def pretrained_source(config: ModelConfig) -> Source:
    """The pre-trained model that a configuration names."""
    return Source("pre-trained", replace(config, finetune="frozen", layer=0))


def run_source(run: Path, epoch: int | None = None) -> Source:
    """An epoch of a run: the one given, else the best of its evaluation, else the last that was saved."""
    config, saved = read_run_config(run), run_checkpoints(run)
    if epoch is None:
        evaluated = run / "evaluation" / SUMMARY
        epoch = read_json(evaluated).get("best_epoch") if evaluated.is_file() else max(saved)
    if epoch not in saved:
        raise CheckpointError(f"{run} has no checkpoint of epoch {epoch}; saved: {', '.join(map(str, saved))}.")
    return Source(config.train.label, config.model, saved[epoch], epoch)


class LayerFeatures:
    """Hidden states of a source at TR rate, story by story.

    Attributes
    ----------
    layers : hidden states, rising.
    """

    def __init__(
        self, source: Source, dataset: Dataset, *, layers: Sequence[int] | None = None, cache: Path | None = None
    ) -> None:
        """Features of some layers, all by default; the model is opened to count them.

        Raises
        ------
        ConfigError : a layer does not exist.
        CheckpointError : the model cannot be opened.
        """
        self.source, self._dataset = source, dataset
        self._encoder = source.open()
        n_layers = self._encoder.n_layers
        self.layers = sorted(set(range(n_layers + 1) if layers is None else layers))
        unknown = [str(k) for k in self.layers if not 0 <= k <= n_layers]
        if unknown or not self.layers:
            raise ConfigError(
                f"--layers: layer {', '.join(unknown) or '(none given)'} does not exist; {source.config.model} has "
                f"hidden states 0 to {n_layers}."
            )
        self.fingerprint = source.fingerprint()
        self._folder = (cache or default_cache().parent / "features") / self.fingerprint

    @property
    def context(self) -> int:
        """Rows before a story's first response."""
        return self.source.config.context

    @property
    def width(self) -> int:
        """Features a layer."""
        return self._encoder.width

    def compute(self, stories: Sequence[str], *, progress: Progress | None = None) -> None:
        """Compute what the cache does not hold. Stopping loses at most the story it was in.

        Raises
        ------
        DataError : a story's sound is missing or will not do.
        """
        todo = {story: missing for story in stories if (missing := self._missing(story))}
        if not todo:
            return
        with (progress or Progress()).task(f"features, {self.source.label}", len(todo)) as advance:
            for story, missing in todo.items():
                try:
                    audio = load_audio(self._dataset.require(self._dataset.audio_path(story)))
                    prepared = Story(audio, self._dataset.n_trs(story), self.source.config, for_training=False)
                except DataError as error:
                    raise DataError(f"story {story}: {error}") from None
                self._keep(story, missing, prepared.features(self._encoder, layers=missing).float().cpu().numpy())
                advance(note=story)

    def load(self, story: str, layer: int) -> NDArray[np.float32]:
        """One layer of a story: float32 (context + n_trs, width)."""
        with h5py.File(self._path(story), "r") as file:
            return file[_name(layer)][:]

    def key(self, story: str) -> str:
        """What a story's features depend on beside the source."""
        audio = self._dataset.require(self._dataset.audio_path(story)).stat()
        return f"{self._dataset.n_trs(story)} {audio.st_size} {audio.st_mtime_ns}"

    def _path(self, story: str) -> Path:
        return self._folder / f"{story}.hf5"

    def _kept(self, story: str) -> set[str]:
        """Layers of a story that the cache holds."""
        try:
            with h5py.File(self._path(story), "r") as file:
                return set(file) if file.attrs.get("key") == self.key(story) else set()
        except OSError:  # absent, or damaged: made again
            return set()

    def _missing(self, story: str) -> list[int]:
        kept = self._kept(story)
        return [layer for layer in self.layers if _name(layer) not in kept]

    def _keep(self, story: str, layers: Sequence[int], features: NDArray[np.float32]) -> None:
        path = self._path(story)
        parts = {_name(layer): features[:, k] for k, layer in enumerate(layers)}
        others = self._kept(story)
        if others:
            with h5py.File(path, "r") as file:
                parts |= {name: file[name][:] for name in others}
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            for name, values in parts.items():
                file[name] = values
            file.attrs["key"] = self.key(story)


def _name(layer: int) -> str:
    return f"layer-{layer:02d}"


def _weights_of(model: str) -> str:
    """What tells one state of a model folder from another; a hub name stands for itself."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".bin"))
    return " ".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
