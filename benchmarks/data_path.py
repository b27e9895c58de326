"""Does a training step ever wait for its responses? At UTS02's full width, every story read from disk each time.

Responses are float64 HDF5 files of 94,251 voxels, as published; nothing is kept (``--responses-gb 0``), and the
system's copy of a file is dropped before each read. The model is tiny, so that steps are some ten times shorter than
WavLM Base+'s on this CPU would be, and reading has to be fast to go unnoticed.

    python -m benchmarks.data_path             (some three minutes, 1 GB of disk)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import soundfile
import torch
from torch import Tensor

from brainwavlm_fast.config import ModelConfig, RunConfig, TrainConfig
from brainwavlm_fast.data import TR
from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.memory import keep_freed_memory
from brainwavlm_fast.training import start_run
from brainwavlm_fast.training.log import read_log
from brainwavlm_fast.training.training_data import TrainingData
from tests.helpers.tiny import save_tiny

RESULTS = Path(__file__).parent / "results" / "data_path.json"
N_VOXELS = 94_251
STORIES = {"avatar": 150, "howtodraw": 150, "legacy": 150, "life": 150, "naked": 150, "wheretheressmoke": 40}


def make_wide_tree(root: Path) -> Path:
    """Noise of UTS02's width in ds003020's layout."""
    rng, folder = np.random.default_rng(0), root / "derivative" / "preprocessed_data" / "UTS02"
    folder.mkdir(parents=True)
    (root / "stimuli").mkdir()
    for story, n_trs in STORIES.items():
        sound = 0.1 * rng.standard_normal(int(16_000 * (11 + TR * n_trs)))
        soundfile.write(root / "stimuli" / f"{story}.wav", sound, 16_000)
        with h5py.File(folder / f"{story}.hf5", "w") as file:
            data = file.create_dataset("data", (n_trs, N_VOXELS), "f8")
            for start in range(0, n_trs, 50):
                data[start : start + 50] = rng.standard_normal((min(50, n_trs - start), N_VOXELS))
    (root / "derivative" / "respdict.json").write_text(json.dumps({s: n + 20 for s, n in STORIES.items()}))
    return root


def drop_copy(path: Path) -> None:
    """Have the system forget what it holds of a file."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def measure(work: Path) -> dict[str, Any]:
    """Two epochs over 750 TRs."""
    data, reads = make_wide_tree(work / "data"), []
    real = TrainingData.responses

    def from_disk(self: TrainingData, subject: str, story: str) -> Tensor:
        drop_copy(self.dataset.response_path(subject, story))
        started = time.perf_counter()
        found = real(self, subject, story)
        reads.append(time.perf_counter() - started)
        return found

    TrainingData.responses = from_disk  # type: ignore[method-assign]
    model = ModelConfig(model=str(save_tiny(work / "wavlm")), layer=2)
    train = TrainConfig(subject="UTS02", validation=(), epochs=2, save_every=10**6, responses_gb=0.0)
    summary = start_run(work / "run", RunConfig(str(data), "paper", model, train))
    steps = [r["seconds"] for r in read_log(work / "run" / "log.jsonl") if r["kind"] == "step"]
    return {
        "what": "responses of 94,251 voxels, float64, read from disk for every epoch while a tiny model trains",
        "waited_share": summary["waited_share"],
        "steps": summary["steps"],
        "median_step_seconds": statistics.median(steps),
        "stories_read": len(reads),
        "median_seconds_to_read_a_story": statistics.median(reads),
        "gib_a_story_on_disk": 8 * 150 * N_VOXELS / 2**30,
        "peak_memory_gib": summary["peak_memory_gib"],
        "threads": torch.get_num_threads(),
        "load_average_at_end": os.getloadavg()[0],
        "provenance": provenance(),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder))
    print(
        f"waited for responses: {100 * result['waited_share']:.2f} % of {result['steps']} steps of "
        f"{result['median_step_seconds']:.2f} s; a story takes {result['median_seconds_to_read_a_story']:.2f} s to read"
    )
    write_json(chosen.out, result)


if __name__ == "__main__":
    main()
