"""Files on disk: written whole or not at all, and told apart by their hash."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from unireason.errors import UniReasonError


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file at once: a reader sees the old content or the new, never a part.

    Args:
        path: Where to write; missing folders are made.
        data: Its content.

    Returns:
        The path written.

    Raises:
        UniReasonError: The place cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise _unwritable(target, error) from error
    return target


@contextmanager
def replaced_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a folder at once: it takes the place of the old one when the block ends without an error.

    What an interrupted earlier attempt left beside the folder is cleaned first; an old folder that was moved away in its last moment
    comes back.

    Args:
        path: The folder to write; missing parents are made.

    Yields:
        An empty folder beside it, to be filled.

    Raises:
        UniReasonError: The place cannot be written. The old folder is as it was.
    """
    target = Path(path).resolve()
    partial, old = (target.with_name(f".{target.name}.{end}") for end in ("partial", "old"))
    try:
        if old.exists() and not target.exists():
            old.rename(target)
        for rest in (partial, old):
            shutil.rmtree(rest, ignore_errors=True)
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            target.rename(old)
        partial.rename(target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        if isinstance(error, OSError):
            raise _unwritable(target, error) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def _unwritable(target: Path, error: OSError) -> UniReasonError:
    reason = error.strerror or type(error).__name__
    return UniReasonError(
        f"'{target}' cannot be written ({reason})", "a file in a folder that may be written", "choose another place"
    )


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file as hex digits.

    Raises:
        UniReasonError: If it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return _digest(stream)
    except OSError as error:
        raise UniReasonError(f"'{Path(path).name}' cannot be read ({error.strerror})", "", "check that it is there") from error


def _digest(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
