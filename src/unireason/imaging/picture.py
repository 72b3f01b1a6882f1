"""PNG, JPEG, TIFF and BMP through Pillow: ordinary pictures without a place in the patient."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unireason.errors import ImageReadError
from unireason.types import PHANTOM, Case, Geometry, Source

from .decode import decoding, sha256
from .geometry import to_canonical, to_source
from .limits import file_bytes
from .options import ReadOptions

if TYPE_CHECKING:
    from PIL.Image import Image

_Found = TypeVar("_Found")

_ORIENTATION_TAG = 0x0112
# Tags and one value of TIFF 6.0.
_BITS, _PHOTOMETRIC, _PLANES, _TILE_WIDTH, _TILE_LENGTH, _SAMPLE_FORMAT = 258, 262, 284, 322, 323, 339
_WHITE_IS_ZERO = 0
_FEW_BITS = re.compile(r"'L;([24])(?!\d)")  # how Pillow calls greys of a few bits
_BOUND = threading.Lock()  # Pillow's bound is one for the whole process
_BAND = 2**20  # pixels taken over at once
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

    Grey values keep their type: 16 bits, signed, 32 bits and floats; white-is-zero is turned so that high is bright. Palettes, CMYK
    and other colour spaces become RGB; transparency is laid on black; an EXIF orientation is honoured (the turn is kept in the
    geometry, so ``box_voxel`` still counts stored pixels). The hash is that of the file.

    Args:
        path: The file.
        options: ``frame`` picks a page; ``modality`` and ``spacing_mm`` are taken over.

    Returns:
        An image Case: (Y, X) or (Y, X, 3).

    Raises:
        ImageReadError: If the file is damaged or of another kind.
        FormatError: If it has several pages and none was chosen.
        SizeLimitError: If file or picture are too large; checked before decoding.
    """
    return _read(path, options, pillow_case)


def read_stored(path: Path, options: ReadOptions) -> Case | None:
    """Read the values that a picture stores where showing it would change them; None for any other picture.

    These are the indices of a palette and greys of 1, 2 or 4 bits, which are spread over 0 to 255 to be shown. Turned like the
    picture that is shown.

    Raises:
        As `read_picture`.
    """

    def case(picture: Image, source: Source, options: ReadOptions, notes: tuple[str, ...]) -> Case | None:
        few = _FEW_BITS.search(_tiles(picture)) if picture.mode == "L" else None
        if picture.mode not in ("P", "1") and not few:
            return None
        found = pillow_case(picture, source, options, notes, stored=True)
        step = 255 // (2 ** int(few[1]) - 1) if few else 1
        return replace(found, pixels=found.pixels.astype(np.uint8) // step)

    return _read(path, options, case)


def _read(path: Path, options: ReadOptions, case: Callable[[Image, Source, ReadOptions, tuple[str, ...]], _Found]) -> _Found:
    content = file_bytes(path, options.limits)
    with decoding(path, "a picture"):
        picture = _open(content)
        with picture:
            check_pixels(picture, path.name, options)
            notes = _choose_page(picture, path.name, options)
            kind = "jpeg" if picture.format == "MPO" else (picture.format or "picture").lower()  # MPO: several JPEG in one
            return case(picture, Source(path.name, kind, sha256(content), made_by(picture)), options, notes)


def made_by(picture: Image) -> str:
    """``Source.made_by`` of a picture."""
    return PHANTOM if picture.info.get("Source") == PHANTOM else ""


def pillow_case(
    picture: Image, source: Source, options: ReadOptions, notes: tuple[str, ...] = (), *, stored: bool = False
) -> Case:
    """A Case of an open Pillow picture, as it is meant to be shown; see `read_picture`.

    Args:
        picture: The picture; not closed here.
        source: Provenance.
        options: ``modality`` and ``spacing_mm`` are taken over.
        notes: Remarks so far.
        stored: Take values as they are stored, such as the indices of a palette, not as they are shown.

    Returns:
        An image Case: (Y, X) or (Y, X, 3).

    Raises:
        ImageReadError: If there are no pixels. Pillow's own errors for damaged pictures pass through.
    """
    tiles = _tiles(picture)  # gone once the picture is loaded, as looking for EXIF in a PNG does
    turn = picture.getexif().get(_ORIENTATION_TAG, 1)
    if picture.mode in ("RGB", "RGBA", "LA", "CMYK") and ";16" in tiles:
        notes = (*notes, "colour of 16 bits was reduced to 8")
    # Pillow hands values that libtiff has put into the order of the machine to an unpacker for the order of the file.
    swapped = "libtiff" in tiles and any(mode in tiles for mode in ("'F;32BF'", "'I;32BS'", "'I;16BS'"))
    picture.load()
    order, flips = _TURNS.get(turn, _TURNS[1])
    # Pillow turns a TIFF while it loads it, and no other kind.
    turned = turn in _TURNS and picture.getexif().get(_ORIENTATION_TAG, 1) != turn
    look, note = (None, "") if stored else _look(picture)
    pixels = _copied(picture, look, order, flips, turned=turned)
    if look is None and picture.mode.startswith(("I", "F", "L")):
        pixels, note = _grey(pixels, picture, swapped=swapped)
    return picture_case(pixels, source, options, turn, (*notes, note) if note else notes)


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


def _open(content: bytes) -> Image:
    """An open picture, not yet decoded. Pillow's own bound on pixels is set aside: ours is checked next, and its advice can be followed."""
    from PIL import Image

    with _BOUND:
        bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "TIFF", "BMP"))
        finally:
            Image.MAX_IMAGE_PIXELS = bound


