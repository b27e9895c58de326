"""What precision costs where it counts: the gain on a simulated brain, with `make demo`'s settings, by mode.

Each seed's brain is tuned in float32 with the front end kept in float32, with it kept in float16 (the default), and in
bfloat16 with it kept in float16; then evaluated as ever, which is in float32. A second float32 run with another seed
for readout and order of stories says how much of a difference is chance.

    python -m benchmarks.precision --work /tmp/precision --seeds 0,1
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brainwavlm_fast.files import provenance, write_json

from .planted import TUNING, bwlm

RESULTS = Path(__file__).parent / "results" / "precision.json"
MODES = {
    "fp32": ["--cache-dtype", "fp32"],
    "fp32, front end kept in fp16": [],
    "bf16, front end kept in fp16": ["--precision", "bf16"],
    "fp32, another training seed": ["--cache-dtype", "fp32", "--seed", "7"],
}


def measure(seed: int, work: Path, epochs: int) -> dict[str, Any]:
    """Gains of one seed's brain, by mode: mean encoding performance outside AC, tuned minus pre-trained."""
    brain = work / f"brain-{seed}"
    if not brain.exists():
        bwlm("simulate", brain, "--seed", seed, "--subjects", "S01")
    found: dict[str, Any] = {}
    for name, options in MODES.items():
        run = work / f"run-{seed}-{len(found)}"
        trained = bwlm(
            "train", "--subject", "S01", "--roi", "nonac", "--data", brain, "--out", run, "--model", brain / "student",
            *TUNING, "--epochs", epochs, *options,
        )  # fmt: skip
        evaluated = bwlm("evaluate", run, "--epochs", f"{epochs // 2},{epochs}")
        means = evaluated["encoding"]["nonac"]
        last = trained["readout_validation"][str(epochs)]
        found[name] = {
            "pretrained": means["pretrained"],
            "tuned": means["tuned"],
            "gain": means["tuned"] - means["pretrained"],
            "best_epoch": evaluated["best_epoch"],
            "last_validation_loss": last["loss"],
            "training_seconds": trained["wall_seconds"],
        }
        print(f"seed {seed}, {name}: gain {found[name]['gain']:.4f}, validation loss {last['loss']:+.5f}", flush=True)
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for brains and runs, some 0.3 GB per seed")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = {}
    for seed in map(int, options.seeds.split(",")):
        found[str(seed)] = measure(seed, options.work, options.epochs)
        write_json(options.out, {"epochs": options.epochs, "seeds": found, "provenance": provenance()})


if __name__ == "__main__":
    main()
