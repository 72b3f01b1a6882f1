"""One door for every file: look at the first bytes, then hand over to the reader of that format."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError, GeometryError, ImageReadError
from unireason.types import Case

from .decode import is_dicom
from .limits import file_size
from .options import ReadOptions

FORMATS = "PNG, JPEG, TIFF, BMP, DICOM (file or folder), NIfTI (single or pair), NRRD, MHA/MHD, npy, npz"
"""What `read` can read, for messages."""

_HEAD = 544


def read(source: Any, **options: Any) -> Case:
    """Read an image or a volume with its geometry.

    The format of a file is told by its content, not by its name. ``Case.source.sha256`` is the SHA-256 of the file as it lies on
    disk; for a header with its values in a second file, and for a DICOM series, it is the SHA-256 of the sorted hex digests of all
    files that were used; for an image in memory, that of its pixels.

    Args:
        source: A file, or a folder with a DICOM series; or an image in memory, read as its saved file would be: a numpy array, a
            Pillow picture, a nibabel or a SimpleITK image.
        **options: See `unireason.imaging.options.ReadOptions`: ``modality``, ``axes``, ``spacing_mm``, ``affine_lps``, ``series``,
            ``frame``, ``limits``.

    Returns:
        A Case with canonical pixels; see `unireason.types.Case`. Volumes may be flipped or permuted views and read-only. Values that
        are not finite are kept and told in a note.

    Raises:
        ImageReadError: If it does not exist, is empty, damaged or of no known format.
        GeometryError: If positions or orientations are contradictory (missing slices, tilt, duplicates).
        SizeLimitError: If it is larger than ``limits`` allow.
        FormatError: If an option is unknown or does not fit the file.
    """
    chosen = ReadOptions.of(**options)
    if isinstance(source, str | os.PathLike):
        place = Path(source)
        if not place.is_dir():
            file_size(place, chosen.limits)
        kind = "folder" if place.is_dir() else sniff(place)
        read_kind: Callable[[Any, ReadOptions], Case] = _reader(kind)
    else:
        from .memory import kind_of, read_object

        place, kind, read_kind = source, kind_of(source), read_object
    _check_options(kind, chosen)
    case = read_kind(place, chosen)
    if chosen.spacing_mm is not None and case.geometry.spacing_mm != chosen.spacing_mm[: len(case.geometry.shape)]:
        raise GeometryError("spacing_mm was given for a file that stores its own", "", "leave the option out")
    lost = _not_finite(case.pixels)
    if lost:
        words = (
            "1 value is not a finite number (NaN or infinite): it is"
            if lost == 1
            else (f"{lost:,} values are not finite numbers (NaN or infinite): they are")
        )
        case = replace(case, notes=(*case.notes, f"{words} kept, and left out where windows are chosen"))
    return replace(case, modality=chosen.modality) if chosen.modality is not None else case


def _check_options(kind: str, chosen: ReadOptions) -> None:
    """An option that could have no effect is an error; `frame` and `spacing_mm` are judged where the content is known."""
    for name, fits, what in (
        ("axes", kind == "array", "a bare array"),
        ("affine_lps", kind == "array", "a bare array"),
        ("series", kind in ("dicom", "folder"), "DICOM"),
    ):
        given = getattr(chosen, name)
        if given is not None and not fits:
            shown = name if isinstance(given, np.ndarray) else f"{name}={given!r}"
            raise FormatError(f"{shown} was given for what is not {what}", "", "leave the option out")


def _not_finite(pixels: NDArray[Any]) -> int:
    """How many values are NaN or infinite."""
    if pixels.dtype.kind != "f":
        return 0
    planes = pixels if pixels.ndim == 3 else pixels[None]
    return int(sum(plane.size - np.count_nonzero(np.isfinite(plane)) for plane in planes))


def _reader(kind: str) -> Callable[[Path, ReadOptions], Case]:
    if kind == "folder":
        from .series import read_series

        return read_series
    if kind == "picture":
        from .picture import read_picture

        return read_picture
    if kind == "array":
        from .array import read_array

        return read_array
    if kind == "dicom":
        from .dicom import read_dicom

        return read_dicom
    from .volume import read_metaimage, read_nifti, read_nrrd

    return {"nifti": read_nifti, "nrrd": read_nrrd, "metaimage": read_metaimage}[kind]


def sniff(path: Path) -> str:
    """Tell the family of a file by its first bytes, and by its name only where the content has no mark.

    Args:
        path: A readable file.

    Returns:
        "picture", "array", "dicom", "nifti", "nrrd" or "metaimage".

    Raises:
        ImageReadError: If it is none of these.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ImageReadError(f"'{path.name}' cannot be read ({error.strerror})", "", "check its permissions") from error
    name = path.name.lower()
    if is_dicom(head):
        return "dicom"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "picture"
    if head.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return "array"
    if head.startswith(b"NRRD"):
        return "nrrd"
    if head.startswith(b"\x1f\x8b") or head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2"):
        return "nifti"
    if name.endswith((".hdr", ".img", ".mgh")):
        return "nifti"  # the image of a pair has no mark of its own
    if name.endswith((".mha", ".mhd")) or head.startswith((b"ObjectType", b"NDims")):
        return "metaimage"
    if head.startswith(b"BM"):
        return "picture"
    if name.endswith((".dcm", ".ima", ".dicom")) or "." not in name:
        return "dicom"
    raise ImageReadError(f"'{path.name}' is of no known format", FORMATS, "convert it to one of these")
