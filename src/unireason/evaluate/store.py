"""Rows on disk that survive a kill: lines of JSON, appended as answers come, beside a manifest that says what was asked of what.

A line counts once it is whole. What a kill left of the last line is cut off before the next one is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from unireason import __version__
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text, lock_folder, write_bytes
from unireason.core.types import Frame
from unireason.engine.reasoner import Reasoner
from unireason.evaluate.results import place_of
from unireason.evaluate.suites.base import Entry, Suite

ROWS, MANIFEST, RESULTS = "rows.jsonl", "manifest.json", "results.json"

_FREE = {"versions", "data"}  # may differ from those of the folder
_LATER = {"truth_sha256", "split", "suite_options"}  # folders of earlier versions lack them
_SHORT = 40  # characters of a value that a message shows; hashes are longer

T = TypeVar("T")


class ResultStore:
    """The rows of one folder; they are not kept in memory."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Open the rows of a folder, or begin them."""
        self._path = folder / ROWS
        known = _read_manifest(folder / MANIFEST)
        if known is None:
            if self._path.exists() and self._path.stat().st_size:  # never write over rows of which nothing is known
                raise FormatError(
                    f"the folder '{folder.name}' has a {ROWS} and no {MANIFEST}", "both, or neither", "choose another folder"
                )
            write_bytes(folder / MANIFEST, (json_text(manifest, indent=1) + "\n").encode())
            self._write("wb", b"")
            return
        bound = {*known, *manifest} - _FREE - (_LATER - set(known))
        wrong = []
        for key in sorted(bound):
            both = [found.get(key) for found in (known, manifest)]
            if both[0] != both[1]:
                short = all(isinstance(value, int | float | str) and len(str(value)) <= _SHORT for value in both)
                wrong.append(f"{key} ({both[0]!r} there, {both[1]!r} now)" if short else key)
        if wrong:
            raise FormatError(
                f"the folder '{folder.name}' holds an evaluation with another {' and '.join(wrong)}",
                "the same",
                "go on with the arguments that it was begun with, or choose another folder",
            )
        self._repair()

    def read(self, parse: Callable[[Any], T]) -> Iterator[T]:
        """The rows in the order written."""
        return read_rows(self._path, parse)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows, and return when they are on the disk."""
        self._write("ab", b"".join(map(_line, rows)))

    def drop(self, unwanted: Callable[[Any], bool]) -> None:
        """Take rows out, so that their questions are asked again; the file stays as it was until all that is kept is written anew."""
        if not any(self.read(unwanted)):
            return
        partial = self._path.with_name(f".{ROWS}.partial")
        try:
            with open(partial, "wb") as stream:
                for row, goes in self.read(lambda row: (row, unwanted(row))):
                    if not goes:
                        stream.write(_line(row))
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, self._path)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        finally:
            partial.unlink(missing_ok=True)

    def _repair(self) -> None:
        """Cut off a last line without end."""
        if not self._path.exists():
            self._write("wb", b"")
            return
        whole = size = 0
        try:
            with open(self._path, "rb") as stream:
                for line in stream:
                    size += len(line)
                    whole = size if line.endswith(b"\n") else whole
        except OSError as error:
            raise _unreadable(self._path, error) from error
        if whole < size:
            self._write("r+b", b"", keep=whole)

    def _write(self, mode: str, data: bytes, *, keep: int | None = None) -> None:
        try:
            with open(self._path, mode) as stream:
                if keep is not None:
                    stream.truncate(keep)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise _unwritable(self._path, error) from error


def read_rows(path: Path, parse: Callable[[Any], T]) -> Iterator[T]:
    """The rows of a file, one at a time; a FormatError names a line that is broken."""
    try:
        with open(path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    row = parse(json.loads(line))
                except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                    why = place_of(error) if isinstance(error, ValidationError) else repr(error)
                    raise FormatError(
                        f"line {number} of {path.name} is broken ({why})",
                        "a row of an evaluation",
                        "choose another folder",
                    ) from error
                yield row
    except OSError as error:
        raise _unreadable(path, error) from error


def make_manifest(kind: str, reasoner: Reasoner, suite: Suite, entries: Sequence[Entry], *, seed: int) -> dict[str, Any]:
    """What is asked of what, as plain JSON values; rows are added to a folder only if all but the versions agree."""
    model = reasoner.checkpoint

    def tags(entry: Entry) -> list[tuple[str, str]]:
        """Without the kind of question, so that folders of versions that did not tell it go on."""
        return sorted((key, value) for key, value in entry.tags.items() if key != "ask")

    def hashed(rows: Iterable[Any]) -> str:
        digest = hashlib.sha256()  # of the rows as lines of JSON, without the end of the last one
        for number, row in enumerate(rows):
            digest.update((("\n" if number else "") + json_text(row)).encode())
        return digest.hexdigest()

    return {
        "kind": kind,
        "suite": suite.name,
        "rule": suite.rule,
        "questions": len(entries),
        "questions_sha256": hashed([e.id, e.case, e.question, e.options, e.answers, e.letter] for e in entries),
        "truth_sha256": hashed(
            [e.patient, tags(e), [asdict(look) for look in e.looks], *([e.gold, e.tolerance] if e.gold else [])] for e in entries
        ),
        "seed": seed,
        "checkpoint": {"name": model.name, "sha256": model.sha256, "hashed": model.hashed, "dtype": str(model.dtype)},
        "profile": {"name": model.profile.name, "sha256": model.profile.sha256},
        "versions": {"unireason": __version__, **model.versions},
    }


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write ``results.json``."""
    write_bytes(folder / RESULTS, (json_text(results, indent=1) + "\n").encode())


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, where the system has such locks; it is made if it is missing."""
    with lock_folder(folder, f"another process writes into '{folder}'"):
        yield


def _line(row: Mapping[str, Any]) -> bytes:
    return json_text(row).encode() + b"\n"


def _unwritable(path: Path, error: OSError) -> UniReasonError:
    return UniReasonError(f"'{path}' cannot be written ({error.strerror})", "a folder with room", "choose another")


def _unreadable(path: Path, error: OSError) -> UniReasonError:
    return UniReasonError(f"'{path}' cannot be read ({error.strerror})")


def _read_manifest(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(
            f"'{path.name}' cannot be read ({error})", "the manifest of an evaluation", "choose another folder"
        ) from error
    if not isinstance(found, dict):
        raise FormatError(f"'{path.name}' is no manifest", "a JSON object", "choose another folder")
    return found


# --- The rows of an evaluation that asks a question in several ways, one row each: on disk, and in memory by question and way.


Key = tuple[str, str]


R = TypeVar("R", bound=Any)  # a dataclass of plain JSON values with a ``key``: question, and the way in which it was asked


@dataclass(frozen=True, slots=True)
class Lost:
    """The row of a question that could not be asked: the question, its case, its patient, and why."""

    id: str
    case: str
    patient: str
    problem: str


class KeyedRows(Generic[R]):
    """Rows that survive a kill."""

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        parse: Callable[[Any], R],
        *,
        again: bool = False,
        brief: Callable[[R], R] = lambda row: row,
    ) -> None:
        """Open the rows of a folder, or begin them."""
        self._journal, self._parse, self._brief = ResultStore(folder, manifest), parse, brief
        if again:
            self._journal.drop(_is_lost)
        self.rows: dict[Key, R] = {}
        self.unread: dict[str, str] = {}
        for row in self._journal.read(lambda line: Lost(**line) if _is_lost(line) else parse(line)):
            if isinstance(row, Lost):
                self.unread[row.id] = row.problem
            else:
                self.rows[row.key] = brief(row)

    def add(self, rows: Iterable[R]) -> None:
        """Append rows."""
        new = list(rows)
        self._journal.add(asdict(row) for row in new)
        self.rows |= {row.key: self._brief(row) for row in new}

    def drop(self, keys: Collection[Key]) -> None:
        """Take rows out."""
        if keys:
            self._journal.drop(lambda line: not _is_lost(line) and self._parse(line).key in keys)
            self.rows = {own: row for own, row in self.rows.items() if own not in keys}

    def give_up(self, entries: Sequence[Entry], problems: Mapping[str, str]) -> None:
        """Append what could not be asked, unless it is there."""
        lost = [e for e in entries if e.id in problems and e.id not in self.unread]
        self._journal.add(asdict(Lost(e.id, e.case, e.patient, problems[e.id])) for e in lost)
        self.unread |= {e.id: problems[e.id] for e in lost}


def _is_lost(line: Any) -> bool:
    return "problem" in line


# --- Which questions every evaluation asks, and how many of them may stay without an answer.


SKIP = 0.01
"""Share of questions that may be lost unless another one is asked for."""


@dataclass(frozen=True, slots=True)
class AskSettings:
    """Which questions are asked.

    Attributes:
        count: Questions at most; None takes all.
        seed: Of the choice of questions, of all that is drawn for them and of resampling.
        skip: Share of questions that may stay without an answer because their case cannot be read or fed.
        again: Ask again what could not be asked when the folder was written; what was answered stays.
    """

    count: int | None = None
    seed: int = 0
    skip: float = SKIP
    again: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_least(self, {"seed": 0, "count": 1})
        if not 0 <= self.skip <= 1:
            raise FormatError(f"the share of questions that may be skipped is {self.skip}", "a number from 0 to 1")


def check_least(settings: Any, least: Mapping[str, int]) -> None:
    """Refuse settings that are no whole numbers, or too small; None is left to mean what it means."""
    for name, low in least.items():
        value = getattr(settings, name)
        if value is not None and (type(value) is not int or value < low):
            raise FormatError(f"{name} is {value!r}", f"a whole number of at least {low}")


# --- Which questions of a suite are asked, and whether their true places are written in the frame that the model sees.


def choose(suite: Suite, count: int | None, seed: int) -> list[Entry]:
    """Questions in the order of their suite."""
    if count is not None and count < 1:
        raise FormatError(f"{count} questions", "at least 1")
    entries = list(suite.entries())
    if len({entry.id for entry in entries}) != len(entries) or not entries:
        raise FormatError(f"the suite '{suite.name}' has {len(entries)} questions", "some, each with an identifier of its own")
    for entry in entries:
        try:
            "".join(
                (entry.id, entry.case, entry.patient, entry.question, *entry.options, *entry.answers, *sum(entry.gold, ()))
            ).encode()
        except UnicodeEncodeError as error:  # JSON may hold half characters, and no file, seed or tokenizer takes them
            raise FormatError(
                f"the text of question {entry.id!r} has a half character ({error.reason})", "whole characters", "repair its file"
            ) from error
    if count is None:
        return entries
    order = sorted(entries, key=lambda e: shuffle_key(seed, e.case))
    drawn = {entry.id for entry in order[:count]}
    return [entry for entry in entries if entry.id in drawn]


def shuffle_key(seed: int, name: str) -> tuple[bytes, str]:
    """What to sort names by for an order that follows from the seed alone."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest(), name


def seed_of(seed: int, name: str) -> int:
    """Seed of what is drawn for one name, such as the first sample to a question; it depends on nothing else."""
    return int.from_bytes(shuffle_key(seed, name)[0][:7], "big")


def by_case(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Cases with their questions, in the order given; those on one case must stand together."""
    return ((name, list(together)) for name, together in groupby(entries, key=lambda entry: entry.case))


def check_frame(entry: Entry, frame: Frame) -> None:
    """Refuse true places that are written in another frame than the model's."""
    seen = f"{frame.width}x{frame.height}x{frame.depth}"
    if entry.tags.get("frame", seen) != seen:
        raise FormatError(
            f"the true places of question {entry.id!r} are written in a frame of {entry.tags['frame']}, and the model sees {seen}",
            "one frame",
            "open the suite for the frame of the checkpoint",
        )
