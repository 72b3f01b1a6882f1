"""Columns of the tables of a data set, held against the schema, so that what comes after may rely on types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .records import case_schema, image_schema, sample_schema

if TYPE_CHECKING:
    import pyarrow as pa

OPTIONAL = {
    "cases": {"spacing_mm", "structures"},
    "samples": {"box", "points", "reasoning.text", "reasoning.label", "reasoning.box", "reasoning.seen"},
    "images": set[str](),
}
"""Fields that may lack a value, by table; fields of a list of records after a dot."""
ADDED = {"samples": {"stages", "origin"}}
"""Columns, by table, that data sets of version 1 lack; whoever reads the rows knows what they mean without."""


def schema(table: str) -> pa.Schema:
    """The Arrow schema of "cases", "samples" or "images"."""
    return {"cases": case_schema, "samples": sample_schema, "images": image_schema}[table]()


def check_columns(found: pa.Schema, table: str) -> None:
    """Hold the columns of a file against the schema; their order and further columns do not matter.

    Raises:
        ValueError: If one is missing or of another type.
    """
    for field in schema(table):
        place = found.get_field_index(field.name)
        if place < 0 and field.name in ADDED.get(table, ()):
            continue
        if place < 0:
            raise ValueError(f"the column {field.name} is missing")
        if found.field(place).type != field.type:
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
