"""A long run on a tiny model: memory must not grow, and ten kills at random moments must not change one bit.

Two runs of the same configuration, regularizers on, through the command line. One is left alone and its memory is
read every half second; the other is killed (SIGKILL) at random steps, a random moment into each, and resumed. Every
tensor of their last checkpoints, and their logs, must be equal.

    python -m benchmarks.soak                  (about six minutes on one core)
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.training.log import read_log
from tests.helpers.tiny import save_tiny
from tests.helpers.tree import make_tree

RESULTS = Path(__file__).parent / "results" / "soak.json"
BLOCKS_PER_EPOCH = 25  # two training stories of 25 and 23 TRs, two TRs a block
GROWTH_ALLOWED = 16  # MiB from the first quarter's peak on: the allocator's own ups and downs
WARM = 200  # steps after which memory is judged; shorter runs are compared only


def bwlm_train(*options: object) -> subprocess.Popen[bytes]:
    """Start a training process that says nothing."""
    command = [sys.executable, "-m", "brainwavlm_fast.cli.main", "train", *map(str, options)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def resident_mib(pid: int) -> float:
    """Memory that a process holds now; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in status else 0.0


def steps_logged(run: Path) -> int:
    """The last step in a run's log."""
    path = run / "log.jsonl"
    return max((r["step"] for r in read_log(path)), default=0) if path.exists() else 0


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that must end well."""
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"training ended with status {process.returncode}:\n{said.decode()}")


def undisturbed(options: list[object], run: Path) -> list[tuple[int, float]]:
    """Train without a kill; (step, MiB) twice a second."""
    process = bwlm_train(*options, "--out", run)
    memory = []
    while process.poll() is None:
        step = steps_logged(run)
        if step:
            memory.append((step, resident_mib(process.pid)))
        time.sleep(0.5)
    finish(process)
    return [(step, mib) for step, mib in memory if mib]


def killed(options: list[object], run: Path, targets: list[int], rng: random.Random) -> list[int]:
    """Train, killed a moment after each target step; the steps that were logged when it was."""
    died_at = []
    process = bwlm_train(*options, "--out", run)
    for target in targets:
        while steps_logged(run) < target and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"the run ended by itself (status {process.returncode}) before it could be killed")
        died_at.append(steps_logged(run))
        process = bwlm_train("--resume", run)
    finish(process)
    return died_at


def compare(one: Path, other: Path, epochs: int) -> int:
    """Hold two runs to each other, bit for bit; the number of tensors compared."""
    n_tensors = 0
    last = Path("checkpoints") / f"epoch-{epochs:03d}"
    for path in sorted((one / last).rglob("*.safetensors")):
        a, b = load_file(path), load_file(other / path.relative_to(one))
        assert a.keys() == b.keys(), path
        assert all(torch.equal(a[name], b[name]) for name in a), f"{path} differs"
        n_tensors += len(a)
    logs = [
        [{k: v for k, v in r.items() if k != "seconds"} for r in read_log(run / "log.jsonl") if r["kind"] != "note"]
        for run in (one, other)
    ]
    assert logs[0] == logs[1], "the logs differ"
    return n_tensors


def soak(work: Path, steps: int, kills: int, seed: int) -> dict[str, Any]:
    """Both runs; raises where they differ or memory grew."""
    epochs, rng = -(-steps // BLOCKS_PER_EPOCH), random.Random(seed)
    options: list[object] = [
        "--data", make_tree(work / "data"), "--subject", "S01", "--model", save_tiny(work / "wavlm"), "--layer", 2,
        "--stride", 1.0, "--bottleneck", 6, "--block-size", 2, "--epochs", epochs, "--lr", 1e-3, "--save-every", 10,
        "--validation", "fromboyhoodtofatherhood",
    ]  # fmt: skip
    memory = undisturbed(options, work / "alone")
    targets = sorted(rng.sample(range(1, epochs * BLOCKS_PER_EPOCH - 5), kills))
    died_at = killed(options, work / "killed", targets, rng)
    n_tensors = compare(work / "alone", work / "killed", epochs)
    quarter = max(mib for step, mib in memory if step <= max(steps // 4, memory[0][0]))
    growth = max(mib for _, mib in memory) - quarter
    assert steps < 4 * WARM or growth <= GROWTH_ALLOWED, f"memory grew by {growth:.0f} MiB after the first quarter"
    slope = np.polyfit(*zip(*[m for m in memory if m[0] > steps // 4] or memory, strict=True), 1)[0]
    return {
        "what": "tiny WavLM, all regularizers on, killed at random and resumed, against a run left alone",
        "steps": epochs * BLOCKS_PER_EPOCH,
        "killed_at_steps": died_at,
        "tensors_equal": n_tensors,
        "resident_mib": {"first_quarter_peak": quarter, "peak": max(m for _, m in memory), "end": memory[-1][1]},
        "mib_per_1000_steps": round(float(slope) * 1000, 3),
        "provenance": provenance(),
    }


def main() -> None:
    """Soak, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder), chosen.steps, chosen.kills, chosen.seed)
    print(f"{result['steps']} steps, killed at {result['killed_at_steps']}: {result['tensors_equal']} tensors equal")
    print(f"memory, MiB: {result['resident_mib']}, {result['mib_per_1000_steps']} more every 1,000 steps")
    write_json(chosen.out, result)


if __name__ == "__main__":
    main()
