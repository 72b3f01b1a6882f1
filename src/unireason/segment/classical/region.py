"""What is cut out of a case around a box: grey levels of few values, and where the box lies in them.

Everything later works on this block alone, so that memory follows the box and not the volume. Places are continuous indices of the
block, slowest axis first. It knows nothing of masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Block = tuple[slice, ...]
Place = NDArray[np.float64]  # one number an axis, slowest first

LEVELS = 256
"""Grey levels of a channel: one byte a voxel, and tables small enough to smooth at once."""

_CUT = (0.5, 99.5)  # percentiles at both ends of the levels: a few voxels of metal must not flatten the rest
_LOOKED_AT = 1 << 16  # voxels that tell the range of the levels
_LEAST_MARGIN = 3  # voxels


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A block of a case around a box.

    Attributes:
        levels: uint8 (C, Z, Y, X) or (C, Y, X): grey levels, one channel for grey pictures and three for colour.
        known: bool, without the channels: False where the case has no finite number.
        block: Where it was cut out.
        low: Lower corner of the box, in the block.
        high: Upper corner of the box.
        spacing: Size of a voxel of the region along each axis, in any unit that all axes share.
        strides: The region holds every n-th voxel of the block along each axis; 1 everywhere unless the block was too large.
    """

    levels: NDArray[np.uint8]
    known: NDArray[np.bool_]
    block: Block
    low: Place
    high: Place
    spacing: Place
    strides: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes without the channels."""
        return self.known.shape

    def thinned(self, strides: tuple[int, ...]) -> Region:
        """Every n-th voxel: noise and contrast stay as they are, which an average would change.

        Args:
            strides: n along each axis; 1 everywhere gives the same region.
        """
        if max(strides) == 1:
            return self
        step = np.array(strides, float)
        every = _every(strides)
        return Region(
            self.levels[(slice(None), *every)],
            self.known[every],
            self.block,
            self.low / step,
            self.high / step,
            self.spacing * step,
            tuple(a * b for a, b in zip(self.strides, strides, strict=True)),
        )

    def part(self, first: Place, last: Place) -> tuple[Region, Block]:
        """The voxels between two corners, at least one along each axis, and where in this region they lie."""
        sizes = np.array(self.shape)
        begin = np.clip(np.floor(first), 0, sizes - 1).astype(int)
        end = np.clip(np.ceil(last), begin + 1, sizes).astype(int)
        inner = tuple(slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))
        block = tuple(
            slice(whole.start + n * s.start, min(whole.start + n * s.stop, whole.stop))
            for whole, s, n in zip(self.block, inner, self.strides, strict=True)
        )
        levels = self.levels[(slice(None), *inner)]
        low, high = self.low - begin, self.high - begin
        return Region(levels, self.known[inner], block, low, high, self.spacing, self.strides), inner

    def laid_out(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of this region on all voxels of its block."""
        for axis, n in enumerate(self.strides):
            if n > 1:
                mask = np.repeat(mask, n, axis=axis)
        return mask[tuple(slice(0, s.stop - s.start) for s in self.block)]


def cut(pixels: NDArray[Any], low: Place, high: Place, *, spacing: Place, margin: float, most: int) -> Region:
    """Cut out a box with what lies around it.

    Args:
        pixels: (Z, Y, X) or (Y, X), with three channels behind or not; real numbers.
        low: Lower corner of the box, slowest axis first, inside the grid.
        high: Upper corner.
        spacing: Size of a voxel along each axis; its length is the number of axes.
        margin: What is added on every side, as a share of the box's side; at least three voxels, cut off at the borders.
        most: Voxels of the region; of a larger block only every n-th is taken.

    Returns:
        The region.
    """
    axes = len(spacing)
    extra = np.maximum(margin * (high - low), _LEAST_MARGIN)
    first = np.maximum(np.floor(low - extra), 0).astype(int)
    last = np.minimum(np.ceil(high + extra), pixels.shape[:axes]).astype(int)
    block = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    strides = strides_for(tuple(int(n) for n in last - first), most)
    step = np.array(strides, float)
    values = pixels[block][_every(strides)]
    channels = [values] if values.ndim == axes else _uncorrelated(values)
    known = np.ones(values.shape[:axes], bool)
    if not np.issubdtype(values.dtype, np.integer):
        for channel in channels:
            known &= np.isfinite(channel)
    levels = np.stack([_quantised(channel, known) for channel in channels])
    return Region(levels, known, block, (low - first) / step, (high - first) / step, np.asarray(spacing, float) * step, strides)


def strides_for(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """The least strides, longest axis first, that leave at most ``most`` voxels (or one along each axis)."""
    strides = [1] * len(shape)

    def left() -> list[int]:
        return [-(-n // s) for n, s in zip(shape, strides, strict=True)]

    while np.prod(left()) > most and max(left()) > 1:
        strides[int(np.argmax(left()))] += 1
    return tuple(strides)


def _every(strides: tuple[int, ...]) -> Block:
    """Element m of a thinned axis stands for the n voxels [m n, (m + 1) n): it is their first one."""
    return tuple(slice(None, None, n) for n in strides)


def _quantised(values: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Grey levels between two percentiles of the known values; all 0 where these are equal or nothing is known."""
    every = _every(strides_for(values.shape, _LOOKED_AT))
    seen = values[every][known[every]].astype(np.float64)
    if not seen.size:
        return np.zeros(values.shape, np.uint8)
    low, high = (float(v) for v in np.percentile(seen, _CUT))
    if high <= low:
        low, high = float(seen.min()), float(seen.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = values.astype(np.float32)
    if not known.all():
        scaled[~known] = low
    scaled -= np.float32(low)
    scaled *= np.float32((LEVELS - 1) / (high - low))
    scaled += np.float32(0.5)
    np.clip(scaled, 0, LEVELS - 1, out=scaled)
    return scaled.astype(np.uint8)


def _uncorrelated(values: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Colour along its principal axes, in which channels may be judged one by one."""
    flat = values.reshape(-1, values.shape[-1]).astype(np.float32)
    sound = flat[np.isfinite(flat).all(axis=1)]
    if len(sound) < 2:
        return [values[..., c].astype(np.float32) for c in range(values.shape[-1])]
    _, axes = np.linalg.eigh(np.cov(sound, rowvar=False).astype(np.float64))
    with np.errstate(invalid="ignore"):
        turned = (flat @ axes[:, ::-1].astype(np.float32)).reshape(values.shape)
    return [turned[..., c] for c in range(values.shape[-1])]
