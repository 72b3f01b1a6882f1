"""Examinations by held-out questions, asked as any suite is, and told by family.

Looks are scored against the masks; a look that is missing counts as zero, so that boxes cannot be made better by leaving hard ones out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from unireason.core.types import Case, Kind, Stack, Trace
from unireason.data.dataset import Dataset
from unireason.data.scene import FAMILIES
from unireason.engine.reasoner import Reasoner
from unireason.metrics.statistics import over_patients, too_few, wilson

from .benchmark import Progress, RunSettings, answered, run
from .results import RunRow
from .scoring import explained, mismatch_rate
from .store import ROWS, read_rows
from .suites.built import BuiltSuite


@dataclass(frozen=True, slots=True, eq=False)
class ExamAnswer:
    """One held-out question and what the model made of it: its row, as ``rows.jsonl`` has it, the trace, and what was looked at."""

    row: Mapping[str, Any]
    trace: Trace
    case: Case
    stack: Stack


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """An examination that was held.

    Attributes:
        scores: Plain JSON values: ``n``, ``accuracy``, ``accuracy_ci95`` (Wilson), ``accuracy_ci95_patients`` (None for one patient),
            ``patients``, ``too_few_patients``, ``chance`` (mean of one over the number of options), ``mean_box_iou`` (over true looks),
            ``crop_rate`` (share of answers with an executed look), ``mismatch_rate`` (share of answers whose letter and text contradict
            each other), ``own_boxes_accuracy``, ``own_boxes`` and ``ceiling`` (see ``scoring.explained``) and, under ``by_family`` and
            ``by_kind``, the same for each family and each kind of question.
        answers: One a question.
    """

    scores: dict[str, Any]
    answers: Sequence[ExamAnswer]


def examine(
    reasoner: Reasoner, dataset: Dataset, folder: Path, *, kind: Kind, count: int, progress: Progress | None = None
) -> Examined:
    """Ask held-out questions of a kind greedily.

    Args:
        reasoner: The model.
        dataset: Where they come from; built for the way in which the model sees pictures.
        folder: A new folder for the run, see ``benchmark.run``.
        kind: "image" or "volume".
        count: Questions.
        progress: Called with the number of questions done, and of all.

    Raises:
        FormatError: If the data set was built for another model frame.
        UniReasonError: If there are no questions or one cannot be asked.
    """
    seen: list[tuple[Trace, Case, Stack]] = []

    def keep(*shown: Any) -> bytes:
        seen.append(shown)
        return b""

    suite = BuiltSuite(dataset, split=None, kind=kind, count=count)
    run(reasoner, suite, folder, settings=RunSettings(skip=0.0), draw=keep, progress=progress)
    answers = [ExamAnswer(row, *shown) for row, shown in zip(read_rows(folder / ROWS, dict), seen, strict=True)]
    rows = [answer.row for answer in answers]
    families = {name: [row for row in rows if row["tags"].get("family") == name] for name in FAMILIES}
    asks = sorted({row["tags"]["ask"] for row in rows if row["tags"].get("ask")})
    kinds = {name: [row for row in rows if row["tags"].get("ask") == name] for name in asks}
    parts = {
        "by_family": {name: _scores(own) for name, own in families.items() if own},
        "by_kind": {name: _scores(own) for name, own in kinds.items()},
    }
    return Examined(_scores(rows) | parts, answers)


def _scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    right = [bool(row["right"]) for row in rows]
    ious = [value for row in rows for value in row["ious"]]
    patients = [row["patient"] for row in rows]
    scored = [answered(RunRow.of(row)).scored for row in rows]
    boxes = explained(scored, seed=0)
    return {
        "n": len(rows),
        "accuracy": sum(right) / len(rows),
        "accuracy_ci95": list(wilson(sum(right), len(rows))),
        "accuracy_ci95_patients": over_patients([float(one) for one in right], patients, seed=0),
        "patients": len(set(patients)),
        "too_few_patients": too_few(len(set(patients))),
        "chance": fmean(row.chance for row in scored),
        "mean_box_iou": fmean(ious) if ious else None,
        "crop_rate": fmean(row["samples"][0]["looks"] > 0 for row in rows),
        "mismatch_rate": mismatch_rate(scored),
        "own_boxes_accuracy": boxes["own_boxes"] and boxes["own_boxes"]["accuracy"],
        **boxes,
    }
