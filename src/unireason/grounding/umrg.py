"""Reader and writer of the boxed answer of medical reasoning grounding (UMRG).

``<think>...</think><answer>{"bbox": [x1,y1,x2,y2], "points_1": [x,y], "points_2": [x,y]}</answer>``, pixels of the model
frame. In a volume the box has six numbers (x1,y1,z1,x2,y2,z2) and a point three, z in model slices; that form is ours. Model text
is data: a reading always comes out. It knows nothing of scores.

Source: MedReasoner, arXiv 2508.08177, output format of the clinical reasoning module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from unireason.errors import FormatError
from unireason.grounding.grammar import THINK_END, THINK_START, number_text
from unireason.types import Box, Box2D, Box3D, Problem

ANSWER_START, ANSWER_END = "<answer>", "</answer>"
KEYS = ("bbox", "points_1", "points_2")

Point = tuple[float, ...]  # (x, y), in a volume (x, y, z)
Points = tuple[Point, Point]

MAX_COORDINATE = 1e9
_MAX_ANSWER = 4096


@dataclass(frozen=True, slots=True)
class Reading:
    """What a response says.

    Attributes:
        think: Text of the first think block; None if there is none.
        answer: Text of the first answer block; None if there is none.
        is_object: True if the answer is a JSON object.
        missing: Required keys that it lacks.
        box: The box; None if it is missing or not four (in a volume six) numbers. It may be inverted.
        points: The two points; None unless both are two (in a volume three) numbers.
        problems: Codes "no_think", "no_answer", "not_json", "not_an_object", "missing_key", "bad_box", "bad_points".
    """

    think: str | None
    answer: str | None
    is_object: bool = False
    missing: tuple[str, ...] = ()
    box: Box | None = None
    points: Points | None = None
    problems: tuple[Problem, ...] = ()


def read(text: str, *, dims: Literal[2, 3] = 2) -> Reading:
    """Read a response; single quotes count as double quotes. Numbers beyond 1e9 and answers over 4,096 characters are refused.

    Args:
        text: The response, tags kept.
        dims: 2 reads a rectangle and points (x, y), 3 a cuboid and points (x, y, z); the other kind is a bad box or bad points.
    """
    think, answer = _between(text, THINK_START, THINK_END), _between(text, ANSWER_START, ANSWER_END)
    problems = [Problem("no_think")] if think is None else []
    if answer is None:
        return Reading(think, None, problems=(*problems, Problem("no_answer")))
    try:
        value = json.loads(answer.replace("'", '"')) if len(answer) <= _MAX_ANSWER else None
    except (ValueError, RecursionError):
        return Reading(think, answer, problems=(*problems, Problem("not_json", answer[:256])))
    if not isinstance(value, dict):
        return Reading(think, answer, problems=(*problems, Problem("not_an_object", answer[:256])))
    missing = tuple(key for key in KEYS if key not in value)
    box, first, second = (_numbers(value.get(key), size) for key, size in zip(KEYS, (2 * dims, dims, dims), strict=True))
    problems += [Problem("missing_key", key) for key in missing]
    if box is None:
        problems.append(Problem("bad_box", answer[:256]))
    if first is None or second is None:
        problems.append(Problem("bad_points", answer[:256]))
    return Reading(
        think,
        answer,
        is_object=True,
        missing=missing,
        box=None if box is None else Box2D(*box) if dims == 2 else Box3D(*box),
        points=None if first is None or second is None else (first, second),
        problems=tuple(problems),
    )


def write(think: str, box: Box, points: Points) -> str:
    """Write a response; ``read`` gives the same think text, box and points.

    Raises:
        FormatError: If the think text holds a think or answer tag, a coordinate is beyond what can be read back, or the points have
            another number of axes than the box.
    """
    if any(2 * len(point) != len(box.coords) for point in points):
        raise FormatError(f"points {points} for a box of {len(box.coords)} numbers", f"{len(box.coords) // 2} numbers a point")
    tags = [tag for tag in (THINK_START, THINK_END, ANSWER_START, ANSWER_END) if tag in think]
    if tags:
        raise FormatError(f"the reasoning holds the tag {tags[0]}", "plain text")
    if any(abs(v) > MAX_COORDINATE for v in (*box.coords, *points[0], *points[1])):
        raise FormatError("a coordinate is larger than 1e9", "pixels of the model frame")
    values = (box.coords, *points)
    fields = [f'"{key}": [{",".join(number_text(v) for v in value)}]' for key, value in zip(KEYS, values, strict=True)]
    return f"{THINK_START}{think}{THINK_END}{ANSWER_START}{{{', '.join(fields)}}}{ANSWER_END}"


def _between(text: str, start: str, end: str) -> str | None:
    opened = text.find(start)
    closed = text.find(end, opened + len(start)) if opened >= 0 else -1
    return text[opened + len(start) : closed] if closed >= 0 else None


def _numbers(value: Any, size: int) -> tuple[float, ...] | None:
    """A JSON list of ``size`` finite, sensible numbers as floats; None for anything else."""
    if not isinstance(value, list) or len(value) != size:
        return None
    if not all(type(v) in (int, float) and abs(v) <= MAX_COORDINATE for v in value):  # NaN fails the comparison
        return None
    return tuple(float(v) for v in value)
