"""The published UniMed-CoT release: reader, writer, and our data sets written in its layout.

A folder with ``sft/*.parquet``, ``rl/*.parquet`` and ``images/*.parquet``. Two variants of the reinforcement-learning table are about
(``data_source`` or ``source_dataset``; the last two columns as JSON text or as structs); both are read into the same rows, and the
first one is written. Image paths are untrusted: only their base name is kept. Column by column: docs/reference/layouts.md.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text
from unireason.core.types import Box3D, Kind, Look
from unireason.data.parquet import MAX_BYTES, check_values, columns_of, shards, stream
from unireason.data.records import SampleRecord, box_of, sample_from_row, sample_row, sample_schema, unreadable
from unireason.data.scene import FAMILIES, LETTERS
from unireason.grounding.grammar import box_flaws
from unireason.grounding.trace import steps_from_text
from unireason.metrics.answers import answer_choice

from . import tables
from .tables import IMAGE, FormatEntry, Message, as_structs, base_name, picture_id, pose, stem

if TYPE_CHECKING:
    import pyarrow as pa


AGENT = "urm_single_assistant"
ABILITY = "medical_vqa"
ORIGIN = "unireason_med"
"""What stands for a missing ``data_source``, as ``AGENT`` and ``ABILITY`` do for theirs, when rows are read."""
_RL = ("prompt", "image_ids", "agent_name", "ability", "reward_model", "extra_info")
_ORIGINS = ("data_source", "source_dataset")
_COLUMNS = {"sft": ("messages", "image_ids"), "rl": _RL, "images": ("image_id", "path", "bytes")}
_IMAGES_AT_ONCE = 32
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class SftRow:
    """One row of ``sft``."""

    messages: tuple[Message, ...]
    image_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RlRow:
    """One row of ``rl``."""

    prompt: tuple[Message, ...]
    image_ids: tuple[str, ...] = ()
    data_source: str = ""
    agent_name: str = AGENT
    ability: str = ABILITY
    reward_model: Mapping[str, Any] = field(default_factory=dict)
    extra_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One row of ``images``."""

    image_id: str
    path: str
    bytes: bytes


Row = SftRow | RlRow | ImageRow


