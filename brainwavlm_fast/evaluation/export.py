"""Features of every layer in one HDF5 file, for other pipelines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..config import ModelConfig, as_dict
from ..data import find_dataset, response_times
from ..errors import BwlmError, ConfigError, suggest
from ..files import atomic_path, provenance
from ..progress import Progress
from .layer_features import LayerFeatures, pretrained_source, run_source
from .results import read_run_config


def export_features(
    what: Path | str,
    out: Path | str,
    *,
    data: Path | str | None = None,
    stories: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    epoch: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write features of a run's encoder or of a pre-trained WavLM at TR rate; returns what the file's head says.

    Parameters
    ----------
    what : a run folder, or a model: a folder in Hugging Face format, or a name on the hub.
    out : the HDF5 file: a dataset (n_layers, history + n_trs, width) a story, whose attribute ``times`` holds the rows'
        seconds after the sound's onset; row ``history + k`` belongs to response k. It appears whole; stopping loses
        at most one story's work.
    data : the data set; by default the run's.
    stories : by default all whose sound the data set lists.
    layers : hidden states, all by default.
    epoch : of a run; see :func:`run_source`.

    Raises
    ------
    BwlmError : model, story or layer do not exist, or ``out`` holds other features.
    """
    out, progress = Path(out), progress or Progress()
    is_run = (Path(what) / "checkpoints").is_dir()
    if epoch is not None and not is_run:
        raise ConfigError(f"--epoch is for a run; {what} is none (it has no checkpoints).")
    source = run_source(Path(what), epoch) if is_run else pretrained_source(ModelConfig(model=str(what)))
    dataset = find_dataset(data if data is not None or not is_run else read_run_config(Path(what)).data)
    known = dataset.stories()
    for name in stories or ():
        if name not in known:
            raise ConfigError(f"unknown story '{name}': {suggest(name, known)}")
    chosen = list(stories or known)
    features = LayerFeatures(source, dataset, layers=layers)
    head = {
        "source": source.label,
        "epoch": source.epoch,
        "fingerprint": features.fingerprint,
        "layers": features.layers,
        "history": features.history,
        "model": as_dict(source.config),
        "stories": {name: features.key(name) for name in chosen},
    }
    if out.exists():
        if _head(out) != head:
            raise BwlmError(f"{out} holds something else; it was not overwritten. Give another --out.")
        progress.say(f"{out} holds these features already; nothing to do.")
        return head
    features.compute(chosen, progress=progress)
    with atomic_path(out) as temporary, h5py.File(temporary, "w") as file:
        for name in chosen:
            values = np.stack([features.load(name, layer) for layer in features.layers])
            file[name] = values
            times = response_times(dataset.n_trs(name), history=features.history, clock=source.config.clock)
            file[name].attrs["times"] = times
        file.attrs["head"] = json.dumps(head)
        file.attrs["provenance"] = json.dumps(provenance())
    return head


def _head(path: Path) -> Any:
    try:
        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["head"])
    except (OSError, KeyError, ValueError):
        return None
