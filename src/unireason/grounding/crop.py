"""Which pixels a box cuts out: the crop rule, the slice rule and the network's smart resize.

Pure arithmetic on the model frame and, in ``cut``, on arrays. It knows nothing of text or of networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.types import Box, Box2D, Box3D, Crop, Frame, Kind, Problem

Rect = tuple[int, int, int, int]
Plan = tuple[tuple[int, Rect], ...]

MIN_SIDE = 4
MAX_ASPECT = 180
PATCH_FACTOR = 28
MIN_PIXELS, MAX_PIXELS = 3136, 12845056
_RESIZE_ASPECT = 200
_MOST_RESIZES = 32  # each brings the area much nearer to its bound


def smart_resize(
    height: int, width: int, *, factor: int = PATCH_FACTOR, min_pixels: int = MIN_PIXELS, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """The size (height, width) in pixels to which the published system resizes a picture before it is cut into patches.

    Sides are rounded to multiples of ``factor`` (patch size times merge size); if the area then leaves [min_pixels,
    max_pixels], both sides are scaled by one number and rounded inwards. A picture with a side below ``factor`` only has its
    sides raised to the next multiples. Sides that differ by more than 200 times are a FormatError. The frame of a real run
    comes from ``image_grid_thw``.

    Source: Qwen2-VL, arXiv 2409.12191, section 2.1 (dynamic resolution).
    """
    _check_sides(height, width)
    if min(height, width) < factor:
        return -(-height // factor) * factor, -(-width // factor) * factor
    return _fitted(height, width, factor, (min_pixels, max_pixels))


def fitted_size(height: int, width: int, *, factor: int, limits: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels at which a network sees a picture, with a smallest and largest area as ``limits``.

    What the image processor makes of it: the smart resize without its rule for small sides, so that a crop of 20 x 60 pixels becomes
    56 x 112 and not 28 x 84 first. Where that size would be resized once more (thin shapes near the limits), as often as it changes;
    FormatError where no size stays as it is, or sides differ by more than 200 times.

    Source: image processor of Qwen2-VL, arXiv 2409.12191, section 2.1.
    """
    size = (height, width)
    for _ in range(_MOST_RESIZES):
        _check_sides(*size)
        before, size = size, _fitted(*size, factor, limits)
        if size == before:
            return size
    raise FormatError(
        f"a picture of {height} x {width} pixels",
        f"a shape that has a size of multiples of {factor} between {limits[0]:,} and {limits[1]:,} pixels",
    )


