"""The evaluation's three heavy parts against what a script without this package does, one core, one run.

*Encoding*: one epoch's features of 27 stories, four delays (p 3,072), every voxel: read, z-scored, cross-validated,
fitted and scored on the test story, against a plain transcription of the field's bootstrap ridge in float64.
*Probes*: 13 layers, three delays (p 2,304), 340 targets, against a loop over scikit-learn's RidgeCV: with the same
splits (one penalty for all targets, which is all that it offers then), and one row left out with a penalty a target.
*Features*: all hidden states of WavLM Base+'s size, against a call of ``transformers`` a window.
Each is held to the other's numbers first.

    python -m benchmarks.evaluation                        (some fifteen minutes and 8 GiB)
    python -m benchmarks.evaluation --parts probes,features
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from transformers import WavLMConfig, WavLMModel

from brainwavlm_fast import RidgeCV, delay_stack
from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.data import StorySplit
from brainwavlm_fast.evaluation.encoding import EncodingSettings, encode
from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.memory import keep_freed_memory
from brainwavlm_fast.model import Encoder, Story
from brainwavlm_fast.model.activations import frames_at_once
from brainwavlm_fast.ridge.alphas import FIELD_ALPHAS
from brainwavlm_fast.ridge.row_splits import ChunkBootstrap, resolve_splits

from .ridge import field_ridge, zscored
from .rivals import Rival, ratios

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
ALPHAS = np.array(FIELD_ALPHAS)
DELAYS, LOOK_AHEAD = (1, 2, 3, 4), (0, -1, -2)
STORY, TEST_TRS = 333, 291
Result = dict[str, Any]
RIVALS = {
    "encoding": {"field": Rival("", "numpy, float64")},
    "probes": {
        "scikit-learn, the same splits": Rival("scikit-learn", "numpy"),
        "scikit-learn, one row left out": Rival("scikit-learn", "numpy"),
    },
    "features": {"transformers": Rival("transformers", "torch, eager")},
}


def smooth(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    """Features with a network's power-law spectrum, autocorrelated in time."""
    base = rng.standard_normal((n, width))
    for t in range(1, n):
        base[t] += 0.7 * base[t - 1]
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0]
    mixed: np.ndarray = (base * np.arange(1, width + 1) ** -0.5 @ rotation).astype(np.float32)
    return mixed


def timed(runs: dict[str, Callable[[], Any]], rounds: dict[str, int]) -> dict[str, float]:
    """Median seconds of each, rounds interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(max(rounds.values())):
        for name, run in runs.items():
            if turn < rounds[name]:
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
                print(f"  {name}: {seconds[name][-1]:.2f} s", flush=True)
    return {name: statistics.median(times) for name, times in seconds.items()}


class InMemory:
    """Responses in one array a story."""

    def __init__(self, stories: dict[str, np.ndarray]) -> None:
        self._stories = stories
        self.n_voxels = next(iter(stories.values())).shape[1]

    def read(self, story: str, voxels: slice) -> np.ndarray:
        """A story's responses for a stretch of voxels."""
        return self._stories[story][:, voxels]


def encoding(n_stories: int, n_voxels: int) -> Result:
    """One epoch's encoding models."""
    rng, context = np.random.default_rng(0), max(DELAYS)
    lengths = {f"story-{k:02d}": STORY for k in range(n_stories)} | {"test": TEST_TRS}
    features = {name: smooth(rng, n + context, 768) for name, n in lengths.items()}
    weights = rng.standard_normal((768, n_voxels), dtype=np.float32) * np.float32(0.02)
    measured = {
        name: features[name][context - 2 : -2] @ weights + rng.standard_normal((n, n_voxels), dtype=np.float32)
        for name, n in lengths.items()
    }
    train = tuple(name for name in lengths if name != "test")
    split = StorySplit(train, (), ("test",))
    onsets = np.cumsum([0, *(lengths[name] for name in train[:-1])])
    splits = resolve_splits(ChunkBootstrap(3, chunk_length=40), sum(lengths[s] for s in train), run_onsets=onsets)

    def ours(responses: InMemory) -> np.ndarray:
        return encode(features, responses, EncodingSettings(split, DELAYS)).test["test"]

    def field(responses: InMemory) -> np.ndarray:
        stacked = {s: delay_stack(zscored(f).astype(np.float64), DELAYS, context=context) for s, f in features.items()}
        everything = slice(0, responses.n_voxels)
        X = np.concatenate([stacked[s] for s in train])
        Y = np.concatenate([zscored(responses.read(s, everything).astype(np.float64)) for s in train])
        _, coef = field_ridge(X, Y, ALPHAS, splits)
        return (zscored(stacked["test"] @ coef) * zscored(responses.read("test", everything))).mean(axis=0)

    few = InMemory({name: y[:, :200] for name, y in measured.items()})
    error = float(np.abs(ours(few) - field(few)).max())
    print(f"encoding: test correlations differ from the field's by at most {error:.1e}")
    assert error < 2e-5, "not equal: nothing was timed"
    full = InMemory(measured)
    seconds = timed({"ours": lambda: ours(full), "field": lambda: field(full)}, {"ours": 3, "field": 1})
    n = sum(lengths[s] for s in train)
    return {"n": n, "p": 3072, "n_voxels": n_voxels, "error": error, "seconds": seconds}


