"""Three planted subjects: dissociation, probes, transfer and ceilings, each beside a brain in which nothing is planted.

UTS01 and UTS02 share a teacher, UTS03 follows one of its own, of a meaning that theirs does not predict. Every subject
is tuned on the whole cortex and on auditory cortex (AC), in the planted brain and in its null, where all voxels follow
what the pre-trained student hears already, for the same number of steps; the last epoch counts, so that no run is
chosen. A change is held against the null's: its mean over the three null subjects, and their spread. The words that
are probed are the shared teacher's.

    python -m benchmarks.subjects --work /tmp/subjects         (some ninety minutes on one core)

What is done already in the working folder is read back.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from brainwavlm_fast.files import provenance, write_json

from .planted import TUNING, bwlm

RESULTS = Path(__file__).parent / "results" / "subjects.json"
SUBJECTS = ("UTS01", "UTS02", "UTS03")
ROIS = ("all", "ac")
VOXEL_SETS = ("all", "nonac", "ac")
CEILING_FROM = 0.2  # truth below which a ceiling of 250 TRs is mostly noise
Matrix = dict[str, Any]


def once(path: Path, *arguments: object) -> dict[str, Any]:
    """Run a command unless its result is there; its JSON result."""
    if not path.is_file():
        write_json(path, bwlm(*arguments))
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def tune(work: Path, brain: str, epochs: int) -> list[Path]:
    """Train and evaluate every subject on every voxel set; the run folders, subjects of a voxel set together."""
    runs = []
    for roi in ROIS:
        for subject in SUBJECTS:
            run = work / f"{brain}-{subject}-{roi}"
            once(
                work / f"{run.name}-train.json", "train", "--subject", subject, "--roi", roi, "--data", work / brain,
                "--out", run, "--model", work / brain / "student", *TUNING, "--epochs", epochs,
            )  # fmt: skip
            once(work / f"{run.name}-evaluate.json", "evaluate", run, "--epochs", epochs)
            runs.append(run)
    return runs


def measure(work: Path, brain: str, epochs: int, *more: str) -> dict[str, Any]:
    """Everything about one brain."""
    if not (work / brain).is_dir():
        bwlm("simulate", work / brain, "--seed", 0, *more)
    runs = tune(work, brain, epochs)
    cortex_wide = runs[: len(SUBJECTS)]
    transfer = once(
        work / f"{brain}-transfer.json", "transfer", *cortex_wide, "--subjects", ",".join(SUBJECTS), "--data",
        work / brain, "--out", work / f"{brain}-transfer",
    )  # fmt: skip
    probes = once(
        work / f"{brain}-probes.json", "probe", *cortex_wide, "--data", work / brain, "--layers", "all", "--epoch",
        epochs, "--out", work / f"{brain}-probes",
    )  # fmt: skip
    return {
        "gain": {run.name.removeprefix(f"{brain}-"): gains(work, run) for run in runs},
        "transfer": {which: rises(transfer["matrices"][which]) for which in VOXEL_SETS},
        "probes": {name: probe_rises(found) for name, found in probes["targets"].items()},
        "ceilings": {subject: ceilings(work / brain, cortex_wide[k], subject) for k, subject in enumerate(SUBJECTS)},
        "steps": once(work / f"{cortex_wide[0].name}-train.json")["steps"],
    }


def gains(work: Path, run: Path) -> dict[str, float]:
    """Rise of the mean test correlation in each voxel set from epoch 0 to the last, alphas those of epoch 0."""
    curve = once(work / f"{run.name}-evaluate.json")["curve"]
    return {which: curve[-1]["test"][which] - curve[0]["test"][which] for which in VOXEL_SETS}


def rises(matrix: Matrix) -> list[list[float]]:
    """Tuned minus pre-trained mean correlation: rows who was tuned on, columns who is predicted."""
    return (np.array(matrix["tuned"]) - np.array(matrix["pretrained"])).tolist()


def probe_rises(target: Matrix) -> dict[str, list[float]]:
    """Tuned minus pre-trained probe of each layer, by run."""
    return {label: np.subtract(values, target["pretrained"]).tolist() for label, values in target["tuned"].items()}


def ceilings(brain: Path, run: Path, subject: str) -> dict[str, float]:
    """The noise ceiling from repeats against the truth: what the noise-free signal itself correlates with."""
    with h5py.File(run / "evaluation" / "voxels.hf5") as file, h5py.File(brain / "truth" / f"{subject}.hf5") as truth:
        found, true = np.asarray(file["noise_ceiling"]), np.asarray(truth["true_signal"])
    known = true >= CEILING_FROM
    return {
        "mean_estimated": float(found[known].mean()),
        "mean_true": float(true[known].mean()),
        "median_voxel_error": float(np.median(np.abs(found - true)[known])),
        "n_voxels": int(known.sum()),
    }


def beside(values: list[float], null: list[float]) -> dict[str, Any]:
    """Values, the null's mean and spread, and on which side of them all values lie.

    ``beyond_null``: above the null's largest and its mean + 2 sd; ``within_null``: no farther than 2 sd from its mean.
    """
    mean, sd = statistics.mean(null), statistics.stdev(null)
    return {
        "values": values,
        "null_mean": mean,
        "null_sd": sd,
        "beyond_null": all(value > max(*null, mean + 2 * sd) for value in values),
        "within_null": all(abs(value - mean) <= 2 * sd for value in values),
    }


def verdicts(brain: dict[str, Any], null: dict[str, Any]) -> dict[str, Any]:
    """The claims, each with its numbers."""

    def gain(roi: str, which: str) -> dict[str, Any]:
        return beside(*([found["gain"][f"{s}-{roi}"][which] for s in SUBJECTS] for found in (brain, null)))

    def off_diagonal(found: dict[str, Any], pairs: list[tuple[int, int]]) -> list[float]:
        return [found["transfer"]["nonac"][row][column] for row, column in pairs]

    shared, other = [(0, 1), (1, 0)], [(0, 2), (1, 2)]
    everyone = [(row, column) for row in range(3) for column in range(3) if row != column]
    words, null_words = ([rise[-1] for rise in b["probes"]["words"].values()] for b in (brain, null))
    return {
        "non-AC, cortex-wide tuning": gain("all", "nonac"),
        "AC, AC tuning": gain("ac", "ac"),
        "non-AC, AC tuning": gain("ac", "nonac"),
        "AC, cortex-wide tuning": gain("all", "ac"),
        "words in the layer read, tuned on who follows them": beside(words[:2], null_words),
        "words in the layer read, tuned on who does not": beside(words[2:], null_words),
        "transfer, teacher shared": beside(off_diagonal(brain, shared), off_diagonal(null, everyone)),
        "transfer, teacher of its own": beside(off_diagonal(brain, other), off_diagonal(null, everyone)),
    }


def main() -> None:
    """Run what is missing, print the claims, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for data sets and runs (about 3 GB)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    brain = measure(options.work, "brain", options.epochs)
    null = measure(options.work, "null", options.epochs, "--null")
    found = verdicts(brain, null)
    for name, claim in found.items():
        values = "  ".join(f"{value:+.3f}" for value in claim["values"])
        spread = f"{claim['null_mean']:+.3f} (sd {claim['null_sd']:.3f})"
        where = "beyond" if claim["beyond_null"] else "within" if claim["within_null"] else "neither"
        print(f"{name:52} {values:24} null {spread}   {where}")
    for subject, ceiling in brain["ceilings"].items():
        print(f"ceiling of {subject}: {ceiling['mean_estimated']:.3f}, true {ceiling['mean_true']:.3f}")
    write_json(options.out, {"brain": brain, "null": null, "claims": found, "provenance": provenance()})


if __name__ == "__main__":
    main()
