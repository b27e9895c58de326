"""The section of maps that can be hovered, a map a subject."""

from __future__ import annotations

from typing import Any

from ..errors import DataError
from ..figures.brains import Brain, Brains, pair_map, run_maps
from ..figures.style import NothingToDraw
from ..results.saved import Saved, SavedRun
from .brainmap import VoxelNames, encode_map, mean_by_region
from .findings import Finding
from .markup import Markup, element, embedded_json, heading, joined, table


def map_section(saved: Saved, brains: Brains) -> tuple[Markup, list[Finding]]:
    """A map to hover for each subject, its means by region, and what should be known about it."""
    parts: list[Any] = []
    noted: list[Finding] = []
    for subject in dict.fromkeys(run.subject for run in saved.evaluated):
        runs = [run for run in saved.evaluated if run.subject == subject]
        try:
            brain = brains.of(runs[0])
            found, notes = _subject_map(saved, runs, brain)
        except (NothingToDraw, DataError) as reason:
            noted.append(Finding("note", subject, f"No map: {reason}"))
            continue
        parts.append(found)
        noted += [Finding("note", subject, text) for text in (*brain.notes, *notes)]
    return joined([heading(2, "On the brain", "brain"), *parts]) if parts else Markup(""), noted


def _subject_map(saved: Saved, runs: list[SavedRun], brain: Brain) -> tuple[Markup, list[str]]:
    subject = runs[0].subject
    pretrained = run_maps(runs[0])[-1]
    maps = [found for run in runs for found in run_maps(run)[:2]] + [pretrained]
    maps += [pair_map(*pair) for pair in saved.pairs() if pair[0].subject == subject]
    names = VoxelNames(brain, subject, len(pretrained.values))
    id_ = f"map-{subject}"
    data = encode_map(brain, maps, pretrained.values, names)
    columns = [("pre-trained", pretrained.values), *((run.model, run_maps(run)[1].values) for run in runs)]
    rows = mean_by_region(names, columns)
    regions = table(f"{subject}: mean Pearson r by region", ["region", "n", *(name for name, _ in columns)], rows)
    shown, n = brain.view.n_voxels_shown, len(pretrained.values)
    notes = list(names.missing)
    notes += [f"{n - shown:,} of {n:,} voxels are under no point of the map and not shown on it."] if shown < n else []
    options = [element("option", found.title, value=k) for k, found in enumerate(maps)]
    label = f"{'Flat map' if brain.view.kind == 'flat' else 'Inflated views'} of {subject}, one value a voxel"
    canvas = element(
        "canvas", width=data["width"], height=data["height"], tabindex="0", role="img", aria_label=label,
        aria_describedby=f"{id_}-help",
    )  # fmt: skip
    controls = element(
        "p",
        element("label", "Map ", element("select", *options)),
        " ",
        element("label", Markup('<input type="checkbox" checked> '), "only voxels with a pre-trained r above "),
        Markup(
            f'<input type="number" step="0.05" min="-1" max="1" value="{data["threshold"]}" aria-label="Threshold">'
        ),
        class_="controls",
    )
    colours = element("canvas", width=256, height=1, class_="bar", role="img", aria_label="Colours from low to high")
    low, high, unit = (element("span", class_=name) for name in ("low", "high", "unit"))
    scale = element("p", low, colours, high, unit, class_="scale")
    readout = element("p", "Point at the map.", class_="readout", role="status", aria_live="polite")
    help_ = element(
        "p",
        "Point at a voxel, or move the cross with the arrow keys (with Shift: ten times as far), to read its value and "
        "region. The same numbers by region stand in the table below.",
        id=f"{id_}-help",
        class_="help",
    )
    noscript = Markup(
        "<noscript><p>The map needs JavaScript; <code>bwlm figures</code> draws it as a picture.</p></noscript>"
    )
    explorer = element("div", controls, canvas, scale, readout, help_, noscript, class_="brainmap", data_source=id_)
    closed = element("details", element("summary", f"{subject}: means by region"), regions)
    return joined([heading(3, subject), explorer, embedded_json(data, id_), closed]), notes
