"""From real intensities to the 256 grey levels that a network or a reader sees.

A window has a level (its middle) and a width; values below it are black, above it white, and grey is linear between.
Windowing always comes before resampling: averaging first and cutting afterwards gives another picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError
from unireason.types import Case

PRESETS: dict[str, tuple[float, float]] = {
    "soft-tissue": (40.0, 400.0),
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
}
"""CT presets: name to (level, width) in Hounsfield units."""

NAMES = ("auto", "stored", "percentile", "minmax", *PRESETS)
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
    percentile.

    Args:
        case: Whose pixels are to be shown.
        name: One of `NAMES`, or ``"LEVEL,WIDTH"`` such as ``"40,400"``.

    Returns:
        The window.

    Raises:
        FormatError: If the name is unknown, the width is not positive, or ``stored`` is asked of a file that has none.
    """
    if name == "auto":
        return _automatic(case)
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
    if case.modality == "" and _looks_like_hounsfield(case.pixels):
        window = _centred(*PRESETS["soft-tissue"], "soft-tissue")
        return Window(window.low, window.high, f"{window.label}, taken for CT because the values look like Hounsfield units")
    if case.window is not None:
        return _centred(*case.window, "stored")
    return _bounds(case.pixels, 1.0, 99.0, "percentile 1-99")


def _looks_like_hounsfield(pixels: NDArray[Any]) -> bool:
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
