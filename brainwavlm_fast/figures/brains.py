"""Maps of saved runs: which values, on whose brain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset, find_dataset
from ..errors import DataError
from ..results.saved import Saved, SavedRun, tuned_pair
from .brain_maps import draw_map
from .drawn import Overlay, load_overlay
from .style import Drawing, NothingToDraw
from .views import BrainView, Kind, best_view, open_view, view_key

THRESHOLD = 0.15  # the paper shows voxels whose pre-trained correlation exceeds it
PEARSON = "Encoding performance (Pearson r)"


class VoxelMap(NamedTuple):
    """Correlations of one model on every voxel, or how much they differ from another's.

    Attributes
    ----------
    name, title, unit : str
        For file names, headings and color bars.
    scores : NDArray[np.float64]
        (n_voxels,) correlations.
    minus : NDArray[np.float64], optional
        (n_voxels,) correlations to be subtracted; None: nothing is.
    """

    name: str
    title: str
    unit: str
    scores: NDArray[np.float64]
    minus: NDArray[np.float64] | None = None

    @property
    def values(self) -> NDArray[np.float64]:
        """What is shown: (n_voxels,)."""
        return self.scores if self.minus is None else self.scores - self.minus

    @property
    def centered(self) -> bool:
        """Whether it is a difference, whose colors are white at 0."""
        return self.minus is not None


@dataclass(frozen=True)
class Brain:
    """A subject's view with its outlines; ``notes`` say what is missing."""

    dataset: Dataset
    view: BrainView
    overlay: Overlay
    notes: tuple[str, ...]


class Brains:
    """Views of subjects, each opened once."""

    def __init__(self, data: Path | str | None, width: int) -> None:
        """``data`` overrides where the runs' configurations say the data set is."""
        self._data, self._width = data, width
        self.of = cache(self._of)

    def _of(self, run: SavedRun, kind: Kind = "flat") -> Brain:
        """A run's subject seen as ``kind``, or, without flat surfaces, inflated.

        Raises
        ------
        NothingToDraw
            The data set, or what a view is made of, is missing.
        """
        try:
            dataset = self._dataset(run)
            if kind == "flat":
                view, note = best_view(dataset, run.subject, width=self._width)
            else:
                view, note = open_view(dataset, run.subject, kind, width=self._width), None
        except DataError as error:
            raise NothingToDraw(f"no brain of {run.subject} can be drawn: {error}") from None
        overlay, notes = load_overlay(dataset, run.subject) if view.kind == "flat" else (Overlay(), [])
        return Brain(dataset, view, overlay, tuple(text for text in (note, *notes) if text))

    def fingerprint(self, run: SavedRun, kind: Kind = "flat") -> str:
        """What a run's view depends on; empty if the data set is missing."""
        try:
            return view_key(self._dataset(run), run.subject, kind, self._width)
        except DataError:
            return ""

    def _dataset(self, run: SavedRun) -> Dataset:
        return find_dataset(self._data if self._data is not None else run.config.data)


def run_maps(run: SavedRun) -> list[VoxelMap]:
    """Pre-trained, tuned, and the change."""
    arrays = run.voxels("encoding/pretrained", "encoding/tuned")
    before, after = arrays["encoding/pretrained"], arrays["encoding/tuned"]
    change = "Change in Pearson r (tuned minus pre-trained)"
    return [
        VoxelMap("gain", f"{run.title}: change by tuning", change, after, before),
        VoxelMap("tuned", run.title, PEARSON, after),
        VoxelMap("pretrained", f"{run.subject}, pre-trained", PEARSON, before),
    ]


def pair_map(first: SavedRun, second: SavedRun) -> VoxelMap:
    """How much better the second run's model predicts each voxel than the first's (figures 2A and 2C of the paper)."""
    before, after = tuned_pair(first, second)
    title = f"{first.subject}: {second.model} minus {first.model}"
    return VoxelMap(f"minus-{first.label}", title, "Difference in Pearson r", after, before)


def draw_voxel_map(brains: Brains, run: SavedRun, shown_map: VoxelMap, *, kind: Kind, threshold: float) -> Drawing:
    """Draw a map of a run's subject; voxels whose pre-trained correlation does not exceed ``threshold`` stay gray.

    Raises
    ------
    NothingToDraw
        No view of the subject can be made, or it has other voxels.
    """
    brain = brains.of(run, kind)
    pretrained = run.voxels("encoding/pretrained")["encoding/pretrained"]
    above = np.greater(pretrained, threshold, where=np.isfinite(pretrained), out=np.zeros(len(pretrained), bool))
    try:
        drawing = draw_map(
            brain.view,
            shown_map.values,
            title=shown_map.title,
            unit=shown_map.unit,
            centered=shown_map.centered,
            shown=above,
            condition=f"pre-trained r above {threshold:g}",
            overlay=brain.overlay,
        )
    except DataError as error:
        raise NothingToDraw(f"{run.label}: {error}") from None
    caption = " ".join([drawing.caption, *brain.notes])
    return Drawing(drawing.figure, caption, drawing.alt)


def all_maps(saved: Saved) -> Iterator[tuple[SavedRun, VoxelMap, tuple[SavedRun, ...]]]:
    """Every map of every run and pair of runs, with the runs that it is made of."""
    for run in saved.evaluated:
        for shown_map in run_maps(run):
            yield run, shown_map, (run,)
    for first, second in saved.pairs():
        yield second, pair_map(first, second), (first, second)
