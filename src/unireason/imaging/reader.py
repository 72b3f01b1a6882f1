"""One door for every file: look at the first bytes, then hand over to the reader of that format."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, GeometryError, ImageReadError, SizeLimitError, UniReasonError
from unireason.core.types import Affine, Case


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest input that the readers accept. Raise a field to read more: ``read(path, limits=Limits(max_voxels=2**31))``.

    Attributes:
        max_file_bytes: Size of any one file on disk.
        max_unpacked_bytes: Bytes that a compressed file (gzip, zlib, zip) may take in memory once unpacked.
        max_voxels: Voxels of a volume (of the frame asked for, if the file holds several).
        max_pixels: Pixels of a picture or a single DICOM image.
        max_files: Files looked at in a DICOM folder.
        max_total_bytes: Size of all files of a DICOM series together.
    """

    max_file_bytes: int = 4 * 2**30
    max_unpacked_bytes: int = 2 * 2**30
    max_voxels: int = 2**29
    max_pixels: int = 2**27
    max_files: int = 5000
    max_total_bytes: int = 8 * 2**30

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise SizeLimitError(f"limits.{name} is {value!r}", "a whole number of at least 1")

    def check(self, name: str, value: int, what: str) -> None:
        """Refuse a value above the field ``name``; ``what`` is counted, for the message, which names the field to raise."""
        bound = getattr(self, name)
        if value > bound:
            raise SizeLimitError(
                f"{what} has {value:,} {name.removeprefix('max_').replace('_', ' ')}",
                f"at most {bound:,}",
                f"if that is intended, read it with limits=Limits({name}={value})",
            )


def file_size(path: Path, limits: Limits) -> int:
    """Size in bytes of a plain, non-empty file within ``max_file_bytes``; ImageReadError or SizeLimitError for any other."""
    try:
        if not path.is_file():
            raise ImageReadError(f"'{path.name}' is not a file", "a regular image file", "check the path")
        size = path.stat().st_size
    except OSError as error:
        raise ImageReadError(f"'{path.name}' cannot be looked at ({error.strerror})", "", "check path and permissions") from error
    if size == 0:
        raise ImageReadError(f"'{path.name}' is empty", "an image file", "copy or download it again")
    limits.check("max_file_bytes", size, f"'{path.name}'")
    return size


def file_bytes(path: Path, limits: Limits) -> bytes:
    """The whole content of a bounded file."""
    file_size(path, limits)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageReadError(f"'{path.name}' cannot be read ({error.strerror})", "", "check its permissions") from error


# --- What a caller may say about a file that the file itself does not.


