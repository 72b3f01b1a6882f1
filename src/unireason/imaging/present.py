"""From real intensities to the 256 grey levels that a network or a reader sees.

A window has a level (its middle) and a width; values below it are black, above it white, and grey is linear between.
Windowing always comes before resampling: averaging first and cutting afterwards gives another picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, GeometryError
from unireason.core.types import Case, Frame, Stack

PRESETS: dict[str, tuple[float, float]] = {
    "soft-tissue": (40.0, 400.0),
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
}
"""CT presets: name to (level, width) in Hounsfield units."""

NAMES = ("auto", "stored", "percentile", "minmax", "published", *PRESETS)
"""Every name that `choose` accepts, besides ``"LEVEL,WIDTH"``."""

_SAMPLE = 2**22  # values looked at for percentiles; more change the second digit of nothing and cost seconds
_SLAB = 2**18  # values converted at once: small enough to stay in a core's cache


@dataclass(frozen=True, slots=True)
class Window:
    """A linear map to grey levels.

    Attributes:
        low: Intensity that becomes 0.
        high: Intensity that becomes 255. Equal to ``low`` for constant input, which then becomes all 0.
        label: What a reader is told, e.g. "soft-tissue (level 40, width 400)".
        identity: True if the pixels are grey levels or colours already and are passed on unchanged.
    """

    low: float
    high: float
    label: str
    identity: bool = False


def choose(case: Case, name: str = "auto") -> Window:
    """The window that a name means for a case.

    ``auto``: 8-bit pictures and colour are passed on; CT (by its modality code, or because values of an unknown modality look
    like Hounsfield units) gets soft tissue; anything else gets the window stored in the file or, failing that, the 1st to 99th
    percentile. ``published``: of a volume the 1st to 99th percentile of all its values; pictures as by ``auto``.

    Args:
        case: Whose pixels are to be shown.
        name: One of `NAMES`, or ``"LEVEL,WIDTH"`` such as ``"40,400"``.

    Returns:
        The window.

    Raises:
        FormatError: If the name is unknown, the width is not positive, or ``stored`` is asked of a file that has none.
    """
    if name == "auto" or (name == "published" and case.kind == "image"):
        return _automatic(case)
    if name == "published":
        finite = case.pixels if case.pixels.dtype.kind != "f" else case.pixels[np.isfinite(case.pixels)]
        low, high = (float(v) for v in np.percentile(finite, [1, 99])) if finite.size else (0.0, 0.0)
        return Window(low, high, f"published (percentiles 1 to 99: {low:g} to {high:g})")
    if name == "stored":
        if case.window is None:
            raise FormatError("the file stores no window", "a file with one", f"choose one of {', '.join(NAMES)} or LEVEL,WIDTH")
        return _centred(*case.window, "stored")
    if name == "minmax":
        return _bounds(case.pixels, 0.0, 100.0, "minmax")
    if name == "percentile":
        return _bounds(case.pixels, 1.0, 99.0, "percentile 1-99")
    if name in PRESETS:
        return _centred(*PRESETS[name], name)
    return _custom(name)


def apply(pixels: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """Grey levels of an array: ``round(255 (v - low) / (high - low))``, cut to 0..255. NaN becomes 0.

    Works slab by slab in the order in which the array lies in memory, so the working set stays small.

    Args:
        pixels: Any shape, real numbers; may be a flipped or permuted view.
        window: The map.

    Returns:
        A new uint8 array of the same shape, C order.
    """
    out = np.empty(pixels.shape, np.uint8)
    if window.identity:
        np.copyto(out, pixels, casting="unsafe")
        return out
    source, target = _memory_order(pixels, out)
    rows = max(1, _SLAB // max(1, int(np.prod(source.shape[1:])))) if source.ndim else 1
    real = np.empty(
        (rows, *source.shape[1:]), np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
    )
    for start in range(0, len(source), rows):
        part = source[start : start + rows]
        _grey(part, window, real[: len(part)])
        np.copyto(target[start : start + rows], real[: len(part)], casting="unsafe")
    return out


def finite(values: NDArray[Any]) -> NDArray[Any]:
    """Values without a hole, for whoever compares grey levels: NaN and minus infinity lowest, infinity highest, as they are shown."""
    good = np.isfinite(values) if values.dtype.kind == "f" else np.True_
    if good.all():
        return values
    low, high = (values[good].min(), values[good].max()) if good.any() else (0.0, 0.0)
    filled: NDArray[Any] = np.nan_to_num(values, nan=low, neginf=low, posinf=high)
    return filled


def _grey(values: NDArray[Any], window: Window, out: NDArray[np.floating]) -> None:
    """Grey levels plus a half, cut to [0, 256), so that dropping the fraction rounds them."""
    if window.high <= window.low:
        out[...] = 0
        return
    if _is_within(values.dtype, window):
        # Cutting short whole numbers before they are widened is several times cheaper than cutting floats.
        cut = np.clip(values, int(window.low), int(window.high))
        np.subtract(cut, window.low, out=out, casting="unsafe", dtype=out.dtype)
        out *= 255.0 / (window.high - window.low)
        out += 0.5
        return
    with np.errstate(over="ignore", invalid="ignore"):  # infinities and not-a-number are cut or blackened below
        np.subtract(values, window.low, out=out, casting="unsafe", dtype=out.dtype)
        out *= 255.0 / (window.high - window.low)
        out += 0.5
        np.clip(out, 0.0, 255.5, out=out)
    if values.dtype.kind == "f":
        np.nan_to_num(out, copy=False, nan=0.0)


def _is_within(dtype: np.dtype[Any], window: Window) -> bool:
    """True if both ends of the window are whole numbers that a short integer type holds."""
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        return False
    ends = np.iinfo(dtype)
    return all(float(end).is_integer() and ends.min <= end <= ends.max for end in (window.low, window.high))


def _memory_order(pixels: NDArray[Any], out: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Views of both arrays with the axes of ``pixels`` sorted by stride and unflipped, so that reading it is sequential."""
    flip = tuple(slice(None, None, -1 if step < 0 else 1) for step in pixels.strides)
    axes = sorted(range(pixels.ndim), key=lambda axis: -abs(pixels.strides[axis]))
    return pixels[flip].transpose(axes), out[flip].transpose(axes)


