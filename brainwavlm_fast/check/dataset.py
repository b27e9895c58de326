"""A walk through a data set before training: what is here, what is missing, what disagrees, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import soundfile

from ..anatomy.overlays import overlays_path
from ..anatomy.surfaces import ATLASES, SIDES, Kind, annotation_path, surface_paths
from ..anatomy.volume import load_mask
from ..data.responses import n_voxels, story_shape, unusable_voxels
from ..data.story_split import PAPER_TEST, PAPER_VALIDATION, make_split
from ..data.textgrid import read_textgrid, words
from ..data.timing import TR, response_times
from ..data.tree import Dataset, annex_size
from ..errors import BwlmError, DataError
from ..progress import Progress

GB = 1e9
_HDF5_OVERHEAD = 2048  # bytes of a ds003020 response file beside its float64 numbers


@dataclass
class Part:
    """One kind of file. ``size`` and ``missing_size`` are bytes, as far as files and git-annex links tell."""

    name: str
    total: int = 0
    here: int = 0
    size: int = 0
    missing_size: int = 0
    get: str | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, path: Path) -> bool:
        """Count a file; True if its contents are here."""
        self.total += 1
        present = path.is_file()
        size = annex_size(path) or 0
        if present:
            self.here += 1
            self.size += size
        else:
            self.missing_size += size
            if not path.is_symlink():
                self.problems.append(f"{path.name} is not in the tree")
        return present


@dataclass
class Report:
    """The result of a check. ``trainable``: subjects that training could run for now."""

    root: str
    version: str
    subjects: list[str]
    parts: list[Part]
    trainable: list[str]
    notes: list[str]

    @property
    def commands(self) -> list[str]:
        """The ``datalad get`` lines that fetch what is missing, to be run in the data set's root."""
        return list(dict.fromkeys(part.get for part in self.parts if part.get and part.here < part.total))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"commands": self.commands}


def check_dataset(dataset: Dataset, subjects: Sequence[str] = (), *, progress: Progress | None = None) -> Report:
    """Check everything that training the given subjects needs (all of the data set's by default).

    Looks into every file that is here (shapes, lengths, NaN), and at the promised size of every one that is not.
    """
    chosen = [dataset.subject(name) for name in subjects] or dataset.subjects()
    if not chosen:
        raise DataError(f"{dataset.root} has no subjects under derivative/preprocessed_data.")
    progress = progress or Progress()
    stories = sorted({story for subject in chosen for story in dataset.stories(subject)})
    known = _known_stories(dataset)
    sound, grids = _check_sound(dataset, stories, known, progress), _check_grids(dataset, stories)
    parts, trainable = [sound, grids], []
    notes: list[str] = []
    for subject in chosen:
        responses, mask = _check_subject(dataset, subject, known, progress)
        parts += [responses, mask, _check_anatomy(dataset, subject)]
        whole = all(part.here == part.total and not part.problems for part in (sound, responses))
        if whole and not mask.problems and _has_split(dataset, subject, notes):
            trainable.append(subject)
    absent = [story for story in (*PAPER_VALIDATION, *PAPER_TEST) if story not in stories]
    if absent:
        notes.append(f"the paper's held-out {', '.join(absent)} is not in this data set; it is left out of the split")
    return Report(str(dataset.root), dataset.version, chosen, parts, trainable, notes)


def _check_sound(dataset: Dataset, stories: Sequence[str], known: dict[str, int], progress: Progress) -> Part:
    part = Part("audio", get="datalad get stimuli")
    with progress.task("audio", len(stories)) as advance:
        for story in stories:
            path = dataset.audio_path(story)
            if part.add(path) and story in known:
                part.problems += _sound_problems(path, known[story])
            advance(note=story)
    return part


def _sound_problems(path: Path, n_trs: int) -> list[str]:
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError):
        return [f"{path.name} cannot be read as audio"]
    last = response_times(n_trs)[-1]
    if info.frames == 0:
        return [f"{path.name} holds no samples"]
    if info.duration < last - TR / 2:
        return [f"{path.name} lasts {info.duration:.1f} s, but its last response is centred at {last:.0f} s"]
    return []


