"""The published U-MRG-14K layout: reader, writer, and our implicit samples written in it.

Parquet with pictures and masks inside: ``images`` and ``masks`` (lists of {bytes, path}, as image columns of Hugging Face data sets
are stored), ``prompt``, ``reward_model`` and ``extra_info``. Column by column: docs/reference/layouts.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.core.errors import FormatError
from unireason.core.store import json_text
from unireason.data.parquet import MAX_BYTES, columns_of, shards, stream

from . import tables
from .tables import FormatEntry, base_name, picture_id, stem
from .unimed_cot import plain_object

if TYPE_CHECKING:
    import pyarrow as pa


SOURCE, ABILITY = "unireason/umrg", "medical_grounding"
_COLUMNS = ("images", "masks", "prompt", "reward_model", "extra_info")
_OPTIONAL = ("data_source", "ability")
_EXTRA = ("id", "supercategory", "category", "reasoning")
_ROWS_AT_ONCE = 16

Number = int | float
Point = tuple[Number, Number]


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture inside a table."""

    bytes: bytes
    path: str = ""


@dataclass(frozen=True, slots=True)
class UmrgRow:
    """One implicit question.

    Attributes:
        images: The picture, as a rule one.
        masks: One mask (0 or 255) a picture.
        question: ``prompt[0].content``.
        box: ``bbox_2d`` of the ground truth: pixels of the picture, x1, y1, x2, y2.
        points: ``point_2d`` of the ground truth: two points (x, y) inside the target.
        id: Identifier of the sample.
        supercategory: Group of the target.
        category: The target.
        data_source: Where it comes from; "" if the table does not tell.
        ability: Kind of task; "" if the table does not tell.
        reasoning: The way to the answer, without tags; "" if the table holds none.
    """

    images: tuple[Stored, ...]
    masks: tuple[Stored, ...]
    question: str
    box: tuple[Number, Number, Number, Number]
    points: tuple[Point, Point]
    id: str
    supercategory: str
    category: str
    data_source: str = ""
    ability: str = ""
    reasoning: str = ""


def files_of(folder: Path) -> list[Path]:
    """The Parquet files of a folder, or of its sub-folder ``data``, in order; a single file stands for itself.

    Raises:
        FormatError: If there is none.
    """
    if folder.is_file():
        return [folder]
    found = sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))
    if not found:
        raise FormatError(f"'{folder.name}' holds no Parquet files", "*.parquet or data/*.parquet", "check the path")
    return found


def read(folder: Path, *, strict: bool = True) -> Iterator[UmrgRow]:
    """Stream the rows, a few in memory at a time."""
    for path in files_of(folder):
        yield from read_file(path, strict=strict)


def read_file(path: Path, *, strict: bool = True, start: int = 0) -> Iterator[UmrgRow]:
    """Stream the rows of one file; see :func:`read` and :func:`rows_of`."""
    return tables.sound(rows_of(path, strict=strict, start=start))


def rows_of(path: Path, *, strict: bool = True, start: int = 0) -> Iterator[UmrgRow | FormatError]:
    """Stream the rows of one file; in place of one that cannot be read comes the reason."""
    present = columns_of(path)
    missing = [name for name in _COLUMNS if name not in present]
    other = [name for name in present if name not in _COLUMNS + _OPTIONAL]
    if missing or (other and strict):
        raise FormatError(
            f"'{path.name}' has the columns {', '.join(present)}",
            f"those of U-MRG: {', '.join(_COLUMNS)}",
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(other) or 'none'}",
        )
    columns = (*_COLUMNS, *(name for name in _OPTIONAL if name in present))
    for number, values in enumerate(stream(path, columns, batch=_ROWS_AT_ONCE, start=start), start=start):
        try:
            yield _row(values, f"row {number} of '{path.name}'")
        except FormatError as error:
            yield error


def schema() -> pa.Schema:
    """Arrow schema of the table as written here; its metadata tell Hugging Face ``datasets`` which columns are pictures."""
    import pyarrow as pa

    pictures = pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    text = pa.string()
    value = {"dtype": "string", "_type": "Value"}
    features = {
        "data_source": value,
        "prompt": [{"role": value, "content": value}],
        "images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
        "masks": {"feature": {"_type": "Image"}, "_type": "Sequence"},
        "ability": value,
        "reward_model": {"style": value, "ground_truth": value},
        "extra_info": dict.fromkeys(_EXTRA, value),
    }
    return pa.schema(
        {
            "data_source": text,
            "prompt": pa.list_(pa.struct({"role": text, "content": text})),
            "images": pictures,
            "masks": pictures,
            "ability": text,
            "reward_model": pa.struct({"style": text, "ground_truth": text}),
            "extra_info": pa.struct(dict.fromkeys(_EXTRA, text)),
        },
        metadata={"huggingface": json_text({"info": {"features": features}})},
    )


