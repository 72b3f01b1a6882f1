"""Reader and writer of the boxed answer of medical reasoning grounding (UMRG).

``<think>...</think><answer>{"bbox": [x1,y1,x2,y2], "points_1": [x,y], "points_2": [x,y]}</answer>``, pixels of the model
frame. In a volume the box has six numbers (x1,y1,z1,x2,y2,z2) and a point three, z in model slices; that form is ours. Model text
is data: a reading always comes out. It knows nothing of scores.

Source: MedReasoner, arXiv 2508.08177, output format of the clinical reasoning module.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from unireason.core.errors import FormatError
from unireason.core.types import Box, Box2D, Box3D, Frame, Problem

from .crop import frame_flaws
from .grammar import MAX_NUMBER, NUMBER, THINK_END, THINK_START, box_flaws, number_text, split_think

ANSWER_START, ANSWER_END = "<answer>", "</answer>"
KEYS = ("bbox", "points_1", "points_2")

Point = tuple[float, ...]  # (x, y), in a volume (x, y, z)
Points = tuple[Point, Point]

MAX_COORDINATE = 1e9
_MAX_ANSWER = 4096
_NOT_JSON = object()

Way = Literal["lenient", "strict", "published"]
"""How ``read`` reads. All but "published" take the answer from behind the reasoning alone."""

_ANSWER_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE | re.ASCII)
_SPECIAL = re.compile(r"<\|[a-z_]{1,40}\|>")
_FENCE = re.compile(r"\s{0,64}```[A-Za-z0-9]{0,16}(.*?)\s{0,64}```\s{0,64}", re.DOTALL)
# A text in either kind of quotes; an apostrophe inside single quotes is one that no comma, colon or bracket follows.
_QUOTED = re.compile(r"""("(?:[^"\\]|\\.)*")|'((?:[^'\\]|\\.|'(?!\s{0,16}[,:}\]]))*)'""", re.DOTALL)
_TRAILING = re.compile(r"""("(?:[^"\\]|\\.)*")|,(?=\s{0,64}[}\]])""", re.DOTALL)
_OTHER_KEYS = {"bbox_2d": "bbox", "point_1": "points_1", "point_2": "points_2"}


@dataclass(frozen=True, slots=True)
class AnswerReading:
    """What a response says.

    Attributes:
        think: Text of the first think block; None if there is none.
        answer: Text of the answer block that counts; None if there is none.
        is_object: True if the answer is a JSON object.
        missing: Required keys that it lacks.
        box: The box; None if it is missing or not four (in a volume six) numbers. It may be inverted.
        points: The two points; None unless both are two (in a volume three) numbers.
        problems: Codes "no_think", "no_answer", "several_answers", "not_json", "not_an_object", "missing_key", "bad_box",
            "bad_points"; "loose_answer" for what only the lenient reading takes.
    """

    think: str | None
    answer: str | None
    is_object: bool = False
    missing: tuple[str, ...] = ()
    box: Box | None = None
    points: Points | None = None
    problems: tuple[Problem, ...] = ()


