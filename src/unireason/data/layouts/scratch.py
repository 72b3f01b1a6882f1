"""Rows of a release put aside until the picture comes that they are about, in a file: tables come in any order and of any length."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from unireason.errors import UniReasonError
from unireason.files import json_text


class Kept(NamedTuple):
    """One row put aside.

    Attributes:
        split: Its split.
        values: What was kept of it.
        data: Bytes that belong to it, such as a mask.
    """

    split: str
    values: dict[str, Any]
    data: bytes


class Scratch:
    """Rows by picture, and pictures that wait for others."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Make the tables; see :func:`scratch`."""
        self._db = database
        database.executescript(
            """
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
            CREATE TABLE kept (picture TEXT, split TEXT, row TEXT, data BLOB);
            CREATE TABLE pictures (id TEXT PRIMARY KEY, data BLOB);
            """
        )

    def keep(self, picture: str, row: Kept) -> None:
        """Put a row aside."""
        self._db.execute("INSERT INTO kept VALUES (?, ?, ?, ?)", (picture, row.split, json_text(row.values), row.data))

    def index(self) -> None:
        """Prepare for :meth:`of`; no row comes after."""
        self._db.execute("CREATE INDEX by_picture ON kept (picture)")

    def names(self) -> Iterator[str]:
        """What rows are about, in the order in which that came first."""
        return (name for (name,) in self._db.execute("SELECT picture FROM kept GROUP BY picture ORDER BY MIN(rowid)").fetchall())

    def of(self, picture: str) -> list[Kept]:
        """The rows about a picture, in the order in which they came."""
        found = self._db.execute("SELECT split, row, data FROM kept WHERE picture = ? ORDER BY rowid", (picture,))
        return [Kept(split, json.loads(row), data) for split, row, data in found]

    def store(self, identifier: str, data: bytes) -> None:
        """Keep a picture file until the others of its volume are there."""
        self._db.execute("INSERT INTO pictures VALUES (?, ?)", (identifier, data))

    def picture(self, identifier: str) -> bytes:
        """A picture file that was kept; b"" if it was not."""
        found = self._db.execute("SELECT data FROM pictures WHERE id = ?", (identifier,)).fetchone()
        return found[0] if found else b""


@contextmanager
def scratch(path: Path) -> Iterator[Scratch]:
    """A scratch file, thrown away at the end.

    Args:
        path: Where; nothing may be there.

    Raises:
        UniReasonError: If the disk is full.
    """
    database = sqlite3.connect(path)
    try:
        yield Scratch(database)
    except sqlite3.Error as error:
        raise UniReasonError(f"the scratch file of the import cannot be used ({error})", "", "make room and try again") from error
    finally:
        database.close()
        path.unlink(missing_ok=True)