def as_row(row: UmrgRow) -> tuple[dict[str, Any], int]:
    """A row as plain values by column, and its size in bytes."""
    truth = {"bbox_2d": list(row.box), "point_2d": [list(point) for point in row.points]}
    values = {
        "data_source": row.data_source,
        "prompt": [{"role": "user", "content": row.question}],
        "images": [{"bytes": picture.bytes, "path": picture.path} for picture in row.images],
        "masks": [{"bytes": mask.bytes, "path": mask.path} for mask in row.masks],
        "ability": row.ability,
        "reward_model": {"style": "rule", "ground_truth": json_text(truth)},
        "extra_info": {name: getattr(row, name) for name in _EXTRA},
    }
    return values, sum(len(stored.bytes) for stored in (*row.images, *row.masks))


def write(folder: Path, rows: Iterable[UmrgRow], *, prefix: str = "train", max_bytes: int = MAX_BYTES) -> int:
    """Write rows to ``<prefix>-00000.parquet``, ...; returns how many."""
    count = 0
    with shards(folder, prefix, schema(), max_bytes=max_bytes, pictures=True) as writer:
        for row in rows:
            writer.add(*as_row(row))
            count += 1
    return count


def from_entry(entry: FormatEntry) -> Iterator[UmrgRow]:
    """The implicit samples of an image, with its picture and the masks of their targets."""
    name = stem(entry.case.scene.case)
    for sample in entry.samples:
        if sample.task != "umrg" or sample.kind != "image":  # the layout has no volumes
            continue
        if sample.target not in entry.masks or sample.box is None or sample.points is None:
            raise FormatError(
                f"sample {sample.id} has no mask of {sample.target or sample.category!r}",
                "a data set with embedded masks, or its source",
                "give --root",
            )
        x1, y1, x2, y2 = (int(v) for v in sample.box.coords)
        (ax, ay), (bx, by) = sample.points
        yield UmrgRow(
            images=(Stored(entry.png((0, None)), f"{picture_id(name, (0, None))}.png"),),
            masks=(Stored(entry.masks[sample.target], f"{stem(sample.id)}-mask.png"),),
            question=sample.question.text,
            box=(x1, y1, x2, y2),
            points=((ax, ay), (bx, by)),
            id=sample.id,
            supercategory=sample.supercategory,
            category=sample.category,
            data_source=SOURCE,
            ability=ABILITY,
            reasoning="".join(part for part in sample.reasoning if isinstance(part, str)),
        )


def _row(values: Mapping[str, Any], where: str) -> UmrgRow:
    truth = plain_object(plain_object(values["reward_model"], where).get("ground_truth"), where)
    extra = plain_object(values["extra_info"], where)
    try:
        question = values["prompt"][0]["content"]
        (ax, ay), (bx, by) = truth["point_2d"]
        x1, y1, x2, y2 = truth["bbox_2d"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(
            f"{where} has no question or no ground truth ({error!r})", "prompt[0].content, and bbox_2d and point_2d in JSON"
        ) from error
    numbers = (x1, y1, x2, y2, ax, ay, bx, by)
    if not isinstance(question, str) or not all(type(v) in (int, float) and abs(v) < 1e9 for v in numbers):
        raise FormatError(f"{where} has the ground truth {str(truth)[:120]}", "four numbers and two points")
    return UmrgRow(
        images=_pictures(values["images"], where),
        masks=_pictures(values["masks"], where),
        question=question,
        box=(x1, y1, x2, y2),
        points=((ax, ay), (bx, by)),
        **{name: _text(extra.get(name)) for name in _EXTRA},
        **{name: _text(values.get(name)) for name in _OPTIONAL},
    )


def _text(value: Any) -> str:
    """Identifiers may be numbers."""
    return "" if value is None else str(value)


def _pictures(value: Any, where: str) -> tuple[Stored, ...]:
    """A list of stored pictures; one alone counts as a list of one."""
    found = value if isinstance(value, list) else [value]
    pictures = []
    for stored in found:
        data = stored.get("bytes") if isinstance(stored, dict) else stored
        if not isinstance(data, bytes) or not data:
            raise FormatError(f"{where} has a picture without bytes", "pictures and masks inside the table as {bytes, path}")
        path = _text(stored.get("path")) if isinstance(stored, dict) else ""
        pictures.append(Stored(data, base_name(path, "") if path else ""))
    if not pictures:
        raise FormatError(f"{where} has no picture", "at least one picture and one mask")
    return tuple(pictures)
