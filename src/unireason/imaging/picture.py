"""PNG, JPEG, TIFF and BMP through Pillow: ordinary pictures without a place in the patient."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import ImageReadError, SizeLimitError
from unireason.types import PHANTOM, Case, Geometry, Source

from .decode import decoding, sha256
from .geometry import to_canonical
from .limits import file_bytes
from .options import ReadOptions

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION_TAG = 0x0112
# EXIF orientation to (order, flips) of the shown picture; 1 is upright. Source: Exif 2.32, table 6, tag 274.
_TURNS: dict[int, tuple[tuple[int, int], tuple[bool, bool]]] = {
    1: ((0, 1), (False, False)),
    2: ((0, 1), (True, False)),
    3: ((0, 1), (True, True)),
    4: ((0, 1), (False, True)),
    5: ((1, 0), (False, False)),
    6: ((1, 0), (True, False)),
    7: ((1, 0), (True, True)),
    8: ((1, 0), (False, True)),
}


def read_picture(path: Path, options: ReadOptions) -> Case:
    """Read a picture as it is meant to be shown.

    16-bit grey stays 16-bit; palettes, CMYK and other colour spaces become RGB; transparency is laid on black; an EXIF
    orientation is honoured (the turn is kept in the geometry, so ``box_voxel`` still counts stored pixels). The hash is that of
    the file.

    Args:
        path: The file.
        options: ``frame`` picks a page; ``modality`` and ``spacing_mm`` are taken over.

    Returns:
        An image Case: (Y, X) or (Y, X, 3).

    Raises:
        ImageReadError: If the file is damaged or of another kind.
        SizeLimitError: If file or picture are too large; checked before decoding.
    """
    content = file_bytes(path, options.limits)
    with decoding(path, "a picture"):
        picture = _open(content, path.name)
        with picture:
            _check_pixels(picture, path.name, options)
            notes = _choose_page(picture, path.name, options)
            made_by = PHANTOM if picture.info.get("Source") == PHANTOM else ""
            source = Source(path.name, (picture.format or "picture").lower(), sha256(content), made_by)
            return pillow_case(picture, source, options, notes)


def pillow_case(picture: Image, source: Source, options: ReadOptions, notes: tuple[str, ...] = ()) -> Case:
    """A Case of an open Pillow picture, as it is meant to be shown; see `read_picture`.

    Args:
        picture: The picture; not closed here.
        source: Provenance.
        options: ``modality`` and ``spacing_mm`` are taken over.
        notes: Remarks so far.

    Returns:
        An image Case: (Y, X) or (Y, X, 3).

    Raises:
        ImageReadError: If there are no pixels. Pillow's own errors for damaged pictures pass through.
    """
    turn = picture.getexif().get(_ORIENTATION_TAG, 1)
    stored, more = _pixels(picture)
    return picture_case(stored, source, options, turn, notes + more)


def picture_case(stored: NDArray[Any], source: Source, options: ReadOptions, turn: int = 1, notes: tuple[str, ...] = ()) -> Case:
    """A Case around bare image pixels.

    Args:
        stored: (y, x) or (y, x, 3) in file order.
        source: Provenance.
        options: ``modality`` and ``spacing_mm`` are taken over.
        turn: EXIF orientation, 1 to 8; anything else counts as 1.
        notes: Remarks so far.

    Returns:
        An image Case without an affine.

    Raises:
        ImageReadError: If there are no pixels.
    """
    if stored.size == 0:
        raise ImageReadError(f"'{source.name}' has no pixels", "at least one")
    order, flips = _TURNS.get(turn, _TURNS[1])
    sizes = (stored.shape[1], stored.shape[0])
    shape = (sizes[order[1]], sizes[order[0]])
    geometry = Geometry(shape, sizes, order, flips, None, None if options.spacing_mm is None else options.spacing_mm[:2])
    if turn in _TURNS and turn != 1:
        notes = (*notes, f"shown turned by EXIF orientation {turn}; box_voxel counts stored pixels")
    pixels = np.ascontiguousarray(to_canonical(stored, geometry))
    return Case(pixels, "image", geometry, options.modality or "", source, None, notes)


def _open(content: bytes, name: str) -> Image:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "TIFF", "BMP"))
    except Image.DecompressionBombError as error:
        raise SizeLimitError(
            f"'{name}' is larger than Pillow's own bound", "", "set PIL.Image.MAX_IMAGE_PIXELS and limits.max_pixels"
        ) from error


def _check_pixels(picture: Image, name: str, options: ReadOptions) -> None:
    options.limits.check("max_pixels", picture.width * picture.height, f"'{name}' ({picture.width} x {picture.height})")


def _choose_page(picture: Image, name: str, options: ReadOptions) -> tuple[str, ...]:
    if picture.format == "TIFF":
        count = getattr(picture, "n_frames", 1)
        picture.seek(options.pick(count, f"'{name}'"))
        _check_pixels(picture, name, options)
        return () if count == 1 else (f"page {options.frame} of {count}",)
    return ("animated: the first frame was taken",) if getattr(picture, "n_frames", 1) > 1 else ()


def _pixels(picture: Image) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Stored pixels as uint8, uint16, int32 or float32 grey or as uint8 RGB, with a note on what was lost."""
    from PIL import Image

    mode = picture.mode
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16), ()
    if mode in ("I", "F"):
        values = np.asarray(picture)
        small = mode == "I" and values.size > 0 and values.min() >= 0 and values.max() <= 65535
        return (values.astype(np.uint16) if small else values.copy()), ()
    if mode in ("1", "L"):
        return np.asarray(picture.convert("L")).copy(), ()
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
        return np.asarray(flat.convert("L" if mode in ("LA", "La") else "RGB")).copy(), ("transparency was laid on black",)
    return np.asarray(picture.convert("RGB")).copy(), ()
