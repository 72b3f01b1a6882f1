"""Parquet files: read in bounded pieces and held against the schema, read case by case in any order, written in shards."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.core.errors import FormatError

from .records import OPEN, SPLITS, schema

if TYPE_CHECKING:
    import pyarrow as pa

# --- Reading.


OPTIONAL = {
    "cases": {"spacing_mm", "structures"},
    "samples": {"box", "points", "reasoning.text", "reasoning.label", "reasoning.box", "reasoning.seen", *OPEN},
    "images": set[str](),
}
"""Fields that may lack a value, by table; fields of a list of records after a dot."""
ADDED = {"cases": {"midline", "scale", "across", "looks", "hounsfield"}, "samples": {"stages", "origin", "scale", *OPEN}}
"""Columns, by table, that data sets lack if they are older or ask nothing openly; whoever reads the rows knows what they mean without."""
_ROWS_AT_ONCE = 256


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A Parquet file (``pyarrow.parquet.ParquetFile``); whatever is wrong with it inside the block is a FormatError that names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        came = f"'{path.parent.name}/{path.name}' cannot be read ({error})"
        raise FormatError(came, "a Parquet file", "check the folder, and download or build it again") from error


def columns_of(path: Path) -> tuple[str, ...]:
    """Column names of a Parquet file."""
    with opened(path) as file:
        return tuple(file.schema_arrow.names)


def row_count(path: Path) -> int:
    """Rows of a Parquet file, from its footer."""
    with opened(path) as file:
        return int(file.metadata.num_rows)


def stream(path: Path, columns: Sequence[str], *, batch: int = _ROWS_AT_ONCE, start: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of any Parquet file as plain values.

    Args:
        path: The file.
        columns: Which columns to read; all must be there.
        batch: Rows in memory at a time.
        start: Number of the first row; groups of rows that end before it are not read.

    Raises:
        FormatError: If the file is damaged.
    """
    with opened(path) as file:
        groups: list[int] = []
        skip = start
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if groups or skip < rows:
                groups.append(group)
            else:
                skip -= rows
        for piece in file.iter_batches(batch_size=batch, row_groups=groups, columns=list(columns), use_threads=False):
            yield from piece.slice(skip).to_pylist()
            skip = max(0, skip - piece.num_rows)


