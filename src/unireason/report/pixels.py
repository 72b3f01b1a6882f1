"""Pictures as ``data:`` addresses of bounded size."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unireason.errors import FormatError

BUDGET = 2_200_000
"""Bytes of picture data above which a group of pictures is stored as JPEG instead of PNG."""


def check(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``pixels`` if it is uint8, (h, w) or (h, w, 3) and not empty.

    Raises:
        FormatError: It is not.
    """
    ok = pixels.dtype == np.uint8 and (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) and pixels.size > 0
    if not ok:
        raise FormatError(f"a picture of type {pixels.dtype} and shape {pixels.shape}", "uint8 of (h, w) or (h, w, 3)")
    return pixels


def fit(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Shrink a picture (area average) until its longer side is at most ``longest`` pixels; never enlarge it."""
    height, width = check(pixels).shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def addresses(pictures: Sequence[NDArray[np.uint8]], *, budget: int = BUDGET) -> list[str]:
    """Encode pictures that belong together.

    Args:
        pictures: uint8, (h, w) or (h, w, 3) each.
        budget: Total bytes up to which they are kept exactly, as PNG; above it all of them become JPEG.

    Returns:
        One ``data:`` address a picture; an empty list for no pictures.

    Raises:
        FormatError: A picture has another type or shape.
    """
    images = [Image.fromarray(check(p)) for p in pictures]
    coded, kind = [_encode(image, "PNG") for image in images], "png"
    for quality in (90, 75):
        if sum(map(len, coded)) <= budget:
            break
        coded, kind = [_encode(image, "JPEG", quality) for image in images], "jpeg"
    return [f"data:image/{kind};base64,{base64.b64encode(c).decode('ascii')}" for c in coded]


def png(image: Image.Image) -> bytes:
    """A picture as PNG bytes."""
    return _encode(image, "PNG")


def _encode(image: Image.Image, kind: str, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    options = {"optimize": True} if kind == "PNG" else {"quality": quality, "subsampling": 0}
    image.save(stream, kind, **options)
    return stream.getvalue()