def probes(n_trs: int) -> Result:
    """Probes of every layer."""
    from sklearn.linear_model import RidgeCV as Theirs

    rng = np.random.default_rng(0)
    onsets = list(range(0, n_trs, STORY))
    layers = [zscored(smooth(rng, n_trs, 768)).astype(np.float32) for _ in range(13)]
    weights = rng.standard_normal((768, 340), dtype=np.float32) * np.float32(0.05)
    Y = zscored(layers[5] @ weights + rng.standard_normal((n_trs, 340), dtype=np.float32)).astype(np.float32)
    splits = resolve_splits(ChunkBootstrap(3, chunk_length=40), n_trs, run_onsets=onsets)

    def ours(X: np.ndarray, **options: Any) -> RidgeCV:
        return RidgeCV(ALPHAS, cv=splits, delays=LOOK_AHEAD, **options).fit(X, Y, run_onsets=onsets)

    def theirs(X: np.ndarray, **options: Any) -> Any:
        stacked = delay_stack(X, LOOK_AHEAD, run_onsets=onsets)
        return Theirs(ALPHAS**2, fit_intercept=False, **options).fit(stacked, Y)

    mine, other = ours(layers[5], scoring="r2", alpha_per_target=False), theirs(layers[5], cv=splits, scoring="r2")
    assert mine.alphas_[0] ** 2 == other.alpha_, "another penalty: nothing was timed"
    error = float(np.abs(mine.coef_ - other.coef_).max() / np.abs(other.coef_).max())
    print(f"probes: weights differ from scikit-learn's by at most {error:.1e} (relative)")
    assert error < 1e-3, "not equal: nothing was timed"
    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: [ours(X) for X in layers],
        "scikit-learn, the same splits": lambda: [theirs(X, cv=splits, scoring="r2") for X in layers],
        "scikit-learn, one row left out": lambda: [theirs(X, alpha_per_target=True) for X in layers],
    }
    return {"n": n_trs, "p": 2304, "n_targets": 340, "error": error, "seconds": timed(runs, dict.fromkeys(runs, 1))}


def features(n_windows: int) -> Result:
    """All hidden states of some windows."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        wavlm = WavLMModel(WavLMConfig()).eval()
        wavlm.save_pretrained(folder)
        config = ModelConfig(model=folder, finetune="frozen", layer=0)
        encoder = Encoder(config, all_layers=True).eval()
    audio = np.random.default_rng(0).standard_normal(16_000 * 20 + 4000 * n_windows).astype(np.float32)
    story = Story(audio, 4, config, for_training=False)
    plan = story.plan
    chosen = np.flatnonzero(plan.ends - plan.starts == 64_000)[:n_windows]
    layers, at_once = list(range(13)), frames_at_once(encoder, 199)

    @torch.no_grad()
    def ours() -> np.ndarray:
        return encoder.encode(story, chosen, batch_frames=at_once, layers=layers).numpy()

    @torch.no_grad()
    def theirs() -> np.ndarray:
        found = []
        for k in chosen:
            window = torch.from_numpy(audio[None, plan.starts[k] : plan.ends[k]])
            hidden = wavlm(window, output_hidden_states=True).hidden_states
            found.append(torch.stack([h[0, 0] for h in hidden]))
        return torch.stack(found).numpy()

    error = float(np.abs(ours() - theirs()).max())
    print(f"features: differ from transformers' by at most {error:.1e}")
    assert error < 1e-4, "not equal: nothing was timed"
    seconds = timed({"ours": ours, "transformers": theirs}, {"ours": 3, "transformers": 3})
    return {"n_windows": len(chosen), "error": error, "seconds": seconds}


def main() -> None:
    """Prove equality, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="encoding,probes,features")
    parser.add_argument("--stories", type=int, default=27, help="of 333 TRs each (encoding)")
    parser.add_argument("--voxels", type=int, default=20_000)
    parser.add_argument("--probe-trs", type=int, default=8991)
    parser.add_argument(
        "--windows", type=int, default=64, help="as many as the package takes through the layers at once"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    parts: dict[str, Callable[[], Result]] = {
        "encoding": lambda: encoding(options.stories, options.voxels),
        "probes": lambda: probes(options.probe_trs),
        "features": lambda: features(options.windows),
    }
    results: dict[str, Any] = {}
    with threadpool_limits(options.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a small alpha beside a large eigenvalue: both methods' alike
        for name in options.parts.split(","):
            print(name)
            found = parts[name]()
            found |= ratios(found["seconds"], RIVALS[name], options.threads)
            for peer, ratio in found["times_ours"].items():
                print(f"  {peer:32} {ratio:6.2f} times ours")
            results[name] = found
    write_json(options.out, results | {"provenance": provenance()})


if __name__ == "__main__":
    main()
