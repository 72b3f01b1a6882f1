"""How much brighter a structure is than what surrounds it on the screen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.imaging import window as windows
from unireason.types import Case

from .boxes import Block, Found

RING = 3
"""Least width of the ring in canonical pixels; pictures above 384 pixels have one of 1/128 of their longer side."""

_LUMA = (299, 587, 114)
# Thousandths of red, green and blue in a grey level. Source: ITU-R BT.601, section 2.5.1.


def grey_levels(case: Case, window: str) -> NDArray[np.uint8]:
    """The case under a window, as ``imaging.serialize`` shows it, at full resolution.

    Raises:
        FormatError: If the window cannot be used.
    """
    return windows.apply(case.pixels, windows.choose(case, window))


def contrast(grey: NDArray[np.uint8], found: Found) -> float:
    """Mean grey level of a structure minus that of the ring around it, two decimals.

    The ring holds all pixels of the same slice that lie at most RING pixels away along x and along y and do not belong to the
    structure. Other structures count as surroundings: a lesion is compared with the organ that holds it.

    Args:
        grey: (Z, Y, X) or (Y, X) grey levels, or colours with one axis more, which count by their luma.
        found: The structure.

    Returns:
        -255 to 255; 0 where nothing surrounds the structure.
    """
    height, width = found.where[0][0].shape[-2:]
    reach = max(RING, round(max(height, width) / 128))
    block = padded(found.block, (reach, reach), (height, width))
    inside = found.mask(block)
    ring = widened(widened(inside, -1, reach), -2, reach) & ~inside
    part = grey[block]
    return round(_mean(part, inside) - _mean(part, ring), 2) if ring.any() else 0.0


def padded(block: Block, reach: tuple[int, ...], sizes: tuple[int, ...]) -> Block:
    """A block grown along its last axes by ``reach``, cut to ``sizes``; both in the order of the axes."""
    kept = len(block) - len(reach)
    grown = (
        slice(max(0, s.start - r), min(n, s.stop + r)) for s, r, n in zip(block[kept:], reach, sizes[-len(reach) :], strict=True)
    )
    return (*block[:kept], *grown)


def widened(mask: NDArray[np.bool_], axis: int, reach: int) -> NDArray[np.bool_]:
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


def _mean(grey: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Mean of whole numbers, added exactly; colours channel by channel, which is several times quicker than pixel by pixel."""
    if grey.ndim == mask.ndim:
        values = grey[mask]
        return int(values.sum(dtype=np.int64)) / len(values)
    return sum(w * _mean(grey[..., c], mask) for c, w in enumerate(_LUMA)) / 1000
