"""Regions that were drawn on a flat map: what lies inside, and what of their outlines is to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .surfaces import Side

Rings = tuple[NDArray[np.floating], ...]  # each (n_points, 2)


@dataclass(frozen=True)
class Outline:
    """One shape of a region on one hemisphere, in x and y of the flat surface.

    Attributes
    ----------
    lines : tuple[NDArray[np.float32], ...]
        Each (n_points, 2). A region's are closed rings, and a ring inside a ring is a hole; a sulcus's are open.
    clips, frame : tuple[tuple[Rings, ...], ...]
        What the shape, and its whole layer, is clipped to: shapes of rings of which any, for each clip, must hold a
        point for it to be shown. pycortex frames a layer by the edge of the flat map. Which vertices are on the map is
        known from the surface itself, so that the frame trims what is drawn and decides nothing.
    """

    lines: Rings
    clips: tuple[tuple[Rings, ...], ...] = ()
    frame: tuple[tuple[Rings, ...], ...] = ()

    def inside(self, points: NDArray) -> NDArray[np.bool_]:
        """Which points (n, 2) lie inside: bool (n,)."""
        return _shown(points, self.clips) & _inside_rings(points, self.lines)

    def visible_lines(self, *, closed: bool) -> list[NDArray[np.floating]]:
        """The lines, closed if they are rings, and cut where clips and frame hide them: each (n_points, 2)."""
        lines = [np.concatenate([line, line[:1]]) for line in self.lines] if closed else list(self.lines)
        clips = self.clips + self.frame
        return [piece for line in lines for piece in _cut(line, clips)] if clips else lines


@dataclass(frozen=True)
class Region:
    """One name of the drawing. ``lh`` and ``rh`` are its shapes there.

    Coordinates are x and y of :func:`.surfaces.load_surface`'s flat surface of that side.
    """

    name: str
    lh: tuple[Outline, ...]
    rh: tuple[Outline, ...]

    def inside(self, side: Side, points: NDArray) -> NDArray[np.bool_]:
        """Which points (n, 2) of a flat surface lie inside: bool (n,)."""
        inside = np.zeros(len(points), dtype=bool)
        for outline in getattr(self, side):
            inside |= outline.inside(points)
        return inside

    def visible_lines(self, side: Side, *, closed: bool) -> list[NDArray[np.floating]]:
        """What is to be drawn on a side: lines (n_points, 2)."""
        return [line for outline in getattr(self, side) for line in outline.visible_lines(closed=closed)]


def _shown(points: NDArray, clips: Sequence[tuple[Rings, ...]]) -> NDArray[np.bool_]:
    shown = np.ones(len(points), dtype=bool)
    for clip in clips:
        shown &= np.any([_inside_rings(points, rings) for rings in clip], axis=0) if clip else False
    return shown


def _inside_rings(points: NDArray, rings: Rings) -> NDArray[np.bool_]:
    odd = np.zeros(len(points), dtype=bool)
    for ring in rings:
        odd ^= _inside_ring(points, ring)
    return odd


def _inside_ring(points: NDArray, ring: NDArray) -> NDArray[np.bool_]:
    """Even-odd rule: a ray to the right crosses the ring an odd number of times."""
    out = np.zeros(len(points), dtype=bool)
    near = np.flatnonzero(((points >= ring.min(axis=0)) & (points <= ring.max(axis=0))).all(axis=1))
    x, y = points[near].T.astype(np.float64)
    odd = np.zeros(len(near), dtype=bool)
    for (x0, y0), (x1, y1) in zip(ring.astype(np.float64), np.roll(ring, -1, axis=0).astype(np.float64), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            odd ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    out[near] = odd
    return out


def _cut(line: NDArray[np.floating], clips: Sequence[tuple[Rings, ...]]) -> list[NDArray[np.float64]]:
    """The pieces of a line that the clips show: cut wherever it crosses one, and judged by the pieces' middles."""
    line = line.astype(np.float64)
    edges = [np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for clip in clips for rings in clip for ring in rings]
    corners = np.concatenate(edges) if edges else np.empty((0, 2, 2))
    points = [line[:1]]
    for start, end in pairwise(line):
        points += [start + at * (end - start) for at in _crossings(start, end, corners)] + [end[None]]
    cut = np.concatenate([np.reshape(point, (1, 2)) for point in points])
    shown = _shown((cut[:-1] + cut[1:]) / 2, clips)
    starts = np.flatnonzero(shown & ~np.concatenate([[False], shown[:-1]]))
    ends = np.flatnonzero(shown & ~np.concatenate([shown[1:], [False]]))
    return [cut[start : end + 2] for start, end in zip(starts, ends, strict=True)]


def _crossings(start: NDArray, end: NDArray, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where, from 0 at its start to 1 at its end, a straight piece crosses edges (n, 2, 2), in order."""
    along, across = end - start, edges[:, 1] - edges[:, 0]
    away = edges[:, 0] - start
    cross = along[0] * across[:, 1] - along[1] * across[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        at = (away[:, 0] * across[:, 1] - away[:, 1] * across[:, 0]) / cross
        on_edge = (away[:, 0] * along[1] - away[:, 1] * along[0]) / cross
    return np.sort(at[(cross != 0) & (at > 0) & (at < 1) & (on_edge >= 0) & (on_edge <= 1)])
