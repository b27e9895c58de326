"""The data set: tree, timing, sound, responses, voxel sets and splits."""

from __future__ import annotations

from .audio import SAMPLE_RATE, default_cache, load_audio
from .responses import n_voxels, open_hdf5, read_repeats, read_responses, unusable_voxels
from .splits import PAPER_TEST, PAPER_VALIDATION, Split, make_split
from .targets import read_target, usable_dimensions
from .textgrid import Interval, TextGrid, read_textgrid, words
from .timing import TR, response_times
from .tree import Dataset, annex_size, find_dataset
from .voxels import VOXEL_SETS, available_sets, voxel_set

__all__ = [
    "PAPER_TEST",
    "PAPER_VALIDATION",
    "SAMPLE_RATE",
    "TR",
    "VOXEL_SETS",
    "Dataset",
    "Interval",
    "Split",
    "TextGrid",
    "annex_size",
    "available_sets",
    "default_cache",
    "find_dataset",
    "load_audio",
    "make_split",
    "n_voxels",
    "open_hdf5",
    "read_repeats",
    "read_responses",
    "read_target",
    "read_textgrid",
    "response_times",
    "unusable_voxels",
    "usable_dimensions",
    "voxel_set",
    "words",
]
