"""Pre-trained WavLM in Hugging Face format: opened with every key accounted for, or not at all."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from .hub_files import ModelFiles, first_line, locate_model
from .preprocessing import FILE, expects_normalized_sound

# What transformers' models for a task (CTC, sequences, frames, x-vectors) have beside the encoder.
_HEADS = (
    "lm_head.", "projector.", "classifier.", "layer_weights", "tdnn.", "objective.",
    "feature_extractor.weight", "feature_extractor.bias",
)  # fmt: skip
_MASK = "masked_spec_embed"  # stands where SpecAugment masks frames
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def load_wavlm(model: ModelFiles | str | Path) -> Any:
    """A ``transformers`` WavLM with every key accounted for, in float32 and evaluation mode.

    Its configuration says as ``do_normalize`` whether its sound is normalized. The encoder of a model with a task's
    head is taken, with a warning that names the head.

    Parameters
    ----------
    model : ModelFiles, str or Path
        What :func:`locate_model` found, or what it is to find.

    Raises
    ------
    CheckpointError
        There is no WavLM there, its files are damaged or were not fetched, keys are missing or unknown, or a weight is
        NaN or infinity.
    """
    from transformers import WavLMModel

    files = model if isinstance(model, ModelFiles) else locate_model(model)
    name = files.name
    _check_is_wavlm(files)
    try:
        with quiet():  # key mismatches are raised below, with the file's name
            wavlm, report = WavLMModel.from_pretrained(
                name, output_loading_info=True, dtype=torch.float32, attn_implementation="eager", **files.pinned
            )
    except Exception as error:  # transformers raises many kinds for a damaged file; each ends the same way here
        raise CheckpointError(f"{name}: the WavLM weights cannot be loaded ({_own_words(error)}).") from error
    _account_for_keys(name, wavlm, report)
    for key, weight in wavlm.state_dict().items():
        if not torch.isfinite(weight).all():
            raise CheckpointError(f"{name}: {key} holds NaN or infinity; the model would give no features.")
    wavlm.config.do_normalize = expects_normalized_sound(files, wavlm.config)
    return wavlm.eval()


def _account_for_keys(name: str | Path, model: Any, report: dict[str, Any]) -> None:
    """Refuse missing and unknown keys, but for those of a task's head and a mask's embedding that nothing uses."""
    wrong = {kind: sorted(map(str, report[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    head = [key for key in wrong["unexpected_keys"] if key.startswith(_HEADS)]
    if head:
        kinds = ", ".join(dict.fromkeys(key.split(".")[0] for key in head))
        warnings.warn(f"{name}: the task's head ({kinds}) is dropped; its encoder is used.", stacklevel=4)
    unused = {*head}
    if not (model.config.apply_spec_augment and model.config.mask_time_prob > 0):
        unused.add(_MASK)
        if _MASK in wrong["missing_keys"]:  # transformers left random numbers there
            with torch.no_grad():
                model.masked_spec_embed.zero_()
    found = {kind: [key for key in keys if key not in unused] for kind, keys in wrong.items()}
    details = [f"{kind.replace('_', ' ')}: {', '.join(keys[:3])}" for kind, keys in found.items() if keys]
    if details:
        raise CheckpointError(
            f"{name}: the weights do not match WavLM ({'; '.join(details)}). Layers would silently start from random "
            "numbers; use an unmodified WavLM checkpoint."
        )


def save_wavlm(model: Any, folder: Path) -> None:
    """Write a ``transformers`` WavLM to a folder that :func:`load_wavlm` opens."""
    with quiet():
        model.save_pretrained(folder)
    (folder / FILE).write_text(json.dumps({"do_normalize": bool(getattr(model.config, "do_normalize", False))}))


def _check_is_wavlm(files: ModelFiles) -> None:
    path = files.find("config.json")
    try:
        kind = json.loads("" if path is None else path.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{files.name} is not a model folder: config.json is missing or damaged. "
            "Expected a WavLM in Hugging Face format."
        ) from error
    if files.commit is None:
        _refuse_pointers(Path(files.name))
    if kind != "wavlm":
        raise CheckpointError(f"{files.name} holds a model of type {kind!r}; a WavLM is needed (model_type 'wavlm').")


def _refuse_pointers(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin") and path.is_file():
            with path.open("rb") as file:
                if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                    raise CheckpointError(f"{path} was not fetched; run in its folder: git lfs pull")


def _own_words(error: BaseException) -> str:
    """What went wrong, without what another library advises."""
    text = str(error)
    if "weights_only" in text or "pickle" in text.lower():
        return "the file is damaged, or it pickles more than tensors, which is never opened; use .safetensors"
    return first_line(error)


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
