"""The published UniMed-CoT release: reader, writer, and our data sets written in its layout.

A folder with ``sft/*.parquet``, ``rl/*.parquet`` and ``images/*.parquet``. Two variants of the reinforcement-learning table are about
(``data_source`` or ``source_dataset``; the last two columns as JSON text or as structs); both are read into the same rows, and the
first one is written. Image paths are untrusted: only their base name is kept. Column by column: docs/reference/layouts.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.data.records import SampleRecord, sample_row
from unireason.errors import FormatError
from unireason.files import json_text

from . import tables
from .entries import Entry
from .folders import base_name, stem
from .posing import Message, Posed, as_structs, picture_id, pose

if TYPE_CHECKING:
    import pyarrow as pa

AGENT = "urm_single_assistant"
ABILITY = "medical_vqa"
_RL = ("prompt", "image_ids", "agent_name", "ability", "reward_model", "extra_info")
_ORIGINS = ("data_source", "source_dataset")
_COLUMNS = {"sft": ("messages", "image_ids"), "rl": _RL, "images": ("image_id", "path", "bytes")}
_IMAGES_AT_ONCE = 32
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class SftRow:
    """One row of ``sft``.

    Attributes:
        messages: Role and content, in order; ``<image>`` stands for a picture, also behind boxes of the assistant's text.
        image_ids: One identifier a placeholder, in order; empty for the 3D rows of the release.
    """

    messages: tuple[Message, ...]
    image_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RlRow:
    """One row of ``rl``.

    Attributes:
        prompt: Role and content, in order.
        image_ids: Identifiers of the pictures of the prompt.
        data_source: Where the question comes from.
        agent_name: Name of the roll-out loop.
        ability: Kind of task.
        reward_model: ``style`` and ``ground_truth`` as plain values.
        extra_info: Whatever else, as plain values.
    """

    prompt: tuple[Message, ...]
    image_ids: tuple[str, ...] = ()
    data_source: str = ""
    agent_name: str = AGENT
    ability: str = ABILITY
    reward_model: Mapping[str, Any] = field(default_factory=dict)
    extra_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One row of ``images``.

    Attributes:
        image_id: Identifier.
        path: Base name of the picture; whatever folders the file names are dropped.
        bytes: The picture file.
    """

    image_id: str
    path: str
    bytes: bytes


