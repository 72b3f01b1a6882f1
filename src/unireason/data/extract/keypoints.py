"""The two key points of a structure: inside it, apart, and on different parts.

How they are chosen, in the model frame:

1. If the second largest connected piece has at least 30% of the largest one's pixels, the two pieces are the two parts. Otherwise
   the largest piece is cut across its main axis (the first eigenvector of its scatter) into two halves of equal mass.
2. In each part the deepest pixel is taken: the largest Euclidean distance to what is outside the part, so it lies on the part's
   medial axis. Of equally deep pixels the one nearest to the part's centroid wins, then the first in index order.
3. If these two are not more than 10 pixels apart, the ends of the medial axis are taken instead: among pixels of at least some
   depth those with the smallest and the largest place along the main axis (of equals the one nearest to the centroid), for the
   largest depth at which they are more than 10 pixels apart; if there is none, the two pixels farthest from each other.
4. The points are put in order of x, then y, then z.

Boxes larger than 4,096 pixels are looked at on every n-th pixel along x and y. A point is a pixel ``(x, y)`` or voxel ``(x, y, z)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.data.scene import Point
from unireason.errors import GeometryError

from .shape import main_axes, moments

APART = 10.0
"""Model pixels; the distance of the points must exceed it for the full reward of the grounding task."""
SECOND = 0.30
"""Least size of the second piece, as a share of the largest."""
_ENOUGH, _FEW = 4096, 64
_MOST_ENDS = 1024

Mask = NDArray[np.bool_]
Index = NDArray[np.intp]  # one or many places along (z, y, x)
Step = NDArray[np.float64]  # along (z, y, x)
Pair = tuple[Index, Index]


def key_points(mask: Mask, origin: Sequence[int], steps: Sequence[float]) -> tuple[Point, Point]:
    """Two points of a mask, as the module text says.

    Args:
        mask: (z, y, x) or (y, x) in the model frame, a block of it, with at least one pixel.
        origin: (x, y[, z]) of the block in the frame.
        steps: Size of a model pixel along x, y[, z], in any unit; it decides which axis is the longest.

    Returns:
        Two pixels of the mask, different unless it has only one.

    Raises:
        GeometryError: If the mask is empty.

    Source: MedReasoner, arXiv 2508.08177, for what the points are for; the choice is our own.
    """
    if not mask.any():
        raise GeometryError("the mask is empty in the model frame", "at least one pixel", "leave the structure out")
    view, starts, strides = _thinned(mask)
    step: Step = np.array(steps[::-1], float) * strides
    pieces = _pieces(view)
    parts = pieces if len(pieces) == 2 else _halves(pieces[0], step)
    pair = _deepest(parts[0], step), _deepest(parts[-1], step)
    if _distance(*pair, strides) <= APART:
        pair = _ends(np.logical_or.reduce(pieces), step, strides)
    offset = starts + np.array(origin[::-1])
    first, second = sorted(tuple(int(v) for v in (p * strides + offset)[::-1]) for p in pair)
    return first, second


def _thinned(mask: Mask) -> tuple[Mask, Index, Index]:
    """Every n-th pixel along x and y of a large mask, with the first one and n along every axis."""
    stride = 1
    while mask.size > _ENOUGH * stride**2:
        stride += 1
    starts, strides = np.zeros(mask.ndim, np.intp), np.ones(mask.ndim, np.intp)
    strides[-2:] = stride
    starts[-2:] = [(n - 1) % stride // 2 for n in mask.shape[-2:]]
    view = mask[tuple(slice(int(a), None, int(s)) for a, s in zip(starts, strides, strict=True))]
    if stride > 1 and np.count_nonzero(view) < _FEW:
        return mask, np.zeros_like(starts), np.ones_like(strides)
    return view, starts, strides


def _pieces(mask: Mask) -> list[Mask]:
    """The largest connected piece, and the second one if it is large enough."""
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim, bool))
    if count == 1:
        return [mask]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    first, second = np.argsort(-sizes, kind="stable")[:2]
    return [labels == v for v in (first, second) if sizes[v] >= SECOND * sizes[first]]


def _along(index: Index, mask: Mask, step: Step) -> NDArray[np.float64]:
    """Place of pixels along the main axis of a mask."""
    _, scatter = moments(mask, tuple(step[::-1]))
    axis = main_axes(scatter)[1][0]
    along: NDArray[np.float64] = np.round((index * (np.array(axis[::-1]) * step)).sum(axis=1), 9)
    return along


def _halves(mask: Mask, step: Step) -> list[Mask]:
    """Two halves of equal mass across the main axis; one for a single pixel."""
    index = np.argwhere(mask)
    order = np.argsort(_along(index, mask, step), kind="stable")
    halves = []
    for chosen in np.split(order, [len(order) // 2]):
        half = np.zeros(mask.shape, bool)
        half[tuple(index[chosen].T)] = True
        halves.append(half)
    return [half for half in halves if half.any()]


def _deepest(mask: Mask, step: Step) -> Index:
    depth = _depth(mask, step)
    index = np.argwhere(depth >= depth.max() * (1 - 1e-9))
    place: Index = index[int(_away(index, mask, step).argmin())]
    return place


def _away(index: Index, mask: Mask, step: Step) -> Step:
    """Squared distance of pixels to the centroid of a mask."""
    centre, _ = moments(mask, tuple(step[::-1]))
    squared: NDArray[np.float64] = np.round((((index + 0.5 - np.array(centre[::-1])) * step) ** 2).sum(axis=1), 9)
    return squared


def _depth(mask: Mask, step: Step) -> NDArray[np.float64]:
    """Distance of every pixel to the nearest one outside; beyond the block is outside."""
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=step)
    return depth[(slice(1, -1),) * mask.ndim]


def _ends(mask: Mask, step: Step, strides: Index) -> Pair:
    """The ends of the medial axis, or the farthest pair."""
    index = np.argwhere(mask)
    along = _along(index, mask, step)
    away = _away(index, mask, step)
    depth = _depth(mask, step)[mask]
    for level in np.unique(depth)[::-1]:
        deep = np.flatnonzero(depth >= level)
        first, last = (deep[np.lexsort((away[deep], sign * along[deep]))[0]] for sign in (1, -1))
        ends = index[first], index[last]
        if _distance(*ends, strides) > APART:
            return ends
    return _farthest(mask, strides)


def _farthest(mask: Mask, strides: Index) -> Pair:
    """The two pixels farthest from each other; both are the first or the last of their rows."""
    before, after = np.zeros_like(mask), np.zeros_like(mask)
    before[..., 1:], after[..., :-1] = mask[..., :-1], mask[..., 1:]
    index = np.argwhere(mask & ~(before & after))
    index = index[:: max(1, -(-len(index) // _MOST_ENDS))]
    squared: NDArray[Any] = (((index[:, None] - index[None]) * strides) ** 2).sum(axis=2)
    first, second = divmod(int(squared.argmax()), len(index))
    return index[first], index[second]


def _distance(a: Index, b: Index, strides: Index) -> float:
    """Model pixels between two pixels."""
    return math.dist((a * strides).tolist(), (b * strides).tolist())
