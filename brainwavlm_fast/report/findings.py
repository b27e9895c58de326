"""What a reader of the numbers should know before believing them, as far as the results record it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from ..results.folders import END_OF_GRID, teacher_score
from ..results.saved import Saved, SavedRun

_DEPARTURES = (
    "It was trained with the preset authors-release: positive Lanczos lobes only, TR times on the scanner's clock, and "
    "blocks without their context, as in the published scripts; these are known mistakes, kept to be measured."
)


class Finding(NamedTuple):
    """One sentence or two. ``where``: the run, or what else it is about."""

    level: Literal["warning", "note"]
    where: str
    text: str


def findings(saved: Saved) -> list[Finding]:
    """Everything worth saying, warnings first."""
    found = [finding for run in saved.runs for finding in _of_run(run)]
    found += [finding for _, summary in saved.probes for finding in _of_probes(summary)]
    found += list(_of_all(saved))
    return sorted(found, key=lambda finding: finding.level != "warning")


def _of_run(run: SavedRun) -> Iterator[Finding]:
    where = run.label
    if run.training is None:
        yield Finding(
            "warning", where, f"Training has not finished; continue it with `bwlm train --resume {run.folder}`."
        )
    elif excluded := run.training["data"].get("n_excluded", 0):
        yield Finding("note", where, f"{excluded:,} voxels with NaN or a constant in some story did not train.")
    if run.config.preset == "authors-release":
        yield Finding("warning", where, _DEPARTURES)
    if run.evaluation is None:
        yield Finding("warning", where, f"It has not been evaluated; run `bwlm evaluate {run.folder}`.")
        return
    yield from _of_epochs(run, run.evaluation)
    yield from _of_voxels(run.evaluation, where)
    yield from _of_alphas(run.evaluation["alphas"], run.evaluation["encoding"]["all"]["n_voxels"], where)


def _of_epochs(run: SavedRun, evaluation: dict[str, Any]) -> Iterator[Finding]:
    measured = [point["epoch"] for point in evaluation["curve"]]
    best, where = evaluation["best_epoch"], run.label
    if not evaluation["settings"]["stories"]["validation"]:
        yield Finding(
            "warning", where, f"There was no validation story: epoch {best} is the last one, not one that was chosen."
        )
    elif best == 0:
        yield Finding(
            "warning", where, "No epoch is better than pre-trained on the validation stories: nothing was gained."
        )
    elif best == max(measured):
        yield Finding(
            "note", where, f"The best epoch, {best}, is the last that was evaluated: more epochs may gain more."
        )
    skipped = run.config.train.epochs + 1 - len(measured)
    if skipped > 0:
        yield Finding(
            "note", where, f"{len(measured)} of {run.config.train.epochs + 1} epochs were evaluated "
            f"({', '.join(map(str, measured))}); the best may lie between.",
        )  # fmt: skip


def _of_voxels(evaluation: dict[str, Any], where: str) -> Iterator[Finding]:
    encoding = evaluation["encoding"]
    if excluded := encoding["all"]["n_excluded"]:
        yield Finding("warning", where, f"{excluded:,} voxels with NaN or a constant in some story are in no mean.")
    if "ac" not in encoding:
        yield Finding(
            "note", where, "Auditory cortex is not known in this data set, so that its means are missing; they need a "
            "mask_ac.nii.gz beside mask_thick.nii.gz.",
        )  # fmt: skip
    if teacher_score(encoding["all"]) is not None:
        yield Finding("note", where, "The brain is planted: how large an effect is was chosen when it was simulated.")
    if evaluation["significance"] is None:
        yield Finding(
            "note", where, "No significance was tested (--permutations 0, or a test story that is too short)."
        )
    ceiling = evaluation["noise_ceiling"]
    if ceiling is None:
        yield Finding(
            "note", where, "No noise ceiling: the test story has no single presentations here, or there are several."
        )
    else:
        yield Finding("note", where, ceiling["caveat"])


def _of_alphas(census: dict[str, Any], n_voxels: int, where: str) -> Iterator[Finding]:
    if len(census["grid"]) < 2:
        return
    for model, name in (("pretrained", "pre-trained"), ("tuned", "tuned")):
        for end, value in (("smallest", min(census["grid"])), ("largest", max(census["grid"]))):
            n = census[model][end]
            if n > END_OF_GRID * n_voxels:
                yield Finding(
                    "warning", where, f"{n:,} of {n_voxels:,} voxels ({name}) chose the {end} alpha, {value:g}: a "
                    "wider grid (--alphas) may fit them better.",
                )  # fmt: skip


def _of_probes(summary: dict[str, Any]) -> Iterator[Finding]:
    n = len(summary["layers"]) * sum(target["n_dimensions"] for target in summary["targets"].values())
    for label, ends in summary.get("at_the_end_of_the_grid", {}).items():
        for end, count in ends.items():
            if count > END_OF_GRID * n:
                text = f"{count:,} of {n:,} probes chose the {end} alpha: a wider grid (--alphas) may fit them better."
                yield Finding("warning", f"probes, {label}", text)
    words = summary["settings"].get("targets", {}).get("words", {})
    if missing := words.get("n_out_of_vocabulary", 0):
        text = f"{missing:,} of {words['n_words']:,} words have no embedding and count as silence."
        yield Finding("note", "probes", text)


def _of_all(saved: Saved) -> Iterator[Finding]:
    where = "all runs"
    results = [run.evaluation for run in saved.evaluated] + [
        s for _, s in (*saved.transfers, *saved.probes) if "data" in s
    ]
    data = sorted({str(found["data"]["version"]) for found in results if found})
    if len(data) > 1:
        yield Finding("warning", where, f"Results are of different versions of the data: {', '.join(data)}.")
    if "unknown" in data:
        yield Finding(
            "note", where, "The data set's version is not known: dataset_description.json is missing or says nothing."
        )
    packages: dict[str, set[str]] = {}
    for found in results:
        for name, version in found.get("provenance", {}).get("versions", {}).items() if found else ():
            packages.setdefault(name, set()).add(version)
    mixed = [f"{name} ({', '.join(sorted(versions))})" for name, versions in packages.items() if len(versions) > 1]
    if mixed:
        yield Finding("note", where, f"Results were computed with different versions of {', '.join(mixed)}.")
    if len({run.subject for run in saved.evaluated}) == 1:
        yield Finding("note", where, "One subject: nothing here says how results vary between people.")