def _automatic(case: Case) -> Window:
    colour = case.pixels.ndim == (3 if case.kind == "image" else 4)
    if colour or (case.kind == "image" and case.pixels.dtype == np.uint8 and case.window is None):
        return Window(0.0, 255.0, "as stored (0-255)", identity=case.pixels.dtype == np.uint8)
    if case.modality == "CT":
        return _centred(*PRESETS["soft-tissue"], "soft-tissue")
    if case.modality == "" and looks_like_hounsfield(case.pixels):
        window = _centred(*PRESETS["soft-tissue"], "soft-tissue")
        return Window(window.low, window.high, f"{window.label}, taken for CT because the values look like Hounsfield units")
    if case.window is not None:
        return _centred(*case.window, "stored")
    return _bounds(case.pixels, 1.0, 99.0, "percentile 1-99")


def looks_like_hounsfield(pixels: NDArray[Any]) -> bool:
    """Whole numbers reaching down to air and up to soft tissue, and not beyond what scanners store."""
    sample = _sample(pixels)
    if sample.size == 0:
        return False
    low, high = float(sample.min()), float(sample.max())
    return -4096 <= low <= -900 and 20 <= high <= 32767 and bool((sample == np.rint(sample)).all())


def _centred(level: float, width: float, name: str) -> Window:
    return Window(level - width / 2, level + width / 2, f"{name} (level {level:g}, width {width:g})")


