"""The whole way from a box in a grid to a mask around it: learn on a thinned region, judge every voxel, keep what was asked for.

It knows arrays and boxes; prompts and cases are the expert's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cleaning import component, expected_dice, extent
from .fit import Ellipse, Learned, Model, Settings, judge, learn
from .region import LEVELS, Block, Place, Region, cut, strides_for

JUDGED = 1 << 25
"""Voxels of a region at most; a larger one is judged on every n-th voxel, so that memory stays below a few hundred megabytes."""

_LEARNED_ON = {2: 1 << 14, 3: 1 << 17}  # voxels, by the number of axes
_SEED_REACH = 0.15  # of the box's sides: a point farther out is not believed
_UNTOLD = 0.05  # nats of evidence in a voxel of the inside, below which nothing was told apart
_LIKELY = 0.05  # probability below which a thinned voxel's surroundings are not looked at again
_AROUND, _CORE = 1.3, 0.8  # of the circle's radius: the first box for points alone; of that box: the first inside
_ROUNDS, _ROUNDS_OF_ONE, _STILL = 3, 8, 0.04  # boxes found from points; change of a side that counts as none


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A mask in a block of the grid.

    Attributes:
        block: Where it lies.
        mask: bool, of the block's sizes.
        score: Expected Dice coefficient, see `cleaning.expected_dice`.
        notes: What should be known.
    """

    block: Block
    mask: NDArray[np.bool_]
    score: float
    notes: tuple[str, ...]


def search(pixels: NDArray[Any], low: Place, high: Place, *, spacing: Place, points: Place, settings: Settings) -> Found:
    """Find the structure that a box encloses.

    Args:
        pixels: (Z, Y, X) or (Y, X), with three channels behind or not.
        low: Lower corner of the box, slowest axis first, inside the grid.
        high: Upper corner.
        spacing: Size of a voxel along each axis.
        points: (n, axes) places inside the structure; may be empty.
        settings: The method's numbers.

    Returns:
        What was found.
    """
    whole = cut(pixels, low, high, spacing=spacing, margin=settings.margin, most=JUDGED)
    believed = ((points >= low - _SEED_REACH * (high - low)) & (points <= high + _SEED_REACH * (high - low))).all(axis=1)
    thin = whole.thinned(strides_for(whole.shape, _LEARNED_ON[len(spacing)]))
    learned = learn(thin, _voxels(points[believed], thin), settings)
    told = learned.evidence >= _UNTOLD
    region, model = _near(whole, thin, learned) if told else (whole, _untold(whole))
    seeds = _voxels(points[believed], region)
    alone = replace(settings, coupling=0.0)
    inside = learned.inside if told and region is thin else judge(region, model, seeds, settings if told else alone)
    mask, others = component(inside, seeds)
    if not mask.any():
        # Something as small as a voxel or two is outvoted by its neighbours.
        inside = judge(region, model, seeds, alone)
        mask, others = component(inside, seeds)
    notes = []
    if not believed.all():
        notes.append(f"{np.count_nonzero(~believed)} points lie far outside of the box and were left out")
    if not told:
        notes.append("grey levels tell nothing apart: the ellipse that touches the box's sides was taken")
    if max(whole.strides) > 1:
        notes.append(f"a large region: only every {max(whole.strides)}th voxel was looked at")
    if others:
        notes.append(f"{others} other components were left out")
    return Found(region.block, region.laid_out(mask), expected_dice(inside, mask), tuple(notes))


def _near(whole: Region, thin: Region, learned: Learned) -> tuple[Region, Model]:
    """The part of a region where the structure may be, and the model in its voxels."""
    if thin is whole:
        return whole, learned.model
    factors = thin.spacing / whole.spacing
    block = extent(learned.inside > _LIKELY)
    first, last = np.floor(thin.low), np.ceil(thin.high)
    if block is not None:
        first, last = np.array([s.start - 1.0 for s in block]), np.array([s.stop + 1.0 for s in block])
    region, inner = whole.part(first * factors, last * factors)
    ellipse = learned.model.ellipse
    centre = ellipse.centre * factors - [s.start for s in inner]
    return region, Model(learned.model.tables, Ellipse(centre, ellipse.half * factors))


def _untold(region: Region) -> Model:
    """A model for which all grey levels are alike."""
    return Model(np.zeros((len(region.levels), LEVELS), np.float32), Ellipse.within(region.low, region.high))


def _voxels(points: Place, region: Region) -> NDArray[np.intp]:
    """(n, axes) voxels of a region that hold these places of the grid; places beside the region take its nearest voxel."""
    starts = np.array([s.start for s in region.block])
    held: NDArray[np.intp] = np.clip((points - starts) // np.array(region.strides), 0, np.array(region.shape) - 1).astype(np.intp)
    return held


def enclosed(pixels: NDArray[Any], points: Place, *, spacing: Place, settings: Settings, least: float) -> tuple[Place, Place]:
    """A box for points without one: that of their circle or sphere, then of what is found in it, until it stays.

    Args:
        pixels: (Z, Y, X) or (Y, X), with three channels behind or not.
        points: (n, axes) places inside the structure, at least one. The first two are the ends of a diameter.
        spacing: Size of a voxel along each axis.
        settings: The method's numbers.
        least: Radius, in the unit of spacing, at least.

    Returns:
        Its corners, inside the grid.
    """
    sizes = np.array(pixels.shape[: len(spacing)], float)
    centre = points[:2].mean(axis=0)
    radius = max(float(np.linalg.norm((points[0] - centre) * spacing)), least) / spacing
    low, high = _clipped(centre - _AROUND * radius, centre + _AROUND * radius, sizes)
    for turn in range(_ROUNDS if len(points) > 1 else _ROUNDS_OF_ONE):
        region = cut(pixels, low, high, spacing=spacing, margin=1.0, most=_LEARNED_ON[len(spacing)])
        learned = learn(region, _voxels(points, region), settings, core=_CORE if turn == 0 else 1.0)
        mask, _ = component(learned.inside, _voxels(points, region))
        block = extent(mask)
        if block is None:
            break
        starts, step = np.array([s.start for s in region.block]), np.array(region.strides)
        ends = np.array([[s.start, s.stop] for s in block]).T
        found = _clipped(starts + ends[0] * step, starts + ends[1] * step, sizes)
        moved = max(float(np.abs(a - b).max()) for a, b in zip((low, high), found, strict=True))
        before, (low, high) = float((high - low).max()), found
        if moved <= max(_STILL * before, 1.0):
            break
    return low, high


def _clipped(low: Place, high: Place, sizes: Place) -> tuple[Place, Place]:
    first = np.clip(low, 0, sizes - 1)
    return first, np.clip(high, first + 1, sizes)
