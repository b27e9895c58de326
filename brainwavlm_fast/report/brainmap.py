"""The interactive map: a subject's view, its voxels' values and names, packed for the page's script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..anatomy.atlas import read_atlas
from ..errors import DataError
from ..figures.brain_maps import CHANGE, VALUES, legend, limits
from ..figures.brains import THRESHOLD, Brain, VoxelMap
from ..figures.drawn import outlines
from ..figures.style import png_bytes
from ..figures.views import GYRUS, SULCUS

WIDTH = 1000  # pixels
_STEP = 1e-4  # of a correlation: values are stored as int16 multiples of it
_NO_VALUE, _OUTSIDE = -32768, 0xFFFFFF
_LONGEST = 255
_KINDS = ("svg", "a2009s")  # names of voxels: regions that were drawn, and Destrieux's parcels


def encode_map(brain: Brain, maps: Sequence[VoxelMap], pretrained: NDArray, names: VoxelNames) -> dict[str, Any]:
    """Everything that the script needs to draw one subject's maps and to answer the pointer; plain JSON values.

    Parameters
    ----------
    maps : Sequence[VoxelMap]
        What can be shown. A difference is packed as the two that it is made of, each once, so that many maps of few
        models stay small.
    pretrained : NDArray
        (n_voxels,) correlations that the threshold is put on.
    names : VoxelNames
        The name of each voxel.
    """
    from matplotlib import colormaps

    view = brain.view
    packed: dict[str, int] = {}  # base64 of scores -> its number
    shown = [_describe(voxel_map, packed) for voxel_map in maps]
    height, width = view.vertices.shape
    colors = {name: _base64(colormaps[name](np.arange(256), bytes=True)[:, :3]) for name in (VALUES, CHANGE)}
    return {
        "width": width,
        "height": height,
        "kind": view.kind,
        "pixels": _base64(pack_pixels(view.voxels, view.vertices >= 0)),
        "base": _png(np.repeat(view.shade[:, :, None], 3, axis=2)),
        "lines": None if view.kind != "flat" else _png(outlines(view, brain.overlay)),
        "threshold": THRESHOLD,
        "pretrained": packed.setdefault(_steps(pretrained), len(packed)),
        "labels": names.labels,
        "label": _base64(names.of_voxels.astype("<u2")),
        "step": _STEP,
        "colors": colors,
        "grays": [f"rgb({', '.join([str(round(255 * gray))] * 3)})" for gray in (SULCUS, GYRUS)],
        "legend": {
            "unfiltered": legend("", centered=True),
            "filtered": legend("pre-trained r above LEVEL", centered=True),
        },
        "maps": shown,
        "scores": list(packed),
    }


class VoxelNames:
    """Where each voxel lies, in words; empty if the subject's anatomy is missing.

    Attributes
    ----------
    labels : list[str]
        Every combination of side, drawn regions and parcel that occurs; the first is for no name at all.
    of_voxels : NDArray[np.int64]
        (n_voxels,) index into the labels.
    regions : dict[str, NDArray[bool]]
        Side and name -> bool (n_voxels,), for tables.
    missing : list[str]
        Why some names are not known.
    """

    def __init__(self, brain: Brain, subject: str, n_voxels: int) -> None:
        self.regions: dict[str, NDArray[np.bool_]] = {}
        self.missing: list[str] = []
        words: list[list[str]] = [[] for _ in range(n_voxels)]
        for side, name, mask in self._sets(brain, subject, n_voxels):
            if mask.any():
                self.regions[f"{side} {name}".strip()] = mask
                for voxel in np.flatnonzero(mask):
                    words[voxel].append(name or side)
        combined = [", ".join(dict.fromkeys(names)) for names in words]
        self.labels = ["", *sorted(set(combined) - {""})]
        number = {label: k for k, label in enumerate(self.labels)}
        self.of_voxels = np.array([number[label] for label in combined], dtype=np.int64)

    def _sets(self, brain: Brain, subject: str, n_voxels: int) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
        """Side, name and voxels: the sides themselves, without a name; then drawn regions; then parcels."""
        try:
            atlas = read_atlas(brain.dataset, subject)
        except DataError as error:
            self.missing.append(f"Voxels have no names: {error}")
            return
        if atlas.n_voxels != n_voxels:
            self.missing.append(f"Voxels have no names: the mask has {atlas.n_voxels}, the results {n_voxels}.")
            return
        self.missing += [f"No names of {kind}: {reason}" for kind, reason in atlas.missing.items() if kind in _KINDS]
        self.missing += [reason for name, reason in atlas.missing.items() if name.startswith("svg:")]
        sides = {"left": atlas.sets["lh"], "right": atlas.sets["rh"]}
        for side, mask in sides.items():
            yield side, "", mask
        for kind in _KINDS:
            for name, mask in atlas.sets.items():
                if name.startswith(f"{kind}:"):
                    for side, half in sides.items():
                        yield side, name.removeprefix(f"{kind}:"), mask & half


def pack_pixels(voxels: NDArray[np.int32], inside: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Runs of equal pixels, row after row: the upper 24 bits are the voxel + 1, 0 for cortex without a voxel, all ones
    outside the brain; the lower 8 the run's length."""
    code = np.where(inside, voxels.astype(np.int64) + 1, _OUTSIDE).ravel()
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    lengths = np.diff(starts, append=len(code))
    n_parts = -(-lengths // _LONGEST)
    codes = np.repeat(code[starts], n_parts)
    parts = np.full(len(codes), _LONGEST)
    last = np.cumsum(n_parts) - 1
    parts[last] = lengths - (n_parts - 1) * _LONGEST
    return ((codes << 8) | parts).astype("<u4")


def mean_by_region(names: VoxelNames, run_values: Iterable[tuple[str, NDArray]]) -> list[list[Any]]:
    """Rows of a table: a region, its voxels, and the mean of each (name, values); regions without a value have none."""
    columns = list(run_values)
    rows = []
    for name, mask in names.regions.items():
        known = mask & np.all([np.isfinite(values) for _, values in columns], axis=0)
        if known.any():
            rows.append([name, f"{int(known.sum()):,}", *(f"{values[known].mean():.3f}" for _, values in columns)])
    return rows


def _describe(voxel_map: VoxelMap, packed: dict[str, int]) -> dict[str, Any]:
    low, high = limits(voxel_map.values, centered=voxel_map.centered)
    scores, minus = (
        None if values is None else packed.setdefault(_steps(values), len(packed))
        for values in (voxel_map.scores, voxel_map.minus)
    )
    return {
        "title": voxel_map.title,
        "unit": voxel_map.unit,
        "colors": CHANGE if voxel_map.centered else VALUES,
        "centered": voxel_map.centered,
        "low": low,
        "high": high,
        "scores": scores,
        "minus": minus,
    }


def _steps(values: NDArray) -> str:
    """Values as base64 of int16 multiples of the step; NaN and what does not fit are no value."""
    scaled = np.rint(np.nan_to_num(values, nan=np.inf) / _STEP)
    known = np.isfinite(values) & (np.abs(scaled) <= 32767)
    return _base64(np.where(known, np.where(known, scaled, 0), _NO_VALUE).astype("<i2"))


def _base64(values: NDArray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _png(picture: NDArray[np.uint8]) -> str:
    return f"data:image/png;base64,{base64.b64encode(png_bytes(picture)).decode()}"
