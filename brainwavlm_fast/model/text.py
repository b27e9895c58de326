"""A language model read word by word: the hidden state at each word's last token, with the words before it in view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import CheckpointError, ConfigError
from .hub_files import first_line, locate_model
from .identity import tensors_digest
from .pretrained import quiet


class TextModel:
    """A Hugging Face language model and its tokenizer, in evaluation mode, on a GPU if there is one.

    Attributes
    ----------
    files : ModelFiles
        Where it was loaded from.
    n_layers : int
        Hidden states are numbered 0 (embeddings) to this.
    """

    def __init__(self, name: str | Path, *, revision: str = "", context: int = 256) -> None:
        """Open a model: a folder in Hugging Face format (safetensors), or a name on the hub.

        Parameters
        ----------
        revision : str, optional
            Commit, tag or branch of a name on the hub.
        context : int, default 256
            Tokens in view at once. Every token but a story's first has at least half of them before it.

        Raises
        ------
        CheckpointError
            Model or tokenizer cannot be opened, or the tokenizer cannot say where its tokens lie.
        ConfigError
            The context is too short, or longer than the model's.
        """
        from transformers import AutoModel, AutoTokenizer

        if context < 2:
            raise ConfigError(f"--context is {context}; it must be 2 tokens or more.")
        self.files = locate_model(name, revision, needs_owner=False)
        try:
            with quiet():
                self._tokenizer = AutoTokenizer.from_pretrained(str(name), **self.files.pinned)
                model = AutoModel.from_pretrained(
                    str(name), use_safetensors=True, dtype=torch.float32, **self.files.pinned
                )
        except Exception as error:  # transformers raises many kinds; each ends the same way here
            raise CheckpointError(
                f"{name}: no language model could be opened ({first_line(error)}). Give a folder in Hugging Face "
                "format with a tokenizer and safetensors, or check the name and the network."
            ) from error
        if not self._tokenizer.is_fast:
            raise CheckpointError(f"{name}: its tokenizer does not say where tokens lie in the text; use a fast one.")
        longest = getattr(model.config, "max_position_embeddings", None)
        if longest is not None and context > longest:
            raise ConfigError(f"--context is {context}; {name} sees {longest} tokens at most.")
        self._context = context
        self._model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self.n_layers = int(model.config.num_hidden_layers)

    def record(self) -> dict[str, Any]:
        """What a result says of the model: ``model``, ``commit`` of the hub (None for a folder), and ``digest``."""
        return self.files.record(tensors_digest(self._model.state_dict()))

    @torch.no_grad()
    def word_states(self, words: Sequence[str], layer: int) -> NDArray[np.float32]:
        """Hidden state ``layer`` at the last token of each word: (n_words, width)."""
        text, ends, position = " ".join(words), [], 0
        for word in words:
            position += len(word)
            ends.append(position)
            position += 1
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        stops = np.array([stop for _, stop in encoded["offset_mapping"]])
        at = np.searchsorted(stops, ends)  # the first token that reaches the word's end
        states = self._states(encoded["input_ids"], layer)
        return states[np.minimum(at, len(states) - 1)]

    def _states(self, tokens: list[int], layer: int) -> NDArray[np.float32]:
        start = [] if self._tokenizer.bos_token_id is None else [self._tokenizer.bos_token_id]
        size = self._context - len(start)
        step = max(1, size // 2)
        states: list[NDArray[np.float32]] = []
        done = 0
        for first in range(0, max(1, len(tokens) - size + step), step):
            part = torch.tensor([[*start, *tokens[first : first + size]]], device=self._model.device)
            hidden = self._model(input_ids=part, output_hidden_states=True).hidden_states[layer][0, len(start) :]
            states.append(hidden[done - first :].float().cpu().numpy())
            done = min(first + size, len(tokens))
        return np.concatenate(states)