def check_pixels(picture: Image, name: str, options: ReadOptions) -> None:
    """Refuse a picture that is too large, or whose values Pillow would read wrongly, before it is decoded."""
    options.limits.check("max_pixels", picture.width * picture.height, f"'{name}' ({picture.width} x {picture.height})")
    tags = getattr(picture, "tag_v2", {})
    if _TILE_WIDTH in tags and _TILE_LENGTH in tags:  # a decoder takes memory for a whole tile, however small the picture
        width, height = int(tags[_TILE_WIDTH]), int(tags[_TILE_LENGTH])
        options.limits.check("max_pixels", width * height, f"a tile of '{name}' ({width} x {height})")
    if tags.get(_PLANES) == 2 and max(np.ravel(tags.get(_BITS, 1))) > 8:
        raise ImageReadError(f"'{name}' holds each colour of 16 bits as a plane", "colours pixel by pixel", "save it as such")


def _choose_page(picture: Image, name: str, options: ReadOptions) -> tuple[str, ...]:
    frames = getattr(picture, "n_frames", 1)
    count = frames if picture.format == "TIFF" else 1
    page = options.pick(count, f"'{name}'")
    if count > 1:
        picture.seek(page)
        check_pixels(picture, name, options)
        return (f"page {page} of {count}",)
    return ("animated: the first frame was taken",) if frames > 1 else ()


def _tiles(picture: Image) -> str:
    """How the pixels of a picture that is not loaded are stored, in Pillow's words."""
    return str(getattr(picture, "tile", ""))


def _look(picture: Image) -> tuple[Callable[[Image], Image] | None, str]:
    """What makes grey or RGB out of a piece of the picture, None if it is that already, and a note on what is lost."""
    mode = picture.mode
    if mode == "1":
        return lambda band: band.convert("L"), ""
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or ("transparency" in picture.info and not mode.startswith(("I", "F"))):
        return _on_black, "transparency was laid on black"
    if mode.startswith(("I", "F")) or mode in ("L", "RGB"):
        return None, ""
    return lambda band: band.convert("RGB"), ""


def _on_black(band: Image) -> Image:
    from PIL import Image

    layer = band.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    return flat.convert("L" if band.mode in ("LA", "La", "L") else "RGB")


def _copied(
    picture: Image,
    look: Callable[[Image], Image] | None,
    order: tuple[int, int],
    flips: tuple[bool, bool],
    *,
    turned: bool,
) -> NDArray[Any]:
    """The pixels after ``look`` in file order, laid into memory as they are shown.

    Taken over a band of rows at a time, and turned on the way: else they would lie in memory several times.
    """
    width, height = picture.size
    rows = max(1, _BAND // max(1, width))
    stored: NDArray[Any] = np.empty((0, 0), np.uint8)
    for top in range(0, height, rows):
        band = picture.crop((0, top, width, min(height, top + rows)))
        part = np.asarray(look(band) if look else band)
        if top == 0:
            sizes = (height, width) if turned or order == (0, 1) else (width, height)
            shown = np.empty((*sizes, *part.shape[2:]), part.dtype.newbyteorder("="))
            stored = to_source(shown, Geometry(sizes, sizes[::-1], order, flips))
        (shown if turned else stored)[top : top + len(part)] = part
    return stored


def _grey(values: NDArray[Any], picture: Image, *, swapped: bool) -> tuple[NDArray[Any], str]:
    """Grey values with the sign, byte order and direction that a TIFF tells and Pillow leaves out; a note."""
    tags = getattr(picture, "tag_v2", {})
    bits, kind = (int(np.ravel(tags.get(tag, default))[0]) for tag, default in ((_BITS, 0), (_SAMPLE_FORMAT, 1)))
    if picture.mode.startswith("I;16"):
        values = values.astype(np.uint16, copy=False)
    elif (picture.mode, bits, kind) == ("L", 8, 2):
        values = values.view(np.int8)
    elif (picture.mode, bits, kind) == ("I", 32, 1):
        values = values.view(np.uint32)
    elif (picture.mode, bits, kind) == ("I", 16, 2):
        values = values.astype(np.int16)
    if swapped:
        values = values.byteswap()
    if values.dtype in (np.int32, np.uint32) and values.size and 0 <= values.min() <= values.max() < 2**16:
        values = values.astype(np.uint16)
    if tags.get(_PHOTOMETRIC) != _WHITE_IS_ZERO or picture.mode == "L":  # 8 bits and fewer are turned by Pillow
        return values, ""
    if values.dtype.kind == "f":
        return -values, "white is zero: values were negated so that high is bright"
    return np.iinfo(np.uint16).max - values, ""
