"""What readers do around a third-party decoder: translate its errors, check what it unpacked, hash the file beside it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import ImageReadError, SizeLimitError, UniReasonError

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

    Decoders raise far more than they document (struct, zlib, index, overflow and plain runtime errors), so every
    ordinary exception is translated; the original stays attached as the cause.

    Args:
        path: The file; messages name it without its folder.
        what: What it was read as, for the message.
        remedy: What the user can do.

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

    Args:
        path: The file.
        span: First byte and end of the stream.
        stored: The values, in the order in which they were unpacked, C-contiguous.
        length: Unpacked bytes to be expected.

    Raises:
        ImageReadError: If the stream is damaged or too short.
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
    """Unpack a zlib or gzip stream (or a chain of them) to its checksum, keeping one part of it.

    Args:
        path: The file.
        span: First byte and end of the stream.
        length: Unpacked bytes to be expected; not much more is ever unpacked, whatever the file holds.
        keep: Which of them to keep; memory is taken for these alone.

    Returns:
        The bytes ``keep[0]`` to ``keep[1]`` of what was unpacked.

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
    """SHA-256 of a file, computed in a thread while a native decoder reads the same pages of the file.

    The bytes hashed are those on disk (still compressed, if they are). The two reads share the system's page cache, so the
    disk is read once.

    Args:
        path: The file, already known to exist.
    """

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
        """Wait for the end and give the hash.

        Raises:
            ImageReadError: If the file could not be read.
        """
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

    Args:
        head: The first `DICOM_HEAD` bytes, or all there are.
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
