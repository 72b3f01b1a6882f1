"""Parquet tables in pieces: rows streamed in bounded batches, rows written to shards of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from unireason.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R")
MAX_ROWS = 50_000
MAX_BYTES = 256 << 20
_GROUP_ROWS, _GROUP_BYTES = 1024, 16 << 20


def columns_of(path: Path) -> tuple[str, ...]:
    """Column names of a Parquet file.

    Raises:
        FormatError: If it is not a Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return tuple(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def row_count(path: Path) -> int:
    """Rows of a Parquet file, from its footer.

    Raises:
        FormatError: If it is not a Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def stream(path: Path, columns: Sequence[str], *, batch: int = 256, start: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file as plain values.

    Args:
        path: The file.
        columns: Which columns to read; all must be there.
        batch: Rows in memory at a time.
        start: Number of the first row; groups of rows that end before it are not read.

    Raises:
        FormatError: If the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            groups, skip = _from(file.metadata, start)
            for piece in file.iter_batches(batch_size=batch, row_groups=groups, columns=list(columns), use_threads=False):
                yield from piece.slice(skip).to_pylist()
                skip = max(0, skip - piece.num_rows)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def parsed(rows: Iterable[tuple[dict[str, Any], str]], parse: Callable[[dict[str, Any], str], R]) -> Iterator[R | FormatError]:
    """Rows made of plain values; in place of one that cannot be read comes the reason, for whoever goes on without it.

    Args:
        rows: Values by column, and what to call the row in messages.
        parse: Makes a row of both.
    """
    for values, where in rows:
        try:
            row: R | FormatError = parse(values, where)
        except FormatError as error:
            row = error
        yield row


def sound(rows: Iterable[R | FormatError]) -> Iterator[R]:
    """Rows of :func:`parsed`, all of which can be read.

    Raises:
        FormatError: At the first that cannot.
    """
    for row in rows:
        if isinstance(row, FormatError):
            raise row
        yield row


class Shards:
    """Writes rows to ``<stem>-00000.parquet``, ``<stem>-00001.parquet``, ...

    A context manager. Without any row one empty file is written, so that readers find the columns. Whoever needs whole-or-nothing
    writes into a folder that is renamed at the end (``folders.whole``).
    """

    def __init__(self, folder: Path, stem: str, schema: pa.Schema, *, max_bytes: int = MAX_BYTES, pictures: bool = False) -> None:
        """Set where to write and how large a file may grow.

        Args:
            folder: Made if missing.
            stem: What file names begin with.
            schema: Arrow schema of the rows.
            max_bytes: A file is closed once the sizes given to ``add`` reach this.
            pictures: True for tables of picture files, which compression would not shrink.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._stem, self._schema = folder, stem, schema
        self._max_bytes = max_bytes
        # Dictionaries and compression cost time and gain nothing on picture files.
        self._how: dict[str, Any] = {"compression": "none", "use_dictionary": False} if pictures else {"compression": "zstd"}
        self._group: list[Mapping[str, Any]] = []
        self._group_bytes = self._file_rows = self._file_bytes = self._files = 0
        self._writer: Any = None

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and not self._files and self._writer is None:
            self._flush()
        self._close(failed=kind is not None)

    def add(self, row: Mapping[str, Any], size: int = 0) -> None:
        """Add one row.

        Args:
            row: Its values by column.
            size: Its bytes, about; 0 for small rows.

        Raises:
            FormatError: If a value does not fit its column.
        """
        if self._file_rows >= MAX_ROWS or (self._file_rows and self._file_bytes + size > self._max_bytes):
            self._close()
        self._group.append(row)
        self._file_rows += 1
        self._file_bytes += size
        self._group_bytes += size
        if len(self._group) >= _GROUP_ROWS or self._group_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            path = self._folder / f"{self._stem}-{self._files:05d}.parquet"
            self._writer = pq.ParquetWriter(path, self._schema, **self._how)
        try:
            self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise FormatError(f"a row does not fit the columns of {self._stem} ({error})", str(self._schema.names)) from error
        self._group, self._group_bytes = [], 0

    def _close(self, *, failed: bool = False) -> None:
        if self._group and not failed:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._files += 1
        self._group, self._file_rows, self._file_bytes, self._group_bytes = [], 0, 0, 0


def _from(metadata: Any, start: int) -> tuple[list[int], int]:
    """The groups of rows that reach a row or lie behind it, and how many rows of the first of them lie before it."""
    before = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if before + rows > start:
            return list(range(group, metadata.num_row_groups)), start - before
        before += rows
    return [], 0


def _damaged(path: Path, error: Exception) -> FormatError:
    return FormatError(
        f"'{path.parent.name}/{path.name}' cannot be read ({error})", "a Parquet file", "download or build it again"
    )
