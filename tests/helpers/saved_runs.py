"""Result folders as ``bwlm train``, ``evaluate``, ``probe`` and ``transfer`` leave them, without computing anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from brainwavlm_fast.config import RunConfig, as_dict, preset
from brainwavlm_fast.files import provenance, write_json

N_VOXELS = 60
STORIES = {"train": ["adventure", "bicycle"], "validation": ["fromboyhoodtofatherhood"], "test": ["wheretheressmoke"]}
GAINS = {"all": 0.02, "ac": 0.01, "nonac": 0.03, "lh": 0.02, "rh": 0.02}


def make_saved_run(
    folder: Path,
    *,
    subject: str = "UTS01",
    roi: str = "nonac",
    finetune: str = "lora",
    data: Path | str = "ds003020",
    n_voxels: int = N_VOXELS,
    evaluated: bool = True,
    seed: int = 0,
    gain: float | None = None,
    ac: np.ndarray | None = None,
    more_subjects: tuple[str, ...] = (),
) -> Path:
    """A trained run, evaluated unless told otherwise; what was planted in its numbers is ``gain`` outside AC."""
    model, train = preset("paper")
    train = replace(train, subject=subject, more_subjects=more_subjects, roi=roi, epochs=4)
    config = RunConfig(str(data), "paper", replace(model, finetune=finetune), train)
    config.to_json(folder / "config.json")
    write_json(
        folder / "summary.json",
        {
            "run": str(folder),
            "config": as_dict(config),
            "data": {"version": "3.1.0", "subject": subject, "stories": STORIES, "n_voxels": n_voxels, "n_excluded": 1},
            "steps": 40,
            "epochs": 4,
            "readout_validation": {str(e): {"loss": -0.01 * e, "correlation": 0.01 * e} for e in range(5)},
            "best_readout_epoch": 4,
            "provenance": provenance(),
        },
    )
    if evaluated:
        for who in (subject, *more_subjects):
            planted = GAINS.get(roi, 0.02) if gain is None else gain
            _write_evaluation(folder, config, n_voxels, seed, planted, ac, subject=who)
    return folder


def make_probes(folder: Path, labels: dict[str, float], *, layers: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Probes of runs, by label: word embeddings rise by as much at the last layer, sound falls by half of it."""

    def target(title: str, factor: float) -> dict[str, Any]:
        before = [0.3 - 0.05 * k for k in range(len(layers))]
        ramp = np.linspace(0, 1, len(layers))
        tuned = {label: (np.array(before) + factor * gain * ramp).tolist() for label, gain in labels.items()}
        return {
            "title": title,
            "n_dimensions": 12,
            "pretrained": before,
            "tuned": tuned,
            "improvement": None,
            "sem": None,
        }

    targets = {"mel": target("filterbank energies", -0.5), "words": target("word embeddings", 1.0)}
    ends = {label: {"smallest": 3, "largest": 0, "n_predicted": 70} for label in ("pre-trained", *labels)}
    settings = {"stories": STORIES, "layers": list(layers), "probe": {"chunk_length": 40, "seed": 0}}
    write_json(
        folder / "summary.json",
        {"layers": list(layers), "targets": targets, "at_the_end_of_the_grid": ends, "settings": settings},
    )
    return folder


def make_transfer(folder: Path, *, rows: tuple[str, ...] = ("UTS01-all", "UTS02-all")) -> Path:
    """A transfer between two subjects; the second has no auditory cortex."""
    columns = ["UTS01", "UTS02"]
    percent = [[12.5, 7.0], [8.25, -1.5]][: len(rows)]
    matrices = {
        "all": {"pretrained": [0.1, 0.12], "tuned": [[0.11, 0.13]] * len(rows), "percent": percent},
        "ac": {
            "pretrained": [0.2, None],
            "tuned": [[0.21, None]] * len(rows),
            "percent": [[p[0] / 2, None] for p in percent],
        },
    }
    write_json(folder / "summary.json", {"rows": list(rows), "columns": columns, "matrices": matrices})
    return folder