def _check_grids(dataset: Dataset, stories: Sequence[str]) -> Part:
    part = Part("TextGrids", get="datalad get derivative/TextGrids")
    for story in stories:
        path = dataset.textgrid_path(story)
        if part.add(path):
            try:
                if not words(read_textgrid(path)):
                    part.problems.append(f"{path.name} holds no words")
            except DataError as error:
                part.problems.append(str(error))
    return part


def _check_subject(dataset: Dataset, subject: str, known: dict[str, int], progress: Progress) -> tuple[Part, Part]:
    folder = dataset.relative(dataset.response_path(subject, "x").parent)
    responses = Part(f"{subject} responses", get=f"datalad get {folder}")
    here, widths = [], {}
    for story in dataset.stories(subject):
        path = dataset.response_path(subject, story)
        present = responses.add(path)
        if story not in known:
            responses.problems.append(f"{story} is not in respdict.json")
        elif present:
            try:
                rows, widths[story] = story_shape(dataset, subject, story)
            except DataError as error:
                responses.problems.append(str(error))
                continue
            if rows != known[story]:
                responses.problems.append(f"{story}.hf5 has {rows} rows, respdict.json - 20 is {known[story]}")
            else:
                here.append(story)
        else:
            widths[story] = _promised_width(path, known[story])
    responses.problems += _width_problems(widths)
    if here and not responses.problems:
        bad = int(unusable_voxels(dataset, subject, here, progress=progress).sum())
        if bad == n_voxels(dataset, subject):
            responses.problems.append("every voxel holds NaN or is constant in some story")
        elif bad:
            responses.name += f" ({bad} voxels with NaN or constant, to be excluded)"
    return responses, _check_mask(dataset, subject, set(filter(None, widths.values())))


def _promised_width(path: Path, n_trs: int) -> int:
    """Voxels that a file that is not here must have by its size in the link's name; 0 if that cannot be told.

    Files with repeats, or of another structure, are not a whole number of float64 columns and tell nothing.
    """
    numbers, rest = divmod((annex_size(path) or 0) - _HDF5_OVERHEAD, 8)
    width, remainder = divmod(numbers, n_trs)
    return width if rest == remainder == 0 and width > 0 else 0


def _width_problems(widths: dict[str, int]) -> list[str]:
    counts = [width for width in widths.values() if width]
    if not counts:
        return []
    usual = max(set(counts), key=counts.count)
    return [f"{story}.hf5 has {w} voxels, the others {usual}" for story, w in widths.items() if w and w % usual]


def _check_mask(dataset: Dataset, subject: str, widths: set[int]) -> Part:
    path = dataset.mask_path(subject)
    part = Part(f"{subject} voxel mask", get=f"datalad get {dataset.relative(path)}")
    if not path.exists() and not path.is_symlink():
        part.total += 1  # needed for voxel sets other than `all` only
        part.get = None
        return part
    if part.add(path):
        try:
            n_mask = int(load_mask(path).sum())
        except DataError as error:
            part.problems.append(str(error))
        else:
            if widths and n_mask != min(widths):
                part.problems.append(f"mask_thick selects {n_mask} voxels, responses have {min(widths)} columns")
    return part


def _check_anatomy(dataset: Dataset, subject: str) -> Part:
    """What voxel sets other than ``all``, and maps, are made from; training on all voxels can do without."""
    folder = dataset.mask_path(subject).parent
    database, label = overlays_path(dataset, subject), annotation_path(dataset, subject, "lh", "aparc").parent
    wanted = [database.parent / "surfaces", folder, database, label]
    part = Part(f"{subject} surfaces", get=f"datalad get {' '.join(map(dataset.relative, wanted))}")
    paths = [folder / "reference.nii.gz", folder / "matrices.xfm", database]
    for side in SIDES:
        for kind in get_args(Kind):
            either = surface_paths(dataset, subject, kind, side)
            paths.append(next((path for path in either if path.exists() or path.is_symlink()), either[0]))
        paths += [annotation_path(dataset, subject, side, atlas) for atlas in ATLASES]
    for path in paths:
        part.add(path)
    return part


def _known_stories(dataset: Dataset) -> dict[str, int]:
    return {story: dataset.n_trs(story) for story in dataset.stories()}


def _has_split(dataset: Dataset, subject: str, notes: list[str]) -> bool:
    try:
        make_split(dataset.stories(subject))
    except BwlmError as error:
        notes.append(f"{subject}: {error}")
        return False
    return True