def files_of(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of each table that is there, in order of their names.

    Raises:
        FormatError: If none of the three tables is there.
    """
    found = {table: sorted((folder / table).glob("*.parquet")) for table in _COLUMNS}
    if not any(found.values()):
        raise FormatError(
            f"'{folder.name}' holds no UniMed-CoT tables", "sft/*.parquet, rl/*.parquet or images/*.parquet", "check the path"
        )
    return {table: paths for table, paths in found.items() if paths}


def read_sft(folder: Path, *, strict: bool = True) -> Iterator[SftRow]:
    """Stream the supervised rows; none if there is no such table.

    Args:
        folder: The release.
        strict: False to leave columns unread that the layout does not have.

    Raises:
        FormatError: If a file is damaged, has other columns, or a value has another type.
    """
    for path in files_of(folder).get("sft", []):
        yield from tables.sound(sft_rows(path, strict=strict))


def read_rl(folder: Path, *, strict: bool = True) -> Iterator[RlRow]:
    """Stream the reinforcement-learning rows of either variant; see ``read_sft``. Missing values become empty ones."""
    for path in files_of(folder).get("rl", []):
        yield from tables.sound(rl_rows(path, strict=strict))


def read_images(folder: Path, *, strict: bool = True) -> Iterator[ImageRow]:
    """Stream the pictures, a few in memory at a time; see ``read_sft``."""
    for path in files_of(folder).get("images", []):
        yield from tables.sound(image_rows(path, strict=strict))


def sft_rows(path: Path, *, strict: bool = True) -> Iterator[SftRow | FormatError]:
    """Stream the supervised rows of one file; in place of a row that cannot be read comes the reason.

    Args:
        path: The file.
        strict: As for :func:`read_sft`.

    Raises:
        FormatError: If the file is damaged or has other columns.
    """
    return tables.parsed(_file_rows(path, "sft", strict), _sft)


def rl_rows(path: Path, *, strict: bool = True) -> Iterator[RlRow | FormatError]:
    """Stream the reinforcement-learning rows of one file; see :func:`sft_rows`."""
    return tables.parsed(_file_rows(path, "rl", strict), _rl)


def image_rows(path: Path, *, strict: bool = True) -> Iterator[ImageRow | FormatError]:
    """Stream the pictures of one file; see :func:`sft_rows`."""
    return tables.parsed(_file_rows(path, "images", strict), _image)


def schema(table: str) -> pa.Schema:
    """Arrow schema of "sft", "rl" or "images" as written here."""
    import pyarrow as pa

    messages = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    ids = pa.list_(pa.string())
    columns: dict[str, dict[str, Any]] = {
        "sft": {"messages": messages, "image_ids": ids},
        "rl": {"prompt": messages, "image_ids": ids} | dict.fromkeys(("data_source", *_RL[2:]), pa.string()),
        "images": {"image_id": pa.string(), "path": pa.string(), "bytes": pa.binary()},
    }
    return pa.schema(columns[table])


def as_row(row: SftRow | RlRow | ImageRow) -> tuple[str, dict[str, Any], int]:
    """A row as its table, its plain values in the written variant, and its size in bytes."""
    if isinstance(row, SftRow):
        values: dict[str, Any] = {"messages": as_structs(row.messages), "image_ids": list(row.image_ids)}
        return "sft", values, sum(len(content) for _, content in row.messages)
    if isinstance(row, ImageRow):
        return "images", {"image_id": row.image_id, "path": f"images/{row.path}", "bytes": row.bytes}, len(row.bytes)
    values = {name: getattr(row, name) for name in ("data_source", "agent_name", "ability")}
    values |= {"prompt": as_structs(row.prompt), "image_ids": list(row.image_ids)}
    values |= {name: json_text(getattr(row, name), ensure_ascii=False) for name in ("reward_model", "extra_info")}
    return "rl", values, len(values["extra_info"])


def write(
    folder: Path, rows: Iterable[SftRow | RlRow | ImageRow], *, prefix: str = "part", max_bytes: int = tables.MAX_BYTES
) -> dict[str, int]:
    """Write rows of any of the three tables, in any order, in one pass.

    Args:
        folder: Where; the three sub-folders are made.
        rows: The rows.
        prefix: What file names begin with.
        max_bytes: Size of a file, about.

    Returns:
        Rows written by table.

    Raises:
        FormatError: If a value cannot be written.
    """
    from contextlib import ExitStack

    counts = dict.fromkeys(_COLUMNS, 0)
    with ExitStack() as stack:
        shards = {
            name: stack.enter_context(tables.Shards(folder / name, prefix, schema(name), max_bytes=max_bytes))
            for name in _COLUMNS
        }
        for row in rows:
            table, values, size = as_row(row)
            shards[table].add(values, size)
            counts[table] += 1
    return counts


def from_entry(entry: Entry) -> Iterator[SftRow | RlRow | ImageRow]:
    """One case of ours with its questions, pictures and crops as rows; implicit questions belong to another layout and are left out.

    Samples without a reasoning have no supervised row.

    Raises:
        FormatError: If a sample cannot be posed.
    """
    name, given = stem(entry.case.scene.case), set[str]()
    for sample in entry.samples:
        if sample.task != "vqa":
            continue
        posed = pose(sample, entry.frame)
        ids = tuple(picture_id(name, cut) for cut in posed.pictures)
        for identifier, cut in zip(ids, posed.pictures, strict=True):
            if identifier not in given:
                given.add(identifier)
                yield ImageRow(identifier, f"{identifier}.png", entry.png(cut))
        if sample.response:
            yield SftRow(posed.messages, ids)
        yield _rl_row(entry, sample, posed, ids[: len(posed.shown)])


def _rl_row(entry: Entry, sample: SampleRecord, posed: Posed, ids: tuple[str, ...]) -> RlRow:
    return RlRow(
        prompt=posed.prompt,
        image_ids=ids,
        data_source=f"unireason/{entry.case.source}",
        reward_model={"style": "rule", "ground_truth": sample.question.letter},
        extra_info={"split": sample.split, "index": sample.id, "sample": sample_row(sample)},
    )


def _sft(values: Mapping[str, Any], where: str) -> SftRow:
    return SftRow(_messages(values["messages"], where), _ids(values["image_ids"], where))


def _rl(values: Mapping[str, Any], where: str) -> RlRow:
    return RlRow(
        prompt=_messages(values["prompt"], where),
        image_ids=_ids(values["image_ids"], where),
        data_source=_text(next((values[k] for k in _ORIGINS if values.get(k)), None), where),
        agent_name=_text(values["agent_name"], where),
        ability=_text(values["ability"], where),
        reward_model=plain_object(values["reward_model"], where),
        extra_info=plain_object(values["extra_info"], where),
    )


def _image(values: Mapping[str, Any], where: str) -> ImageRow:
    identifier, data = _text(values["image_id"], where), values["bytes"]
    if not identifier or not isinstance(data, bytes) or not data:
        raise FormatError(f"{where} has no identifier or no bytes", "image_id and the bytes of a picture file")
    return ImageRow(identifier, base_name(_text(values["path"], where), identifier), data)


def _file_rows(path: Path, table: str, strict: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows of a file of a table with a name for messages, its columns checked."""
    present = tables.columns_of(path)
    origins = tuple(name for name in _ORIGINS if name in present) if table == "rl" else ()
    missing = [name for name in _COLUMNS[table] if name not in present]
    if table == "rl" and not origins:
        missing.append(" or ".join(_ORIGINS))
    other = [name for name in present if name not in (*_COLUMNS[table], *origins)]
    if missing or (other and strict):
        raise FormatError(
            f"'{table}/{path.name}' has the columns {', '.join(present)}",
            f"those of UniMed-CoT {table}: {', '.join((*_COLUMNS[table], *(_ORIGINS[:1] if table == 'rl' else ())))}",
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(other) or 'none'}",
        )
    batch = _IMAGES_AT_ONCE if table == "images" else 256
    for number, values in enumerate(tables.stream(path, (*_COLUMNS[table], *origins), batch=batch)):
        yield values, f"row {number} of '{table}/{path.name}'"


