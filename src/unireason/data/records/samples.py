"""Samples and embedded pictures as rows: plain values for Parquet, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from unireason.data.question import Question
from unireason.errors import FormatError
from unireason.types import Box, Box2D, Box3D, Look

from .record import SCHEMA, STAGES, ImageRecord, SampleRecord


def sample_row(record: SampleRecord) -> dict[str, Any]:
    """A sample as plain values for Parquet; see ``sample_schema``."""
    question = record.question
    steps = [
        {"text": p, "label": None, "box": None, "seen": None}
        if isinstance(p, str)
        else {"text": None, "label": p.label, "box": [int(v) for v in p.box.coords], "seen": p.seen}
        for p in record.reasoning
    ]
    return {
        **{name: getattr(record, name) for name in ("id", "case", "patient", "split", "kind", "task", "annotator", "response")},
        **{name: getattr(question, name) for name in ("family", "ask", "answer", "letter")},
        **{name: list(getattr(question, name)) for name in ("about", "options", "facts", "needs")},
        "question": question.text,
        "reasoning": steps,
        "box": None if record.box is None else [int(v) for v in record.box.coords],
        "points": None if record.points is None else [list(p) for p in record.points],
        "category": record.category,
        "supercategory": record.supercategory,
        "stages": list(record.stages),
        "origin": record.origin,
    }


def sample_from_row(row: Mapping[str, Any]) -> SampleRecord:
    """The inverse of ``sample_row``.

    Raises:
        FormatError: If a field is missing or of another type, or the letter or the response contradicts the rest.
    """
    try:
        lists: dict[str, Any] = {name: tuple(row[name]) for name in ("about", "options", "facts", "needs")}
        question = Question(row["family"], row["ask"], text=row["question"], answer=row["answer"], **lists)
        points = row["points"]
        record = SampleRecord(
            **{name: row[name] for name in ("id", "case", "patient", "split", "kind", "annotator", "category", "supercategory")},
            question=question,
            reasoning=tuple(
                _text(step) if step["box"] is None else Look(step["label"], box_of(step["box"]), step["seen"])
                for step in row["reasoning"]
            ),
            box=None if row["box"] is None else Box2D(*row["box"]),
            points=None if points is None else ((points[0][0], points[0][1]), (points[1][0], points[1][1])),
            # Version 1 lacks both.
            stages=_stages(row.get("stages", STAGES), row["annotator"]),
            origin=row.get("origin", ""),
        )
        agrees = (question.letter, record.response) == (row["letter"], row["response"])
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise unreadable("sample", error) from error
    if not agrees:
        raise FormatError(f"sample {record.id} contradicts itself: letter or response do not follow from its other fields")
    return record


def _stages(stages: Sequence[str], annotator: str) -> tuple[str, ...]:
    if not stages or set(stages) - set(STAGES) or ("sft" in stages and not annotator):
        raise ValueError(f"stages are {list(stages)}, the annotator is {annotator!r}")
    return tuple(stages)


def _text(step: Mapping[str, Any]) -> str:
    if not isinstance(step["text"], str):
        raise ValueError("a step of the reasoning is neither text nor a look")
    return step["text"]


def box_of(numbers: Sequence[float]) -> Box:
    """Four or six numbers as a box.

    Raises:
        ValueError: If there are neither four nor six.
    """
    if len(numbers) not in (4, 6):
        raise ValueError(f"a box of {len(numbers)} numbers")
    return Box2D(*numbers) if len(numbers) == 4 else Box3D(*numbers)


def image_row(record: ImageRecord) -> dict[str, Any]:
    """An embedded picture as plain values for Parquet; see ``image_schema``."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(record).items()}


def image_from_row(row: Mapping[str, Any]) -> ImageRecord:
    """The inverse of ``image_row``.

    Raises:
        FormatError: If a field is missing.
    """
    try:
        return ImageRecord(row["case"], row["slice"], row["png"], tuple(row["masks"]), tuple(row["mask_names"]))
    except (KeyError, TypeError) as error:
        raise unreadable("image", error) from error


def unreadable(what: str, error: Exception) -> FormatError:
    """The error of a row that is none."""
    return FormatError(f"a {what} row cannot be read ({error!r})", f"the fields of {SCHEMA}", "build the data set again")
