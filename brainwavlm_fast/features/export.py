"""Features at TR rate in one HDF5 file: every layer of a speech model, or a language model's states of the words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cached_files import file_digest, read_cached, write_cached
from ..config import ModelConfig, Places, as_dict
from ..data import Dataset, find_dataset, response_times, story_audio, story_words
from ..errors import BwlmError, ConfigError, suggest
from ..model import TextModel, lanczos_weights
from ..progress import Progress
from ..results.folders import read_run_config
from .sources import Source, pretrained_source, run_source
from .store import FeatureStore


def export_features(
    what: Path | str,
    out: Path | str,
    *,
    places: Places | None = None,
    stories: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    epoch: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write features of a run's encoder or of a pre-trained WavLM at TR rate; returns what the file says of itself.

    Parameters
    ----------
    what : a run folder, or a model: a folder in Hugging Face format, or a name on the hub.
    out : the HDF5 file: one dataset (n_layers, context + n_trs, width) per story, whose attribute ``times`` holds the
        rows' seconds after the sound's onset; row ``context + k`` belongs to response k. Stopping loses at most one
        story's work.
    places : the data set, and a run's base model, if they have moved; the revision of a name on the hub.
    stories : by default all whose sound the data set lists.
    layers : hidden states, all by default.
    epoch : of a run; see :func:`run_source`.

    Raises
    ------
    BwlmError : model, story or layer do not exist, or ``out`` holds other features.
    """
    out, progress = Path(out), progress or Progress()
    source, dataset = _open_source(what, epoch, places or Places())
    chosen = _stories(dataset, stories)
    store = FeatureStore([source], dataset, layers="all" if layers is None else layers)
    head = {
        "source": source.label,
        "epoch": source.epoch,
        "base": store.base["digest"],
        "layers": store.layers,
        "context": store.context,
        "model": {name: value for name, value in as_dict(source.config).items() if name not in ("model", "revision")},
        "stories": {name: store.key(name, source.epoch) for name in chosen},
    }
    about = head | {"base": store.base}
    if _is_there(out, head, progress):
        return about
    store.compute(chosen, progress=progress)

    def matrices() -> Iterator[tuple[str, NDArray[np.float32]]]:
        for name in chosen:
            yield name, np.stack([store.load(name, layer=layer) for layer in store.layers or ()])

    times = {
        name: response_times(dataset.n_trs(name), context=store.context, clock=source.config.clock) for name in chosen
    }
    _write(out, head, matrices(), times, base=store.base)
    return about


def export_text_features(
    model: Path | str,
    out: Path | str,
    *,
    revision: str = "",
    data: Path | str | None = None,
    stories: Sequence[str] | None = None,
    layer: int | None = None,
    context: int = 256,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a language model's states at TR rate, for ``bwlm train --target`` and ``bwlm probe --target``.

    The hidden state at each word's last token, at the word's middle, brought to TRs by the Lanczos filter, story by
    story (the paper's model tuned on features of LLaMA).

    Parameters
    ----------
    model, revision : a causal language model in Hugging Face format: a folder, or a name on the hub, and its commit,
        tag or branch.
    out : the HDF5 file: one dataset (n_trs, width) per story, one row per response.
    data, stories : the data set, and by default all of its stories.
    layer : hidden state; by default the middle one.
    context : tokens in view at once.

    Raises
    ------
    BwlmError : model, layer or story do not exist, a TextGrid is missing or invalid, or ``out`` holds other features.
    """
    out, progress = Path(out), progress or Progress()
    dataset = find_dataset(data)
    chosen = _stories(dataset, stories)
    sounds = {name: dataset.has(dataset.audio_path(name)) for name in chosen}
    spoken = {name: story_words(dataset, name, story_audio(dataset, name) if sounds[name] else None) for name in chosen}
    opened = TextModel(model, revision=revision, context=context)
    layer = opened.n_layers // 2 if layer is None else layer
    if not 0 <= layer <= opened.n_layers:
        raise ConfigError(f"--layer: layer {layer} does not exist; {model} has hidden states 0 to {opened.n_layers}.")
    base = opened.record()
    head = {
        "weights": base["digest"],
        "layer": layer,
        "context": context,
        "stories": {name: [dataset.n_trs(name), file_digest(dataset.textgrid_path(name))] for name in chosen},
    }
    if _is_there(out, head, progress):
        return head | {"base": base}

    def matrices() -> Iterator[tuple[str, NDArray[np.float32]]]:
        with progress.task("text features", len(chosen)) as advance:
            for name in chosen:
                said = spoken[name]
                states = opened.word_states([word.text for word in said], layer)
                middles = np.array([(word.start + word.end) / 2 for word in said])
                weights = lanczos_weights(middles, response_times(dataset.n_trs(name)))
                yield name, (weights @ states).astype(np.float32)
                advance(note=name)

    _write(out, head, matrices(), {name: response_times(dataset.n_trs(name)) for name in chosen}, base=base)
    return head | {"base": base}


def _open_source(what: Path | str, epoch: int | None, places: Places) -> tuple[Source, Dataset]:
    """The encoder and the data set of a run, or of a pre-trained model."""
    if (Path(what) / "checkpoints").is_dir():
        config = read_run_config(Path(what), places)
        return run_source(Path(what), epoch, config), find_dataset(config.data)
    if epoch is not None or places.model is not None:
        option = "--epoch" if epoch is not None else "--model"
        raise ConfigError(f"{option} is for a run; {what} is none (it has no checkpoints).")
    return pretrained_source(ModelConfig().with_base(what, places.revision)), find_dataset(places.data)


def _stories(dataset: Dataset, stories: Sequence[str] | None) -> list[str]:
    known = dataset.stories()
    for name in stories or ():
        if name not in known:
            raise ConfigError(f"unknown story '{name}': {suggest(name, known)}")
    return list(stories or known)


def _is_there(out: Path, head: dict[str, Any], progress: Progress) -> bool:
    if not out.exists():
        return False
    if read_cached(out, head, lambda file: True) is None:
        raise BwlmError(f"{out} holds something else; it was not overwritten. Give another --out.")
    progress.say(f"{out} holds these features already; nothing to do.")
    return True


def _write(
    out: Path,
    head: dict[str, Any],
    matrices: Iterable[tuple[str, NDArray[np.float32]]],
    times: Mapping[str, NDArray[np.float64]],
    *,
    base: Mapping[str, Any],
) -> None:
    with write_cached(out, head) as file:
        file.attrs["base"] = json.dumps(base)
        for name, values in matrices:
            file[name] = values
            file[name].attrs["times"] = times[name]