def files_of(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of each table that is there, in order of their names."""
    found = {table: sorted((folder / table).glob("*.parquet")) for table in _COLUMNS}
    if not any(found.values()):
        raise FormatError(
            f"'{folder.name}' holds no UniMed-CoT tables", "sft/*.parquet, rl/*.parquet or images/*.parquet", "check the path"
        )
    return {table: paths for table, paths in found.items() if paths}


def read(folder: Path, table: str, *, strict: bool = True) -> Iterator[Any]:
    """Stream the rows of "sft", "rl" or "images", a few in memory at a time; none if there is no such table.

    Args:
        folder: The release.
        table: Which rows; those of "rl" in either variant; missing names become the published ones, other missing values empty.
        strict: Whether unknown columns are an error.

    Raises:
        FormatError: If a table or a row cannot be read.
    """
    for path in files_of(folder).get(table, []):
        yield from tables.sound(rows_of(path, table, strict=strict))


def rows_of(path: Path, table: str, *, strict: bool = True) -> Iterator[Row | FormatError]:
    """Stream the rows of one file; in place of a row that cannot be read comes the reason."""
    present = columns_of(path)
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
    parsers: dict[str, Callable[[Mapping[str, Any], str], Row]] = {"sft": _sft, "rl": _rl, "images": _image}
    rows = stream(path, (*_COLUMNS[table], *origins), batch=_IMAGES_AT_ONCE if table == "images" else 256)
    for number, values in enumerate(rows):
        try:
            yield parsers[table](values, f"row {number} of '{table}/{path.name}'")
        except FormatError as error:
            yield error


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


def as_row(row: Row) -> tuple[str, dict[str, Any], int]:
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


def write(folder: Path, rows: Iterable[Row], *, prefix: str = "part", max_bytes: int = MAX_BYTES) -> dict[str, int]:
    """Write rows of any of the three tables, in any order, in one pass."""
    counts = dict.fromkeys(_COLUMNS, 0)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(shards(folder / name, prefix, schema(name), max_bytes=max_bytes)) for name in _COLUMNS
        }
        for row in rows:
            table, values, size = as_row(row)
            writers[table].add(values, size)
            counts[table] += 1
    return counts


def from_entry(entry: FormatEntry, agent: str = AGENT) -> Iterator[Row]:
    """One case of ours with its questions, pictures and crops as rows; questions without options have no place in this layout."""
    name, given = stem(entry.case.scene.case), set[str]()
    for sample in entry.samples:
        if sample.task != "vqa" or not sample.question.options:
            continue
        posed = pose(sample, entry.frame)
        ids = tuple(picture_id(name, cut) for cut in posed.pictures)
        for identifier, cut in zip(ids, posed.pictures, strict=True):
            if identifier not in given:
                given.add(identifier)
                yield ImageRow(identifier, f"{identifier}.png", entry.png(cut))
        if sample.response:
            yield SftRow(posed.messages, ids)
        yield RlRow(
            prompt=posed.prompt,
            image_ids=ids[: len(posed.shown)],
            data_source=f"unireason/{entry.case.source}",
            agent_name=agent,
            reward_model={"style": "rule", "ground_truth": sample.question.letter},
            extra_info={"split": sample.split, "index": sample.id, "sample": sample_row(sample)},
        )


def _sft(values: Mapping[str, Any], where: str) -> SftRow:
    return SftRow(*_asked(values["messages"], values["image_ids"], where))


def _rl(values: Mapping[str, Any], where: str) -> RlRow:
    prompt, ids = _asked(values["prompt"], values["image_ids"], where)
    return RlRow(
        prompt=prompt,
        image_ids=ids,
        data_source=_text(next((values[k] for k in _ORIGINS if values.get(k) is not None), ORIGIN), where),
        agent_name=_text(AGENT if values["agent_name"] is None else values["agent_name"], where),
        ability=_text(ABILITY if values["ability"] is None else values["ability"], where),
        reward_model=plain_object(values["reward_model"], where),
        extra_info=plain_object(values["extra_info"], where),
    )


def _image(values: Mapping[str, Any], where: str) -> ImageRow:
    identifier, data = _text(values["image_id"], where), values["bytes"]
    if not identifier or not isinstance(data, bytes) or not data:
        raise FormatError(f"{where} has no identifier or no bytes", "image_id and the bytes of a picture file")
    return ImageRow(identifier, base_name(_text(values["path"], where), identifier), data)


def _asked(said: Any, image_ids: Any, where: str) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """Messages and identifiers of pictures."""
    try:
        messages = tuple((message["role"], message["content"]) for message in said)
    except (TypeError, KeyError) as error:
        raise FormatError(f"{where} has the messages {str(said)[:80]!r}", "a list of {role, content}") from error
    if not messages or not all(isinstance(part, str) for message in messages for part in message):
        raise FormatError(f"{where} has no messages, or one that is no text", "a list of {role, content}")
    ids = tuple(image_ids or ())
    if not all(isinstance(identifier, str) for identifier in ids):
        raise FormatError(f"{where} has the image_ids {ids[:3]!r}", "a list of text")
    return messages, ids


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FormatError(f"{where} holds {value!r}", "text")
    return value


def plain_object(value: Any, where: str) -> dict[str, Any]:
    """A JSON text or a struct as plain values; None and "" are the empty object."""
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


# --- Questions found again in rows of UniMed-CoT: text, options, answer, looks. Rows written by this package give the whole
# sample back.


_OPTION = re.compile(r"^\s{0,8}\(?([A-J])\s?[.):：]\s{0,8}(\S.*?)\s*$")
MAX_TEXT = 200_000


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a row says."""

    id: str
    kind: Kind
    question: str
    options: tuple[str, ...]
    letter: str
    looks: tuple[Look, ...]
    response: str
    image_ids: tuple[str, ...]
    origin: str = ""
    problems: tuple[str, ...] = ()
    sample: SampleRecord | None = None


def from_sft(row: SftRow, identifier: str) -> Recovered:
    """What a supervised row says."""
    last = max((i for i, (role, _) in enumerate(row.messages) if role == "user"), default=len(row.messages) - 1)
    prompt, answered = row.messages[: last + 1], row.messages[last + 1 :]
    response = "".join(content for role, content in answered if role == "assistant")
    question, options = read_prompt(prompt)
    shown = sum(content.count(IMAGE) for _, content in prompt)
    letters = LETTERS[: len(options)]
    steps, found = steps_from_text(
        response[:MAX_TEXT].replace(IMAGE, ""), choose=lambda text: answer_choice(text, letters, options)
    )
    looks = tuple(Look(step.label, box_of(step.box_model)) for step in steps if step.type == "look")
    letter = next((step.choice or "" for step in reversed(steps) if step.type == "answer"), "")
    problems = [problem.code for problem in found] + [flaw for look in looks for flaw in box_flaws(look.box)]
    flat = any(not isinstance(look.box, Box3D) for look in looks)
    kind: Kind = "volume" if shown > 1 or (not shown and not flat) else "image"
    return Recovered(
        identifier, kind, question, options, letter, looks, response, row.image_ids[:shown],
        problems=_problems(problems, question, letter, options),
    )  # fmt: skip


def from_rl(row: RlRow, identifier: str) -> Recovered:
    """What a reinforcement-learning row says."""
    question, options = read_prompt(row.prompt)
    truth = row.reward_model.get("ground_truth")
    letter = answer_choice(truth, LETTERS[: len(options)], options) or "" if isinstance(truth, str) else ""
    sample = _kept(row.extra_info)
    kind: Kind = "image" if len(row.image_ids) == 1 else "volume"
    return Recovered(
        sample.id if sample else identifier, kind, question, options, letter, (), "", row.image_ids,
        row.data_source, _problems([], question, letter, options), sample,
    )  # fmt: skip


def _kept(extra: Mapping[str, Any]) -> SampleRecord | None:
    """The sample that this package left in a row; it may have been tampered with, so types are held against the schema first."""
    import pyarrow as pa

    kept = extra.get("sample")
    if not isinstance(kept, dict) or str(extra.get("index")) != kept.get("id"):
        return None
    columns = pa.schema([field for field in sample_schema() if field.name in kept])
    try:
        batch = pa.RecordBatch.from_pylist([kept], schema=columns)
        check_values(batch, "samples")
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise unreadable("sample", error) from error
    sample = sample_from_row(batch.to_pylist()[0])
    if sample.question.family not in ("", *FAMILIES):
        raise FormatError(f"sample {sample.id} is of the family {sample.question.family!r}", ", ".join(FAMILIES))
    return sample


def read_prompt(prompt: Sequence[Message]) -> tuple[str, tuple[str, ...]]:
    """The question and its options in the last user message."""
    said = next((content for role, content in reversed(prompt) if role == "user"), "")
    lines = said[:MAX_TEXT].replace(IMAGE, "").splitlines()
    found = [match if (match := _OPTION.match(line)) else None for line in lines]
    best: tuple[int, int] = (len(lines), 0)
    for start, match in enumerate(found):
        if match is None or match[1] != "A":
            continue
        count = 0
        while start + count < len(lines) and (other := found[start + count]) and other[1] == LETTERS[count : count + 1]:
            count += 1
        best = max(best, (start, count), key=lambda run: run[1])
    start, count = best if best[1] > 1 else (len(lines), 0)
    options = tuple(match[2] for match in found[start : start + count] if match)
    return "\n".join(lines[:start]).strip(), options


def _problems(codes: list[str], question: str, letter: str, options: tuple[str, ...]) -> tuple[str, ...]:
    """Codes once each, in order, with those of a missing question or answer."""
    codes += [] if question else ["no_question"]
    codes += ["no_answer"] if options and not letter else []
    return tuple(dict.fromkeys(codes))


# --- Volumes for the rows of the release that carry none: found by name in a folder of the user's and read as cases.


ENDINGS = (".nii.gz", ".nii", ".npy", ".npz", ".nrrd", ".mha", ".mhd")
_NUMBERED = re.compile(r"\d{3}")
_MAX_FILES, _MAX_NAMES, _MAX_DEPTH = 5_000_000, 64, 6


@dataclass(frozen=True, slots=True)
class Index:
    """Volume files by stem.

    Attributes:
        by_stem: Lower-case stem of the file, or name of a folder that holds one volume only, to the files.
    """

    by_stem: Mapping[str, tuple[Path, ...]]

    @classmethod
    def of(cls, folder: Path) -> Index:
        """List a folder; links that lead out of it are left out.

        Raises:
            UniReasonError: If there is no such folder, it holds no volume, or more than five million.
        """
        if not folder.is_dir():
            raise UniReasonError(f"'{folder}' is not a folder", "the folder of the volumes", "check --volumes")
        root, stems = folder.resolve(), dict[str, list[Path]]()
        count = 0
        for place, below, names in os.walk(folder):
            below.sort()
            volumes = [Path(place, name) for name in sorted(names) if name.lower().endswith(ENDINGS)]
            volumes = [path for path in volumes if path.resolve().is_relative_to(root)]
            count += len(volumes)
            if count > _MAX_FILES:
                raise UniReasonError(f"'{folder.name}' holds more than {_MAX_FILES:,} volumes", "", "point to a smaller folder")
            for path in volumes:
                stems.setdefault(_stem(path.name), []).append(path)
            if len(volumes) == 1 and Path(place) != folder and _stem(volumes[0].name) != Path(place).name.lower():
                stems.setdefault(Path(place).name.lower(), []).append(volumes[0])
        if not count:
            raise UniReasonError(f"'{folder.name}' holds no volume", f"files ending in {', '.join(ENDINGS)}", "check --volumes")
        return cls({key: tuple(paths) for key, paths in stems.items()})

    def find(self, names: Iterable[str]) -> tuple[Path | None, str]:
        """The volume of the first name that has one, and the reason why there is none.

        Where several files have the name, the one wins whose folders agree with the name's for longest; a tie is "ambiguous". A
        stem without a number of three digits ("series") is no name of its own: the folder in front of it must agree too, if the
        name has one.
        """
        reason = "no name"
        for name in names:
            parts = [part.lower() for part in name.replace("\\", "/").split("/") if part]
            candidates = self.by_stem.get(_stem(parts[-1]), ()) if parts else ()
            least = 1 if len(parts) > 1 and not _NUMBERED.search(_stem(parts[-1])) else 0
            agreeing = sorted(
                (pair for path in candidates if (pair := (_agreement(path, parts[:-1]), path))[0] >= least),
                key=lambda pair: (-pair[0], pair[1]),
            )
            if agreeing and (len(agreeing) == 1 or agreeing[0][0] > agreeing[1][0]):
                return agreeing[0][1], ""
            reason = "ambiguous" if agreeing or reason == "ambiguous" else "not found"
        return None, reason


def names_of(row: SftRow | RlRow) -> tuple[str, ...]:
    """Everything in a row that may name its volume: ``image_ids``, then texts of ``extra_info``, those with a volume's ending first."""
    said = list(row.image_ids)
    if isinstance(row, RlRow):
        texts = [t for t in _texts(row.extra_info, _MAX_DEPTH) if t.lower().endswith(ENDINGS) or any(c.isdigit() for c in t)]
        said += sorted(texts, key=lambda text: not text.lower().endswith(ENDINGS))
    plain = (text.strip() for text in said if len(text) <= 300 and "\n" not in text)
    return tuple(dict.fromkeys(text for text in plain if text))[:_MAX_NAMES]


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner, depth - 1)


def _stem(name: str) -> str:
    low = name.lower()
    return next((low[: -len(ending)] for ending in ENDINGS if low.endswith(ending)), low)


def _agreement(path: Path, folders: list[str]) -> int:
    """How many folders above the file agree, counted from the file upwards."""
    count = 0
    for mine, theirs in zip(reversed(path.parts[:-1]), reversed(folders), strict=False):
        if mine.lower() != theirs:
            break
        count += 1
    return count
