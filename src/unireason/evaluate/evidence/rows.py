"""Answers on disk: one line of JSON for every question and condition, appended as they come, so that a killed check goes on.

A line counts once it is whole. What a kill left of the last line is cut off before the next one is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unireason.errors import FormatError, UniReasonError
from unireason.files import write_bytes
from unireason.grounding import crop
from unireason.types import Frame

ROWS, MANIFEST = "rows.jsonl", "manifest.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One question under one condition.

    Attributes:
        id: The question.
        condition: A name of ``conditions.CONDITIONS``.
        case: The case of the question.
        patient: Its patient.
        chance: Share of right answers that guessing gives: one over the number of options, 0 for an open question.
        right: Whether the answer counts.
        said: What the answer says, as ``scoring.answers.Verdict`` has it.
        frame: The model frame.
        looks: The regions asked for, in order.
        seen: What each of them showed; empty where that was nothing.
        shown: Case whose pictures were shown; differs from ``case`` under "other".
        trace: The trace as JSON, without token ids; None for an answer taken over from "true", because the model never looked there
            and would have been fed the same.
    """

    id: str
    condition: str
    case: str
    patient: str
    chance: float
    right: bool
    said: str
    frame: Frame
    looks: tuple[crop.Plan, ...]
    seen: tuple[crop.Plan, ...]
    shown: str
    trace: Mapping[str, Any] | None

    @property
    def key(self) -> tuple[str, str]:
        """Question and condition."""
        return self.id, self.condition

    @property
    def replaced(self) -> int:
        """Looks that showed something else than they asked for."""
        return sum(a != b for a, b in zip(self.looks, self.seen, strict=True))


Rows = dict[tuple[str, str], Row]


class RowFile:
    """The answers of a check, in memory and on disk.

    Attributes:
        rows: By question and condition.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Open the answers of a check, or begin them.

        Args:
            folder: Where ``rows.jsonl`` and ``manifest.json`` are or will be.
            manifest: What was asked of what, as plain JSON values. "versions" may differ from those of the folder.

        Raises:
            FormatError: If the folder holds a check of something else, or a line other than the last is broken.
            UniReasonError: If the folder cannot be used.
        """
        self.rows: Rows = {}
        self._path = folder / ROWS
        known = _read_manifest(folder / MANIFEST)
        if known is None:
            write_bytes(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
            self._write("wb", b"")
            return
        wrong = sorted(k for k in {*known, *manifest} - {"versions"} if known.get(k) != manifest.get(k))
        if wrong:
            raise FormatError(
                f"the folder '{folder.name}' holds a check with another {' and '.join(wrong)}",
                "the same",
                "choose another folder",
            )
        self._restore()

    def add(self, rows: Iterable[Row]) -> None:
        """Append answers.

        Raises:
            UniReasonError: If they cannot be written.
        """
        new = list(rows)
        self._write("ab", b"".join(json.dumps(asdict(row), allow_nan=False).encode() + b"\n" for row in new))
        self.rows |= {row.key: row for row in new}

    def _restore(self) -> None:
        try:
            data = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            raise UniReasonError(f"'{self._path}' cannot be read ({error.strerror})") from error
        *lines, torn = data.split(b"\n")
        for number, line in enumerate(lines, start=1):
            row = _row(line, number)
            self.rows[row.key] = row
        if torn or not data:
            self._write("r+b" if data else "wb", b"", keep=len(data) - len(torn))

    def _write(self, mode: str, data: bytes, *, keep: int | None = None) -> None:
        try:
            with open(self._path, mode) as stream:
                if keep is not None:
                    stream.truncate(keep)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise UniReasonError(
                f"'{self._path}' cannot be written ({error.strerror})", "a folder with room", "choose another"
            ) from error


def _read_manifest(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(
            f"'{path.name}' cannot be read ({error})", "the manifest of a check", "choose another folder"
        ) from error
    if not isinstance(found, dict):
        raise FormatError(f"'{path.name}' is no manifest", "a JSON object", "choose another folder")
    return found


def _row(line: bytes, number: int) -> Row:
    try:
        table = json.loads(line)
        return Row(**{**table, **{n: _plans(table[n]) for n in ("looks", "seen")}, "frame": Frame(**table["frame"])})
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(
            f"line {number} of {ROWS} is broken ({error!r})", "a row of a check", "choose another folder"
        ) from error


def _plans(found: Any) -> tuple[crop.Plan, ...]:
    return tuple(tuple((int(z), (int(x1), int(y1), int(x2), int(y2))) for z, (x1, y1, x2, y2) in plan) for plan in found)
