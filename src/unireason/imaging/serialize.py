"""From a Case to the pictures that a network is given: windowed grey levels, resized over the full extent.

Resizing keeps pixel edges: output pixel ``o`` of ``m`` stands for input ``[o n / m, (o + 1) n / m)``. An axis that shrinks is
averaged over exactly that range, fractions of border pixels included (which also prevents aliasing); an axis that grows is
interpolated linearly between pixel centres. So ``canonical = model * n / m`` holds for every box.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError, GeometryError
from unireason.types import Case, Frame, Stack

from . import window as windows

DEFAULT_SIZE = (256, 256)
"""(H, W) of a model slice unless told otherwise."""

_AT_ONCE = 8  # slices
_LARGEST = 4096  # pixels a side, slices a stack: beyond any network and any display


def serialize(case: Case, *, depth: int = 32, size: tuple[int, int] | None = None, window: str = "auto") -> Stack:
    """Window a case, then resize it to the pictures handed to the network.

    Args:
        case: Volume or image.
        depth: Slices of the result for a volume; an image always gives one.
        size: (H, W) of the result in pixels. None means 256 x 256 for a volume and unchanged for an image.
        window: See `unireason.imaging.window.choose`.

    Returns:
        The stack: uint8 slices, what each covers, and the full-resolution grey levels.

    Raises:
        FormatError: If the window, the depth or the size cannot be used.
    """
    chosen = windows.choose(case, window)
    native = windows.apply(case.pixels, chosen)
    if case.kind == "image":
        height, width = _checked(size or native.shape[:2], bounded=size is not None)
        picture = native.copy() if (height, width) == native.shape[:2] else _rounded(_plane(native, height, width))
        return Stack(picture[None], "image", chosen.label, ((0, 1),), native)
    height, width = _checked(size or DEFAULT_SIZE)
    _checked((depth, 1))
    slices = np.empty((depth, height, width, *native.shape[3:]), np.uint8)
    taps, weights = _taps(native.shape[0], depth)
    for index in range(depth):
        slices[index] = _rounded(_plane(_blend(native, taps[index], weights[index]), height, width))
    return Stack(slices, "volume", chosen.label, coverage(native.shape[0], depth), native)


def coverage(slices: int, depth: int) -> tuple[tuple[int, int], ...]:
    """For each of ``depth`` model slices the half-open range of canonical slices whose extent it touches.

    Args:
        slices: Canonical slices, at least 1.
        depth: Model slices, at least 1.

    Returns:
        ``depth`` ranges; together they cover every canonical slice, and none is empty.
    """
    return tuple((d * slices // depth, -((-(d + 1) * slices) // depth)) for d in range(depth))


def native_region(stack: Stack, frame: Frame, slice_index: int, rect: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """Full-resolution pixels behind a rectangle of the model frame, for crops with more detail than the model saw.

    Args:
        stack: The serialized case.
        frame: The model frame in which ``rect`` is written.
        slice_index: Model slice, 0 for an image.
        rect: (x1, y1, x2, y2) in model pixels, half-open; cut to the frame.

    Returns:
        uint8 (h, w) or (h, w, 3): every canonical pixel that the rectangle touches, at least one; for a volume the mean of
        the canonical slices that the model slice covers.

    Raises:
        GeometryError: If there is no such slice.
    """
    if not 0 <= slice_index < len(stack.coverage):
        raise GeometryError(f"model slice {slice_index} was asked for", f"0 to {len(stack.coverage) - 1}")
    volume = stack.kind == "volume"
    height, width = stack.native.shape[1:3] if volume else stack.native.shape[:2]
    x1, x2 = _span(rect[0], rect[2], width / frame.width, width)
    y1, y2 = _span(rect[1], rect[3], height / frame.height, height)
    if not volume:
        return stack.native[y1:y2, x1:x2].copy()
    first, last = stack.coverage[slice_index]
    return _rounded(stack.native[first:last, y1:y2, x1:x2].mean(axis=0, dtype=np.float32))


def published_serialize(
    volume: NDArray[Any], target_dhw: tuple[int, int, int], normalize: str = "percentile"
) -> NDArray[np.uint8]:
    """What the published system makes of a bare array: a compatibility mode, not for real work.

    The axis whose length is nearest to the target depth is moved to the front (of equals the first), intensities are scaled to
    0..1 by the 1st and 99th percentile or by the extremes, and the result is resized trilinearly without smoothing.

    Args:
        volume: Three axes, real numbers.
        target_dhw: (D, H, W) of the result.
        normalize: ``"percentile"`` or ``"minmax"``.

    Returns:
        uint8 (D, H, W).

    Raises:
        FormatError: If the array is empty or has not three axes, or ``normalize`` is unknown.

    Source: behaviour recorded in the conformance cases, key ``published_serialize``.
    """
    if volume.ndim != 3 or volume.size == 0:
        raise FormatError(f"the array has shape {volume.shape}", "three axes, none of them empty")
    if normalize not in ("percentile", "minmax"):
        raise FormatError(f"normalize is {normalize!r}", "'percentile' or 'minmax'")
    front = min(range(3), key=lambda axis: abs(volume.shape[axis] - target_dhw[0]))
    real = np.moveaxis(volume, front, 0).astype(np.float32)
    low, high = np.percentile(real, [1, 99]) if normalize == "percentile" else (real.min(), real.max())
    real = np.clip((real - low) / max(float(high - low), 1e-8), 0.0, 1.0)
    for axis, length in enumerate(target_dhw):
        real = _resize(real, axis, length, smooth=False)
    grey: NDArray[np.uint8] = np.clip(real * 255.0, 0, 255).astype(np.uint8)
    return grey


def _checked(size: tuple[int, ...], bounded: bool = True) -> tuple[int, int]:
    height, width = int(size[0]), int(size[1])
    if min(height, width) < 1 or (bounded and max(height, width) > _LARGEST):
        raise FormatError(f"a size of {height} x {width} was asked for", f"1 to {_LARGEST} along every axis")
    return height, width


def _span(low: float, high: float, factor: float, length: int) -> tuple[int, int]:
    """Whole pixels touched by a model range, inside the array and never empty."""
    # Products such as 3 * (10 / 30) may miss a whole number by a rounding error and would then touch one pixel too many.
    first = min(max(int(np.floor(low * factor + 1e-9)), 0), length - 1)
    last = min(max(int(np.ceil(high * factor - 1e-9)), first + 1), length)
    return first, last


def _rounded(real: NDArray[np.float32]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.clip(real + 0.5, 0, 255).astype(np.uint8)
    return grey


def _plane(picture: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    return _resize(_resize(picture, 0, height), 1, width)


def _resize(array: NDArray[Any], axis: int, length: int, smooth: bool = True) -> NDArray[np.float32]:
    """One axis resized; ``smooth`` averages where it shrinks."""
    taps, weights = _taps(array.shape[axis], length, smooth)
    shape = [1] * array.ndim
    shape[axis] = length
    out: NDArray[np.float32] = np.zeros((*array.shape[:axis], length, *array.shape[axis + 1 :]), np.float32)
    for tap in range(taps.shape[1]):
        out += np.take(array, taps[:, tap], axis=axis) * weights[:, tap].reshape(shape)
    return out


def _blend(native: NDArray[np.uint8], taps: NDArray[np.intp], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weighted sum of slices, a few at a time to bound the memory."""
    used = weights > 0
    taps, weights = taps[used], weights[used]
    out = np.zeros(native[0].size, np.float32)
    for start in range(0, len(taps), _AT_ONCE):
        chosen = native[taps[start : start + _AT_ONCE]].reshape(-1, out.size)
        out += weights[start : start + _AT_ONCE] @ chosen.astype(np.float32)
    return out.reshape(native.shape[1:])


def _taps(n: int, m: int, smooth: bool = True) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Input indices and weights, both (m, taps), whose weighted sum gives each of ``m`` outputs from ``n`` inputs."""
    if smooth and n > m:
        low, high = np.arange(m) * n / m, np.arange(1, m + 1) * n / m
        index = np.floor(low).astype(np.intp)[:, None] + np.arange(int(np.ceil(n / m)) + 1)
        share = np.maximum(np.minimum(high[:, None], index + 1) - np.maximum(low[:, None], index), 0)
        used = share.max(0) > 0  # a whole factor needs no border pixels
        return np.minimum(index, n - 1)[:, used], (share[:, used] * m / n).astype(np.float32)
    centre = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    first = np.floor(centre).astype(np.intp)
    part = (centre - first).astype(np.float32)
    return np.stack([first, np.minimum(first + 1, n - 1)], 1), np.stack([1 - part, part], 1)