def read(text: str, *, dims: Literal[2, 3] = 2, way: Way = "lenient") -> AnswerReading:
    """Read a response. Numbers beyond 1e9 and answers over 4,096 characters are refused.

    The answer is the first block behind the last ``</think>`` that is not blank: what a model tries out while it reasons is no answer,
    and an unclosed think block has none. Valid JSON is read as it stands, else texts in single quotes count as texts in double quotes.

    Args:
        text: The response, tags kept.
        dims: 2 reads a rectangle and points (x, y), 3 a cuboid and points (x, y, z); the other kind is a bad box or bad points.
        way: "lenient", for evaluation, also takes a Markdown fence, numbers in quotes, a trailing comma, a list of one object, the key
            ``bbox_2d``, and an object without its tags that is all that stands behind the reasoning; "strict", for rewards, none of
            these; "published" reads the first answer block wherever it stands, every single quote as a double one.
    """
    think = _between(text, THINK_START, THINK_END, exact=way != "lenient")
    problems = [Problem("no_think")] if think is None else []
    answer, found = _answer(text, way)
    problems += found
    if answer is None:
        return AnswerReading(think, None, problems=(*problems, Problem("no_answer")))
    value, loose = _value(answer, way)
    if loose:
        problems.append(Problem("loose_answer", answer[:256]))
    if not isinstance(value, dict):
        code = "not_json" if value is _NOT_JSON else "not_an_object"
        return AnswerReading(think, answer, problems=(*problems, Problem(code, answer[:256])))
    missing = tuple(key for key in KEYS if key not in value)
    sizes = zip(KEYS, (2 * dims, dims, dims), strict=True)
    box, first, second = (_numbers(value.get(key), size, any_number=way == "published") for key, size in sizes)
    problems += [Problem("missing_key", key) for key in missing]
    if box is None:
        problems.append(Problem("bad_box", answer[:256]))
    if first is None or second is None:
        problems.append(Problem("bad_points", answer[:256]))
    return AnswerReading(
        think,
        answer,
        is_object=True,
        missing=missing,
        box=None if box is None else Box2D(*box) if dims == 2 else Box3D(*box),
        points=None if first is None or second is None else (first, second),
        problems=tuple(problems),
    )


def read_released(text: str, *, think: bool = True) -> tuple[str | None, Any, list[Any]] | None:
    """Think text, box and points as the released evaluation takes them out of a response, unchecked; None where it raises.

    The first answer block whose content begins and ends with braces counts, wherever it stands; a missing key is None. With
    ``think=False`` the think text is "". For comparisons only: a None counts there as an answer that is wrong throughout.

    Source: MedReasoner, arXiv 2508.08177, evaluation.
    """
    found = re.search(r"<answer>\s*(\{.*?\})\s*</answer>", text, re.DOTALL)
    said = re.search(r"<think>(.*?)</think>", text, re.DOTALL) if think else None
    if found is None:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(found[1].replace("'", '"'))
    except (ValueError, RecursionError):
        return None
    box, *points = (value.get(key) for key in KEYS)
    return (said[1].strip() if said else None) if think else "", box, points


def place_problems(reading: AnswerReading, frame: Frame) -> tuple[Problem, ...]:
    """What is odd about the place that an answer names: "inverted_box", "empty_box", "box_outside_frame", "point_outside_frame"."""
    found: list[Problem] = []
    if reading.box is not None:
        flaws = (*box_flaws(reading.box), *frame_flaws(reading.box, frame))
        found += [Problem(code, ",".join(f"{v:g}" for v in reading.box.coords)) for code in flaws]
    sizes = (frame.width, frame.height, frame.depth)
    for point in reading.points or ():
        if not all(0 <= value <= size for value, size in zip(point, sizes, strict=False)):
            found.append(Problem("point_outside_frame", ",".join(f"{v:g}" for v in point)))
    return tuple(found)


def write(think: str, box: Box, points: Points) -> str:
    """Write a response; ``read`` gives the same think text, box and points.

    Raises:
        FormatError: If the think text holds a think or answer tag, a coordinate is beyond what can be read back, or the points have
            another number of axes than the box.
    """
    if any(2 * len(point) != len(box.coords) for point in points):
        raise FormatError(f"points {points} for a box of {len(box.coords)} numbers", f"{len(box.coords) // 2} numbers a point")
    tags = [tag for tag in (THINK_START, THINK_END, ANSWER_START, ANSWER_END) if tag in think.lower()]
    if tags:
        raise FormatError(f"the reasoning holds the tag {tags[0]}", "plain text")
    if any(abs(v) > MAX_COORDINATE for v in (*box.coords, *points[0], *points[1])):
        raise FormatError("a coordinate is larger than 1e9", "pixels of the model frame")
    values = (box.coords, *points)
    fields = [f'"{key}": [{",".join(number_text(v) for v in value)}]' for key, value in zip(KEYS, values, strict=True)]
    return f"{THINK_START}{think}{THINK_END}{ANSWER_START}{{{', '.join(fields)}}}{ANSWER_END}"


