"""The answers of a check: one row for every question and condition, kept so that a killed check goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unireason.evaluate.keyed import KeyedRows
from unireason.grounding import crop
from unireason.types import Frame


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
        remarks: What lies outside the scope of the model (``types.ScopeCheck``).
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
    remarks: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Question and condition."""
        return self.id, self.condition

    @property
    def replaced(self) -> int:
        """Looks that showed something else than they asked for."""
        return sum(a != b for a, b in zip(self.looks, self.seen, strict=True))


Rows = dict[tuple[str, str], Row]


class RowFile(KeyedRows[Row]):
    """The answers of a check, on disk and, without their traces, in memory."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], *, again: bool = False) -> None:
        """Open or begin; see ``keyed.KeyedRows``."""
        super().__init__(folder, manifest, _row, again=again, brief=lambda row: replace(row, trace=None))


def _row(table: Any) -> Row:
    plain = {"frame": Frame(**table["frame"]), "remarks": tuple(table.get("remarks", ()))}
    return Row(**{**table, **{n: _plans(table[n]) for n in ("looks", "seen")}, **plain})


def _plans(found: Any) -> tuple[crop.Plan, ...]:
    return tuple(tuple((int(z), (int(x1), int(y1), int(x2), int(y2))) for z, (x1, y1, x2, y2) in plan) for plan in found)
