"""Warnings and notes for the reader of the numbers, as far as the results record them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from ..config import preset_words
from ..results.folders import crowded_ends, teacher_score
from ..results.saved import Saved, SavedRun

_DEPARTURES = (
    f"It was trained with the preset authors-release ({preset_words('authors-release')}), as the published scripts do; "
    "among these are known mistakes, reproduced so that they can be measured."
)


class Finding(NamedTuple):
    """One sentence or two. ``where``: the run, or what else it is about."""

    level: Literal["warning", "note"]
    where: str
    text: str


def findings(saved: Saved) -> list[Finding]:
    """Everything worth saying, warnings first."""
    everything = [finding for run in saved.runs for finding in _of_run(run)]
    everything += [finding for _, summary in saved.probes for finding in _of_probes(summary)]
    everything += _of_all(saved)
    return sorted(everything, key=lambda finding: finding.level != "warning")


def merged_findings(saved: Saved, notes: Iterable[Finding]) -> list[Finding]:
    """The findings, then ``notes``; what is true of several runs is said once, of all of them."""
    labels: dict[tuple[Literal["warning", "note"], str], list[str]] = {}
    for finding in (*findings(saved), *notes):
        labels.setdefault((finding.level, finding.text), []).append(finding.where)
    return [Finding(level, ", ".join(names), text) for (level, text), names in labels.items()]


def package_versions(results: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """Packages that results were computed with, and the versions of each."""
    versions: dict[str, set[str]] = {}
    for provenance in (result.get("provenance", {}) for result in results):
        python = {"Python": provenance["python"]} if "python" in provenance else {}
        for name, version in (provenance.get("versions", {}) | python).items():
            versions.setdefault(name, set()).add(version)
    return {name: sorted(found) for name, found in versions.items()}


def _warning(where: str, text: str) -> Finding:
    return Finding("warning", where, text)


def _note(where: str, text: str) -> Finding:
    return Finding("note", where, text)


def _of_run(run: SavedRun) -> Iterator[Finding]:
    where = run.label
    if run.training is None:
        yield _warning(where, f"Training has not finished; continue it with `bwlm train --resume {run.folder}`.")
    elif excluded := run.training["data"].get("n_excluded", 0):
        yield _note(where, f"{excluded:,} voxels with NaN or a constant in some story did not train.")
    if run.config.preset == "authors-release":
        yield _warning(where, _DEPARTURES)
    if run.evaluation is None:
        yield _warning(where, f"It has not been evaluated; run `bwlm evaluate {run.folder}`.")
        return
    yield from _of_epochs(run, run.evaluation)
    yield from _of_voxels(run, run.evaluation)
    yield from _of_alphas(run.evaluation["alphas"], run.evaluation["encoding"]["all"]["n_voxels"], where)


def _of_epochs(run: SavedRun, evaluation: dict[str, Any]) -> Iterator[Finding]:
    measured = [point["epoch"] for point in evaluation["curve"]]
    best, where = evaluation["best_epoch"], run.label
    if not evaluation["settings"]["stories"]["validation"]:
        yield _warning(where, f"There was no validation story: epoch {best} is the last one, not one that was chosen.")
    elif best == 0:
        yield _warning(where, "No epoch is better than pre-trained on the validation stories: nothing was gained.")
    elif best == max(measured):
        yield _note(where, f"The best epoch, {best}, is the last that was evaluated: more epochs may gain more.")
    skipped = run.config.train.epochs + 1 - len(measured)
    if skipped > 0:
        yield _note(
            where,
            f"{len(measured)} of {run.config.train.epochs + 1} epochs were evaluated "
            f"({', '.join(map(str, measured))}); the best may lie between.",
        )


def _of_voxels(run: SavedRun, evaluation: dict[str, Any]) -> Iterator[Finding]:
    encoding, where = evaluation["encoding"], run.label
    if excluded := encoding["all"]["n_excluded"]:
        yield _warning(where, f"{excluded:,} voxels with NaN or a constant in some story are in no mean.")
    if "ac" not in encoding:
        check = shlex.join(["bwlm", "check", "--data", evaluation["data"]["root"], "--subject", run.subject])
        again = shlex.join(["bwlm", "evaluate", str(run.folder), "--out", f"{run.measured.name}-2"])
        yield _note(
            where,
            "The means over ac and nonac are missing: auditory cortex is made from the subject's surfaces and its "
            f"aparc.a2009s annotation. Run `{check}`, which says what to download; then `{again}`.",
        )
    if teacher_score(encoding["all"]) is not None:
        yield _note(where, "The brain is simulated: the size of every effect was chosen in advance.")
    if evaluation["significance"] is None:
        yield _note(where, "No significance was tested.")
    ceiling = evaluation["noise_ceiling"]
    if ceiling is None:
        yield _note(
            where, "No noise ceiling: the test story has no individual repeats, or there are several test stories."
        )
    else:
        yield _note(where, ceiling["caveat"])
        if not ceiling.get("fits", True):
            yield _warning(
                where,
                f"The test story's responses are {ceiling['data_is']}: the noise ceiling is that of the plain mean, "
                "and may not hold for them.",
            )


def _of_alphas(census: dict[str, Any], n_voxels: int, where: str) -> Iterator[Finding]:
    if len(census["grid"]) < 2:
        return
    for model, name in (("pretrained", "pre-trained"), ("tuned", "tuned")):
        for end, n, n_all in crowded_ends(census[model], n_voxels):
            alpha = min(census["grid"]) if end == "smallest" else max(census["grid"])
            yield _warning(
                where,
                f"{n:,} of {n_all:,} {census.get('among', 'voxels')} ({name}) chose the {end} alpha, {alpha:g}: a "
                "wider grid (--alphas) may fit them better.",
            )


def _of_probes(summary: dict[str, Any]) -> Iterator[Finding]:
    n = len(summary["layers"]) * sum(target["n_dimensions"] for target in summary["targets"].values())
    for label, ends in summary.get("at_the_end_of_the_grid", {}).items():
        which = "probes that predict something" if "n_predicted" in ends else "probes"
        for end, count, n_all in crowded_ends(ends, n):
            text = f"{count:,} of {n_all:,} {which} chose the {end} alpha: a wider grid (--alphas) may fit them better."
            yield _warning(f"probes, {label}", text)
    words = summary["settings"].get("targets", {}).get("words", {})
    if missing := words.get("n_out_of_vocabulary", 0):
        text = f"{missing:,} of {words['n_words']:,} words have no embedding and count as silence."
        yield _note("probes", text)


def _of_all(saved: Saved) -> Iterator[Finding]:
    where = "all runs"
    results = [run.evaluation for run in saved.evaluated if run.evaluation]
    results += [summary for _, summary in (*saved.transfers, *saved.probes) if "data" in summary]
    data = sorted({str(result["data"]["version"]) for result in results})
    if len(data) > 1:
        yield _warning(where, f"Results are of different versions of the data: {', '.join(data)}.")
    if "unknown" in data:
        yield _note(where, "The data set's version is not known: dataset_description.json is missing or says nothing.")
    mixed = [f"{name} ({', '.join(found)})" for name, found in package_versions(results).items() if len(found) > 1]
    if mixed:
        yield _note(where, f"Results were computed with different versions of {', '.join(mixed)}.")
    if len({run.subject for run in saved.evaluated}) == 1:
        yield _note(where, "One subject: nothing here says how results vary between people.")