def _answer(text: str, way: Way) -> tuple[str | None, list[Problem]]:
    """The text of the answer that counts, None for none, and what is odd about its place."""
    if way == "published":
        return _between(text, ANSWER_START, ANSWER_END, exact=True), []
    behind = split_think(text)[1]
    blocks = _blocks(behind)
    said = [block for block in blocks if block.strip()]
    if blocks:
        odd = any(block.strip() != said[0].strip() for block in said)
        return (said or blocks)[0], [Problem("several_answers", said[-1][:256])] if odd else []
    bare = _SPECIAL.sub("", behind).strip()
    if way == "lenient" and (bare.startswith(("{", "[", "```")) and bare.endswith(("}", "]", "```"))):
        return bare, [Problem("loose_answer", bare[:256])]
    return None, []


def _blocks(text: str) -> list[str]:
    """The texts of all answer blocks; one that is opened again before it closes begins anew."""
    found, opened = [], -1
    for tag in _ANSWER_TAG.finditer(text):
        if not tag[1]:
            opened = tag.end()
        elif opened >= 0:
            found.append(text[opened : tag.start()])
            opened = -1
    return found


def _value(answer: str, way: Way) -> tuple[Any, bool]:
    """The value of an answer, ``_NOT_JSON`` for none; and whether it took leniency to read it."""
    if len(answer) > _MAX_ANSWER:
        return None, False
    if way == "published":
        return _parsed(answer.replace("'", '"')), False
    value = _parsed(answer)
    if value is _NOT_JSON:
        value = _parsed(_requoted(answer))
    if way == "strict":
        return value, False
    plain = value
    if value is _NOT_JSON:
        fenced = _FENCE.fullmatch(answer)
        inner = fenced[1] if fenced else answer
        value = _parsed(inner)
        if value is _NOT_JSON:
            value = _parsed(_TRAILING.sub(lambda found: found[1] or "", _requoted(inner)))
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, dict):
        named = {key: value[other] for other, key in _OTHER_KEYS.items() if other in value and key not in value}
        value = {key: _unquoted(item) if key in KEYS else item for key, item in {**value, **named}.items()}
    return value, value != plain


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _requoted(text: str) -> str:
    """The same with texts in single quotes written as JSON texts."""

    def one(found: re.Match[str]) -> str:
        return found[1] or json.dumps(re.sub(r"\\(['\"\\])", r"\1", found[2]), allow_nan=False)

    return _QUOTED.sub(one, text)


def _unquoted(value: Any) -> Any:
    """A list with its numbers in quotes as numbers; every other value as it is."""
    if not isinstance(value, list):
        return value
    return [float(v) if isinstance(v, str) and len(v) <= MAX_NUMBER and NUMBER.fullmatch(v.strip()) else v for v in value]


def _between(text: str, start: str, end: str, *, exact: bool) -> str | None:
    """What stands between the first of two tags and the next of the other; tags in any case unless ``exact``."""
    case = re.ASCII if exact else re.ASCII | re.IGNORECASE
    opened = re.search(re.escape(start), text, case)
    closed = re.compile(re.escape(end), case).search(text, opened.end()) if opened else None
    return text[opened.end() : closed.start()] if opened and closed else None


def _numbers(value: Any, size: int, *, any_number: bool) -> tuple[float, ...] | None:
    """A JSON list of ``size`` finite, sensible numbers as floats, or of what the released code takes for numbers; else None."""
    if not isinstance(value, list) or len(value) != size:
        return None
    if any_number and all(isinstance(v, int | float) for v in value):
        try:
            return tuple(float(v) for v in value)
        except OverflowError:
            return None
    if not all(type(v) in (int, float) and abs(v) <= MAX_COORDINATE for v in value):  # NaN fails the comparison
        return None
    return tuple(float(v) for v in value)
