"""The last pass: finished rows in order become shards, a manifest and a card."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unireason import __version__
from unireason.data.card import CARD, write_card
from unireason.data.columns import schema
from unireason.data.dataset import MANIFEST, ORIGIN, rows
from unireason.data.item import Source
from unireason.data.records import SCHEMA, SPLITS
from unireason.errors import UniReasonError
from unireason.files import json_text, sha256, write_bytes

from .config import BuildConfig
from .work import Unit, Work, read_json

TABLES = ("cases", "samples", "images")
ROW_GROUP = {"cases": 256, "samples": 512, "images": 64}
IMAGE_SHARD_ROWS = 2048

Progress = Callable[[int], None]


class ShardWriter:
    """Rows of one table and split as Parquet files of bounded size; a row group at a time is in memory."""

    def __init__(self, folder: Path, table: str, split: str, *, shard_rows: int) -> None:
        self._folder, self._table, self._split = folder / table, table, split
        self._most = shard_rows
        self._buffer: list[dict[str, Any]] = []
        self._writer: Any = None
        self._shards = self._in_shard = self.count = 0

    def add(self, row: dict[str, Any]) -> None:
        """Take one row."""
        self._buffer.append(row)
        self.count += 1
        if len(self._buffer) == ROW_GROUP[self._table] or self._in_shard + len(self._buffer) == self._most:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._end_shard()

    def _flush(self) -> None:
        if not self._buffer:
            return
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = _writer(self._folder / f"{self._split}-{self._shards:05d}.parquet", self._table)
        self._writer.write_table(_table(self._table, self._buffer))
        self._in_shard += len(self._buffer)
        self._buffer = []
        if self._in_shard >= self._most:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer, self._in_shard = None, 0
            self._shards += 1


def _table(table: str, values: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(values, schema=schema(table))


def _writer(path: Path, table: str) -> Any:
    import pyarrow.parquet as pq

    # Pictures are compressed already; everything else shrinks a lot.
    return pq.ParquetWriter(path, schema(table), compression="none" if table == "images" else "zstd")


def write_table(path: Path, table: str, values: list[dict[str, Any]]) -> None:
    """Write rows as one Parquet file, at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with _writer(partial, table) as writer:
        writer.write_table(_table(table, values))
    partial.replace(path)


def gather(config: BuildConfig, work: Work, units: Sequence[Unit], *, source: Source, progress: Progress) -> dict[str, Any]:
    """Put the data set together.

    Args:
        config: The build.
        work: Its work folder, with all rows.
        units: All units, in order.
        source: The opened source, for title and licence.
        progress: Called with the number of items of each unit done.

    Returns:
        The manifest.

    Raises:
        UniReasonError: If there is not one question.
    """
    # What an interrupted gathering left, whole or not, is no part of this one.
    for folder in (work.out, *(work.folder.parent / table for table in TABLES)):
        shutil.rmtree(folder, ignore_errors=True)
    shards = {
        (table, split): ShardWriter(
            work.out, table, split, shard_rows=IMAGE_SHARD_ROWS if table == "images" else config.shard_rows
        )
        for table in TABLES
        for split in SPLITS
    }
    tally, skipped = Tally(), [list(entry) for entry in work.read_plan().skipped]
    for unit in units:
        done = read_json(work.rows(unit))
        for table in ("cases", "samples"):
            for row in done[table]:
                shards[table, row["split"]].add(row)
        kept = {row["id"]: row["split"] for row in done["cases"]}
        for row in rows(work.pictures(unit), "images") if config.embed else ():
            if row["case"] in kept:
                shards["images", kept[row["case"]]].add(row)
        tally.add(done)
        skipped += done["skipped"]
        progress(unit.count)
    for shard in shards.values():
        shard.close()
    _asked(work, tally.to_json())
    return _finish(config, work, tally=tally, skipped=skipped, source=source)


def _asked(work: Work, counts: dict[str, Any]) -> None:
    """Fail if there is no sample. Unless a later try may bring some, as with an annotator that dropped them, nothing is kept."""
    if counts["samples"]:
        return
    dropped = ", ".join(f"{reason} {number}" for reason, number in counts.get("dropped", {}).items())
    if not dropped:
        work.discard()
    raise UniReasonError(
        f"not one question could be {f'answered (dropped: {dropped})' if dropped else 'asked'}",
        "at least one",
        "look at the source with: unireason data inspect, and at --questions and --implicit",
    )


def _finish(config: BuildConfig, work: Work, *, tally: Tally, skipped: list[list[str]], source: Source) -> dict[str, Any]:
    """Manifest and card beside the tables; then everything moves to its place, the manifest last."""
    folder, out = work.folder.parent, work.out
    about = {"title": source.title, "licence": source.licence, "command": command(config)}
    manifest = seal(out, config.to_json(), about | {"counts": tally.to_json()}, skipped=skipped, root=config.place)
    for name in (*manifest["files"], CARD, ORIGIN, MANIFEST):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (out / name).replace(target)
    return manifest


