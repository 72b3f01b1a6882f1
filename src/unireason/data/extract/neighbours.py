"""Which structures lie next to each other.

The gap of two structures is the shortest way between their voxels taken as filled boxes: 0 if they overlap or touch, also at a
corner; else ``sqrt(sum((max(|d| - 1, 0) * step)^2))`` over the index differences ``d`` of their nearest voxels. So coarse slices do not
pull touching structures apart.

A structure grown by one voxel turns that gap into a plain distance of voxel centres. Only boxes that come near enough are looked
into, only inside the smaller one's surroundings, and only surfaces are measured. Nothing is sampled: gaps are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .boxes import Block, Found
from .contrast import padded, widened

NEAR = 5.0
"""Largest gap of neighbours, in millimetres, or pixels where the spacing is unknown."""
MOST = 8
"""How many neighbours are named."""

Mask = NDArray[np.bool_]


def neighbours(found: Sequence[Found], steps: Sequence[float]) -> dict[str, tuple[str, ...]]:
    """The neighbours of every structure among the others.

    Args:
        found: Structures on one grid.
        steps: Voxel size along x, y[, z] in millimetres, or ones.

    Returns:
        For every name the names within NEAR, nearest first, equal gaps in alphabetical order, at most MOST.
    """
    near: dict[str, list[tuple[float, str]]] = {f.name: [] for f in found}
    ordered = sorted(found, key=lambda f: (math.prod(s.stop - s.start for s in f.block), f.name))
    for position, small in enumerate(ordered):
        for name, gap in _gaps(small, ordered[position + 1 :], np.array(steps[::-1], float)).items():
            near[small.name].append((gap, name))
            near[name].append((gap, small.name))
    return {name: tuple(other for _, other in sorted(pairs)[:MOST]) for name, pairs in near.items()}


def _gaps(small: Found, others: Sequence[Found], step: NDArray[np.float64]) -> dict[str, float]:
    """Gaps up to NEAR between a structure and others whose boxes are not smaller; ``step`` along (z, y, x)."""
    sizes = small.where[0][0].shape
    area = padded(small.block, tuple(int(NEAR // s) + 1 for s in step), sizes)
    inside = [(other, part) for other in others if (part := _common(area, other.block)) is not None]
    if not inside:
        return {}
    mask = small.mask(area)
    grown = mask
    for axis in range(mask.ndim):
        grown = widened(grown, axis, 1)
    shell: NDArray[np.float64] | None = None
    gaps: dict[str, float] = {}
    for other, part in inside:
        theirs = other.mask(part)
        local = tuple(slice(p.start - a.start, p.stop - a.start) for p, a in zip(part, area, strict=True))
        if (theirs & grown[local]).any():
            gaps[other.name] = 0.0
        elif theirs.any():
            shell = np.argwhere(grown & ~mask) * step if shell is None else shell
            places = (np.argwhere(_surface(theirs)) + [s.start for s in local]) * step
            gap = _shortest(shell, places)
            if gap <= NEAR:
                gaps[other.name] = gap
    return gaps


def _common(a: Block, b: Block) -> Block | None:
    both = tuple(slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return both if all(s.start < s.stop for s in both) else None


def _surface(mask: Mask) -> Mask:
    """Voxels with a neighbour, along an axis, outside the mask or the array; the nearest voxel to any outside place is one."""
    core = mask.copy()
    for axis in range(mask.ndim):
        target, source = np.moveaxis(core, axis, 0), np.moveaxis(mask, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
        target[0] = target[-1] = False
    return mask & ~core


def _shortest(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Shortest distance of two point sets, six decimals; infinite if it exceeds NEAR."""
    from scipy.spatial import cKDTree

    reach = NEAR + 1e-6
    kept = [p[((p >= q.min(axis=0) - reach) & (p <= q.max(axis=0) + reach)).all(axis=1)] for p, q in ((a, b), (b, a))]
    few, many = sorted(kept, key=len)
    if len(few) == 0:
        return math.inf
    distances, _ = cKDTree(few).query(many, distance_upper_bound=reach)
    return round(float(distances.min()), 6)
