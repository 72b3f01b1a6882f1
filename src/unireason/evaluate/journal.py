"""Rows on disk that survive a kill: lines of JSON, appended as answers come, beside a manifest that says what was asked of what.

A line counts once it is whole. What a kill left of the last line is cut off before the next one is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from unireason import __version__
from unireason.engine.reasoner import Reasoner
from unireason.errors import FormatError, UniReasonError
from unireason.evaluate.suites.suite import Entry, Suite
from unireason.files import json_text, lock_folder, write_bytes

ROWS, MANIFEST, RESULTS = "rows.jsonl", "manifest.json", "results.json"

_FREE = {"versions", "data"}  # may differ from those of the folder
_LATER = {"truth_sha256", "split", "suite_options"}  # folders of earlier versions lack them
_SHORT = 40  # characters of a value that a message shows; hashes are longer

T = TypeVar("T")


class Journal:
    """The rows of one folder; they are not kept in memory."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Open the rows of a folder, or begin them.

        Args:
            folder: Where ``rows.jsonl`` and ``manifest.json`` are or will be.
            manifest: What was asked of what, as plain JSON values. "versions" and "data" may differ from those of the folder.

        Raises:
            FormatError: If the folder holds rows of something else, or rows without a manifest.
            UniReasonError: If the folder cannot be used.
        """
        self._path = folder / ROWS
        known = _read_manifest(folder / MANIFEST)
        if known is None:
            self._refuse_rows(folder)
            write_bytes(folder / MANIFEST, (json_text(manifest, indent=1) + "\n").encode())
            self._write("wb", b"")
            return
        bound = {*known, *manifest} - _FREE - (_LATER - set(known))
        wrong = sorted(k for k in bound if known.get(k) != manifest.get(k))
        if wrong:
            raise FormatError(
                f"the folder '{folder.name}' holds an evaluation with another {' and '.join(_apart(k, known, manifest) for k in wrong)}",
                "the same",
                "go on with the arguments that it was begun with, or choose another folder",
            )
        self._repair()

    def read(self, parse: Callable[[Any], T]) -> Iterator[T]:
        """The rows in the order written.

        Args:
            parse: Makes a row of what its line holds; ValueError, TypeError, LookupError and AttributeError say that it is none.

        Raises:
            FormatError: If a line is broken.
            UniReasonError: If the file cannot be read.
        """
        return read_rows(self._path, parse)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows, and return when they are on the disk.

        Args:
            rows: Plain JSON values. None writes nothing.

        Raises:
            UniReasonError: If they cannot be written.
        """
        self._write("ab", b"".join(map(_line, rows)))

    def drop(self, unwanted: Callable[[Any], bool]) -> None:
        """Take rows out, so that their questions are asked again; the file stays as it was until all that is kept is written anew.

        Args:
            unwanted: Whether a row goes, of what its line holds; errors as for :meth:`read`.

        Raises:
            FormatError: If a line is broken.
            UniReasonError: If the file cannot be read or written.
        """
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

    def _refuse_rows(self, folder: Path) -> None:
        """Never write over rows of which nothing is known."""
        if self._path.exists() and self._path.stat().st_size:
            raise FormatError(
                f"the folder '{folder.name}' has a {ROWS} and no {MANIFEST}", "both, or neither", "choose another folder"
            )

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
    """The rows of a file, one at a time; arguments and errors as for ``Journal.read``."""
    try:
        with open(path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    row = parse(json.loads(line))
                except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                    raise FormatError(
                        f"line {number} of {path.name} is broken ({error!r})", "a row of an evaluation", "choose another folder"
                    ) from error
                yield row
    except OSError as error:
        raise _unreadable(path, error) from error


def make_manifest(kind: str, reasoner: Reasoner, suite: Suite, entries: Sequence[Entry], *, seed: int) -> dict[str, Any]:
    """What is asked of what, as plain JSON values; rows are added to a folder only if all but the versions agree.

    Args:
        kind: Of the evaluation.
        reasoner: The model.
        suite: The suite.
        entries: The questions asked.
        seed: Of all that is drawn.
    """
    model = reasoner.checkpoint
    return {
        "kind": kind,
        "suite": suite.name,
        "rule": suite.rule,
        "questions": len(entries),
        "questions_sha256": _sha256([e.id, e.case, e.question, e.options, e.answers, e.letter] for e in entries),
        "truth_sha256": _sha256([e.patient, sorted(e.tags.items()), [asdict(look) for look in e.looks]] for e in entries),
        "seed": seed,
        "checkpoint": {"name": model.name, "sha256": model.sha256, "hashed": model.hashed, "dtype": str(model.dtype)},
        "profile": {"name": model.profile.name, "sha256": model.profile.sha256},
        "versions": {"unireason": __version__, **model.versions},
    }


def _sha256(rows: Iterable[Any]) -> str:
    """Hash of rows as lines of JSON, without the end of the last one."""
    digest = hashlib.sha256()
    for number, row in enumerate(rows):
        digest.update((("\n" if number else "") + json_text(row)).encode())
    return digest.hexdigest()


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write ``results.json``.

    Raises:
        UniReasonError: If it cannot be written.
    """
    write_bytes(folder / RESULTS, (json_text(results, indent=1) + "\n").encode())


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, where the system has such locks; it is made if it is missing.

    Raises:
        UniReasonError: If another process has it, or it cannot be written.
    """
    with lock_folder(folder, f"another process writes into '{folder}'"):
        yield


def _line(row: Mapping[str, Any]) -> bytes:
    return json_text(row).encode() + b"\n"


def _unwritable(path: Path, error: OSError) -> UniReasonError:
    return UniReasonError(f"'{path}' cannot be written ({error.strerror})", "a folder with room", "choose another")


def _unreadable(path: Path, error: OSError) -> UniReasonError:
    return UniReasonError(f"'{path}' cannot be read ({error.strerror})")


def _apart(key: str, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """A key whose values differ, with both where they are short."""
    both = [found.get(key) for found in (known, wanted)]
    short = all(isinstance(value, int | float | str) and len(str(value)) <= _SHORT for value in both)
    return f"{key} ({both[0]!r} there, {both[1]!r} now)" if short else key


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