def rollout_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) at which the published roll-outs of training show a crop, whose sides count at least 28 there; for comparisons.

    Source: derived from the cases ``crop_roads``.
    """
    raised = max(height, PATCH_FACTOR // 2 + 1), max(width, PATCH_FACTOR // 2 + 1)  # the least that rounds to one cell
    rows, columns = (round(side / PATCH_FACTOR) * PATCH_FACTOR for side in raised)
    if MIN_PIXELS <= rows * columns <= MAX_PIXELS:
        return rows, columns
    return fitted_size(height, width, factor=PATCH_FACTOR, limits=(MIN_PIXELS, MAX_PIXELS))


def supervised_size(height: int, width: int, *, limits: tuple[int, int] = (1024, 589_824)) -> tuple[int, int]:
    """(height, width) at which the published supervised training shows a picture or crop; for comparisons.

    The area is brought into the limits, sides are raised to 28 and cut to 180 times the other, then the image processor follows.

    Source: derived from the cases ``crop_roads``; limits of arXiv 2606.11740's training.
    """
    least, most = limits
    for bound, outside in ((most, height * width > most), (least, height * width < least)):
        if outside:
            scale = math.sqrt(bound / (height * width))
            height, width = int(height * scale), int(width * scale)
    height, width = max(height, PATCH_FACTOR), max(width, PATCH_FACTOR)
    width = height * MAX_ASPECT if width > _RESIZE_ASPECT * height else width
    height = width * MAX_ASPECT if height > _RESIZE_ASPECT * width else height
    return fitted_size(height, width, factor=PATCH_FACTOR, limits=(MIN_PIXELS, MAX_PIXELS))


def _check_sides(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise FormatError(f"a picture of {height} x {width} pixels", "at least 1 x 1")
    if max(height, width) > _RESIZE_ASPECT * min(height, width):
        raise FormatError(f"a picture of {height} x {width} pixels", f"sides that differ at most {_RESIZE_ASPECT} times")


def _fitted(height: int, width: int, factor: int, limits: tuple[int, int]) -> tuple[int, int]:
    """Sides rounded to multiples of a factor, and both scaled where the area leaves the limits."""
    rows, columns = (round(side / factor) * factor for side in (height, width))
    # Whole numbers all the way: a float that comes out a hair below a whole number of patches would lose one (130 -> 84, not 112).
    cells, pairs = factor * factor, ((height, width), (width, height))
    if rows * columns > limits[1]:
        rows, columns = (max(1, math.isqrt(side * limits[1] // (other * cells))) * factor for side, other in pairs)
    elif rows * columns < limits[0]:
        rows, columns = ((math.isqrt(-(-side * limits[0] // (other * cells)) - 1) + 1) * factor for side, other in pairs)
    return rows, columns


def crop_rect(box: Box2D, width: int, height: int) -> Rect:
    """The half-open integer (x1, y1, x2, y2) that a rectangle in pixels really cuts out of a picture.

    Coordinates are truncated towards zero and clamped into the picture, then sides below 4 px are widened, then a side that is
    more than 180 times shorter than the other. Inverted and outlying boxes thus cut something small at the nearest place.
    """
    if width < 1 or height < 1:
        raise FormatError(f"a picture of {width} x {height} pixels", "at least 1 x 1")
    x1, x2 = _clamped(box.x1, box.x2, width)
    y1, y2 = _clamped(box.y1, box.y2, height)
    x1, x2 = _widened(x1, x2, size=width, at_least=MIN_SIDE)
    y1, y2 = _widened(y1, y2, size=height, at_least=MIN_SIDE)
    x1, x2 = _widened(x1, x2, size=width, at_least=-(-(y2 - y1) // MAX_ASPECT))
    y1, y2 = _widened(y1, y2, size=height, at_least=-(-(x2 - x1) // MAX_ASPECT))
    return x1, y1, x2, y2


def slice_range(z1: float, z2: float, depth: int) -> tuple[int, int]:
    """The slices that a cuboid really cuts: (first, last + 1), inside [0, depth), at least one slice."""
    if depth < 1:
        raise FormatError(f"a stack of {depth} slices", "at least 1")
    return _clamped(z1, z2, depth)


def plan(box: Box, frame: Frame, *, released: bool = False) -> Plan | Problem:
    """What a box written in a frame cuts: ``((slice_index, (x1, y1, x2, y2)), ...)`` in slice order, never empty.

    A rectangle belongs to an image and a cuboid to a volume. The other two pairings say too little or too much (a rectangle
    names no slice; guessing one would show evidence that was not asked for), so they are not executed but a Problem,
    "box_2d_on_volume" or "box_3d_on_image". A look at a single slice of a volume is a cuboid with ``z2 = z1 + 1``.
    The published code does guess (``released``): a rectangle in a volume cuts its first slice, a cuboid on an image what it covers.
    """
    if released and frame.kind == "image" and isinstance(box, Box3D):
        box = Box2D(box.x1, box.y1, box.x2, box.y2)
    elif released and frame.kind == "volume" and isinstance(box, Box2D):
        box = Box3D(box.x1, box.y1, 0, box.x2, box.y2, 1)
    if isinstance(box, Box2D) and frame.kind == "image":
        return ((0, crop_rect(box, frame.width, frame.height)),)
    if isinstance(box, Box3D) and frame.kind == "volume":
        first, stop = slice_range(box.z1, box.z2, frame.depth)
        rect = crop_rect(Box2D(box.x1, box.y1, box.x2, box.y2), frame.width, frame.height)
        return tuple((z, rect) for z in range(first, stop))
    code = "box_2d_on_volume" if isinstance(box, Box2D) else "box_3d_on_image"
    return Problem(code, ",".join(f"{v:g}" for v in box.coords))


def extent(crops: Sequence[Crop], kind: Kind) -> Box:
    """What the crops of one executed look show together, model frame: a rectangle of an image, a cuboid of a volume."""
    x1, y1, x2, y2 = crops[0].box_model
    if kind == "image":
        return Box2D(x1, y1, x2, y2)
    slices = [crop.slice_index for crop in crops]
    return Box3D(x1, y1, min(slices), x2, y2, max(slices) + 1)


def inner(box: Box, frame: Frame) -> Box | None:
    """The part of a box that lies in the frame; None if none does, or the box is empty or inverted."""
    half = len(box.coords) // 2
    sizes = (frame.width, frame.height, frame.depth)[:half]
    low = [max(v, 0.0) for v in box.coords[:half]]
    high = [min(v, float(size)) for v, size in zip(box.coords[half:], sizes, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return None
    return Box2D(*low, *high) if half == 2 else Box3D(*low, *high)


def frame_flaws(box: Box, frame: Frame) -> tuple[str, ...]:
    """The code "box_outside_frame" for a box that leaves the frame, wholly or in part; none for a box of the other kind of frame."""
    half = len(box.coords) // 2
    if (half == 3) != (frame.kind == "volume"):
        return ()
    sizes = (frame.width, frame.height, frame.depth)[:half] * 2
    leaves = any(not 0 <= value <= size for value, size in zip(box.coords, sizes, strict=True))
    return ("box_outside_frame",) if leaves else ()


def cut(picture: NDArray[Any], rect: Rect) -> NDArray[Any]:
    """Cut a rectangle inside a picture (Y, X) or (Y, X, 3) out of it; a copy of shape (y2 - y1, x2 - x1[, 3]) and the same dtype."""
    x1, y1, x2, y2 = rect
    height, width = picture.shape[:2]
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise FormatError(f"the rectangle {rect}", f"a non-empty one inside a picture of {width} x {height} pixels")
    return picture[y1:y2, x1:x2].copy()


def _clamped(low: float, high: float, size: int) -> tuple[int, int]:
    """Truncate both ends and clamp them to a non-empty range inside [0, size)."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise FormatError(f"box coordinates {low} and {high}", "finite numbers")
    first = min(max(int(low), 0), size - 1)
    return first, min(max(int(high), first + 1), size)


def _widened(low: int, high: int, *, size: int, at_least: int) -> tuple[int, int]:
    """Widen a range around its middle to ``at_least`` (or the whole size), shifted back inside when it sticks out."""
    missing = min(at_least, size) - (high - low)
    if missing <= 0:
        return low, high
    first = min(max(low - missing // 2, 0), size - (high - low) - missing)
    return first, first + (high - low) + missing