def _messages(value: Any, where: str) -> tuple[Message, ...]:
    try:
        messages = tuple((message["role"], message["content"]) for message in value)
    except (TypeError, KeyError) as error:
        raise FormatError(f"{where} has the messages {str(value)[:80]!r}", "a list of {role, content}") from error
    if not messages or not all(isinstance(part, str) for message in messages for part in message):
        raise FormatError(f"{where} has no messages, or one that is no text", "a list of {role, content}")
    return messages


def _ids(value: Any, where: str) -> tuple[str, ...]:
    ids = tuple(value or ())
    if not all(isinstance(identifier, str) for identifier in ids):
        raise FormatError(f"{where} has the image_ids {ids[:3]!r}", "a list of text")
    return ids


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FormatError(f"{where} holds {value!r}", "text")
    return value


def plain_object(value: Any, where: str) -> dict[str, Any]:
    """A JSON text or a struct as plain values; None and "" are the empty object.

    Raises:
        FormatError: If it is neither, or not an object.
    """
    if value is None or value == "":
        return {}
    try:
        found = json.loads(value) if isinstance(value, str) else value
        if isinstance(value, str) and _HALF.search(value):  # half a character, which no file can hold
            found = json.loads(json_text(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} holds {str(value)[:80]!r}", "a JSON object or a struct") from error
    if not isinstance(found, dict):
        raise FormatError(f"{where} holds {str(value)[:80]!r}", "a JSON object or a struct")
    return found
