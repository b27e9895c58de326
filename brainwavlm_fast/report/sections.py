"""What each section of the page says: sentences, tables and pictures made of saved results, before any HTML."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..config import as_dict
from ..figures.bars import PRETRAINED
from ..figures.brains import Brains
from ..figures.catalogue import FIGURES, plan
from ..figures.group import group_effects
from ..figures.style import NothingToDraw, encoded, explain_sets, sets_in_order
from ..results.folders import SIGNIFICANT, interval_words, significance_cells, transfer_cells
from ..results.saved import Saved, SavedRun
from .findings import package_versions

_FINETUNE = {"lora": "LoRA", "full": "every weight, no LoRA", "frozen": "readout only"}
_PICTURES = tuple(kind for kind in FIGURES if kind not in ("flatmap", "inflated"))
_SINGLE, _MANY = ("scatter", "ceiling"), 4
_COLUMN = 4.5  # inches that stay readable on a phone


class Table(NamedTuple):
    """A table whose first column names its rows."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Picture(NamedTuple):
    """A figure inside the page; a ``wide`` one scrolls by itself where it would be too small to read."""

    source: str
    alt: str
    caption: str
    wide: bool


def summaries(saved: Saved) -> list[tuple[str, str]]:
    """Each run's label, and its result in a sentence."""
    return [(run.label, _in_a_sentence(run)) for run in saved.runs]


def run_table(saved: Saved) -> Table:
    """What was run, and on what."""
    heads = ["run", "subject", "trained on", "trained", "from", "layer", "epochs", "best epoch", "seed", "data version"]
    rows = []
    for run in saved.runs:
        config, result = run.config, run.evaluation
        data = result["data"]["version"] if result else (run.training or {}).get("data", {}).get("version", "not known")
        how = [config.train.trained_on, _FINETUNE[config.model.finetune], config.model.model, config.model.layer]
        best = result["best_epoch"] if result else "-"
        rows.append([run.label, run.subject, *how, config.train.epochs, best, config.train.seed, data])
    return Table("Runs", heads, rows)


def story_splits(saved: Saved) -> dict[str, list[str]]:
    """How many stories trained and which were held out, in a sentence, and the runs that this is true of."""
    labels: dict[str, list[str]] = {}
    for run in saved.evaluated:
        stories = (run.evaluation or {})["settings"]["stories"]
        held = ", ".join(
            f"{len(stories[kind])} for {kind} ({', '.join(stories[kind]) or 'none'})" for kind in ("validation", "test")
        )
        labels.setdefault(f"{len(stories['train'])} training stories, {held}.", []).append(run.label)
    return labels


def number_tables(saved: Saved) -> list[Table]:
    """Scores, significant voxels, transfers and probes."""
    tables = [*_score_tables(saved.evaluated), *_group_tables(saved)]
    for _, summary in saved.transfers:
        for voxels, matrix in summary["matrices"].items():
            rows = [[f"tuned on {label}", *transfer_cells(matrix, k)] for k, label in enumerate(summary["rows"])]
            rows.insert(0, ["pre-trained, mean r", *(_number(r) for r in matrix["pretrained"])])
            title = f"Transfer, {voxels}: change over pre-trained in % by the subject predicted"
            tables.append(Table(title, ["model", *summary["columns"]], rows))
    for _, summary in saved.probes:
        tables += [_probe_table(target, summary["layers"]) for target in summary["targets"].values()]
    return tables


def drawn_figures(saved: Saved, brains: Brains) -> tuple[list[Picture], list[Picture]]:
    """All figures but the maps, which are interactive; and those of single runs to be folded away, if they are many."""
    together: list[Picture] = []
    single: list[Picture] = []
    for planned in plan(saved, brains, _PICTURES):
        try:
            drawing = planned.draw()
        except NothingToDraw:
            continue
        svg = base64.b64encode(encoded(drawing.figure, "svg")).decode()
        wide = drawing.figure.get_figwidth() > _COLUMN
        picture = Picture(f"data:image/svg+xml;base64,{svg}", drawing.alt, drawing.caption, wide)
        (single if planned.kind in _SINGLE else together).append(picture)
    return (together, single) if len(single) > _MANY else (together + single, [])


def configurations(saved: Saved) -> list[tuple[str, str]]:
    """Each run's label, and its configuration as JSON."""
    return [(run.label, json.dumps(as_dict(run.config), indent=2)) for run in saved.runs]


def version_table(saved: Saved) -> Table:
    """Versions of the packages that the results were computed with."""
    results = [run.evaluation or run.training or {} for run in saved.runs]
    results += [summary for _, summary in (*saved.transfers, *saved.probes)]
    rows = [[name, ", ".join(found)] for name, found in package_versions(results).items()]
    return Table("Versions that the results were computed with", ["package", "version"], rows)