def _bounds(pixels: NDArray[Any], low_percent: float, high_percent: float, name: str) -> Window:
    if (low_percent, high_percent) == (0.0, 100.0):
        finite = pixels if pixels.dtype.kind != "f" else pixels[np.isfinite(pixels)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    else:
        sample = _sample(pixels)
        low, high = (float(v) for v in np.percentile(sample, [low_percent, high_percent])) if sample.size else (0.0, 0.0)
    return Window(low, high, f"{name} ({low:g} to {high:g})")


def _sample(pixels: NDArray[Any]) -> NDArray[Any]:
    """At most about `_SAMPLE` finite values, evenly spread over the slices and rows; all of them if there are fewer."""
    step = 1
    while pixels[_grid(pixels.ndim, step)].size > _SAMPLE:
        step += 1
    sample = np.ascontiguousarray(pixels[_grid(pixels.ndim, step)])
    return sample if sample.dtype.kind != "f" else sample[np.isfinite(sample)]


def _grid(ndim: int, step: int) -> tuple[slice, ...]:
    return (slice(None, None, step),) * min(ndim, 3)


def _custom(name: str) -> Window:
    parts = name.split(",")
    try:
        level, width = (float(part) for part in parts)
    except ValueError:
        level, width = 0.0, 0.0
    if not (width > 0 and np.isfinite([level, width]).all()):
        raise FormatError(f"the window is {name!r}", f"one of {', '.join(NAMES)}, or LEVEL,WIDTH with a positive width") from None
    return _centred(level, width, "custom")


# --- From a Case to the pictures that a network is given: windowed grey levels, resized over the full extent.


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
        window: See `unireason.imaging.present.choose`. "published" also resizes a volume as the published code does: values, not grey
            levels, without averaging where it shrinks, and cut off. Its axes and their direction stay those of the file.

    Returns:
        The stack: uint8 slices, what each covers, and the full-resolution grey levels.

    Raises:
        FormatError: If the window, the depth or the size cannot be used.
    """
    chosen = choose(case, window)
    native = apply(case.pixels, chosen)
    if case.kind == "image":
        height, width = _checked(size or native.shape[:2], bounded=size is not None)
        picture = native.copy() if (height, width) == native.shape[:2] else _rounded(_plane(native, height, width))
        return Stack(picture[None], "image", chosen.label, ((0, 1),), native)
    height, width = _checked(size or DEFAULT_SIZE)
    _checked((depth, 1))
    if window == "published" and case.pixels.ndim == 3:
        return Stack(
            _sampled(case.pixels, chosen, (depth, height, width)), "volume", chosen.label, coverage(len(native), depth), native
        )
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
    """Full-resolution pixels, uint8 (h, w) or (h, w, 3), behind a rectangle of the model frame: more detail than the model saw.

    ``rect`` is half-open (x1, y1, x2, y2) in model pixels, cut to the frame: every canonical pixel that it touches, at least
    one; for a volume the mean of the canonical slices that the model slice covers.
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
    """What the published system makes of a bare array, uint8 (D, H, W): a compatibility mode, not for real work.

    Axes of length 1 go; of four axes one with at most four entries counts as channels (the first axis before the last), and without
    such the first does; channel 0 is taken. Then the axis whose length is nearest to the target depth is moved to the front (of equals
    the first), intensities are scaled to 0..1 by the 1st and 99th percentile or by the extremes ("percentile", "minmax"; a constant
    array stays as it is), cut, and resized trilinearly without smoothing. Grey levels are cut off, not rounded.

    Source: behaviour recorded in the conformance cases, keys ``published_serialize`` and ``serialize``.
    """
    real = np.asarray(volume, dtype=np.float32).squeeze()
    if real.ndim == 4:
        real = real[..., 0] if real.shape[0] > 4 and real.shape[-1] <= 4 else real[0]
    if real.ndim != 3 or real.size == 0:
        raise FormatError(f"the array has shape {volume.shape}", "three axes of more than one entry, or four with channels")
    if normalize not in ("percentile", "minmax"):
        raise FormatError(f"normalize is {normalize!r}", "'percentile' or 'minmax'")
    front = min(range(3), key=lambda axis: abs(real.shape[axis] - target_dhw[0]))
    real = np.moveaxis(real, front, 0)
    low, high = np.percentile(real, [1, 99]) if normalize == "percentile" else (real.min(), real.max())
    return _sampled(real, Window(low, high, normalize), target_dhw)


def _sampled(volume: NDArray[Any], window: Window, target_dhw: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A volume scaled and resized in the published way."""
    real = np.asarray(volume, dtype=np.float32)
    if window.high > window.low:
        real = (real - window.low) / (window.high - window.low)
    real = np.clip(real, 0.0, 1.0)
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
