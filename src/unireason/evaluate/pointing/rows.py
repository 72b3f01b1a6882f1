"""One question of a suite of implicit questions as a row: what was meant, what was answered, and how well both agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from unireason.evaluate.grounding import SCORES, Measured
from unireason.evaluate.scoring.predictors import answer_probability
from unireason.evaluate.suites.pointing import Truth
from unireason.evaluate.suites.suite import Entry
from unireason.grounding import trace as traces
from unireason.grounding import umrg
from unireason.types import Trace

Row = Mapping[str, Any]
"""Plain JSON values; docs/reference/results.md lists the keys."""

Answer = tuple[Trace, Measured]


def make_row(entry: Entry, truth: Truth, answers: Sequence[Answer], *, think_end: int | None) -> Row:
    """The row of a question that was answered.

    Args:
        entry: The question.
        truth: The place that it means.
        answers: Its traces and what was measured of them, at least one.
        think_end: The id of ``</think>``, for the probability of an answer; None where it is not one token.
    """
    box, points = truth.on(answers[0][0].frame)
    said = [_answer(trace, measured, think_end) for trace, measured in answers]
    return {
        **_about(entry),
        "unreadable": None,
        "target": {"box": list(box.coords), "points": [list(point) for point in points]},
        "scores": {name: fmean(own["scores"][name] for own in said) for name in SCORES},
        "answers": said,
    }


def unreadable_row(entry: Entry, reason: str) -> Row:
    """The row of a question whose picture or mask cannot be read."""
    return {**_about(entry), "unreadable": reason, "target": None, "scores": None, "answers": []}


def read_row(value: Any) -> Row:
    """A row as it was written.

    Raises:
        KeyError, TypeError, ValueError: If it is none.
    """
    missing = [name for name in SCORES if value["unreadable"] is None and name not in value["scores"]]
    if missing or not isinstance(value["id"], str) or not isinstance(value["answers"], list):
        raise ValueError(f"a row without {', '.join(missing) or 'identifier and answers'}")
    return dict(value)


def _about(entry: Entry) -> dict[str, Any]:
    groups = {name: entry.tags.get(name, "") for name in ("category", "supercategory")}
    return {"id": entry.id, "case": entry.case, "patient": entry.patient, **groups, "question": entry.question}


def _answer(trace: Trace, measured: Measured, think_end: int | None) -> dict[str, Any]:
    place = measured.place.model
    return {
        "scores": dict(measured.scores),
        "box": None if place.box is None else list(place.box),
        "points": [list(point) for point in place.points],
        "malformed": bool(umrg.read(trace.raw_text).problems),
        "problems": sorted({problem.code for problem in trace.problems}),
        "probability": answer_probability(trace, think_end),
        "trace": traces.to_json(replace(trace, tokens=None)),
    }
