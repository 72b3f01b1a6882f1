"""What structures look like: grey levels in the window shown, against what surrounds them, and their outline on the largest slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from unireason.core.types import Case
from unireason.imaging import present as windows

from .regions import Block, BoxFound

Mask = NDArray[np.bool_]

RING = 3
"""Least width of the ring in canonical pixels; pictures above 384 pixels have one of 1/128 of their longer side."""
LEAST_CORE, LEAST_OUTLINE = 30, 80
"""Pixels from which the spread of grey levels, and the outline on a slice, are told."""

_LUMA = (299, 587, 114)
# Thousandths of red, green and blue in a grey level. Source: ITU-R BT.601, section 2.5.1.


def hounsfield(case: Case, modality: str, window: windows.Window) -> tuple[float, ...]:
    """The Hounsfield units shown as black and as white; () for what is no CT in Hounsfield units."""
    told = modality == "CT" and not window.identity and window.high > window.low
    return (float(window.low), float(window.high)) if told and windows.looks_like_hounsfield(case.pixels) else ()


def contrast(grey: NDArray[np.uint8], found: BoxFound) -> float:
    """Mean grey level of a structure minus that of the ring around it, two decimals."""
    height, width = found.where[0][0].shape[-2:]
    reach = max(RING, round(max(height, width) / 128))
    block = padded(found.block, (reach, reach), (height, width))
    inside = found.mask(block)
    ring = widened(widened(inside, -1, reach), -2, reach) & ~inside
    part = grey[block]
    return round(_mean(part, inside) - _mean(part, ring), 2) if ring.any() else 0.0


def tone(grey: NDArray[np.uint8], found: BoxFound) -> tuple[float, float, float]:
    """Mean grey level, standard deviation away from the edge (-1 if too little lies there), and the share shown black or white."""
    mask = found.mask()
    part = grey[found.block]
    core = mask.copy()  # without pixels at the edge in their slice, which hold something of the neighbour
    for axis in (-1, -2):
        target, source = np.moveaxis(core, axis, 0), np.moveaxis(mask, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
        target[0] = target[-1] = False
    spread = round(math.sqrt(_variance(part, core)), 2) if np.count_nonzero(core) >= LEAST_CORE else -1.0
    shown = part[mask]
    cut = float(np.count_nonzero((shown == 0) | (shown == 255))) / shown.size
    return round(_mean(part, mask), 2), spread, round(cut, 4)


def _mean(grey: NDArray[Any], mask: Mask) -> float:
    """Mean of whole numbers, added exactly; colours channel by channel, which is several times quicker than pixel by pixel."""
    if grey.ndim == mask.ndim:
        values = grey[mask]
        return int(values.sum(dtype=np.int64)) / len(values)
    return sum(w * _mean(grey[..., c], mask) for c, w in enumerate(_LUMA)) / 1000


def _variance(grey: NDArray[Any], mask: Mask) -> float:
    values = grey[mask] if grey.ndim == mask.ndim else grey[mask] @ (np.array(_LUMA) / 1000)
    return float(values.var(dtype=np.float64))


def padded(block: Block, reach: tuple[int, ...], sizes: tuple[int, ...]) -> Block:
    """A block grown along its last axes by ``reach``, cut to ``sizes``; both in the order of the axes."""
    kept = len(block) - len(reach)
    grown = (
        slice(max(0, s.start - r), min(n, s.stop + r)) for s, r, n in zip(block[kept:], reach, sizes[-len(reach) :], strict=True)
    )
    return (*block[:kept], *grown)


def widened(mask: Mask, axis: int, reach: int) -> Mask:
    """True wherever the mask is true within ``reach`` along an axis."""
    out, done = mask, 0
    while done < reach:
        step = min(done + 1, reach - done)  # a longer one would leave gaps at the border of the array
        done += step
        grown = out.copy()
        target, source = np.moveaxis(grown, axis, 0), np.moveaxis(out, axis, 0)
        target[step:] |= source[:-step]
        target[:-step] |= source[step:]
        out = grown
    return out


# --- The outline of the largest part, on the slice where that is largest.


def flat(mask: Mask) -> Mask:
    """The largest part of a mask, on the slice that shows most of it."""
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim, bool))
    if count > 1:
        mask = labels == int(np.bincount(labels.ravel())[1:].argmax()) + 1
    return mask[int(mask.sum(axis=(1, 2)).argmax())] if mask.ndim == 3 else mask


def rim(plane: Mask, steps: Sequence[float]) -> NDArray[np.float64]:
    """Corners of the convex outline through the middles of the outer edges of pixels, in order, (x, y) times ``steps``."""
    y, x = np.nonzero(plane ^ ndimage.binary_erosion(plane))
    ends = [(x + dx, y + dy) for dx, dy in ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))]
    points: NDArray[np.float64] = np.concatenate([np.stack(e, 1) for e in ends]) * np.array(steps[:2])
    corners: NDArray[np.float64] = points[ConvexHull(points).vertices]
    return corners


def across(mask: Mask, steps: Sequence[float]) -> tuple[float, float]:
    """Longest way across the largest part of a mask on the slice where that is largest, and the one at right angles to it.

    Both are taken between the middles of the outer edges of pixels, as calipers would be set (RECIST 1.1: longest diameter in the plane
    of the slice). Of several longest ways the one with the shortest way across it counts.
    """
    points = rim(flat(mask), steps)
    way = points[:, None] - points[None]
    far = np.hypot(way[..., 0], way[..., 1])
    longest = float(far.max())
    shortest = math.inf
    for i, j in np.argwhere(np.triu(far) >= longest - 1e-6):
        along = way[i, j] / far[i, j]
        side = points @ np.array([-along[1], along[0]])
        shortest = min(shortest, float(side.max() - side.min()))
    return round(longest, 4), round(shortest, 4)


def outline(mask: Mask, steps: Sequence[float]) -> tuple[float, ...]:
    """Length over width, and solidity, of the largest part on the slice where that is largest; () if that has few pixels.

    Length over width is that of the ellipse with the same moments (the inverse of IBSI elongation), solidity the share that the part
    fills of its convex outline. Source: Zwanenburg et al., Image Biomarker Standardisation Initiative, Radiology 2020;295:328.
    """
    plane = flat(mask)
    index = np.argwhere(plane)[:, ::-1] * np.array(steps[:2])
    if len(index) < LEAST_OUTLINE:
        return ()
    scatter = np.cov(index, rowvar=False, bias=True) + np.diag(np.square(steps[:2])) / 12
    short, long = np.linalg.eigvalsh(scatter)
    x, y = rim(plane, steps).T
    hull = abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
    filled = min(1.0, len(index) * steps[0] * steps[1] / hull)
    return round(math.sqrt(long / short), 4), round(filled, 4)
