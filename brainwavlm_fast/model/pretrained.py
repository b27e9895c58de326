"""Pre-trained WavLM in Hugging Face format: opened with every key accounted for, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError


def load_wavlm(name: str | Path) -> Any:
    """A ``transformers`` WavLM with every key accounted for, in float32 and evaluation mode."""
    from transformers import WavLMModel

    _check_is_wavlm(name)
    try:
        with quiet():  # key mismatches are raised below, with the file's name
            model, report = WavLMModel.from_pretrained(
                str(name), output_loading_info=True, dtype=torch.float32, attn_implementation="eager"
            )
    except Exception as error:  # transformers raises many kinds for a damaged file; each ends the same way here
        raise CheckpointError(f"{name}: the WavLM weights cannot be loaded ({first_line(error)}).") from error
    wrong = {
        kind: sorted(report[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[kind]
    }
    if wrong:
        details = "; ".join(
            f"{kind.replace('_', ' ')}: {', '.join(map(str, keys[:3]))}" for kind, keys in wrong.items()
        )
        raise CheckpointError(
            f"{name}: the weights do not match WavLM ({details}). Layers would silently start from random numbers; "
            "use an unmodified WavLM checkpoint."
        )
    return model.eval()


def save_wavlm(model: Any, folder: Path) -> None:
    """Write a ``transformers`` WavLM to a folder that :func:`load_wavlm` opens."""
    with quiet():
        model.save_pretrained(folder)


def _check_is_wavlm(name: str | Path) -> None:
    folder = Path(name)
    if folder.is_dir():
        path = folder / "config.json"
        try:
            kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
        except (OSError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{folder} is not a model folder: {path.name} is missing or damaged. "
                "Expected a WavLM in Hugging Face format."
            ) from error
    elif folder.is_absolute() or str(name).startswith(".") or str(name).count("/") != 1:
        raise CheckpointError(
            f"{name}: no such folder; give a WavLM folder, or a name such as microsoft/wavlm-base-plus."
        )
    else:
        from transformers import AutoConfig

        try:
            kind = AutoConfig.from_pretrained(str(name)).model_type
        except Exception as error:  # no network, no such name, no permission: one message
            raise CheckpointError(
                f"{name}: neither a folder here nor a model that could be fetched ({first_line(error)}). "
                "Give a folder with a WavLM in Hugging Face format, or check the name and the network."
            ) from error
    if kind != "wavlm":
        raise CheckpointError(f"{name} holds a model of type {kind!r}; a WavLM is needed (model_type 'wavlm').")


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings and bars of ``transformers``: this package shows the progress."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
