"""A subject's anatomy: surfaces, atlases, drawn regions, the voxel grid, and voxel sets made from them."""

from __future__ import annotations

from .atlas import Atlas, read_atlas
from .expressions import with_absolute_files
from .outlines import Outline, Region
from .overlays import Drawn, overlay_regions, overlays_path, region_vertices
from .surfaces import (
    ATLASES,
    SIDES,
    Kind,
    Side,
    Surface,
    annotation,
    annotation_path,
    load_surface,
    mid_thickness,
    surface_paths,
    vertex_voxels,
)
from .volume import VoxelSpace, load_mask, voxel_space
from .voxels import MAIN_SETS, all_sets, available_sets, voxel_set