@dataclass(frozen=True, slots=True, eq=False)
class ReadOptions:
    """Keyword arguments of `read`.

    Attributes:
        modality: DICOM modality code ("CT", "MR", ...) that replaces what the file says.
        axes: Letters naming the axes of a bare array, slowest first: "zyx", "xyz", "yx", "yxc" (c = colour). None means
            "zyx", or "yx" for two axes. Only for arrays (npy, npz, numpy).
        spacing_mm: Voxel size along x, y (and z), for files that carry none (arrays, plain pictures).
        series: Which volume of a DICOM folder or file with several: its number or its words in the list that the error prints, or
            the SeriesInstanceUID.
        affine_lps: (4, 4) index to LPS millimetres of a bare volume, for the centres of voxels; its columns are the axes x, y, z that
            ``axes`` names. Of a nibabel affine: ``numpy.diag([-1, -1, 1, 1]) @ affine`` with ``axes="xyz"``.
        frame: Which frame of a 4-D volume, cine, enhanced DICOM file or multi-page picture, from 0.
        alpha: What becomes of transparency in a picture: "black" lays it on black, "drop" shows the colours of invisible pixels, as the
            published code does.
        limits: Bounds on sizes.
    """

    modality: str | None = None
    axes: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    affine_lps: Affine | None = None
    series: str | int | None = None
    frame: int | None = None
    alpha: Literal["black", "drop"] = "black"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name, kind in (("modality", str), ("axes", str), ("series", str | int), ("limits", Limits)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise FormatError(f"{name} is {value!r}", f"a value of type {getattr(kind, '__name__', kind)}")
        if self.alpha not in ("black", "drop"):
            raise FormatError(f"alpha is {self.alpha!r}", "'black' or 'drop'")
        if self.spacing_mm is not None:
            steps = _numbers(self.spacing_mm)
            if steps.size not in (2, 3) or not (np.isfinite(steps).all() and (steps > 0).all()):
                raise FormatError(f"spacing_mm is {self.spacing_mm}", "two or three positive numbers: x, y (and z)")
            object.__setattr__(self, "spacing_mm", tuple(float(s) for s in steps))
        if self.affine_lps is not None:
            values = _numbers(self.affine_lps)
            if np.shape(self.affine_lps) != (4, 4) or not np.isfinite(values).all() or list(values[12:]) != [0, 0, 0, 1]:
                raise FormatError("affine_lps cannot be used", "4 x 4 finite numbers, the last row 0, 0, 0, 1")
            if self.spacing_mm is not None:
                raise FormatError("both affine_lps and spacing_mm were given", "one of them: an affine tells the spacing")
            object.__setattr__(self, "affine_lps", values.reshape(4, 4))
        if self.frame is not None and (isinstance(self.frame, bool) or not isinstance(self.frame, int) or self.frame < 0):
            raise FormatError(f"frame is {self.frame!r}", "a whole number from 0")
        if self.modality is not None:
            object.__setattr__(self, "modality", self.modality.upper())

    @classmethod
    def of(cls, **values: Any) -> ReadOptions:
        """Options from keyword arguments; FormatError for an unknown name or a value that cannot be used."""
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise FormatError(f"read() was given '{unknown[0]}'", f"one of {', '.join(known)}")
        return cls(**values)

    def pick(self, count: int, what: str) -> int:
        """The frame to take out of ``count``; FormatError if there are several and none was chosen, or it does not exist."""
        if self.frame is None and count == 1:
            return 0
        if self.frame is None:
            raise FormatError(
                f"{what} holds {count} frames", "one image or one volume", f"choose one with frame=0 to frame={count - 1}"
            )
        if self.frame >= count:
            raise FormatError(f"frame {self.frame} of {what} was asked for", f"0 to {count - 1}")
        return self.frame


def _numbers(values: Any) -> NDArray[np.float64]:
    """Values as numbers; none of them if they are not."""
    try:
        return np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError):
        return np.empty(0)


# --- What readers do around a third-party decoder: translate its errors, check what it unpacked, hash the file beside it.


_CHUNK = 2**20
_SURPLUS = 2**24  # bytes behind the expected values that are still unpacked to reach the checksum

_FIRST = frozenset(
    (b"UL", b"OB", b"CS", b"UI", b"LO", b"SH", b"DA", b"TM", b"ST", b"DT", b"SQ", b"UN")
)  # of a group's first element

_ADDRESS = re.compile(r"\s*<[\w.]+ object at 0x[0-9a-fA-F]+>")  # an object of Python as decoders print it
_NO_MEMORY = re.compile(r"(?i)bad_alloc|out of memory|(failed|unable|cannot) (to )?(allocate|map segment)")