def rows(path: Path, table: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a file of "cases", "samples" or "images" as plain values, a few hundred in memory at a time.

    Args:
        path: The file.
        table: What it holds.
        columns: Names of the columns to read; None for all.

    Raises:
        FormatError: If the file is damaged, or a column is missing, of another type or without a value where there must be one.
    """
    with opened(path) as file:
        _check_columns(file.schema_arrow, table)
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns, use_threads=False):
            check_values(batch, table)
            yield from batch.to_pylist()


def _check_columns(found: pa.Schema, table: str) -> None:
    """Hold the columns of a file against the schema; their order and further columns do not matter."""
    for field in schema(table):
        place = found.get_field_index(field.name)
        if place < 0 and field.name not in ADDED.get(table, ()):
            raise ValueError(f"the column {field.name} is missing")
        if place >= 0 and found.field(place).type != field.type:
            raise ValueError(f"the column {field.name} is {found.field(place).type}, not {field.type}")


def check_values(batch: pa.RecordBatch, table: str) -> None:
    """Look for missing values in rows whose columns are in order; those columns that were not read are passed over.

    Raises:
        ValueError: If a value is missing that must be there.
    """
    for name in (n for n in schema(table).names if n in batch.schema.names):
        for path, values in _levels(name, batch.column(name)):
            if values.null_count and path not in OPTIONAL[table]:
                raise ValueError(f"a value of {path} is missing")


def _levels(path: str, values: Any) -> Iterator[tuple[str, Any]]:
    """A column and all that lies in it: items of lists under the name of the list, fields of records after a dot."""
    import pyarrow as pa

    yield path, values
    if pa.types.is_list(values.type):
        for inner, found in _levels(path, values.flatten()):
            # An optional list may be missing, its items may not.
            yield inner if inner != path else f"{path} (an item)", found
    elif pa.types.is_struct(values.type):
        for place, field in enumerate(values.type):
            # Where the whole record is missing its fields are too; that is told once.
            yield from _levels(f"{path}.{field.name}", values.filter(values.is_valid()).field(place))


class Embedded:
    """Embedded pictures by case, in any order: only the groups of rows that are needed are read."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Files are listed when the first case is asked for."""
        self._files = files
        self._places: dict[str, tuple[Path, int, int]] | None = None  # by case: its file, and first and last row

    def columns(self, case: str, *names: str) -> dict[str, list[Any]]:
        """Some columns of the rows of a case, in slice order.

        Args:
            case: Its identifier.
            *names: Columns besides "slice", which always comes.

        Raises:
            FormatError: If there are no such pictures, they are out of order, or a file is damaged.
        """
        if self._places is None:
            self._places = self._listed()
        if case not in self._places:
            raise FormatError(f"the data set has no pictures of {case}", "", "build it again")
        path, first, last = self._places[case]
        with opened(path) as file:
            groups, before, end = [], 0, 0
            for number in range(file.metadata.num_row_groups):
                start, end = end, end + file.metadata.row_group(number).num_rows
                if end <= first:
                    before = end
                elif start < last:
                    groups.append(number)
            own = file.read_row_groups(groups, columns=["case", "slice", *names], use_threads=False)
            own = own.slice(first - before, last - first)
            for batch in own.to_batches():
                check_values(batch, "images")
            found: dict[str, list[Any]] = own.to_pydict()
        if found["case"] != [case] * len(found["case"]) or found["slice"] != list(range(len(found["slice"]))):
            raise FormatError(f"the slices {found['slice'][:8]} of {case}", "0, 1, 2, ... in order", "build the data set again")
        return found

    def _listed(self) -> dict[str, tuple[Path, int, int]]:
        """Where the pictures of every case stand; the builder writes them one after the other."""
        import pyarrow.compute as pc

        places = {}
        for path in self._files:
            with opened(path) as file:
                _check_columns(file.schema_arrow, "images")
                names = file.read(columns=["case"], use_threads=False).column("case").combine_chunks()
            runs, first = pc.run_end_encode(names), 0
            for name, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
                places[name] = (path, first, end)
                first = end
        return places


# --- Writing.


TABLES = ("cases", "samples", "images")
MAX_ROWS, MAX_BYTES = 50_000, 256 << 20
"""Of a file of another layout."""
_IMAGE_SHARD_ROWS = 2048
_ROW_GROUP = {"cases": 256, "samples": 512, "images": 64}
_GROUP_ROWS, _GROUP_BYTES = 1024, 16 << 20


class ShardWriter:
    """Writes rows to ``<stem>-00000.parquet``, ``<stem>-00001.parquet``, ... of bounded size; a group of rows at a time is in memory.

    Args:
        folder: Created with the first row.
        stem: Beginning of the file names.
        schema: Columns.
        rows: Rows of a file at most.
        size: Bytes of a file at most, as ``add`` is told them; a single row may be larger.
        group_rows: Rows of a group at most.
        group_size: Bytes of a group at most, reached or just passed.
        how: Options of the Parquet writer.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        schema: pa.Schema,
        *,
        rows: int,
        group_rows: int,
        size: float = math.inf,
        group_size: float = math.inf,
        how: Mapping[str, Any],
    ) -> None:
        self._folder, self._stem, self._schema, self._how = folder, stem, schema, how
        self._rows, self._size, self._group_rows, self._group_size = rows, size, group_rows, group_size
        self._group: list[Mapping[str, Any]] = []
        self._group_bytes = self._file_rows = self._file_bytes = self._files = 0
        self._writer: Any = None

    def add(self, row: Mapping[str, Any], size: int = 0) -> None:
        """Take one row; files are closed before one that does not fit any more."""
        if self._file_rows >= self._rows or (self._file_rows and self._file_bytes + size > self._size):
            self.close()
        self._group.append(row)
        self._file_rows += 1
        self._file_bytes += size
        self._group_bytes += size
        if len(self._group) >= self._group_rows or self._group_bytes >= self._group_size:
            self.flush()

    def flush(self) -> None:
        """Write the rows in memory as a group, even if there are none; opens a file if none is open."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._folder / f"{self._stem}-{self._files:05d}.parquet", self._schema, **self._how)
        try:
            self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise FormatError(f"a row does not fit the columns of {self._stem} ({error})", str(self._schema.names)) from error
        self._group, self._group_bytes = [], 0

    def close(self, *, failed: bool = False, head: bool = False) -> None:
        """Write what is left, unless something failed, and end the file; with ``head`` a file tells the columns if there was no row."""
        if (self._group or (head and not self._files and self._writer is None)) and not failed:
            self.flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._files += 1
        self._group, self._file_rows, self._file_bytes, self._group_bytes = [], 0, 0, 0


def table_writers(folder: Path, shard_rows: int, *, openly: bool = False) -> dict[tuple[str, str], ShardWriter]:
    """A writer for every table and split of a data set; ``openly`` if some of its questions have no options."""
    import pyarrow as pa

    columns = {table: schema(table) for table in TABLES}
    if not openly:
        kept = [field for field in columns["samples"] if field.name not in OPEN]
        columns["samples"] = pa.schema(kept, metadata=columns["samples"].metadata)
    return {
        (table, split): ShardWriter(
            folder / table,
            split,
            columns[table],
            rows=_IMAGE_SHARD_ROWS if table == "images" else shard_rows,
            group_rows=_ROW_GROUP[table],
            how=_how(table),
        )
        for table in TABLES
        for split in SPLITS
    }


def _how(table: str) -> dict[str, Any]:
    # Pictures are compressed already; everything else shrinks a lot.
    return {"compression": "none" if table == "images" else "zstd"}


@contextmanager
def shards(
    folder: Path, stem: str, schema: pa.Schema, *, max_bytes: int = MAX_BYTES, pictures: bool = False
) -> Iterator[ShardWriter]:
    """A writer of ``<stem>-00000.parquet``, ... of another layout; without a row there is one file that tells the columns."""
    # Dictionaries and compression cost time and gain nothing on picture files.
    how: dict[str, Any] = {"compression": "none", "use_dictionary": False} if pictures else {"compression": "zstd"}
    limits: dict[str, Any] = {"rows": MAX_ROWS, "size": max_bytes, "group_rows": _GROUP_ROWS, "group_size": _GROUP_BYTES}
    writer = ShardWriter(folder, stem, schema, **limits, how=how)
    try:
        yield writer
    except BaseException:
        writer.close(failed=True)
        raise
    writer.close(head=True)


def write_table(path: Path, table: str, values: list[dict[str, Any]]) -> None:
    """Write rows as one Parquet file, at once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with pq.ParquetWriter(partial, schema(table), **_how(table)) as writer:
        writer.write_table(pa.Table.from_pylist(values, schema=schema(table)))
    partial.replace(path)
