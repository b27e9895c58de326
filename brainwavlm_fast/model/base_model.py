"""Which pre-trained weights a model was tuned on: recorded in every checkpoint and result, compared at every load."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import read_json
from .hub_files import ModelFiles

MODEL_FILE = "brainwavlm.json"
_RECORD, _DIGEST, _ALL_LAYERS = "base", "digest", "digest_of_all_layers"


@dataclass(frozen=True)
class BaseModel:
    """Pre-trained weights as they were loaded.

    Attributes
    ----------
    files : ModelFiles
        Where they were loaded from.
    digests : tuple of str
        Of :func:`base_digests`: entry k covers what hidden state k depends on.
    layer : int
        The hidden state that is read.
    """

    files: ModelFiles
    digests: tuple[str, ...]
    layer: int

    @property
    def digest(self) -> str:
        """Of what the layer that is read depends on."""
        return self.digests[self.layer]

    def record(self, *, all_layers: bool = False) -> dict[str, Any]:
        """What a result says of them: ``model``, ``commit`` of the hub (None for a folder), and ``digest``."""
        return self.files.record(self.digests[-1] if all_layers else self.digest)

    def checkpoint_record(self) -> dict[str, Any]:
        """What a checkpoint says of them, which :meth:`require` reads."""
        return {_RECORD: {**self.record(), _ALL_LAYERS: self.digests[-1]}}

    def require(self, folder: Path, *, all_layers: bool = False) -> None:
        """Refuse a saved model that was tuned on other weights.

        Parameters
        ----------
        folder : Path
            Of the saved model.
        all_layers : bool, default False
            Whether layers above the one that was trained are read too.

        Raises
        ------
        CheckpointError
            The weights are others, or the file that would say so is missing or damaged.
        """
        path = folder / MODEL_FILE
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; the checkpoint is damaged. Remove its folder, or train again.")
        content = read_json(path)
        saved = content.get(_RECORD) if isinstance(content, dict) else None
        which = _ALL_LAYERS if all_layers else _DIGEST
        if not isinstance(saved, dict) or not isinstance(saved.get(which), str):
            of = " of layers above the one that was trained" if all_layers and isinstance(saved, dict) else ""
            warnings.warn(
                f"models saved by earlier versions do not record the weights{of} that they were tuned on; whether "
                f"{self.files.name} still holds them is not checked.",
                stacklevel=1,  # one place, so that it is shown once
            )
            return
        now = self.record(all_layers=all_layers)
        if saved[which] != now[_DIGEST]:
            raise CheckpointError(
                f"{folder} was tuned on a base model with digest {_short(saved[which], saved.get('commit'))}, but "
                f"{self.files.name} now holds weights with digest {_short(now[_DIGEST], now['commit'])}, which would "
                "give wrong numbers. Say where the original model is (--model and --revision; in Python base), or "
                "train again."
            )


def _short(digest: str, commit: str | None) -> str:
    return digest[:12] + (f" (commit {commit[:12]} of the hub)" if commit else "")
