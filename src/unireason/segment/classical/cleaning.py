"""From probabilities to one mask: the component that was asked for, without holes that are too small to be something else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.segment.expert import parts

from .fit import Probability

SMALL_HOLE = 0.05
"""A hole of at most this share of the mask is filled; a larger one is another structure inside, such as a mass in an organ."""


def component(inside: Probability, seeds: NDArray[np.intp]) -> tuple[NDArray[np.bool_], int]:
    """The connected part of the likely voxels that was asked for.

    Args:
        inside: (Z, Y, X) or (Y, X) probabilities.
        seeds: (n, axes) voxels that the mask must hold; may be empty.

    Returns:
        The parts that hold a seed, or without seeds the one of most voxels, small holes filled; empty if no voxel is likely. And how
        many other parts were left out.
    """
    likely = inside > 0.5
    mask = np.zeros(inside.shape, bool)
    block = extent(likely)
    if block is None:
        return mask, 0
    labels, count = parts(likely[block])
    chosen = np.zeros(count + 1, bool)
    if len(seeds):
        places = np.zeros(inside.shape, bool)
        places[tuple(seeds.T)] = True
        chosen[labels[places[block]]] = True
        chosen[0] = False
    else:
        chosen[1 + int(np.bincount(labels.ravel())[1:].argmax())] = True
    mask[block] = _filled(chosen[labels])
    return mask, count - int(np.count_nonzero(chosen))


def extent(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """The block from the first to the last voxel of a mask along every axis; None if it is empty."""
    ends = [np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis))) for axis in range(mask.ndim)]
    return tuple(slice(int(e[0]), int(e[-1]) + 1) for e in ends) if ends[0].size else None


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with its small holes; what touches the block's border is no hole."""
    if mask.all():
        return mask
    holes, count = ndimage.label(~mask)  # by faces: where parts connect over corners, holes do not
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    closed = sizes <= SMALL_HOLE * np.count_nonzero(mask)
    closed[0] = False
    for axis in range(mask.ndim):
        for end in (0, -1):
            closed[np.take(holes, end, axis=axis).ravel()] = False
    whole: NDArray[np.bool_] = mask | closed[holes]
    return whole


def expected_dice(inside: Probability, mask: NDArray[np.bool_]) -> float:
    """The Dice coefficient to be expected of a mask if every voxel's probability held: 2 sum(p in mask) / (|mask| + sum(p)).

    Args:
        inside: Probabilities.
        mask: The mask, of the same shape.

    Returns:
        A number in [0, 1]; 0 for an empty mask.
    """
    size = int(np.count_nonzero(mask))
    if size == 0:
        return 0.0
    held = float(inside[mask].sum(dtype=np.float64))
    return 2 * held / (size + float(inside.sum(dtype=np.float64)))
