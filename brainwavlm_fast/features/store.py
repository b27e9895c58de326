"""Features of every story from every epoch of a run, kept on disk while an evaluation is not finished.

One file an epoch and story: ``features/epoch-003/STORY.hf5``. Each file carries a fingerprint of the encoder's
weights, the settings and the audio, so that a file of another model is never used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from ..config import ModelConfig, as_dict
from ..data import Dataset, load_audio
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import CheckpointError, DataError
from ..files import atomic_path, read_json
from ..model import BrainWavLM, Story, front_bytes
from ..progress import Progress

_FRONT_LIMIT = 2 << 30  # bytes of front end output kept for one story while its epochs are computed
_WEIGHTS = {"lora": "adapter/adapter_model.safetensors", "full": "encoder.safetensors"}


class EpochFeatures:
    """Features of the epochs of a run, computed once and then read back.

    Attributes
    ----------
    checkpoints : epoch -> checkpoint folder.
    fingerprints : epoch -> what the features of that epoch depend on, apart from the audio.
    """

    def __init__(self, folder: Path, config: ModelConfig, checkpoints: dict[int, Path], dataset: Dataset) -> None:
        """Keep features in ``folder``, which is made when it is needed.

        Raises
        ------
        CheckpointError : a checkpoint's weights are missing or damaged.
        """
        self.folder, self.checkpoints = folder, checkpoints
        self._config, self._dataset = config, dataset
        self.fingerprints = {epoch: _fingerprint(path, config) for epoch, path in checkpoints.items()}
        self._model: BrainWavLM | None = None

    def compute(
        self,
        stories: Sequence[str],
        epochs: Sequence[int],
        *,
        progress: Progress | None = None,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        """Compute what is not there yet, story by story, so that epochs share a story's frozen front end.

        Processes take stories of their own, and go on together.
        """
        own = stories[ranks.rank :: ranks.size]
        todo = {story: [e for e in epochs if not self._is_current(e, story)] for story in own}
        total = sum(map(len, todo.values()))
        if total:
            self._compute(todo, total, progress)
        ranks.barrier()

    def _compute(self, todo: dict[str, list[int]], total: int, progress: Progress | None) -> None:
        with (progress or Progress()).task("features", total) as advance:
            for story, missing in todo.items():
                if missing:
                    prepared = self._prepare(story)
                    for epoch in missing:
                        self._write(epoch, story, self._encode(epoch, prepared))
                        advance(note=f"{story}, epoch {epoch}")

    def load(self, epoch: int, stories: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Features of an epoch: story -> float32 (context + n_trs, width)."""
        loaded = {}
        for story in stories:
            with h5py.File(self._path(epoch, story), "r") as file:
                loaded[story] = file["features"][:]
        return loaded

    def _prepare(self, story: str) -> Story:
        try:
            audio = load_audio(self._dataset.require(self._dataset.audio_path(story)))
            prepared = Story(audio, self._dataset.n_trs(story), self._config, for_training=False)
        except DataError as error:
            raise DataError(f"story {story}: {error}") from None
        model = self._open_model()
        if self._config.finetune != "full" and front_bytes(prepared, model.encoder, "fp32") <= _FRONT_LIMIT:
            prepared.keep_front_end(model.encoder)
        return prepared

    def _encode(self, epoch: int, story: Story) -> NDArray[np.float32]:
        model = self._open_model()
        model.load(self.checkpoints[epoch])
        return model.encode_story(story).float().cpu().numpy()

    def _open_model(self) -> BrainWavLM:
        if self._model is None:
            model = BrainWavLM.from_pretrained(next(iter(self.checkpoints.values())))
            self._model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        return self._model

    def _path(self, epoch: int, story: str) -> Path:
        return self.folder / f"epoch-{epoch:03d}" / f"{story}.hf5"

    def _key(self, epoch: int, story: str) -> str:
        audio = self._dataset.require(self._dataset.audio_path(story)).stat()
        return f"{self.fingerprints[epoch]} {self._dataset.n_trs(story)} {audio.st_size} {audio.st_mtime_ns}"

    def _is_current(self, epoch: int, story: str) -> bool:
        path = self._path(epoch, story)
        if not path.is_file():
            return False
        try:
            with h5py.File(path, "r") as file:
                return file.attrs.get("key") == self._key(epoch, story)
        except OSError:  # damaged: made again
            return False

    def _write(self, epoch: int, story: str, features: NDArray[np.float32]) -> None:
        with atomic_path(self._path(epoch, story)) as temporary, h5py.File(temporary, "w") as file:
            file["features"] = features
            file.attrs["key"] = self._key(epoch, story)


def run_checkpoints(run: Path) -> dict[int, Path]:
    """Epoch -> checkpoint folder of a run, in order.

    Raises
    ------
    CheckpointError : the run has no checkpoint of its start (epoch 0), which every comparison needs.
    """
    found = {int(path.name[6:]): path for path in (run / "checkpoints").glob("epoch-[0-9]*") if path.is_dir()}
    if 0 not in found:
        raise CheckpointError(
            f"{run / 'checkpoints'} holds no epoch-000, the pre-trained start that every epoch is compared with; "
            f"continue the run with `bwlm train --resume {run}`."
        )
    return dict(sorted(found.items()))


def _fingerprint(checkpoint: Path, config: ModelConfig) -> str:
    """A digest of everything that features depend on but the audio: the encoder's weights and the settings."""
    settings = as_dict(config)
    for unused in ("bottleneck", "lora_dropout", "regularizers", "negative_lobes"):  # the readout's, or training's only
        settings.pop(unused)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(encoder_digest(checkpoint, config).encode())
    return digest.hexdigest()[:16]


def encoder_digest(checkpoint: Path, config: ModelConfig) -> str:
    """SHA-256 of the tuned weights of a checkpoint, empty for a frozen encoder; a damaged one is a CheckpointError."""
    if config.finetune not in _WEIGHTS:
        return ""
    path = checkpoint / _WEIGHTS[config.finetune]
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; the checkpoint is damaged. Remove its folder, or train again.")
    with path.open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    if weights != _recorded_hashes(checkpoint).get(_WEIGHTS[config.finetune], weights):
        raise CheckpointError(f"{path} is damaged: its contents are not those that were saved.")
    return weights


def _recorded_hashes(checkpoint: Path) -> dict[str, Any]:
    state = checkpoint / "state.json"
    files = read_json(state).get("files") if state.is_file() else None
    return files if isinstance(files, dict) else {}