def _in_a_sentence(run: SavedRun) -> str:
    result = run.evaluation
    if result is None:
        return " has not been evaluated."
    scores = result["encoding"][run.trained_set]
    before, after = scores["pretrained"], scores["tuned"]
    change = f"{_percent(before, after)} {interval_words(scores, 'percent', '+.1f')}".strip()
    return (
        f": mean correlation on {', '.join(result['settings']['stories']['test'])} {_number(before)} before and "
        f"{_number(after)} after tuning ({change}), over {scores['n_voxels']:,} voxels "
        f"({run.set_name(run.trained_set)}); epoch {result['best_epoch']}, chosen by {result['best_epoch_by']}."
    )


def _number(value: float | None, form: str = ".4f") -> str:
    """A number as text; a dash where there is none."""
    return "-" if value is None else format(value, form)


def _percent(before: float | None, after: float | None) -> str:
    if not before or after is None or before <= 0:
        return "-"
    return f"{100 * (after / before - 1):+.1f} %"


def _score_tables(runs: Sequence[SavedRun]) -> Iterator[Table]:
    """Encoding performance, and how many voxels are significant, of every run and voxel set."""
    scores: list[list[str]] = []
    significant: list[list[str]] = []
    normalized: list[list[str]] = []
    for run in runs:
        result = run.evaluation or {}
        encoding, ceilings = result["encoding"], (result["noise_ceiling"] or {"sets": {}})["sets"]
        for name in sets_in_order(encoding):
            means = encoding[name]
            before, after = means["pretrained"], means["tuned"]
            row = [run.label, run.set_name(name), _number(before), _number(after), _percent(before, after)]
            for cell, number, form in ((2, "pretrained", ".4f"), (3, "tuned", ".4f"), (4, "percent", "+.1f")):
                row[cell] = f"{row[cell]} {interval_words(means, number, form)}".strip()
            scores.append([*row, f"{means['n_voxels']:,}", f"{means['n_excluded']:,}"])
            if name in ceilings:
                normalized.append([run.label, run.set_name(name), *_ceiling_cells(ceilings[name])])
        for name in result["significance"] or {}:
            significant.append([run.label, run.set_name(name), *significance_cells(result, name)])
    if scores:
        heads = ["run", "voxels", PRETRAINED, "tuned", "change", "n", "left out"]
        named = explain_sets(row[1] for row in scores)
        yield Table(f"Mean Pearson r on the test story{_about_intervals(runs)}. {named}", heads, scores)
    if normalized:
        heads = ["run", "voxels", "mean ceiling", "mean r / ceiling, pre-trained", "tuned"]
        heads += ["mean r / mean ceiling, pre-trained", "tuned", "n"]
        yield Table("Noise ceilings, over the voxels whose ceiling is above its floor", heads, normalized)
    if significant:
        heads = ["run", "voxels", "pre-trained above chance", "tuned above chance", "tuned better", "tuned worse"]
        yield Table(SIGNIFICANT, heads, significant)


def _group_tables(saved: Saved) -> Iterator[Table]:
    """Changes pooled over subjects, with their heterogeneity."""
    rows = []
    for effects in group_effects(saved):
        for kind, form, unit in (("difference", "+.4f", "r"), ("percent", "+.1f", "%")):
            if pooled := effects[kind]["pooled"]:
                ends = ", ".join(format(end, form) for end in pooled["interval"])
                cells = [unit, f"{pooled['estimate']:{form}} [{ends}]", format(pooled["tau"], form[1:])]
                name = effects["voxels"]
                rows.append([effects["model"], name, *cells, f"{100 * pooled['i2']:.0f} %", str(pooled["n"])])
    if rows:
        heads = ["model", "voxels", "unit", "change", "tau", "I2", "subjects"]
        title = (
            "Change over subjects: random effects [95 % intervals], tau: its standard deviation between subjects, I2: "
            "their share of the variance"
        )
        yield Table(title, heads, rows)


def _about_intervals(runs: Sequence[SavedRun]) -> str:
    """What the brackets hold, after a title; empty if no run has any."""
    found = [about for run in runs if (about := (run.evaluation or {}).get("intervals"))]
    words = dict.fromkeys(f"{100 * about['level']:.0f} % intervals, over {about['over']}" for about in found)
    return f" [{'; '.join(words)}]" if words else ""


def _ceiling_cells(top: dict[str, Any]) -> list[str]:
    models = ("pretrained", "tuned")
    of_means = top.get("ratio_of_means", {})  # earlier versions have none
    values = [top["ceiling"], *(top[name] for name in models), *(of_means.get(name) for name in models)]
    return [*map(_number, values), f"{top['n_normalised']:,}"]


def _probe_table(target: dict[str, Any], layers: list[int]) -> Table:
    columns = [target["pretrained"], *target["tuned"].values()]
    rows = [[layer, *(_number(column[k], ".3f") for column in columns)] for k, layer in enumerate(layers)]
    heads = ["layer", PRETRAINED, *(f"tuned on {label}" for label in target["tuned"])]
    return Table(f"Probes: {target['title']}, mean Pearson r on held-out stories", heads, rows)
