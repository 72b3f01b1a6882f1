"""Output folders that are whole or not there, and file names made from identifiers."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unireason.errors import FormatError, UniReasonError

_OTHER = re.compile(r"[^A-Za-z0-9._-]+")


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A folder to write into, which takes its place only when everything went well.

    Args:
        target: Where the result shall be; must not exist or be empty.

    Yields:
        A folder beside it. What a killed run left there is thrown away.

    Raises:
        UniReasonError: If the place is taken or cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UniReasonError(f"'{target}' is there already and not empty", "a new or empty folder", "choose another --out")
    partial = target.parent / f".{target.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            target.rmdir()
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UniReasonError(f"'{target}' cannot be written ({reason})", "", "choose another place, or make room") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def stem(identifier: str) -> str:
    """A file name for an identifier: its plain characters, and eight hex digits of its hash so that no two become one."""
    plain = _OTHER.sub("-", identifier).strip("-.")[:80]
    return f"{plain}-{hashlib.sha256(identifier.encode()).hexdigest()[:8]}"


def base_name(path: str, fallback: str) -> str:
    """The last part of an untrusted path, safe to be a file name.

    Args:
        path: Path from a data file; slashes and backslashes both divide.
        fallback: Identifier whose ``stem`` with ``.png`` is taken if the path is empty.

    Raises:
        FormatError: If the last part is "." or "..", or holds a null byte.
    """
    name = path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    if name in (".", "..") or "\0" in name or len(name) > 255:
        raise FormatError(f"the picture path {path[:200]!r} in a data file", "a path that ends in a file name")
    return name or f"{stem(fallback)}.png"
