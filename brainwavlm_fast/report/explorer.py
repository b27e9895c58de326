"""The interactive maps, one per subject."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import DataError
from ..figures.brains import Brain, Brains, pair_map, run_maps
from ..figures.style import NothingToDraw
from ..results.saved import Saved, SavedRun, tuned_pair
from .brainmap import VoxelNames, encode_map, mean_by_region
from .findings import Finding
from .sections import Table


class SubjectMap(NamedTuple):
    """One subject's interactive map: ``data`` for the page's script, ``label`` is its alt text."""

    subject: str
    titles: list[str]
    label: str
    data: dict[str, Any]
    regions: Table


def subject_maps(saved: Saved, brains: Brains) -> tuple[list[SubjectMap], list[Finding]]:
    """An interactive map of each subject with its means by region, and what a reader should know about it."""
    maps: list[SubjectMap] = []
    noted: list[Finding] = []
    for subject in dict.fromkeys(run.subject for run in saved.evaluated):
        runs = [run for run in saved.evaluated if run.subject == subject]
        try:
            brain = brains.of(runs[0])
            subject_map, notes = _subject_map(saved, runs, brain)
        except (NothingToDraw, DataError) as reason:
            noted.append(Finding("note", subject, f"No map: {reason}"))
            continue
        maps.append(subject_map)
        noted += [Finding("note", subject, text) for text in dict.fromkeys((*brain.notes, *notes))]
    return maps, noted


def _subject_map(saved: Saved, runs: list[SavedRun], brain: Brain) -> tuple[SubjectMap, list[str]]:
    subject = runs[0].subject
    for run in runs[1:]:
        tuned_pair(runs[0], run)  # refuses runs of other voxels, which cannot share a map
    pretrained = run_maps(runs[0])[-1]
    maps = [voxel_map for run in runs for voxel_map in run_maps(run)[:2]] + [pretrained]
    maps += [pair_map(*pair) for pair in saved.pairs() if pair[0].subject == subject]
    names = VoxelNames(brain, subject, len(pretrained.values))
    columns = [("pre-trained", pretrained.values), *((run.model, run_maps(run)[1].values) for run in runs)]
    heads = ["region", "n", *(name for name, _ in columns)]
    regions = Table(f"{subject}: mean Pearson r by region", heads, mean_by_region(names, columns))
    shown, n = brain.view.n_voxels_shown, len(pretrained.values)
    notes = list(names.missing)
    notes += [f"{n - shown:,} of {n:,} voxels are under no point of the map and not shown on it."] if shown < n else []
    label = f"{'Flat map' if brain.view.kind == 'flat' else 'Inflated views'} of {subject}, one value per voxel"
    data = encode_map(brain, maps, pretrained.values, names)
    return SubjectMap(subject, [voxel_map.title for voxel_map in maps], label, data, regions), notes
