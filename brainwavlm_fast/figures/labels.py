"""Names on a picture, moved apart where they would lie on one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_REACH = 14  # label heights that a name may be moved by, to each side
_ROUNDS = 4  # of taking each name up and putting it down where it is best now
_OVERLAP, _ON_ANOTHER = 1e6, 1.5  # cost of lying on a name, and on another region's middle; moving costs 1 a height


def spread_labels(
    anchors: ArrayLike, sizes: ArrayLike, bounds: tuple[float, float], taken: Sequence[ArrayLike] = ()
) -> NDArray[np.float64]:
    """Where names stand so that none lies on another: as near to what they name as there is room.

    Parameters
    ----------
    anchors : array-like
        (n, 2), the pixel (column, row) of what each name is of.
    sizes : array-like
        (n, 2), width and height of each name.
    bounds : tuple[float, float]
        Width and height of the picture, which no name leaves.
    taken : Sequence
        Boxes (left, top, right, bottom) that stay free.

    Returns
    -------
    NDArray[np.float64]
        (n, 2), the middle of each name.
    """
    anchors, sizes = np.asarray(anchors, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    fixed = np.asarray(taken, dtype=np.float64).reshape(-1, 4)
    # not placed yet: nowhere, and so in nobody's way; the most crowded choose last, and can be moved in later rounds
    centers = np.full(anchors.shape, np.nan)
    crowd = np.linalg.norm(anchors[:, None] - anchors[None], axis=2)
    near = 4 * sizes[:, 1].mean() if len(sizes) else 0.0
    order = np.argsort((crowd < near).sum(axis=1), kind="stable")
    for _ in range(_ROUNDS):
        before = centers.copy()
        for k in order:
            others = np.arange(len(anchors)) != k
            boxes = np.concatenate([_boxes(centers[others], sizes[others]), fixed])
            centers[k] = _best(anchors[k], sizes[k], bounds, boxes, anchors[others])
        if np.array_equal(before, centers):
            break
    return centers


def _best(
    anchor: NDArray[np.float64],
    size: NDArray[np.float64],
    bounds: tuple[float, float],
    boxes: NDArray[np.float64],
    others: NDArray[np.float64],
) -> NDArray[np.float64]:
    steps = np.arange(-2 * _REACH, 2 * _REACH + 1) * size[1] / 2
    moves = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    centers = np.clip(anchor + moves, size / 2, np.asarray(bounds) - size / 2)
    low, high = centers - size / 2, centers + size / 2
    with np.errstate(invalid="ignore"):
        shared = np.minimum(high[:, None], boxes[None, :, 2:]) - np.maximum(low[:, None], boxes[None, :, :2])
        overlap = (shared > 0).all(axis=2).sum(axis=1)
    hides = ((others[None] > low[:, None]) & (others[None] < high[:, None])).all(axis=2).sum(axis=1)
    far = np.linalg.norm(centers - anchor, axis=1) / size[1]
    return centers[np.argmin(far + _OVERLAP * overlap + _ON_ANOTHER * hides)]


def _boxes(centers: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
