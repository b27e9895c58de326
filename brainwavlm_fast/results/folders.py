"""Result folders: read back if they exist, never overwritten, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from ..config import Places, RunConfig
from ..errors import BwlmError, CheckpointError
from ..files import atomic_path, read_json

SUMMARY = "summary.json"
_END_OF_GRID = 1 / 3  # share of voxels or dimensions at an end of the grid of alphas that is worth a warning


def read_run_config(run: Path, places: Places | None = None) -> RunConfig:
    """The configuration of a run folder, in which things are where they are now.

    Raises
    ------
    CheckpointError
        The folder is none of a run.
    """
    path = run / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{run} is not a run (no config.json); give the folder that `bwlm train --out` made.")
    return (places or Places()).update(RunConfig.from_json(path))


def finished(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The summary that a folder has for these settings; None if it has none."""
    path = folder / SUMMARY
    if not path.exists():
        return None
    summary = read_json(path)
    recorded = summary.get("settings") if isinstance(summary, dict) else None
    if recorded == settings:
        return dict(summary)
    older = [name for name in settings if isinstance(recorded, dict) and name not in recorded]
    if older:
        version = summary.get("provenance", {}).get("versions", {}).get("brainwavlm-fast", "unknown")
        raise BwlmError(
            f"{folder} holds results of an earlier version ({version}), which did not record {', '.join(older)}; it "
            f"was not overwritten. Give this one another name, such as --out {folder.name}-2."
        )
    differs = [name for name in settings if not isinstance(recorded, dict) or recorded.get(name) != settings[name]]
    raise BwlmError(
        f"{folder} holds results of other settings ({', '.join(differs)}); it was not overwritten. "
        f"Choose another name, such as --out {folder.name}-2."
    )


def teacher_score(numbers: Mapping[str, Any]) -> float | None:
    """Ridge on a simulated brain's teacher, of a voxel set's numbers; earlier versions called it ``ceiling``."""
    score: float | None = numbers.get("teacher", numbers.get("ceiling"))
    return score


def interval_words(numbers: Mapping[str, Any], name: str, form: str = ".4f") -> str:
    """The interval of a number, as [low, high]; empty where there is none, as in results of earlier versions."""
    ends = numbers.get("intervals", {}).get(name)
    return "" if ends is None else f"[{', '.join(format(end, form) for end in ends)}]"


def significance_cells(summary: Mapping[str, Any], voxels: str) -> list[str]:
    """Voxels of a set that are significant: pre-trained, tuned, better, worse; "-" where none could have been."""
    counts = summary["significance"][voxels]
    return [
        f"{counts[kind]:,}" if _least_found(summary, test) else "-"
        for kind, test in (("pretrained", "pretrained"), ("tuned", "tuned"), ("better", "gain"), ("worse", "gain"))
    ]


def significance_words(summary: Mapping[str, Any]) -> str:
    """What the tests found over the cortex; where nothing could have been found, that instead of a 0."""
    pretrained, tuned, better, worse = significance_cells(summary, "all")
    reach = summary.get("significance_reach") or {}
    short = "cannot be told from so short a test story: the smallest possible p is"
    if "-" in (pretrained, tuned):
        chance = f"Whether voxels are above chance {short} {reach['tuned']['least_p']:.2g}."
    else:
        chance = f"Voxels above chance (false discovery rate 5 %): {pretrained} pre-trained, {tuned} tuned."
    if better == "-":
        return f"{chance} Whether tuned is better or worse {short} {reach['gain']['least_p']:.2g}."
    least = _least_found(summary, "gain") or 1
    few = f" (fewer than {least:,} could not have come out)" if better == worse == "0" and least > 1 else ""
    return f"{chance} Tuned is better at {better}, worse at {worse}{few}."


def _least_found(summary: Mapping[str, Any], test: str) -> int | None:
    """How many voxels had to come out together for any to; results of earlier versions do not say."""
    least: int | None = (summary.get("significance_reach") or {}).get(test, {"least_found": 1})["least_found"]
    return least


def transfer_cells(matrix: Mapping[str, Any], row: int) -> list[str]:
    """Changes in percent of a transfer's run, one cell per subject, with intervals where there are any."""
    changes = matrix["percent"][row]
    known = matrix.get("intervals", {}).get("percent")  # earlier versions have none
    ends = known[row] if known else [None] * len(changes)
    cells = zip(changes, ends, strict=True)
    return [
        "-" if value is None else f"{value:+.1f}" + ("" if end is None else f" [{end[0]:+.1f}, {end[1]:+.1f}]")
        for value, end in cells
    ]


def crowded_ends(counts: Mapping[str, int], n_all: int = 0) -> list[tuple[str, int, int]]:
    """The ends of the grid of alphas that so many took that it is worth a warning: (end, how many, of how many).

    ``counts`` has ``smallest`` and ``largest`` of ``n_predicted``; earlier versions counted all there are, ``n_all``.
    """
    n = counts.get("n_predicted", n_all)
    return [(end, counts[end], n) for end in ("smallest", "largest") if counts[end] > _END_OF_GRID * n]


def floor_words(ceiling: Mapping[str, Any]) -> str:
    """Which ceilings correlations are divided by, after "a ceiling"; in earlier versions one number for all voxels."""
    return str(ceiling["floor_rule"]) if "floor_rule" in ceiling else f"of {ceiling['floor']} or more"


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], **attributes: Any) -> None:
    """Write an HDF5 file of named arrays, atomically."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file.attrs.update(attributes)
