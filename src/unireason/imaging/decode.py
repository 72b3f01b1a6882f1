"""The two things every reader does around a third-party decoder: translate its errors and hash the file beside it."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unireason.errors import ImageReadError, SizeLimitError, UniReasonError

_CHUNK = 2**20


@contextmanager
def decoding(name: str, what: str, remedy: str = "check the file with another program, or export it again") -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into one error of ours; its warnings are silenced.

    Decoders raise far more than they document (struct, zlib, index, overflow and plain runtime errors), so every
    ordinary exception is translated; the original stays attached as the cause.

    Args:
        name: Base name of the file, for the message.
        what: What it was read as, for the message.
        remedy: What the user can do.

    Raises:
        ImageReadError: In place of any exception from the block that is not ours already.
        SizeLimitError: In place of running out of memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UniReasonError:
        raise
    except MemoryError as error:
        raise SizeLimitError(
            f"'{name}' does not fit into memory", "", "read it on a larger machine or make it smaller"
        ) from error
    except Exception as error:
        detail = " ".join(str(error).split())[-300:] or type(error).__name__
        raise ImageReadError(f"'{name}' cannot be read as {what}: {detail}", "", remedy) from error


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


def sha256(content: bytes) -> str:
    """Hex SHA-256 of bytes already in memory."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_files(digests: Iterable[str]) -> str:
    """Hash of a set of files: SHA-256 over their sorted hex digests, so that neither names nor order matter."""
    return sha256("".join(sorted(digests)).encode())
