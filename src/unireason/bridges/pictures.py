"""From the pictures that a kit hands over to a case.

One picture is an image. Several are taken for the slices of one volume, first to last from the feet to the head; their spacing is
unknown, and so is how they lie in the patient. A path may also be any other file that ``imaging.read`` takes, such as a NIfTI volume.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason import imaging
from unireason.errors import FormatError
from unireason.imaging.decode import decoding, sha256
from unireason.imaging.options import ReadOptions
from unireason.imaging.picture import picture_case, pillow_case
from unireason.types import Case, Geometry, Source

ASSUMED = "several pictures taken for the slices of one volume, feet to head; spacing and orientation unknown"
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_GREYS = (127.5, 255.0)  # level and width that leave 8-bit values as they are


def case_of(pictures: Sequence[Any]) -> Case:
    """The case that pictures show.

    Args:
        pictures: Paths, Pillow pictures or uint8 arrays (Y, X) or (Y, X, 3), in slice order. Colour pictures whose three channels are
            equal count as grey ones; of really coloured slices the luminance is taken.

    Returns:
        An image for one picture; for several a volume (Z, Y, X) without spacing, shown with the grey levels of its pictures.

    Raises:
        FormatError: If there is no picture, one is of no known type, or several differ in size or type.
        UniReasonError: If a file is missing or damaged.
    """
    if not pictures:
        raise FormatError("a question without a picture", "one picture, or the slices of a volume", "leave such questions out")
    cases = [_grey_if_equal(_read(picture)) for picture in pictures]
    return cases[0] if len(cases) == 1 else _volume(cases)


def _read(picture: Any) -> Case:
    if isinstance(picture, str | os.PathLike):
        return imaging.read(picture)
    if isinstance(picture, np.ndarray):
        grey_or_colour = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
        if picture.dtype != np.uint8 or not grey_or_colour:
            raise FormatError(f"an array of shape {picture.shape} and type {picture.dtype}", "uint8 (Y, X) or (Y, X, 3)")
        return _hashed(picture_case(picture, Source("picture", "array", ""), ReadOptions()))
    from PIL import Image

    if isinstance(picture, Image.Image):
        with decoding(Path("picture"), "a picture"):
            return _hashed(pillow_case(picture, Source("picture", "pillow", ""), ReadOptions()))
    raise FormatError(f"a picture of type {type(picture).__name__}", "a path, a Pillow picture or an array")


def _hashed(case: Case) -> Case:
    """The case of pixels in memory, its provenance completed by their hash."""
    content = f"{case.pixels.shape} {case.pixels.dtype.str} ".encode() + np.ascontiguousarray(case.pixels).tobytes()
    return replace(case, source=replace(case.source, sha256=sha256(content)))


def _grey_if_equal(case: Case) -> Case:
    """Kits turn grey pictures into colour; this turns them back."""
    pixels = case.pixels
    if case.kind != "image" or pixels.ndim != 3 or not (pixels == pixels[..., :1]).all():
        return case
    return replace(case, pixels=np.ascontiguousarray(pixels[..., 0]))


def _volume(cases: Sequence[Case]) -> Case:
    if any(case.kind != "image" for case in cases):
        raise FormatError("several files, one of them a volume", "one volume, or pictures alone")
    slices = [_grey(case.pixels) for case in cases]
    found = sorted({(*(str(n) for n in s.shape), s.dtype.name) for s in slices})
    if len(found) > 1:
        said = ", ".join(" x ".join(parts) for parts in found[:4])
        raise FormatError(
            f"pictures of different size or type ({said})",
            "the slices of one volume, all alike",
            "ask about one picture at a time, or skip such questions",
        )
    pixels = np.stack(slices)
    depth, height, width = pixels.shape
    geometry = Geometry((depth, height, width), (width, height, depth), (0, 1, 2), (False, False, False))
    modalities, marks = {case.modality for case in cases}, {case.source.made_by for case in cases}
    return Case(
        pixels,
        "volume",
        geometry,
        modalities.pop() if len(modalities) == 1 else "",
        Source(
            "pictures",
            "slices",
            sha256(" ".join(case.source.sha256 for case in cases).encode()),
            marks.pop() if len(marks) == 1 else "",
        ),
        _GREYS if pixels.dtype == np.uint8 else None,
        (ASSUMED,),
    )


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels if pixels.ndim == 2 else np.rint(pixels @ _LUMA).astype(np.uint8)