def _write_evaluation(
    folder: Path, config: RunConfig, n: int, seed: int, gain: float, ac: np.ndarray | None, *, subject: str
) -> None:
    first = subject == config.train.subject
    measured = folder / ("evaluation" if first else f"evaluation-{subject}")
    rng = np.random.default_rng(seed)
    number = int(subject[-1])
    before = 0.12 + 0.02 * number + 0.08 * np.random.default_rng(number).standard_normal(n)
    sets = {"all": np.ones(n, bool), "lh": np.arange(n) < n // 2, "rh": np.arange(n) >= n // 2}
    sets["ac"] = np.arange(n) % 6 == 0 if ac is None else ac
    sets["nonac"] = ~sets["ac"]
    after = before + np.where(sets["ac"], -0.2 * gain, gain) + 0.01 * rng.standard_normal(n)
    excluded = np.zeros(n, bool)
    excluded[4] = True
    before[4] = after[4] = np.nan
    ceiling = np.clip(0.3 + 0.2 * rng.standard_normal(n), 0, 0.9)

    def means(values: np.ndarray) -> dict[str, float]:
        return {name: float(np.nanmean(values[mask])) for name, mask in sets.items()}

    at = {epoch: before + (after - before) * epoch / 4 for epoch in (0, 2, 4)}
    encoding = {
        name: {
            "pretrained": means(before)[name],
            "tuned": means(after)[name],
            "teacher": None,
            "n_voxels": int((mask & ~excluded).sum()),
            "n_excluded": int((mask & excluded).sum()),
            **_gain(means(before)[name], means(after)[name]),
        }
        for name, mask in sets.items()
    }
    with h5py.File(_made(measured) / "voxels.hf5", "w") as file:
        file["encoding/pretrained"], file["encoding/tuned"] = before, after
        file["noise_ceiling"], file["excluded"] = ceiling, excluded
        for name, mask in sets.items():
            file[f"voxel_sets/{name}"] = mask
    ridge = {"alphas": np.logspace(1, 4, 10).tolist(), "penalty": "alpha_squared", "n_splits": 3, "chunk_length": 40}
    write_json(
        measured / "summary.json",
        {
            "encoding": encoding,
            "intervals": {"level": 0.95, "method": "jackknife", "over": "7 blocks of TRs per test story"},
            "best_epoch": 4,
            "best_epoch_by": "mean correlation on the validation stories, over the voxels trained on",
            "curve": [{"epoch": e, "validation": means(values), "test": means(values)} for e, values in at.items()],
            "significance": {"all": {"pretrained": 20, "tuned": 25, "better": 5, "worse": 1}},
            "noise_ceiling": {
                "estimator": "signal power", "caveat": "Selected by it is selected on the test data.", "n_repeats": 10,
                "data_is": "the plain mean of the repeats", "fits": True,
                "agreement": {"plain": 1.0, "standardized": 0.9},
                "floor_rule": "above what 95 % of random shifts give",
                "sets": {
                    "all": {
                        "ceiling": 0.3, "floor": 0.2, "pretrained": 0.4, "tuned": 0.5, "n_normalised": 40,
                        "ratio_of_means": {"pretrained": 0.42, "tuned": 0.52},
                    }
                },
            },
            "run": str(folder),
            "subject": subject,
            "trained_on": config.train.trained_on,
            "seed": config.train.seed,
            "alphas": {
                "grid": ridge["alphas"], "penalty": "alpha_squared", "among": "voxels above chance",
                "pretrained": {"smallest": n // 2, "largest": 1, "n_predicted": n - 10},
                "tuned": {"smallest": 2, "largest": 3, "n_predicted": n - 10},
            },
            "data": {"root": config.data, "version": "3.1.0"},
            "settings": {
                "subject": subject, "stories": STORIES, "epochs": {"0": "a", "2": "b", "4": "c"},
                "delays": [1, 2, 3, 4], "ridge": ridge | {"held_fraction": 0.25, "gap": 0, "seed": 0},
                "block": "auto",
            },
            "config": as_dict(config),
            "provenance": provenance(),
        },
    )  # fmt: skip


def _gain(before: float, after: float) -> dict[str, Any]:
    """Numbers with intervals of +-0.01, +-0.005 for the difference."""
    percent = 100 * (after / before - 1)
    numbers = {"pretrained": (before, 0.01), "tuned": (after, 0.01), "difference": (after - before, 0.005)}
    numbers["percent"] = percent, 4.0
    return {
        "difference": after - before,
        "percent": percent,
        "intervals": {name: [value - half, value + half] for name, (value, half) in numbers.items()},
        "standard_errors": {name: half / 2.45 for name, (_, half) in numbers.items()},
    }


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
