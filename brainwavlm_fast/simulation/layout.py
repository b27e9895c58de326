"""Writers of ds003020's formats: sound, TextGrids, responses, embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import soundfile
from numpy.typing import NDArray

from ..files import write_json
from .lexicon import Lexicon
from .speech import WAV_RATE
from .stories import Spoken


def write_sound(path: Path, spoken: Spoken, *, mono: bool, rng: np.random.Generator) -> None:
    """A 16-bit WAV at 44.1 kHz, stereo unless ``mono``: both channels hold the voice, each with its own noise."""
    channels = 1 if mono else 2
    noise = 1e-3 * rng.standard_normal((len(spoken.sound), channels)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(spoken.sound[:, None] + noise, -1, 1), WAV_RATE, subtype="PCM_16")


def write_textgrid(path: Path, spoken: Spoken, lexicon: Lexicon) -> None:
    """A Praat TextGrid in the long format: a phone tier, then a word tier; ``sp`` between words."""
    end = len(spoken.sound) / WAV_RATE
    spellings = lexicon.spellings
    tiers = {
        "phone": _fill(spoken.phones, end),
        "word": _fill([(start, stop, spellings[word].upper()) for start, stop, word in spoken.words], end),
    }
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(intervals)}"]
        for k, (start, stop, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{k}]:", f"            xmin = {start:.6f}"]
            lines += [f"            xmax = {stop:.6f}", f'            text = "{text}"']
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.float64]]) -> None:
    """HDF5 that holds no time, so that the same arrays make the same file.

    Of responses ``data`` (n_trs, n_voxels) and, of the test story, ``individual_repeats`` (n_repeats, ...).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, track_times=False)


def write_embeddings(path: Path, lexicon: Lexicon) -> None:
    """Words and their meaning in GloVe's text format: one word and its numbers per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(lexicon.spellings, lexicon.embeddings, strict=True)
    path.write_text("".join(f"{w} {' '.join(f'{x:.6f}' for x in row)}\n" for w, row in rows), encoding="utf-8")


def write_index(root: Path, n_trs: Mapping[str, int], subjects: Sequence[str], version: str) -> None:
    """The small JSON files that the loader starts from; ``respdict.json`` counts recorded TRs, 20 more than rows."""
    derivative = root / "derivative"
    write_json(derivative / "respdict.json", {story: n + 20 for story, n in n_trs.items()})
    write_json(derivative / "subject_xfms.json", {subject: f"{subject}_auto" for subject in subjects})
    description = {
        "Name": "Planted brain, made by bwlm simulate; not measured data",
        "DatasetDOI": f"planted.v{version}",
    }
    write_json(root / "dataset_description.json", description)


def _fill(intervals: Sequence[tuple[float, float, str]], end: float) -> list[tuple[float, float, str]]:
    """The intervals with ``sp`` in the gaps, from 0 to ``end`` without a hole."""
    filled, time = [], 0.0
    for start, stop, text in intervals:
        if start > time + 1e-6:
            filled.append((time, start, "sp"))
        filled.append((max(start, time), stop, text))
        time = stop
    if time < end:
        filled.append((time, end, "sp"))
    return filled
