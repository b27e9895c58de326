"""On which terms a ratio was measured; a benchmark writes none without them."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from brainwavlm_fast.kernels import build_info


@dataclass(frozen=True)
class Rival:
    """What ours is compared with: ``package`` as it is installed (empty: a transcription here), and its back end."""

    package: str
    back_end: str


def processor() -> str:
    """The processor's name, by which BLAS libraries choose their kernels, and the widest vectors that ours use."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {build_info()['simd']}" if name else ""


def terms(rivals: Mapping[str, Rival], threads: int) -> dict[str, Any]:
    """What a ratio is written beside: rivals' versions and back ends, threads, BLAS libraries, processor.

    Raises
    ------
    ValueError
        There is no rival, or the processor or the number of threads is not known.
    """
    name = processor()
    if not rivals or not name or threads < 1:
        raise ValueError("no ratio without its terms: rivals, processor and threads must be named.")
    described = {}
    for label, rival in rivals.items():
        version = importlib.metadata.version(rival.package) if rival.package else "a transcription here"
        described[label] = asdict(rival) | {"version": version}
    loaded = threadpool_info()
    libraries = {f"{lib['internal_api']} {lib['version']} {lib.get('architecture') or ''}".strip() for lib in loaded}
    return {"processor": name, "threads": threads, "libraries": sorted(libraries), "rivals": described}


def ratios(medians: Mapping[str, float], rivals: Mapping[str, Rival], threads: int) -> dict[str, Any]:
    """Each median over ours, beside its :func:`terms`.

    Raises
    ------
    ValueError
        Something was timed that ``rivals`` does not describe, or a term is not known.
    """
    unnamed = [name for name in medians if not name.startswith("ours") and name not in rivals]
    if unnamed:
        raise ValueError(f"no ratio without its terms: {unnamed} must be described.")
    over_ours = {label: seconds / medians["ours"] for label, seconds in medians.items()}
    return terms(rivals, threads) | {"times_ours": over_ours}
