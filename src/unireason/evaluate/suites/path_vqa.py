"""PathVQA as Parquet: ``data/test-*.parquet`` with the columns image ({bytes, path}), question and answer.

The pictures lie inside the tables, once a question; equal pictures are one case, named by the hash of their file. The data do not say
which pictures belong to one patient, so each counts as one.

Source: X. He et al., PathVQA, arXiv 2003.10286; data card of flaviagiammarino/path-vqa.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from unireason import imaging
from unireason.data.item import Skipped
from unireason.data.layouts import tables
from unireason.errors import FormatError, UniReasonError
from unireason.types import Case

from .listed import SHORT_RULE, About, ListedSuite, cell, short
from .suite import Entry

_COLUMNS = ("image", "question", "answer")
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _Row:
    """Where a picture stands."""

    path: Path
    number: int


class PathVqaSuite(ListedSuite):
    """PathVQA."""

    name = "path-vqa"
    rule = SHORT_RULE
    folder = "the folder with data/test-*.parquet"
    splits = ("test", "validation", "train")

    def __init__(self, root: Path, *, split: str, options: Mapping[str, str]) -> None:
        """See ``ListedSuite``."""
        super().__init__(root, split=split, options=options)
        self._rows: dict[str, _Row] = {}
        self._reading: tuple[Path | None, int, Iterator[dict[str, Any]]] = (None, 0, iter(()))

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        paths = sorted((self.root / "data").glob(f"{self.split}-*.parquet"))
        if not paths:
            raise FormatError(f"'{self.root}' has no data/{self.split}-*.parquet", self.folder)
        for path in paths:
            lacking = [name for name in _COLUMNS if name not in tables.columns_of(path)]
            if lacking:
                raise FormatError(f"'{path.name}' has no column {lacking[0]!r}", f"the columns {', '.join(_COLUMNS)}")
            for number, row in enumerate(tables.stream(path, _COLUMNS, batch=_ROWS_AT_ONCE)):
                where = f"row {number} of '{path.name}'"
                case = sha256(_picture(row, where)).hexdigest()
                self._rows.setdefault(case, _Row(path, number))
                about = About(case, tags={"split": self.split})
                answer = cell(row, "answer", where)
                yield short(f"{path.stem}-{number}", cell(row, "question", where), answer=answer, about=about)

    def place(self, case: str) -> Path:
        """The table in which a picture stands."""
        if case not in self._rows:
            for _ in self.questions():  # finds all of them
                pass
        if case not in self._rows:
            raise UniReasonError(f"the suite '{self.name}' has no picture {case[:80]!r}", "one of its entries")
        return self._rows[case].path

    def read(self, case: str) -> Case:
        """See ``Suite.read``. Reading on in the order of the entries costs least: each table is then gone through once."""
        self.place(case)
        row = self._rows[case]
        path, position, stream = self._reading
        if path != row.path or position > row.number:
            path, position, stream = row.path, 0, tables.stream(row.path, ("image",), batch=_ROWS_AT_ONCE)
        for values in stream:
            position += 1
            if position > row.number:
                self._reading = (path, position, stream)
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / f"{case[:16]}.jpg"
                    file.write_bytes(_picture(values, f"row {row.number} of '{row.path.name}'"))
                    return imaging.read(file)
        raise FormatError(f"'{row.path.name}' has changed", "the file of which the questions were listed")


def _picture(row: Mapping[str, Any], where: str) -> bytes:
    stored = row["image"]
    data = stored.get("bytes") if isinstance(stored, dict) else stored
    if not isinstance(data, bytes) or not data:
        raise FormatError(f"{where} has a picture without bytes", "pictures inside the table as {bytes, path}")
    return data
