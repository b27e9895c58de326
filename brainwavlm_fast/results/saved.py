"""Saved results, opened for figures and reports: runs with their evaluations and probes, and transfers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..config import RunConfig
from ..errors import CheckpointError, ConfigError
from ..files import read_json
from .folders import SUMMARY, read_run_config

_HOW = {"lora": "", "full": " without LoRA", "frozen": ", readout only"}


@dataclass(frozen=True, eq=False)  # a run is itself, and can be a key
class SavedRun:
    """A run folder and its results; for a run on several subjects, those of one of them.

    Attributes
    ----------
    label : str
        Names the run among those opened with it, such as ``UTS01-nonac``; also a file name.
    training, evaluation, probes : dict[str, Any] | None
        Their summaries; None if not run yet.
    measured : Path
        Folder of the evaluation.
    """

    folder: Path
    label: str
    config: RunConfig
    measured: Path
    training: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    probes: dict[str, Any] | None

    @property
    def subject(self) -> str:
        """The full name of the subject it was measured on."""
        return str((self.evaluation or {}).get("subject", self.config.train.subject))

    @property
    def model(self) -> str:
        """What the model is, whoever the subject: ``tuned on ac``, ``tuned on all without LoRA``."""
        train = self.config.train
        of = f" of {' and '.join(train.subjects)}" if train.more_subjects else ""
        return f"tuned on {train.trained_on}{of}{_HOW[self.config.model.finetune]}"

    @property
    def title(self) -> str:
        """Whose voxels, and which model: ``UTS01, tuned on all - ac``."""
        return f"{self.subject}, {self.model}"

    @property
    def trained_set(self) -> str:
        """The voxel set that chose the best epoch, if the evaluation knows it; else ``all``."""
        name = self.config.train.roi_name
        return name if self.evaluation and name in self.evaluation["encoding"] else "all"

    def set_name(self, name: str) -> str:
        """A voxel set of the results as its user writes it."""
        return self.config.train.set_as_written(name)

    @property
    def folders(self) -> tuple[Path, Path]:
        """Its result folders: the run and its evaluation."""
        return self.folder, self.measured

    def voxels(self, *names: str) -> dict[str, NDArray[Any]]:
        """Arrays of the evaluation's ``voxels.hf5`` by name, as far as the file has them.

        Raises
        ------
        CheckpointError
            The file is missing or damaged.
        """
        path = self.measured / "voxels.hf5"
        try:
            with h5py.File(path, "r") as file:
                return {name: np.asarray(file[name]) for name in names if name in file}
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be read ({error}); remove {self.measured} and run `bwlm evaluate {self.folder}` again."
            ) from error

    def voxel_sets(self) -> dict[str, NDArray[np.bool_]]:
        """The voxel sets that the evaluation averaged over."""
        assert self.evaluation is not None
        masks = self.voxels(*(f"voxel_sets/{name}" for name in self.evaluation["encoding"]))
        return {name.removeprefix("voxel_sets/"): mask.astype(bool) for name, mask in masks.items()}


@dataclass(frozen=True)
class Saved:
    """Everything that was opened: runs, and transfers and probes that have separate folders.

    ``transfers`` and ``probes`` are folders and summaries; ``probes`` includes those of the runs.
    """

    runs: tuple[SavedRun, ...]
    transfers: tuple[tuple[Path, dict[str, Any]], ...]
    probes: tuple[tuple[Path, dict[str, Any]], ...]

    @property
    def evaluated(self) -> tuple[SavedRun, ...]:
        """Runs with an evaluation."""
        return tuple(run for run in self.runs if run.evaluation is not None)

    @property
    def not_evaluated(self) -> tuple[SavedRun, ...]:
        """Runs without one."""
        return tuple(run for run in self.runs if run.evaluation is None)

    def needs_evaluation(self) -> str:
        """What to do where no run has an evaluation."""
        names = " ".join(str(run.folder) for run in self.not_evaluated) or "RUN"
        return f"no run has been evaluated; run `bwlm evaluate {names}` first."

    def pairs(self) -> Iterator[tuple[SavedRun, SavedRun]]:
        """Every two evaluated runs whose voxels are the same and were tested on the same stories."""
        runs = self.evaluated
        for k, first in enumerate(runs):
            for second in runs[k + 1 :]:
                if first.subject == second.subject and _test(first) == _test(second):
                    yield first, second


def open_saved(paths: Sequence[Path | str], *, evaluation: str = "evaluation") -> Saved:
    """Open run folders, and folders that ``bwlm transfer`` or ``bwlm probe`` made.

    Parameters
    ----------
    evaluation : str, default 'evaluation'
        Name of the evaluation inside each run.

    Raises
    ------
    ConfigError
        No folder was given.
    CheckpointError
        A folder is none of these, or a file in it is damaged.
    """
    if not paths:
        raise ConfigError("give at least one run folder, such as runs/UTS02-all.")
    folders = list(dict.fromkeys(Path(path) for path in paths))
    others: dict[str, list[tuple[Path, dict[str, Any]]]] = {"matrices": [], "targets": []}
    runs = []
    for folder in folders:
        if (folder / "config.json").is_file():
            runs.append(folder)
            continue
        summary = _summary(folder)
        kind = next((kind for kind in others if summary is not None and kind in summary), None)
        if kind is None or summary is None:
            raise CheckpointError(
                f"{folder} is neither a run (it has no config.json) nor results of `bwlm transfer` or `bwlm probe`."
            )
        others[kind].append((folder, summary))
    opened = _open_runs(runs, evaluation)
    probes = {run.folder / "probes": run.probes for run in opened if run.probes is not None}
    return Saved(opened, tuple(others["matrices"]), (*probes.items(), *others["targets"]))


def tuned_pair(first: SavedRun, second: SavedRun) -> tuple[NDArray[Any], NDArray[Any]]:
    """Correlations of two runs' tuned models on the same voxels: (n_voxels,) each.

    Raises
    ------
    CheckpointError
        Their numbers of voxels differ.
    """
    one, other = (run.voxels("encoding/tuned")["encoding/tuned"] for run in (first, second))
    if len(one) != len(other):
        raise CheckpointError(
            f"{first.folder} has {len(one)} voxels and {second.folder} {len(other)}: they are of different versions of "
            f"{first.subject}'s data and cannot be compared. Give one of them."
        )
    return one, other


def digest(folders: Iterable[Path], *also: Any) -> str:
    """A digest of the summaries in result folders and of anything else: other results, another digest."""
    sha = hashlib.sha256(repr(also).encode())
    for folder in folders:
        for name in ("config.json", SUMMARY):
            if (folder / name).is_file():
                sha.update((folder / name).read_bytes())
    return sha.hexdigest()[:16]


def _open_runs(folders: list[Path], evaluation: str) -> tuple[SavedRun, ...]:
    configs = [read_run_config(folder) for folder in folders]
    kinds = [c.train.label if c.model.finetune == "lora" else f"{c.train.label}-{c.model.finetune}" for c in configs]
    names = [f.resolve().name if kinds.count(kind) > 1 else kind for f, kind in zip(folders, kinds, strict=True)]
    if len(set(names)) < len(names):
        raise ConfigError(f"runs {', '.join(map(str, folders))} cannot be told apart; rename their folders.")
    return tuple(
        run
        for folder, name, config in zip(folders, names, configs, strict=True)
        for run in _open_run(folder, name, config, evaluation)
    )


def _open_run(folder: Path, name: str, config: RunConfig, evaluation: str) -> Iterator[SavedRun]:
    """A run, once; one on several subjects once per subject that it was evaluated on."""
    training, probes = _summary(folder), _summary(folder / "probes", "targets")
    folders = [folder / evaluation, *(folder / f"{evaluation}-{subject}" for subject in config.train.more_subjects)]
    summaries = {path: summary for path in folders if (summary := _summary(path, "encoding")) is not None}
    for path in summaries or folders[:1]:
        summary = summaries.get(path)
        label = f"{name}_{summary['subject']}" if summary and config.train.more_subjects else name
        yield SavedRun(folder, label, config, path, training, summary, probes)


def _summary(folder: Path, key: str = "") -> dict[str, Any] | None:
    """The summary in a folder; None if it has none. ``key`` must be in it."""
    path = folder / SUMMARY
    if not path.is_file():
        return None
    summary = read_json(path)
    if not isinstance(summary, dict) or (key and key not in summary):
        raise CheckpointError(f"{path} is invalid (no '{key}'); remove its folder and make it again.")
    return summary


def _test(run: SavedRun) -> Any:
    return (run.evaluation or {})["settings"]["stories"]["test"]
