"""BrainWavLM: a WavLM encoder and a readout to voxels, trained together, saved as a PEFT adapter and safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import ModelConfig, as_dict, from_dict
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import CheckpointError, ConfigError
from ..files import atomic_folder, provenance, read_json, write_json
from ..progress import Progress
from .base_model import MODEL_FILE
from .encoder import Encoder
from .identity import TUNED_FILES
from .lora import save_adapter
from .readout import Readout
from .story import Story
from .story_features import story_features
from .weights import load_tensors, save_tensors, take_tensors

_READOUT = "readout.safetensors"


class BrainWavLM(nn.Module):
    """A WavLM encoder and a linear readout that predict brain responses to speech, trained together.

    Windows of 4 s, one ending every 0.25 s, go through WavLM up to one layer; a Lanczos filter brings the features of
    their first frames to TR times, and a z-scored, delayed copy of these goes through a linear bottleneck to voxels
    (Vattikonda, Vaidya, Antonello & Huth 2025, arXiv 2502.08866, section 2; its settings are ``ModelConfig``'s
    defaults).

    Parameters
    ----------
    config : ModelConfig
        Encoder, windows, filter, delays and bottleneck. ``config.model`` is a folder in Hugging Face format, or a name
        on the hub.
    n_voxels : int or Mapping[str, int]
        Responses to predict; with several subjects (subject -> voxels) all share one encoder, and each has its own
        readout. Readouts are drawn from torch's global generator: seed it for a repeatable start.

    Attributes
    ----------
    encoder : Encoder
        Waveforms (n_windows, n_samples) to features (n_windows, width).
    readout : Readout or nn.ModuleDict
        TR features to responses; a dictionary of them where there are several subjects.

    Raises
    ------
    CheckpointError
        The pre-trained WavLM cannot be loaded, or is none.
    ConfigError
        It has fewer layers than ``config.layer``.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from transformers import WavLMConfig, WavLMModel
    >>> from brainwavlm_fast.config import ModelConfig
    >>> folder = tempfile.TemporaryDirectory()
    >>> sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    >>> wavlm = WavLMModel(WavLMConfig(**sizes, conv_dim=(8,) * 7, num_conv_pos_embedding_groups=4))
    >>> wavlm.save_pretrained(folder.name)  # a real one is "microsoft/wavlm-base-plus"
    >>> model = BrainWavLM(ModelConfig(model=folder.name, layer=2, stride=1.0), n_voxels=50)
    >>> audio = np.random.default_rng(0).standard_normal(35 * 16_000).astype(np.float32)
    >>> model.story_features(audio, n_trs=10).shape  # 4 rows before the first response
    (14, 16)
    >>> model.save_pretrained(folder.name + "/tuned")
    >>> BrainWavLM.from_pretrained(folder.name + "/tuned").n_voxels
    50
    >>> folder.cleanup()
    """

    def __init__(self, config: ModelConfig, n_voxels: int | Mapping[str, int]) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.readout: Readout | nn.ModuleDict
        if isinstance(n_voxels, Mapping):
            self.readout = nn.ModuleDict({subject: self._new_readout(n) for subject, n in n_voxels.items()})
        else:
            self.readout = self._new_readout(n_voxels)

    def _new_readout(self, n_voxels: int) -> Readout:
        config = self.config
        width, bias = self.encoder.width, config.readout_bias
        return Readout(width, n_voxels, delays=config.delays, bottleneck=config.bottleneck, bias=bias)

    def readout_of(self, subject: str | None = None) -> Readout:
        """A subject's readout.

        Parameters
        ----------
        subject : str, optional
            Not needed where there is one readout.

        Returns
        -------
        Readout
            TR features (n_rows, width) to responses (n_trs, n_voxels).

        Raises
        ------
        ConfigError
            There are several, and ``subject`` is none of them.
        """
        if not isinstance(self.readout, nn.ModuleDict):
            return self.readout
        if subject is None or subject not in self.readout:
            raise ConfigError(f"subject is {subject!r}; this model predicts {', '.join(self.readout)}.")
        return cast(Readout, self.readout[subject])

    @property
    def n_voxels(self) -> int | dict[str, int]:
        """Responses that are predicted; per subject where there are several."""
        if isinstance(self.readout, nn.ModuleDict):
            return {subject: self.readout_of(subject).n_voxels for subject in self.readout}
        return self.readout_of().n_voxels

    def train(self, mode: bool = True) -> BrainWavLM:
        """Training mode. With ``regularizers`` off only LoRA's own dropout acts in it."""
        super().train(mode)
        if mode and not self.config.regularizers:
            self.encoder.eval()
            for name, module in self.encoder.named_modules():
                if "lora_dropout" in name:
                    module.train()
        return self

    def block_span(self, story: Story, start: int, stop: int, *, with_context: bool) -> tuple[int, int, int]:
        """Rows of TR features that a prediction needs.

        Parameters
        ----------
        story : Story
            Its context rows come first.
        start, stop : int
            Responses ``start`` to ``stop - 1`` are predicted.
        with_context : bool
            Whether the rows before ``start`` that the delays reach are among them.

        Returns
        -------
        tuple of int
            First row, last row + 1, and how many of them are context.
        """
        if not with_context:
            return start + story.context, stop + story.context, 0
        first = start + story.context - max(self.config.delays)
        last = stop + story.context - min(self.config.delays)
        return first, max(last, first + 1), max(self.config.delays)

    def forward(
        self, story: Story, start: int, stop: int, *, with_context: bool = True, subject: str | None = None
    ) -> Tensor:
        """Predicted responses ``start`` to ``stop - 1`` of a story, with gradient.

        Parameters
        ----------
        story : Story
            Audio and windows.
        start, stop : int
            Responses, counted from the story's first.
        with_context : bool, default True
            Whether delays see the features before ``start``, or zeros (as the authors' release trains).
        subject : str, optional
            Whose readout, where there are several.

        Returns
        -------
        Tensor
            (stop - start, n_voxels).
        """
        first, last, context = self.block_span(story, start, stop, with_context=with_context)
        windows, weights = story.rows(first, last)
        features = self.encoder.encode(story, windows)
        return self.readout_of(subject)(weights.to(features) @ features, context, stop - start)

    def encode_story(
        self, story: Story, *, ranks: Ranks = SINGLE_PROCESS, progress: Progress | None = None, label: str = "features"
    ) -> Tensor:
        """TR features of every row of a story, in evaluation mode and without gradient: (context + n_trs, width)."""
        was_training = self.training
        self.eval()
        try:
            return story_features(self.encoder, story, ranks=ranks, progress=progress, label=label)
        finally:
            self.train(was_training)

    def story_features(
        self, audio: NDArray[np.float32], n_trs: int, *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """TR features of a story's audio for evaluation.

        Parameters
        ----------
        audio : NDArray
            (n_samples,) float32 at 16 kHz, mono, starting at the sound's onset.
        n_trs : int
            Responses of the story.
        progress : Progress, optional
            Where progress is shown; nowhere by default.

        Returns
        -------
        NDArray
            float32 (context + n_trs, width); row ``context + k`` belongs to response k.

        Raises
        ------
        DataError
            The audio is too short for the responses.
        """
        story = Story(audio, n_trs, self.config, for_training=False)
        return self.encode_story(story, progress=progress).cpu().numpy()

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the model: ``adapter/`` (plain PEFT, opens on a plain ``transformers`` WavLM), readout, configuration.

        Without LoRA the trained encoder weights go to ``encoder.safetensors``; a frozen encoder is not written. The
        folder appears complete or not at all.

        Parameters
        ----------
        folder : Path or str
            Made; a folder of that name is replaced.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            self.write(temporary)

    def write(self, folder: Path) -> None:
        """Write the model's files into a folder that exists."""
        path = folder / TUNED_FILES.get(self.config.finetune, "")
        if self.config.finetune == "lora":
            save_adapter(self.encoder.wavlm, path.parent)
        elif self.config.finetune == "full":
            save_tensors(path, self.encoder.wavlm.state_dict())
        save_tensors(folder / _READOUT, self.readout.state_dict())
        base = self.encoder.pretrained.checkpoint_record()
        saved = {"n_voxels": self.n_voxels, "model": as_dict(self.config), **base, "provenance": provenance()}
        write_json(folder / MODEL_FILE, saved)

    @classmethod
    def from_pretrained(
        cls, folder: Path | str, *, base: Path | str | None = None, revision: str | None = None
    ) -> BrainWavLM:
        """Open a saved model, in evaluation mode.

        Parameters
        ----------
        folder : Path or str
            Written by :meth:`save_pretrained`.
        base : Path or str, optional
            The pre-trained WavLM, when it has moved since: a folder, or a name on the hub.
        revision : str, optional
            Commit, tag or branch of a name on the hub; by default its main branch, and where ``base``
            is left out the commit that was tuned on.

        Raises
        ------
        CheckpointError
            A file is missing or damaged, its keys are not exactly the model's, or the base model has other weights than
            the one that was tuned.
        """
        folder = Path(folder)
        saved = _read_saved(folder)
        config: ModelConfig = from_dict(ModelConfig, saved["model"], where=str(folder / MODEL_FILE))
        model = cls(config.with_base(base, revision), saved["n_voxels"])
        model.load(folder)
        return model.eval()

    def load(self, folder: Path) -> None:
        """Load the trained weights of a folder, whose keys must be exactly the model's."""
        self.encoder.load(folder)
        take_tensors(self.readout, load_tensors(folder / _READOUT), where=folder / _READOUT)


def _read_saved(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder.")
    saved = read_json(folder / MODEL_FILE)
    if not isinstance(saved, dict) or not {"n_voxels", "model"} <= saved.keys():
        raise CheckpointError(f"{folder / MODEL_FILE} is not a BrainWavLM configuration; the model folder is damaged.")
    return saved
