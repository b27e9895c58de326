"""On which terms a ratio was measured; a benchmark writes none without them."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info


@dataclass(frozen=True)
class Rival:
    """What ours is compared with: ``package`` as it is installed (empty: a transcription here), and its back end."""

    package: str
    back_end: str


def processor() -> str:
    """The processor's name, by which BLAS libraries choose their kernels."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def ratios(medians: Mapping[str, float], rivals: Mapping[str, Rival], threads: int) -> dict[str, Any]:
    """Each median over ours, and the terms: rival's version and back end, threads, BLAS libraries, processor.

    Raises
    ------
    ValueError
        Something was timed that ``rivals`` does not describe, or a term is not known.
    """
    unnamed = [name for name in medians if not name.startswith("ours") and name not in rivals]
    name = processor()
    if unnamed or not name or threads < 1:
        raise ValueError(f"no ratio without its terms: {unnamed or 'processor and threads'} must be named.")
    terms = {}
    for label, rival in rivals.items():
        version = importlib.metadata.version(rival.package) if rival.package else "a transcription here"
        terms[label] = asdict(rival) | {"version": version}
    loaded = threadpool_info()
    libraries = {f"{lib['internal_api']} {lib['version']} {lib.get('architecture') or ''}".strip() for lib in loaded}
    return {
        "processor": name,
        "threads": threads,
        "libraries": sorted(libraries),
        "rivals": terms,
        "times_ours": {label: seconds / medians["ours"] for label, seconds in medians.items()},
    }
