"""The commands that make results again, from what the results say of themselves."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import RunConfig, option_words, preset
from ..results.saved import Saved, SavedRun


def repeat_commands(saved: Saved) -> list[str]:
    """Command lines in the order in which they are run."""
    lines = []
    for run in saved.runs:
        lines.append(_line(*train_command(run.config, run.folder)))
        if run.evaluation is not None:
            lines.append(_line(*evaluate_command(run)))
    for folder, summary in saved.probes:
        lines.append(_line(*probe_command(saved, folder, summary)))
    for folder, summary in saved.transfers:
        runs = _folders(saved, summary["rows"])
        lines.append(_line("transfer", *runs, "--subjects", ",".join(summary["columns"]), "--out", str(folder)))
    everything = [*dict.fromkeys(run.folder for run in saved.runs)] + [folder for folder, _ in saved.transfers]
    lines.append(_line("report", *map(str, everything)))
    return list(dict.fromkeys(lines))  # a run on several subjects is trained once


def train_command(config: RunConfig, folder: Path) -> list[str]:
    """Arguments of ``bwlm`` that train the run again: what differs from its preset."""
    model, train = preset(config.preset)
    train = replace(train, subject=config.train.subject)
    words = ["train", "--subject", ",".join(config.train.subjects), "--data", config.data]
    words += option_words(config, RunConfig(config.data))
    words += option_words(config.model, model) + option_words(config.train, train)
    return [*words, "--out", str(folder)]


def evaluate_command(run: SavedRun) -> list[str]:
    """Arguments of ``bwlm`` that evaluate the run again; every option is given, so that no default matters."""
    found = run.evaluation or {}
    settings = found["settings"]
    ridge = settings["ridge"]
    epochs = [epoch for epoch in settings["epochs"] if epoch != "0"]
    words = ["evaluate", str(run.folder), "--data", found["data"]["root"], "--out", run.measured.name]
    words += ["--subject", run.subject] if run.config.train.more_subjects else []
    words += ["--epochs", ",".join(epochs)] if epochs else []
    words += ["--alphas", _grid(ridge["alphas"]), "--chunk", str(ridge["chunk_length"])]
    words += ["--splits", str(ridge["n_splits"]), "--gap", str(ridge["gap"]), "--seed", str(ridge["seed"])]
    return [*words, "--block", str(settings.get("block", "auto"))]  # earlier versions drew permutations


def probe_command(saved: Saved, folder: Path, summary: Mapping[str, Any]) -> list[str]:
    """Arguments of ``bwlm`` that probe again."""
    settings, labels = summary["settings"], list(next(iter(summary["targets"].values()))["tuned"])
    words = ["probe", *_folders(saved, labels), "--layers", ",".join(map(str, summary["layers"])), "--out", str(folder)]
    notes = settings.get("targets", {})
    words += ["--embeddings", notes["words"]["embeddings"]] if "words" in notes else []
    for about in notes.values():
        words += ["--target", about["file"]] if "file" in about else []
    probe = settings["probe"]
    words += ["--alphas", _grid(probe["alphas"])] if "alphas" in probe else []
    return [*words, "--chunk", str(probe["chunk_length"]), "--seed", str(probe["seed"])]


def _folders(saved: Saved, labels: list[str]) -> list[str]:
    """The folders of runs named by ``SUBJECT-SET``; the name itself where that run was not given."""
    known = {run.config.train.label: run for run in saved.runs}
    known |= {run.folder.name: run for run in saved.runs}
    return [str(known[label].folder) if label in known else label for label in labels]


def _grid(alphas: list[float]) -> str:
    return f"{min(alphas):g},{max(alphas):g},{len(alphas)}"


def _line(*words: str) -> str:
    return shlex.join(["bwlm", *words])
