"""Voxelwise ridge with cross-validated penalties, against the field's bootstrap ridge, himalaya and scikit-learn.

Scores and chosen penalties must agree with a plain float64 transcription of the field's method (on a few hundred of the
targets) before anything is timed, and himalaya's choice of penalties with ours. One core by default, one process, one
run, every rival in each of its back ends: compare ratios, not seconds.

    python -m benchmarks.ridge                      (n 3,000, p 1,024, 20,000 targets: some ten minutes on one core)
    python -m benchmarks.ridge --device cuda --n 9000 --p 3072 --targets 90000       (beside himalaya's CUDA back end)
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.rivals import Rival, ratios
from brainwavlm_fast import RidgeCV, delay_stack
from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.memory import peak_memory
from brainwavlm_fast.ridge.row_splits import ChunkBootstrap
from tests.helpers.field_ridge import svd_ridge, zscored

RESULTS = Path(__file__).parent / "results" / "ridge.json"
ALPHAS = np.logspace(1, 4, 10)
RIVALS = {
    "cpu": {
        "himalaya, numpy": Rival("himalaya", "numpy"),
        "himalaya, torch": Rival("himalaya", "torch"),
        "field's bootstrap ridge": Rival("", "numpy, float64"),
        "scikit-learn": Rival("scikit-learn", "numpy"),
    },
    "cuda": {"himalaya": Rival("himalaya", "torch_cuda")},
}
Splits = list[tuple[np.ndarray, np.ndarray]]


def problem(n: int, p: int, n_targets: int) -> tuple[np.ndarray, np.ndarray, Splits]:
    """Features like a language model's (power-law spectrum, autocorrelated, four delays), autocorrelated responses."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((n, p // 4))
    for t in range(1, n):
        base[t] += 0.7 * base[t - 1]
    base = base * np.arange(1, p // 4 + 1) ** -0.5 @ np.linalg.qr(rng.standard_normal((p // 4, p // 4)))[0]
    X = delay_stack(zscored(base), [1, 2, 3, 4]).astype(np.float32)
    Y = X @ (rng.standard_normal((p, n_targets), dtype=np.float32) * np.float32(0.3 / p**0.5))
    noise = rng.standard_normal((n, n_targets), dtype=np.float32)
    noise[1:] += 0.4 * noise[:-1]
    Y += noise
    splits = list(ChunkBootstrap(3, chunk_length=40).split(X))
    return X, zscored(Y).astype(np.float32), splits


def field_ridge(X: np.ndarray, Y: np.ndarray, alphas: np.ndarray, splits: Splits) -> tuple[np.ndarray, np.ndarray]:
    """The field's bootstrap ridge as it is run: an SVD a split, a product and two z-scores an alpha, float64."""
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    scores = np.zeros((len(alphas), Y.shape[1]))
    for train, held in splits:
        U, s, Vt = np.linalg.svd(X[train], full_matrices=False)
        projected, basis = U.T @ Y[train], X[held] @ Vt.T
        z_held = zscored(Y[held])
        for k, alpha in enumerate(alphas):
            predicted = basis @ ((s / (s**2 + alpha**2))[:, None] * projected)
            scores[k] += (zscored(predicted) * z_held).mean(axis=0) / len(splits)
    best = alphas[np.argmax(scores, axis=0)]
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    projected = U.T @ Y
    weights = np.empty((X.shape[1], Y.shape[1]))
    for alpha in alphas:
        chosen = best == alpha
        weights[:, chosen] = Vt.T @ ((s / (s**2 + alpha**2))[:, None] * projected[:, chosen])
    return scores, weights


def himalaya(X: np.ndarray, Y: np.ndarray, alphas: np.ndarray, splits: Splits, back_end: str) -> np.ndarray:
    """himalaya's solver with the same splits, penalties and score, in float32; the alphas that it chose.

    Its weights come to the host, as ours do.
    """
    from himalaya.backend import set_backend
    from himalaya.ridge import solve_ridge_cv_svd
    from himalaya.scoring import correlation_score

    backend = set_backend(back_end)
    X, Y, penalties = backend.asarray(X), backend.asarray(Y), backend.asarray(alphas**2, dtype="float32")
    best, coef, _ = solve_ridge_cv_svd(
        X, Y, alphas=penalties, cv=splits, score_func=correlation_score, n_targets_batch=2000
    )
    assert backend.to_numpy(coef).shape == (X.shape[1], Y.shape[1])
    return np.sqrt(backend.to_numpy(best))


def scikit_learn(X: np.ndarray, Y: np.ndarray, alphas: np.ndarray, splits: Splits) -> None:
    """scikit-learn's RidgeCV with a penalty a target: leave one out, since it takes no splits then."""
    from sklearn.linear_model import RidgeCV as Theirs

    Theirs(alphas=alphas**2, alpha_per_target=True, fit_intercept=False).fit(X, Y)


def decompositions(p: int) -> dict[str, float]:
    """Seconds of one eigendecomposition of a (p, p) Gram matrix in float64, on the host and on the GPU."""
    import torch

    gram = np.cov(np.random.default_rng(0).standard_normal((p, 2 * p)))
    there = torch.from_numpy(gram).cuda()
    torch.linalg.eigh(there[:64, :64])
    torch.cuda.synchronize()
    seconds = {}
    for name, run in (("host", lambda: np.linalg.eigh(gram)), ("GPU", lambda: torch.linalg.eigh(there))):
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds[name] = time.perf_counter() - started
        print(f"eigendecomposition of {p} x {p} on the {name}: {seconds[name]:.2f} s", flush=True)
    return seconds


def check(X: np.ndarray, Y: np.ndarray, splits: Splits, device: str) -> dict[str, float]:
    """Largest differences from the field's method on 300 targets, in both precisions."""
    some = Y[:, :300]
    scores, weights = field_ridge(X, some, ALPHAS, splits)
    reference = svd_ridge(X[splits[0][0]].astype(np.float64), some[splits[0][0], :2].astype(np.float64), 100.0)
    assert np.isfinite(reference).all()
    errors = {}
    for name, dtype, limit in (("float32", np.float32, 2e-6), ("float64", np.float64, 1e-8)):
        wide = np.tile(some.astype(dtype), (1, 10))  # enough targets for the sweep to pay
        ours = RidgeCV(ALPHAS, cv=splits, device=device).fit(X.astype(dtype), wide)
        found = ours.cv_scores_[:, :300]
        errors[f"{name}: scores"] = float(np.abs(found - scores).max())
        regret = scores.max(axis=0) - scores[np.argmax(found, axis=0), np.arange(300)]
        errors[f"{name}: score regret"] = float(regret.max())
        errors[f"{name}: weights"] = float(np.abs(ours.coef_[:300].T - weights).max() / np.abs(weights).max())
        assert errors[f"{name}: scores"] <= limit, f"{name}: scores differ by {errors[f'{name}: scores']:.1e}"
        assert errors[f"{name}: score regret"] <= 1e-6
    for name, rival in RIVALS[device].items():
        if rival.package == "himalaya":
            picked = np.searchsorted(ALPHAS, himalaya(X, some, ALPHAS, splits, rival.back_end) * 0.99)
            errors[f"{name}: score regret"] = float((scores.max(axis=0) - scores[picked, np.arange(300)]).max())
            assert errors[f"{name}: score regret"] <= 1e-6, f"{name} chooses other penalties"
    return errors


def main() -> None:
    """Prove equality, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=3000)
    parser.add_argument("--p", type=int, default=1024)
    parser.add_argument("--targets", type=int, default=20_000)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        X, Y, splits = problem(options.n, options.p, options.targets)
        errors = check(X, Y, splits, options.device)
        for name, value in errors.items():
            print(f"{name} differ by at most {value:.1e}")
        before = peak_memory()

        def ours(alphas: np.ndarray) -> RidgeCV:
            return RidgeCV(alphas, cv=splits, device=options.device)

        rivals = RIVALS[options.device]
        more = np.logspace(1, 4, 40)
        methods: dict[str, tuple[int, Callable[[], Any]]] = {
            "ours": (options.rounds, lambda: ours(ALPHAS).fit(X, Y)),
            "ours, 40 alphas": (options.rounds, lambda: ours(more).fit(X, Y)),
            "ours, float64": (1, lambda: ours(ALPHAS).fit(X.astype(np.float64), Y.astype(np.float64))),
        }
        for name, rival in rivals.items():
            if rival.package == "himalaya":
                methods[name] = (options.peer_rounds, lambda end=rival.back_end: himalaya(X, Y, ALPHAS, splits, end))
        if options.device == "cpu":
            methods |= {
                "field's bootstrap ridge": (options.peer_rounds, lambda: field_ridge(X, Y, ALPHAS, splits)),
                "scikit-learn": (options.peer_rounds, lambda: scikit_learn(X, Y, ALPHAS, splits)),
            }
        seconds: dict[str, list[float]] = {name: [] for name in methods}
        memory = 0
        for turn in range(max(rounds for rounds, _ in methods.values())):
            for name, (rounds, run) in methods.items():
                if turn < rounds:
                    started = time.perf_counter()
                    run()
                    seconds[name].append(time.perf_counter() - started)
                    if name == "ours" and turn == 0:
                        memory = peak_memory() - before
                    print(f"{name}: {seconds[name][-1]:.2f} s", flush=True)
    medians = {name: statistics.median(times) for name, times in seconds.items() if times}
    terms = ratios(medians, rivals, options.threads)
    for name, ratio in terms["times_ours"].items():
        print(f"{name:25} {medians[name]:8.2f} s   {ratio:6.2f} times ours")
    size = {"n": options.n, "p": options.p, "n_targets": options.targets, "threads": options.threads}
    eigh = decompositions(options.p) if options.device == "cuda" else {}
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    result = {
        "device": device,
        "size": size,
        "errors": errors,
        "eigh_seconds": eigh,
        "seconds": seconds,
        "medians": medians,
        **terms,
        "peak_beyond_inputs_gib": round(memory / 2**30, 2),
        "provenance": provenance(),
    }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
