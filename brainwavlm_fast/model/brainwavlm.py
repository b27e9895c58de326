"""BrainWavLM: a WavLM encoder and a readout to voxels, trained together, saved as a PEFT adapter and safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import ModelConfig, as_dict, from_dict
from ..errors import CheckpointError, ConfigError
from ..files import atomic_folder, provenance, read_json, write_json
from ..progress import Progress
from .encoder import ADAPTER, FULL, Encoder
from .identity import MODEL_FILE
from .readout import Readout
from .story import Story
from .weights import load_tensors, save_tensors, take_tensors

_READOUT = "readout.safetensors"


class BrainWavLM(nn.Module):
    """An encoder of speech that predicts the brain.

    Examples
    --------
    >>> model = BrainWavLM(ModelConfig(), n_voxels=81126)         # doctest: +SKIP
    >>> features = model.story_features(audio, n_trs=291)         # doctest: +SKIP
    >>> model.save_pretrained("tuned")                            # doctest: +SKIP
    """

    def __init__(self, config: ModelConfig, n_voxels: int | Mapping[str, int]) -> None:
        """Load the pre-trained encoder that ``config`` names and start a readout to ``n_voxels``.

        With several subjects (subject -> voxels) each has a readout of its own. Readouts are drawn from torch's global
        generator: seed it for a repeatable start.
        """
        super().__init__()
        self.config = config
        self.encoder = Encoder.from_config(config)
        self.readout: Any
        if isinstance(n_voxels, Mapping):
            self.readout = nn.ModuleDict({subject: self._new_readout(n) for subject, n in n_voxels.items()})
        else:
            self.readout = self._new_readout(n_voxels)

    def _new_readout(self, n_voxels: int) -> Readout:
        config = self.config
        return Readout(self.encoder.width, n_voxels, delays=config.delays, bottleneck=config.bottleneck)

    def readout_of(self, subject: str | None = None) -> Readout:
        """A subject's readout; where there is one readout only, that one."""
        if not isinstance(self.readout, nn.ModuleDict):
            return self.readout
        if subject is None or subject not in self.readout:
            raise ConfigError(f"subject is {subject!r}; this model predicts {', '.join(self.readout)}.")
        return self.readout[subject]  # type: ignore[return-value]

    @property
    def n_voxels(self) -> int | dict[str, int]:
        """Voxels that are predicted; by subject, where there are several."""
        if isinstance(self.readout, nn.ModuleDict):
            return {subject: self.readout_of(subject).n_voxels for subject in self.readout}
        return self.readout_of().n_voxels

    def train(self, mode: bool = True) -> BrainWavLM:
        """Training mode. With ``regularizers`` off only LoRA's own dropout follows it."""
        super().train(mode)
        if mode and not self.config.regularizers:
            self.encoder.eval()
            for name, module in self.encoder.named_modules():
                if "lora_dropout" in name:
                    module.train()
        return self

    def block_features(self, story: Story, first: int, last: int) -> Tensor:
        """TR features of a story's rows ``first`` to ``last - 1``, with gradient: (last - first, width)."""
        windows, weights = story.rows(first, last)
        features = story.encode(self.encoder, windows)
        return weights.to(features) @ features

    def block_span(self, story: Story, start: int, stop: int, *, with_context: bool) -> tuple[int, int, int]:
        """Rows that predicting responses ``start`` to ``stop - 1`` needs: (first row, last row + 1, context rows)."""
        if not with_context:
            return start + story.context, stop + story.context, 0
        first = start + story.context - max(self.config.delays)
        last = stop + story.context - min(self.config.delays)
        return first, max(last, first + 1), max(self.config.delays)

    def forward(
        self, story: Story, start: int, stop: int, *, with_context: bool = True, subject: str | None = None
    ) -> Tensor:
        """Predicted responses ``start`` to ``stop - 1`` of a story: (stop - start, n_voxels)."""
        first, last, context = self.block_span(story, start, stop, with_context=with_context)
        return self.readout_of(subject)(self.block_features(story, first, last), context, stop - start)

    @torch.no_grad()
    def encode_story(self, story: Story, *, progress: Progress | None = None, label: str = "features") -> Tensor:
        """TR features of every row of a story, in evaluation mode: (context + n_trs, width)."""
        was_training = self.training
        self.eval()
        try:
            return story.features(self.encoder, progress=progress, label=label)
        finally:
            self.train(was_training)

    def story_features(
        self, audio: NDArray[np.float32], n_trs: int, *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """TR features of a story's audio for evaluation: float32 (context + n_trs, width).

        Parameters
        ----------
        audio : (n_samples,) float32 at 16 kHz, mono, starting at the sound's onset.
        n_trs : responses of the story; row ``context + k`` belongs to response k.
        """
        story = Story(audio, n_trs, self.config, for_training=False)
        return self.encode_story(story, progress=progress).cpu().numpy()

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the model: ``adapter/`` (plain PEFT, opens on a plain ``transformers`` WavLM), readout, configuration.

        Without LoRA the trained encoder weights go to ``encoder.safetensors``; a frozen encoder is not written.
        The folder appears whole or not at all.
        """
        with atomic_folder(folder) as temporary:
            self.write(temporary)

    def write(self, folder: Path) -> None:
        """Write the model's files into a folder that exists."""
        if self.config.finetune == "lora":
            self.encoder.save_adapter(folder / ADAPTER)
        elif self.config.finetune == "full":
            save_tensors(folder / FULL, self.encoder.wavlm.state_dict())
        save_tensors(folder / _READOUT, self.readout.state_dict())
        commit = getattr(self.encoder.base.config, "_commit_hash", None)
        base = {"digest": self.encoder.base_digest, "commit": commit}
        saved = {"n_voxels": self.n_voxels, "model": as_dict(self.config), "base": base, "provenance": provenance()}
        write_json(folder / MODEL_FILE, saved)

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, base: Path | str | None = None) -> BrainWavLM:
        """Open a saved model, in evaluation mode.

        Parameters
        ----------
        folder : written by :meth:`save_pretrained`.
        base : the pre-trained WavLM, when it has moved since.

        Raises
        ------
        CheckpointError : a file is missing or damaged, its keys are not exactly the model's, or the base model has
            other weights than the one that was tuned.
        """
        folder = Path(folder)
        saved = _read_saved(folder)
        values = dict(saved["model"])
        if base is not None:
            values["model"] = str(base)
        model = cls(from_dict(ModelConfig, values, where=str(folder / MODEL_FILE)), saved["n_voxels"])
        model.load(folder)
        return model.eval()

    def load(self, folder: Path) -> None:
        """Take the trained weights from a folder; every key must be there and fit."""
        self.encoder.load(folder)
        take_tensors(self.readout, load_tensors(folder / _READOUT), where=folder / _READOUT)


def _read_saved(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder.")
    saved = read_json(folder / MODEL_FILE)
    if not isinstance(saved, dict) or not {"n_voxels", "model"} <= saved.keys():
        raise CheckpointError(f"{folder / MODEL_FILE} is not a BrainWavLM configuration; the model folder is damaged.")
    return saved
