"""Picture files inside tables of a release, read as files are."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unireason import imaging
from unireason.errors import FormatError, ImageReadError
from unireason.types import Case

INSIDE = 128
"""Least value of a mask's pixel that is meant, where its edges are grey."""


def read_stored(data: bytes, name: str) -> Case:
    """A stored picture, whatever its bytes turn out to be.

    Args:
        data: A PNG, JPEG, TIFF or BMP file.
        name: "picture" or "mask", for messages; its path in the release is untrusted and not used.

    Returns:
        An image; its hash is that of the bytes.

    Raises:
        ImageReadError: If it is no picture of one frame.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.png"
        file.write_bytes(data)
        try:
            found = imaging.read(file)
        except FormatError as error:  # such as several frames: no choice of the caller's here
            raise ImageReadError(str(error)) from error
    if found.kind != "image":
        raise ImageReadError(f"the {name} is a {found.kind} of shape {found.geometry.shape}", "a picture")
    return found


def read_mask(data: bytes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A stored mask.

    Args:
        data: A picture file of 0 and one other value (255, 1), or of greys of which those from 128 on are meant.
        shape: (Y, X) of its picture.

    Returns:
        bool (Y, X), at least one pixel True.

    Raises:
        ImageReadError: If it is no picture, of another size, empty, or holds several values that are all dark.
    """
    pixels = read_stored(data, "mask").pixels
    flat = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    values = np.unique(flat[flat > 0])
    mask: NDArray[np.bool_] = flat >= (INSIDE if len(values) > 1 else 1)
    if mask.shape != shape:
        raise ImageReadError(f"its mask has the shape {mask.shape}", f"that of its picture, {shape}")
    if not mask.any():
        held = f"holds the values {', '.join(map(str, values[:8]))}" if len(values) else "is empty"
        raise ImageReadError(f"its mask {held}", "0 and one other value, such as 255")
    return mask