def seal(
    out: Path, config: Mapping[str, Any], about: Mapping[str, Any], *, skipped: Sequence[Sequence[str]], root: str
) -> dict[str, Any]:
    """Write manifest and card beside finished tables.

    Args:
        out: Folder of the tables.
        config: What shaped the data set, as plain values.
        about: "title", "licence", "command" and "counts".
        skipped: Identifier and reason of what could not be used.
        root: Where the source lies on this machine.

    Returns:
        The manifest.
    """
    lines = "".join(json_text({"id": i, "reason": r}, ensure_ascii=False) + "\n" for i, r in skipped)
    write_bytes(out / "skipped.jsonl", lines.encode())
    files = {path.relative_to(out).as_posix(): sha256(path) for path in _listed(out)}
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "version": __version__,
        "config": dict(config),
        **{name: about[name] for name in ("title", "licence", "command", "counts")},
        "files": files,
        "content_sha256": hashlib.sha256(json_text(files, sort_keys=True).encode()).hexdigest(),
        "skipped": len(skipped),
    }
    write_card(out, manifest)
    write_bytes(out / ORIGIN, (json_text({"root": root}) + "\n").encode())
    write_bytes(out / MANIFEST, (json_text(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    return manifest


def _listed(out: Path) -> Iterator[Path]:
    yield from sorted(path for path in out.rglob("*") if path.is_file())


def command(config: BuildConfig) -> str:
    """The command that makes the same data set again; folders are left for the reader to fill in."""
    parts = ["unireason data build", config.source, *(["PATH"] if config.root else []), "--out DIR"]
    known = dict(config.options)
    if config.source == "phantom":
        parts += [f"--patients {shlex.quote(known.pop('patients'))}"] if "patients" in known else []
    parts += [f"--option {shlex.quote(f'{name}={value}')}" for name, value in sorted(known.items())]
    parts += [f"--seed {config.seed}", f"--frame {shlex.quote(config.frame.name)}", f"--slices {config.slices}"]
    parts += [f"--questions {config.questions}", f"--implicit {config.implicit}"]
    parts += [f"--most {config.most}"] if config.most else []
    parts += ["--embed"] if config.embed else []
    parts += [f"--splits {','.join(_plainly(s) for s in config.shares)}"]
    parts += _asking(config.annotation) if config.annotator == "llm" else []
    return " ".join(parts)


def _asking(annotation: Mapping[str, Any]) -> list[str]:
    """Arguments of the annotator that asks a language model."""
    rest = {name: value for name, value in annotation.items() if name not in ("repair", "rules", "endpoint_sha256")}
    parts = ["--annotator llm --endpoint URL", f"--model {shlex.quote(str(rest.pop('model', 'NAME')))}"]
    for name in ("temperature", "max_tokens", "budget_tokens", "budget_requests"):
        value = rest.pop(name, None)
        parts += [f"--{name.replace('_', '-')} {value}"] if value is not None else []
    return [*parts, f"--request {shlex.quote(json_text(rest, sort_keys=True))}"]


def _plainly(share: float) -> str:
    """A number as short as it can be without becoming another one."""
    short = f"{share:g}"
    return short if float(short) == share else repr(share)


class Tally:
    """Counts for the manifest."""

    def __init__(self) -> None:
        self._by: dict[str, Counter[str]] = {}

    def add(self, done: dict[str, Any]) -> None:
        """Count the rows of one unit."""
        for row in done["cases"]:
            self._count("cases_by_split", row["split"])
            self._count("cases_by_kind", row["kind"])
            self._count("by_modality", row["modality"] or "unknown")
            for structure in row["structures"] or ():
                self._count("structures", structure["name"])
        for row in done["samples"]:
            self._count("by_split", row["split"])
            self._count("by_kind", row["kind"])
            self._count("by_task", row["task"])
            self._count("by_family", row["family"])
            self._count("by_split_kind_family", f"{row['split']}/{row['kind']}/{row['family']}")
            self._count("letters", row["letter"] or "none")
            self._count("annotator", row["annotator"] or "none")
            for stage in row["stages"]:
                self._count("stages", stage)
        for reason, number in done["dropped"].items():
            self._by.setdefault("dropped", Counter())[reason] += number

    def _count(self, name: str, value: str) -> None:
        self._by.setdefault(name, Counter())[value] += 1

    def to_json(self) -> dict[str, Any]:
        """Nested counts, names sorted."""
        counts = {name: dict(sorted(values.items())) for name, values in sorted(self._by.items())}
        totals = {"cases": sum(counts.get("cases_by_kind", {}).values()), "samples": sum(counts.get("by_kind", {}).values())}
        return totals | counts
