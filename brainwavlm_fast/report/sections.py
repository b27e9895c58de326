"""The page's sections: each turns saved results into headings, tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ..config import as_dict
from ..figures.bars import PRETRAINED
from ..figures.brains import Brains
from ..figures.catalogue import FIGURES, plan
from ..figures.style import SETS, NothingToDraw, encoded, set_name
from ..results.saved import Saved, SavedRun
from .commands import repeat_commands
from .findings import Finding, findings
from .markup import Markup, code_block, element, heading, image, items, joined, number, table

_TUNE = {"lora": "LoRA", "full": "every weight, no LoRA", "frozen": "readout only"}
_PICTURES = tuple(kind for kind in FIGURES if kind not in ("flatmap", "inflated"))
_SINGLE, _MANY = ("scatter", "ceiling"), 4
_CITE = """\
Vattikonda N, Vaidya AR, Antonello RJ, Huth AG (2025). BrainWavLM: Fine-tuning Speech Representations with Brain \
Responses to Language. arXiv:2502.08866.
LeBel A, Wagner L, Jain S, et al. (2023). A natural language fMRI dataset for voxelwise encoding models. Scientific \
Data 10, 555. doi:10.1038/s41597-023-02437-z.
The brainwavlm_fast developers. brainwavlm_fast: fine-tune WavLM on fMRI responses to stories. Version {version}."""


def summary_section(saved: Saved) -> Markup:
    """The result of each run in a sentence."""
    lines: list[Any] = [_in_a_sentence(run) for run in saved.runs]
    lines = lines or ["Results of other folders; no run was given."]
    return joined([heading(2, "In short", "short"), items(lines)])


def run_section(saved: Saved) -> Markup:
    """What was run, and on what."""
    heads = ["run", "subject", "trained on", "trained", "from", "layer", "epochs", "best epoch", "seed", "data version"]
    rows = []
    for run in saved.runs:
        config, found = run.config, run.evaluation
        data = found["data"]["version"] if found else (run.training or {}).get("data", {}).get("version", "not known")
        rows.append(
            [
                run.label,
                run.subject,
                config.train.trained_on,
                _TUNE[config.model.finetune],
                config.model.model,
                config.model.layer,
                config.train.epochs,
                found["best_epoch"] if found else "-",
                config.train.seed,
                data,
            ]
        )
    parts = [heading(2, "What was run", "runs"), table("Runs", heads, rows)] if rows else []
    shared: dict[str, list[str]] = {}
    for run in saved.evaluated:
        stories = (run.evaluation or {})["settings"]["stories"]
        held = ", ".join(
            f"{len(stories[kind])} for {kind} ({', '.join(stories[kind]) or 'none'})" for kind in ("validation", "test")
        )
        shared.setdefault(f"{len(stories['train'])} training stories, {held}.", []).append(run.label)
    parts += [element("p", element("strong", ", ".join(names)), f": {said}") for said, names in shared.items()]
    return joined(parts)


def number_section(saved: Saved) -> Markup:
    """The tables."""
    parts = [heading(2, "Numbers", "numbers")]
    parts += _score_tables(saved.evaluated)
    for _, summary in saved.transfers:
        for voxels, matrix in summary["matrices"].items():
            lines = zip(summary["rows"], matrix["percent"], strict=True)
            rows = [[f"tuned on {label}", *(number(p, "+.1f") for p in line)] for label, line in lines]
            rows.insert(0, ["pre-trained, mean r", *(number(r) for r in matrix["pretrained"])])
            title = f"Transfer, {set_name(voxels).lower()}: change over pre-trained in % by the subject predicted"
            parts.append(table(title, ["model", *summary["columns"]], rows))
    for _, summary in saved.probes:
        parts += [_probe_table(target, summary["layers"]) for target in summary["targets"].values()]
    return joined(parts) if len(parts) > 1 else Markup("")


def figure_section(saved: Saved, brains: Brains) -> Markup:
    """The figures but the maps, which can be hovered above; those of single runs are folded away if there are many."""
    together: list[Markup] = []
    single: list[Markup] = []
    for planned in plan(saved, brains, _PICTURES):
        try:
            drawing = planned.draw()
        except NothingToDraw:
            continue
        svg, inches = encoded(drawing.figure, "svg"), drawing.figure.get_figwidth()
        shown = image(svg, alt=drawing.alt, caption=drawing.caption, inches=inches)
        (single if planned.kind in _SINGLE else together).append(shown)
    if len(single) <= _MANY:
        together, single = together + single, []
    parts = [element("div", *together, class_="figures")] if together else []
    if single:
        folded = element("div", *single, class_="figures")
        parts.append(element("details", element("summary", f"{len(single)} figures of single voxels"), folded))
    return joined([heading(2, "Figures", "figures"), *parts]) if parts else Markup("")


def finding_section(saved: Saved, more: list[Finding]) -> Markup:
    """Warnings first; what is true of several runs is said once."""
    where: dict[tuple[str, str], list[str]] = {}
    for finding in (*findings(saved), *more):
        where.setdefault((finding.level, finding.text), []).append(finding.where)
    lines = [
        element("li", element("strong", level.capitalize()), f" ({', '.join(names)}): {said}", class_=level)
        for (level, said), names in where.items()
    ]
    shown = element("ul", *lines, class_="findings") if lines else element("p", "Nothing was found.")
    return joined([heading(2, "Warnings and data quality", "quality"), shown])


def repeat_section(saved: Saved) -> Markup:
    """Commands, configurations and versions."""
    parts = [
        heading(2, "Repeat it", "repeat"),
        element("p", "The same seeds and versions give the same numbers on the same kind of processor."),
        code_block(repeat_commands(saved), "Commands that repeat the results"),
    ]
    for run in saved.runs:
        lines = json.dumps(as_dict(run.config), indent=2).splitlines()
        opened = code_block(lines, f"Configuration of {run.label}")
        parts.append(element("details", element("summary", f"Configuration of {run.label}"), opened))
    versions = _versions(saved)
    if versions:
        parts.append(table("Versions that the results were computed with", ["package", "version"], versions))
    return joined(parts)


def cite_section(version: str) -> Markup:
    """What to cite."""
    said = "Please cite the paper whose method this is, the data, and this software:"
    return joined(
        [heading(2, "How to cite", "cite"), element("p", said), items(_CITE.format(version=version).splitlines())]
    )


def _in_a_sentence(run: SavedRun) -> Markup:
    found = run.evaluation
    if found is None:
        return element("span", element("strong", run.label), " has not been evaluated.")
    numbers = found["encoding"][run.trained_set]
    before, after = numbers["pretrained"], numbers["tuned"]
    said = (
        f": mean correlation on {', '.join(found['settings']['stories']['test'])} {number(before)} before and "
        f"{number(after)} after tuning ({_percent(before, after)}), over {numbers['n_voxels']:,} voxels "
        f"({set_name(run.trained_set).lower()}); epoch {found['best_epoch']}, chosen by {found['best_epoch_by']}."
    )
    return element("span", element("strong", run.label), said)


def _percent(before: float | None, after: float | None) -> str:
    if not before or after is None or before <= 0:
        return "-"
    return f"{100 * (after / before - 1):+.1f} %"


def _score_tables(runs: Sequence[SavedRun]) -> Iterator[Markup]:
    """Encoding performance, and how many voxels are significant, of every run and voxel set."""
    scores: list[list[str]] = []
    significant: list[list[str]] = []
    for run in runs:
        found = run.evaluation or {}
        encoding, ceilings = found["encoding"], (found["noise_ceiling"] or {"sets": {}})["sets"]
        for name in [*(n for n in SETS if n in encoding), *(n for n in encoding if n not in SETS)]:
            numbers = encoding[name]
            before, after, top = numbers["pretrained"], numbers["tuned"], ceilings.get(name, {}).get("ceiling")
            row = [run.label, set_name(name), number(before), number(after), _percent(before, after), number(top)]
            scores.append([*row, f"{numbers['n_voxels']:,}", f"{numbers['n_excluded']:,}"])
        for name, counts in (found["significance"] or {}).items():
            kinds = ("pretrained", "tuned", "better", "worse")
            significant.append([run.label, set_name(name), *(f"{counts[kind]:,}" for kind in kinds)])
    if scores:
        heads = ["run", "voxels", PRETRAINED, "tuned", "change", "noise ceiling", "n", "left out"]
        yield table("Mean Pearson r on the test story", heads, scores)
    if significant:
        heads = ["run", "voxels", "pre-trained above chance", "tuned above chance", "tuned better", "tuned worse"]
        yield table("Voxels that are significant (false discovery rate 5 %)", heads, significant)


def _probe_table(target: dict[str, Any], layers: list[int]) -> Markup:
    columns = [target["pretrained"], *target["tuned"].values()]
    rows = [[layer, *(number(column[k], ".3f") for column in columns)] for k, layer in enumerate(layers)]
    heads = ["layer", PRETRAINED, *(f"tuned on {label}" for label in target["tuned"])]
    return table(f"Probes: {target['title']}, mean Pearson r on held-out stories", heads, rows)


def _versions(saved: Saved) -> list[list[str]]:
    found = [run.evaluation or run.training or {} for run in saved.runs]
    found += [summary for _, summary in (*saved.transfers, *saved.probes)]
    versions: dict[str, list[str]] = {}
    for result in found:
        for name, version in result.get("provenance", {}).get("versions", {}).items():
            versions.setdefault(name, []).append(version)
        if "python" in result.get("provenance", {}):
            versions.setdefault("Python", []).append(result["provenance"]["python"])
    return [[name, ", ".join(sorted(set(seen)))] for name, seen in versions.items()]
