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

SIGNIFICANT = "Significant voxels, false discovery rate 5 % within the set (in brackets: over the cortex)"
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


def best_epoch(run: Path, evaluation: str) -> int:
    """The epoch that an evaluation of a run chose; a :class:`CheckpointError` if there is none."""
    path = run / evaluation / SUMMARY
    if not path.is_file():
        raise CheckpointError(f"{run} has not been evaluated ({path} is missing); run `bwlm evaluate {run}` first.")
    best = read_json(path).get("best_epoch")
    if not isinstance(best, int):
        raise CheckpointError(f"{path} names no best epoch; remove its folder and run `bwlm evaluate {run}` again.")
    return best


def teacher_score(numbers: Mapping[str, Any]) -> float | None:
    """Ridge on a simulated brain's teacher, of a voxel set's numbers; earlier versions called it ``ceiling``."""
    score: float | None = numbers.get("teacher", numbers.get("ceiling"))
    return score


def interval_words(numbers: Mapping[str, Any], name: str, form: str = ".4f") -> str:
    """The interval of a number, as [low, high]; empty where there is none, as in results of earlier versions."""
    ends = numbers.get("intervals", {}).get(name)
    return "" if ends is None else f"[{', '.join(format(end, form) for end in ends)}]"


def significance_cells(summary: Mapping[str, Any], voxels: str) -> list[str]:
    """Voxels of a set that are significant: pre-trained, tuned, better, worse; "-" where none could have been.

    Within the set; in brackets over the cortex, as earlier versions counted alone.
    """
    counts = summary["significance"][voxels]
    within, kinds = counts.get("within", counts), {"better": "gain", "worse": "gain"}
    return [
        (f"{within[kind]:,}" + ("" if within is counts or voxels == "all" else f" ({counts[kind]:,})"))
        if _reach(counts, kinds.get(kind, kind))["least_found"]
        else "-"
        for kind in ("pretrained", "tuned", "better", "worse")
    ]


def significance_words(summary: Mapping[str, Any]) -> str:
    """What the tests over the cortex could not have found; empty where they could have found anything."""
    counts = (summary["significance"] or {}).get("all", {})
    said = []
    for test, question in (("tuned", "voxels are above chance"), ("gain", "tuned is better or worse")):
        reach = _reach(counts, test)
        if reach["least_found"] is None:
            short = f"cannot be told from so short a test story: the smallest possible p is {reach['least_p']:.2g}"
            said.append(f"Whether {question} {short}.")
        elif reach["least_found"] > 1:
            said.append(f"Whether {question}: fewer than {reach['least_found']:,} voxels could not have come out.")
    return " ".join(said)


def _reach(counts: Mapping[str, Any], test: str) -> dict[str, Any]:
    """What a test could have found; results of earlier versions do not say."""
    found: dict[str, Any] = counts.get("reach", {}).get(test, {"least_found": 1})
    return found


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
