"""The pictures that a data set holds, case by case in any order: only the groups of rows that are needed are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unireason.errors import FormatError

from .columns import check_columns, check_values


class _Rows(NamedTuple):
    """Where the pictures of a case stand."""

    file: Path
    first: int
    end: int


class Embedded:
    """Embedded pictures. Files are listed when the first case is asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Nothing is read yet.

        Args:
            files: The Parquet files of "images", in order.
        """
        self._files = files
        self._rows: dict[str, _Rows] | None = None

    def columns(self, case: str, *names: str) -> dict[str, list[Any]]:
        """Some columns of the rows of a case, in slice order.

        Args:
            case: Its identifier.
            *names: Columns besides "slice", which always comes.

        Raises:
            FormatError: If there are no such pictures, they are out of order, or a file is damaged.
        """
        if self._rows is None:
            self._rows = dict(_index(self._files))
        found = self._rows.get(case)
        if found is None:
            raise FormatError(f"the data set has no pictures of {case}", "", "build it again")
        table = _taken(found, ("case", "slice", *names))
        if table["case"] != [case] * len(table["case"]) or table["slice"] != list(range(len(table["slice"]))):
            raise FormatError(f"the slices {table['slice'][:8]} of {case}", "0, 1, 2, ... in order", "build the data set again")
        return table


def _index(files: Iterable[Path]) -> Iterator[tuple[str, _Rows]]:
    """Where the pictures of every case stand; the builder writes them one after the other.

    Raises:
        FormatError: If a file is damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                check_columns(file.schema_arrow, "images")
                names = file.read(columns=["case"], use_threads=False).column("case").combine_chunks()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        runs = pc.run_end_encode(names)
        first = 0
        for name, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            yield name, _Rows(path, first, end)
            first = end


def _taken(rows: _Rows, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Some rows of a file, read from those row groups alone that hold them.

    Raises:
        FormatError: If the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(rows.file) as file:
            groups, before, end = [], 0, 0
            for number in range(file.metadata.num_row_groups):
                start, end = end, end + file.metadata.row_group(number).num_rows
                if end <= rows.first:
                    before = end
                elif start < rows.end:
                    groups.append(number)
            table = file.read_row_groups(groups, columns=list(columns), use_threads=False)
            own = table.slice(rows.first - before, rows.end - rows.first)
            for batch in own.to_batches():
                check_values(batch, "images")
            found: dict[str, list[Any]] = own.to_pydict()
            return found
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(rows.file, error) from error


def _unreadable(path: Path, error: Exception) -> FormatError:
    return FormatError(f"{path.parent.name}/{path.name} cannot be read ({error})", "a Parquet file", "check the data set")