@contextmanager
def decoding(path: Path, what: str, remedy: str = "check the file with another program, or export it again") -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into one error of ours; its warnings are silenced.

    Decoders raise far more than they document (struct, zlib, index, overflow and plain runtime errors), so every ordinary
    exception is translated; the original stays attached as the cause. Messages name the file without its folder, and ``what``
    it was read as.

    Raises:
        ImageReadError: In place of any exception from the block that is not ours already.
        SizeLimitError: In place of running out of memory.
        UniReasonError: In place of a decoder that cannot be loaded, which is no fault of the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UniReasonError:
        raise
    except Exception as error:
        told = _ADDRESS.sub("", " ".join(str(error).split()))  # says nothing to people, and differs each time
        detail = told.replace(f"{path.parent}{os.sep}", "")[-300:] or type(error).__name__
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or _NO_MEMORY.search(told):
            raise SizeLimitError(
                f"there is too little memory to read '{path.name}'",
                remedy="close other programs, read it on a larger machine, or make the file smaller",
            ) from error
        if isinstance(error, ImportError):
            raise UniReasonError(
                f"'{path.name}' was not read: a decoder cannot be loaded ({detail})",
                remedy="install unireason again with its dependencies; 'unireason doctor' says what is missing",
            ) from error
        raise ImageReadError(f"'{path.name}' cannot be read as {what}: {detail}", "", remedy) from error


def check_unpacked(path: Path, span: tuple[int, int], stored: NDArray[Any], length: int) -> None:
    """Make sure that a native decoder unpacked a zlib or gzip stream undamaged.

    ITK fills the rest with zeros when a stream breaks off, and does not look at checksums. So the checksum at the end of the
    stream is compared with the values that came out; only where that does not settle it (several streams in one file) is the
    stream unpacked again.
    """
    with path.open("rb") as file:
        file.seek(max(span[0], span[1] - 8))
        tail = file.read(min(8, span[1] - span[0]))
    if stored.nbytes == length:
        gzip_tail = zlib.crc32(stored.data).to_bytes(4, "little") + (length % 2**32).to_bytes(4, "little")
        if tail == gzip_tail or tail[4:] == zlib.adler32(stored.data).to_bytes(4, "big"):
            return
    unpacked(path, span, length, (0, 0))


def unpacked(path: Path, span: tuple[int, int], length: int, keep: tuple[int, int]) -> NDArray[np.uint8]:
    """Unpack a zlib or gzip stream (or a chain of them) to its checksum, keeping the bytes ``keep[0]`` to ``keep[1]`` of it.

    ``span`` is where it lies in the file. Not much more than the expected ``length`` is ever unpacked, whatever the file holds,
    and memory is taken only for what is kept.

    Raises:
        ImageReadError: If the stream is damaged or too short.
    """
    with decoding(path, "compressed data"), path.open("rb") as file:
        file.seek(span[0])
        kept = np.empty(keep[1] - keep[0], np.uint8)
        count, left, pending, stream = 0, span[1] - span[0], b"", zlib.decompressobj(wbits=47)
        while count <= length + _SURPLUS and (pending or left > 0):
            if not pending:
                pending = file.read(min(left, _CHUNK))
                left -= len(pending)
                if not pending:
                    break
            piece = stream.decompress(pending, _CHUNK)
            low, high = max(count, keep[0]), min(count + len(piece), keep[1])
            if low < high:
                kept[low - keep[0] : high - keep[0]] = np.frombuffer(piece, np.uint8)[low - count : high - count]
            count += len(piece)
            pending = stream.unconsumed_tail
            if stream.eof:
                if count >= length:
                    return kept
                pending, stream = stream.unused_data, zlib.decompressobj(wbits=47)
    told = (
        f"goes on behind the {length:,} unpacked bytes"
        if count > length + _SURPLUS
        else f"breaks off without an end at {count:,}"
    )
    raise ImageReadError(
        f"'{path.name}' {told}", f"{length:,} unpacked bytes, as its header declares", "copy or download it again"
    )


class BackgroundHash:
    """SHA-256 of a file, computed in a thread while a native decoder reads the same pages of the file, so that the disk is read once."""

    def __init__(self, path: Path) -> None:
        self._path, self._hash, self._error = path, hashlib.sha256(), ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    self._hash.update(chunk)
        except OSError as error:
            self._error = error.strerror or type(error).__name__

    def hexdigest(self) -> str:
        """Wait for the end and give the hash; ImageReadError if the file could not be read."""
        self._thread.join()
        if self._error:
            raise ImageReadError(f"'{self._path.name}' cannot be read ({self._error})", "", "check its permissions")
        return self._hash.hexdigest()


