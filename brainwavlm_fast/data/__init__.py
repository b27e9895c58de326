"""The data set: tree, timing, sound, responses, voxel sets and splits."""

from __future__ import annotations

from .atlas import Atlas, read_atlas
from .audio import SAMPLE_RATE, default_cache, load_audio
from .expressions import with_absolute_files
from .overlays import Region, overlay_regions, region_vertices
from .responses import n_voxels, open_hdf5, read_repeats, read_responses, unusable_voxels
from .splits import PAPER_TEST, PAPER_VALIDATION, Split, make_split
from .surfaces import SIDES, Surface, annotation, load_surface, mid_thickness, vertex_voxels
from .targets import read_target, usable_dimensions
from .textgrid import Interval, TextGrid, read_textgrid, words
from .timing import TR, response_times
from .tree import Dataset, annex_size, find_dataset
from .volume import VoxelSpace, voxel_space
from .voxels import MAIN_SETS, all_sets, available_sets, voxel_set

__all__ = [
    "MAIN_SETS",
    "PAPER_TEST",
    "PAPER_VALIDATION",
    "SAMPLE_RATE",
    "SIDES",
    "TR",
    "Atlas",
    "Dataset",
    "Interval",
    "Region",
    "Split",
    "Surface",
    "TextGrid",
    "VoxelSpace",
    "all_sets",
    "annex_size",
    "annotation",
    "available_sets",
    "default_cache",
    "find_dataset",
    "load_audio",
    "load_surface",
    "make_split",
    "mid_thickness",
    "n_voxels",
    "open_hdf5",
    "overlay_regions",
    "read_atlas",
    "read_repeats",
    "read_responses",
    "read_target",
    "read_textgrid",
    "region_vertices",
    "response_times",
    "unusable_voxels",
    "usable_dimensions",
    "vertex_voxels",
    "voxel_set",
    "voxel_space",
    "with_absolute_files",
    "words",
]
