"""A mask drawn over what it was found on: translucent inside, a line around it, with the box and points that asked for it.

One picture of an image or of the fullest slice of a volume; a montage of up to nine slices of a volume.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from scipy import ndimage

from unireason.errors import FormatError
from unireason.files import write_bytes
from unireason.imaging import window as windows
from unireason.types import Box, Box2D, Box3D, Case

from .figures import spread, tag
from .pixels import png
from .scene import TONES, aspect_of

Point = Sequence[float]
SIDE = 640
"""Longer side of a picture in pixels."""

_TILE, _COLUMNS, _GAP = 320, 3, 4
_MASK, _PROMPT, _DARK, _PAPER = TONES[0], TONES[1], "#08090b", "#2b3037"
_FILL = 0.28  # share of the mask's colour inside its outline


def mask_picture(
    case: Case,
    mask: NDArray[np.bool_],
    *,
    boxes: Sequence[Box] = (),
    points: Sequence[Point] = (),
    at: int | None = None,
    window: str = "auto",
) -> NDArray[np.uint8]:
    """A mask over its image, or over one slice of its volume, in true proportions.

    Args:
        case: The image or volume.
        mask: bool, of ``case.geometry.shape``. An empty one is told in a corner.
        boxes: Canonical; a cuboid is drawn on the slices that it touches, a rectangle on any.
        points: Canonical (x, y) or (x, y, z); the latter are drawn on their own slice.
        at: Canonical slice of a volume; None takes the one with most mask voxels (of equals the lowest), without any the middle of
            the first cuboid, the first point with a z, or the middle of the volume.
        window: How values become grey levels, see `unireason.imaging.window.choose`.

    Returns:
        uint8 (h, w, 3), the longer side `SIDE` pixels.

    Raises:
        FormatError: If mask, box, points or slice do not fit the case, or the window is unknown.
    """
    _check(case, mask, boxes, points)
    z = _fullest(case, mask, boxes, points) if at is None else at
    if case.kind == "volume" and not 0 <= z < len(mask):
        raise FormatError(f"slice {z} of a volume of {len(mask)}", f"0 to {len(mask) - 1}")
    picture = _drawn(case, mask, z, (boxes, points), windows.choose(case, window), SIDE)
    if not mask.any():
        tag(ImageDraw.Draw(picture), (34, 6), "empty mask", "#ffffff", 14)
    return np.asarray(picture)


def mask_montage(
    case: Case,
    mask: NDArray[np.bool_],
    *,
    boxes: Sequence[Box] = (),
    points: Sequence[Point] = (),
    window: str = "auto",
) -> NDArray[np.uint8]:
    """Up to nine slices of a volume, evenly from the first to the last that holds a mask voxel, three in a row.

    Args:
        case: The volume.
        mask: bool, of ``case.geometry.shape``. An empty one shows slices from the whole volume.
        boxes: As for `mask_picture`.
        points: As for `mask_picture`.
        window: As for `mask_picture`.

    Returns:
        uint8 (h, w, 3).

    Raises:
        FormatError: If the case is an image, or what `mask_picture` raises.
    """
    if case.kind != "volume":
        raise FormatError("a montage of an image", "a volume", "draw the one picture")
    _check(case, mask, boxes, points)
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    first, last = (int(filled[0]), int(filled[-1])) if filled.size else (0, len(mask) - 1)
    chosen = [first + n for n in spread(last - first + 1, _COLUMNS * _COLUMNS)]
    levels = windows.choose(case, window)
    tiles = [_drawn(case, mask, z, (boxes, points), levels, _TILE) for z in chosen]
    columns, rows = min(_COLUMNS, len(tiles)), -(-len(tiles) // _COLUMNS)
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP), _PAPER)
    for n, one in enumerate(tiles):
        sheet.paste(one, ((n % _COLUMNS) * (width + _GAP), (n // _COLUMNS) * (height + _GAP)))
    if not filled.size:
        tag(ImageDraw.Draw(sheet), (34, 6), "empty mask", "#ffffff", 14)
    return np.asarray(sheet)


def write_mask_picture(
    path: str | os.PathLike[str],
    case: Case,
    mask: NDArray[np.bool_],
    *,
    boxes: Sequence[Box] = (),
    points: Sequence[Point] = (),
    window: str = "auto",
) -> Path:
    """Write `mask_picture` of an image or `mask_montage` of a volume as a PNG file.

    Args:
        path: Where to write; missing folders are made.
        case: The image or volume.
        mask: bool, of ``case.geometry.shape``.
        boxes: As for `mask_picture`.
        points: As for `mask_picture`.
        window: As for `mask_picture`.

    Returns:
        The path written.

    Raises:
        FormatError: As for `mask_picture`.
        UniReasonError: If the file cannot be written.
    """
    draw = mask_picture if case.kind == "image" else mask_montage
    return write_bytes(path, png(Image.fromarray(draw(case, mask, boxes=boxes, points=points, window=window))))


def _check(case: Case, mask: NDArray[np.bool_], boxes: Sequence[Box], points: Sequence[Point]) -> None:
    if mask.dtype != np.bool_ or mask.shape != case.geometry.shape:
        raise FormatError(f"a mask of type {mask.dtype} and shape {mask.shape}", f"bool and {case.geometry.shape}")
    if case.kind == "image" and any(isinstance(box, Box3D) for box in boxes):
        raise FormatError("a cuboid on an image", "rectangles (x1, y1, x2, y2)")
    if any(len(p) not in ((2,) if case.kind == "image" else (2, 3)) for p in points):
        raise FormatError(f"the points {list(points)}", "(x, y), or (x, y, z) in a volume")
    if not all(np.isfinite(v) for place in (*(b.coords for b in boxes), *points) for v in place):
        raise FormatError("a box or point with a number that is not finite", "finite numbers")


def _fullest(case: Case, mask: NDArray[np.bool_], boxes: Sequence[Box], points: Sequence[Point]) -> int:
    if case.kind == "image":
        return 0
    if mask.any():
        return int(mask.sum(axis=(1, 2)).argmax())
    places = [(box.z1 + box.z2) / 2 for box in boxes if isinstance(box, Box3D)]
    places += [point[2] for point in points if len(point) == 3]
    return min(max(int(places[0]), 0), len(mask) - 1) if places else len(mask) // 2


def _drawn(
    case: Case,
    mask: NDArray[np.bool_],
    z: int,
    prompt: tuple[Sequence[Box], Sequence[Point]],
    window: windows.Window,
    side: int,
) -> Image.Image:
    """One slice, its longer side ``side`` pixels, with everything that lies on it."""
    volume = case.kind == "volume"
    pixels, plane = (case.pixels[z], mask[z]) if volume else (case.pixels, mask)
    aspect = aspect_of(case.geometry)
    size = (side, max(1, round(side / aspect))) if aspect >= 1 else (max(1, round(side * aspect)), side)
    grey = Image.fromarray(windows.apply(pixels, window)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    picture = Image.fromarray(_tinted(np.asarray(grey), _scaled(plane, size)))
    draw = ImageDraw.Draw(picture)
    factors = (size[0] / plane.shape[1], size[1] / plane.shape[0])
    for box in prompt[0]:
        if isinstance(box, Box2D) or (box.z1 < z + 1 and box.z2 > z):
            _rectangle(draw, box, factors)
    for point in prompt[1]:
        if len(point) == 2 or min(int(point[2]), len(mask) - 1) == z:
            _cross(draw, point[0] * factors[0], point[1] * factors[1])
    if volume:
        tag(draw, (6, size[1] - 22), f"slice {z}", "#ffffff", 12)
        if case.geometry.affine_lps is not None:
            tag(draw, (6, 6), "R", "#ffffff", 12)
            tag(draw, (size[0] - 24, 6), "L", "#ffffff", 12)
    return picture


def _scaled(plane: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask on the grid of the picture, voxel edges kept; what would vanish keeps one pixel."""
    rows = ((np.arange(size[1]) + 0.5) * plane.shape[0] / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * plane.shape[1] / size[0]).astype(int)
    shown: NDArray[np.bool_] = plane[np.ix_(rows, columns)]
    if plane.any() and not shown.any():
        y, x = (int(v[0]) for v in np.nonzero(plane))
        shown[min(size[1] - 1, y * size[1] // plane.shape[0]), min(size[0] - 1, x * size[0] // plane.shape[1])] = True
    return shown


def _tinted(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour inside, a line of two pixels along the inner edge, a dark one outside, so that it is seen on bright ground too."""
    colour = np.array(ImageColor.getrgb(_MASK), np.float32)
    shown = picture.astype(np.float32)
    shown[mask] = (1 - _FILL) * shown[mask] + _FILL * colour
    shown[ndimage.binary_dilation(mask) & ~mask] = ImageColor.getrgb(_DARK)
    shown[mask & ~ndimage.binary_erosion(mask, iterations=2, border_value=0)] = colour
    return (shown + 0.5).astype(np.uint8)


def _rectangle(draw: ImageDraw.ImageDraw, box: Box, factors: tuple[float, float]) -> None:
    x1, y1, x2, y2 = (round(v * f) for v, f in zip((box.x1, box.y1, box.x2, box.y2), factors * 2, strict=True))
    x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_DARK)
    draw.rectangle((x1, y1, x2, y2), outline=_PROMPT, width=2)


def _cross(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    for colour, width, reach in ((_DARK, 5, 8), (_PROMPT, 2, 7)):
        draw.line((x - reach, y, x + reach, y), fill=colour, width=width)
        draw.line((x, y - reach, x, y + reach), fill=colour, width=width)