DICOM_HEAD = 144
"""Bytes from the beginning of a file that `is_dicom` needs."""


def is_dicom(head: bytes) -> bool:
    """Whether a file is DICOM by its content: the mark behind a preamble, or a first element as every data set begins.

    Without a preamble the first element is of group 0002 or 0008 (PS3.10 7.1, PS3.5 7.1), in one of the two byte orders, with a known
    value representation (explicit), or with a length that such an element can have and the next element behind it (implicit): bare
    values may begin with any numbers.
    """
    if head[128:132] == b"DICM":
        return True
    for order in "<>":
        if len(head) < DICOM_HEAD:
            return False
        group, element, length = struct.unpack_from(f"{order}HHI", head)
        if group in (2, 8) and element < 0x2000:
            if head[4:6].isalpha() and head[4:6].isupper():
                return head[4:6] in _FIRST
            if order == ">" or length > 1024 or length % 2:
                return False
            return 12 + length > len(head) or (group, element) < struct.unpack_from("<HH", head, 8 + length) < (0x40, 0)
    return False


def sha256(content: bytes) -> str:
    """Hex SHA-256 of bytes already in memory."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_files(digests: Iterable[str]) -> str:
    """Hash of a set of files: SHA-256 over their sorted hex digests, so that neither names nor order matter."""
    return sha256("".join(sorted(digests)).encode())


# --- One door for every file: look at the first bytes, then hand over to the reader of that format.


FORMATS = "PNG, JPEG, TIFF, BMP, DICOM (file or folder), NIfTI (single or pair), NRRD, MHA/MHD, npy, npz"
"""What `read` can read, for messages."""

_HEAD = 544
_READERS = {  # imported when they are needed
    "folder": (".dicom_series", "read_series"),
    "picture": (".raster", "read_picture"),
    "array": (".raster", "read_array"),
    "dicom": (".dicom", "read_dicom"),
    "nifti": (".itk", "read_nifti"),
    "nrrd": (".itk", "read_nrrd"),
    "metaimage": (".itk", "read_metaimage"),
}


def read(source: Any, **options: Any) -> Case:
    """Read an image or a volume with its geometry.

    The format of a file is told by its content, not by its name. ``Case.source.sha256`` is the SHA-256 of the file as it lies on
    disk; for a header with its values in a second file, and for a DICOM series, it is the SHA-256 of the sorted hex digests of all
    files that were used; for an image in memory, that of its pixels.

    Args:
        source: A file, or a folder with a DICOM series; or an image in memory, read as its saved file would be: a numpy array, a
            Pillow picture, a nibabel or a SimpleITK image.
        **options: See `unireason.imaging.reader.ReadOptions`: ``modality``, ``axes``, ``spacing_mm``, ``affine_lps``, ``series``,
            ``frame``, ``limits``.

    Returns:
        A Case with canonical pixels; see `unireason.core.types.Case`. Volumes may be flipped or permuted views and read-only. Values that
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
        module, name = _READERS[kind]
        read_kind: Callable[[Any, ReadOptions], Case] = getattr(import_module(module, __package__), name)
    else:
        from .raster import kind_of, read_object

        place, kind, read_kind = source, kind_of(source), read_object
    _check_options(kind, chosen)
    case = read_kind(place, chosen)
    if chosen.spacing_mm is not None and case.geometry.spacing_mm != chosen.spacing_mm[: len(case.geometry.shape)]:
        raise GeometryError("spacing_mm was given for a file that stores its own", "", "leave the option out")
    planes = case.pixels if case.pixels.ndim == 3 else case.pixels[None]
    lost = sum(plane.size - np.count_nonzero(np.isfinite(plane)) for plane in planes) if planes.dtype.kind == "f" else 0
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


def sniff(path: Path) -> str:
    """The family of a file by its first bytes, and by its name only where the content has no mark.

    One of "picture", "array", "dicom", "nifti", "nrrd" and "metaimage"; an ImageReadError if it is none of these.
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
