"""A subject's anatomy: surfaces, atlases, drawn regions, the voxel grid, and voxel sets made from them."""

from __future__ import annotations

from .atlas import Atlas, read_atlas
from .expressions import with_absolute_files
from .overlays import Region, overlay_regions, region_vertices
from .surfaces import SIDES, Surface, annotation, load_surface, mid_thickness, vertex_voxels
from .volume import VoxelSpace, voxel_space
from .voxels import MAIN_SETS, all_sets, available_sets, voxel_set

__all__ = [
    "MAIN_SETS",
    "SIDES",
    "Atlas",
    "Region",
    "Surface",
    "VoxelSpace",
    "all_sets",
    "annotation",
    "available_sets",
    "load_surface",
    "mid_thickness",
    "overlay_regions",
    "read_atlas",
    "region_vertices",
    "vertex_voxels",
    "voxel_set",
    "voxel_space",
    "with_absolute_files",
]
