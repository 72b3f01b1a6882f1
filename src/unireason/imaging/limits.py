"""Bounds on what a reader may take in, checked from headers before pixel data are allocated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unireason.errors import ImageReadError, SizeLimitError


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
        """Refuse a value above the field ``name``.

        Args:
            name: A field of this class, such as ``"max_voxels"``.
            value: The count that the input declares.
            what: What is being counted, for the message.

        Raises:
            SizeLimitError: If ``value`` is larger; the message names the field to raise.
        """
        bound = getattr(self, name)
        if value > bound:
            raise SizeLimitError(
                f"{what} has {value:,} {name.removeprefix('max_').replace('_', ' ')}",
                f"at most {bound:,}",
                f"if that is intended, read it with limits=Limits({name}={value})",
            )


def file_size(path: Path, limits: Limits) -> int:
    """Size of a file in bytes, after checking that it is a plain, non-empty file within the bound.

    Args:
        path: The file.
        limits: Bounds; ``max_file_bytes`` applies.

    Returns:
        Its size in bytes, at least 1.

    Raises:
        ImageReadError: If it is missing, empty, unreadable or not a regular file.
        SizeLimitError: If it is too large.
    """
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
    """The whole content of a bounded file.

    Args:
        path: The file.
        limits: Bounds; ``max_file_bytes`` applies.

    Returns:
        Its bytes, never empty.

    Raises:
        ImageReadError: If it cannot be read or is empty.
        SizeLimitError: If it is too large.
    """
    file_size(path, limits)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageReadError(f"'{path.name}' cannot be read ({error.strerror})", "", "check its permissions") from error
