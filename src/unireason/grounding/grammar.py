"""The only reader and writer of boxes, think tags and boxed answers.

Model text is data: whatever comes in, a reading comes out, with a list of problems. Every reader here is one pass over the
text with bounded work a character, so that no text can make it slow. It knows nothing of pictures, frames or tokens.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from unireason.core.errors import FormatError
from unireason.core.types import Box, Box2D, Box3D, Problem

BOX_START, BOX_END = "<|box_start|>", "<|box_end|>"
THINK_START, THINK_END = "<think>", "</think>"

# A number may be this long and a box body this long: six numbers, commas, brackets and blanks fit with room to spare.
MAX_NUMBER, _MAX_BODY = 32, 256
_TAG = re.compile(r"<\|box_(start|end)\|>")
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_RELEASED = re.compile(r"<\|box_start\|>[\[(]([^\])]{1,256})[\])]<\|box_end\|>")
_CLOSING = {"[": "]", "(": ")"}


@dataclass(frozen=True, slots=True)
class FoundBox:
    """One well-formed box and where it stands.

    Attributes:
        box: The numbers as written; they may be inverted or lie outside the frame.
        start: Offset of its first character, the opening tag.
        end: Offset behind its closing tag.
        text: ``text[start:end]``, tags included.
    """

    box: Box
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text says about boxes.

    Attributes:
        boxes: Well-formed boxes in order.
        problems: Everything else, in order. An inverted or empty box is listed here *and* among the boxes, because the
            crop rule can still execute it.
    """

    boxes: tuple[FoundBox, ...]
    problems: tuple[Problem, ...]


def parse(text: str, *, released: bool = False) -> Parsed:
    """Read every box of a model text with its special tokens kept.

    With ``released`` the boxes are those that the published code reads: any number of Python's ("+1", "1e2", ".5", "nan"), and no blank
    between tag and bracket.

    Problem codes: "unclosed_box", "stray_box_end", "long_box", "missing_bracket", "mixed_brackets", "not_a_number",
    "bad_number_count", "inverted_box", "empty_box". Mixed brackets, inverted and empty boxes are still read; the other codes
    mean that there is no box.
    """
    if released:
        return _parse_released(text)
    boxes: list[FoundBox] = []
    problems: list[Problem] = []
    opened = -1
    for tag in _TAG.finditer(text):
        if tag[1] == "start":
            if opened >= 0:
                problems.append(Problem("unclosed_box", text[opened : min(tag.start(), opened + _MAX_BODY)], opened))
            opened = tag.start()
        elif opened < 0:
            problems.append(Problem("stray_box_end", tag[0], tag.start()))
        else:
            box, found = _read_body(text[opened + len(BOX_START) : tag.start()], opened)
            problems.extend(found)
            if box is not None:
                boxes.append(FoundBox(box, opened, tag.end(), text[opened : tag.end()]))
            opened = -1
    if opened >= 0:
        problems.append(Problem("unclosed_box", text[opened : opened + _MAX_BODY], opened))
    return Parsed(tuple(boxes), tuple(problems))


def _parse_released(text: str) -> Parsed:
    boxes = []
    for found in _RELEASED.finditer(text):
        try:
            numbers = [float(field) for field in found[1].split(",")]
        except ValueError:
            continue
        if len(numbers) in (4, 6):
            box: Box = Box2D(*numbers) if len(numbers) == 4 else Box3D(*numbers)
            boxes.append(FoundBox(box, found.start(), found.end(), found[0]))
    read = {box.start for box in boxes}
    return Parsed(tuple(boxes), tuple(p for p in parse(text).problems if p.start not in read or p.code.endswith("_box")))


def last_box(text: str) -> FoundBox | None:
    """The last well-formed box of a text if nothing but blanks follows it; None otherwise.

    That is the box a round has just closed: a malformed box at the end must not bring back an older one.
    """
    stripped = text.rstrip()
    if not stripped.endswith(BOX_END):
        return None
    opened = stripped.rfind(BOX_START)
    if opened < 0:
        return None
    boxes = parse(stripped[opened:]).boxes
    if len(boxes) != 1 or boxes[0].end != len(stripped) - opened:
        return None
    only = boxes[0]
    return FoundBox(only.box, opened, opened + only.end, only.text)


def write(box: Box) -> str:
    """Write a box of the model frame with its tags, square brackets, no blanks: reading the text back gives an equal box.

    A coordinate that is not finite or needs more than 32 characters is a FormatError.
    """
    return f"{BOX_START}[{','.join(number_text(v) for v in box.coords)}]{BOX_END}"


def tag_problems(text: str) -> tuple[Problem, ...]:
    """Think and box tags that do not pair up, in reading order; empty for a balanced text (or one without tags)."""
    unpaired = [p for p in parse(text).problems if p.code in ("unclosed_box", "stray_box_end")]
    return tuple(sorted([*split_think(text)[2], *unpaired], key=lambda p: p.start))


def split_think(text: str, *, opened: bool = False) -> tuple[str, str, tuple[Problem, ...]]:
    """Split a response into reasoning and answer; tags count in any case.

    The answer is what follows the last ``</think>``; without any think tag it is the whole text. An unclosed think block has
    no answer: words inside the reasoning never count as one.
    """
    starts, ends = _offsets(text, THINK_START), _offsets(text, THINK_END)
    if not starts and not ends and not opened:
        return "", text, ()
    problems: list[Problem] = []
    begin = 0 if opened or not starts else starts[0] + len(THINK_START)
    if not opened and starts and text[: starts[0]].strip():
        problems.append(Problem("text_before_think", text[: min(starts[0], _MAX_BODY)], 0))
    problems += [Problem("repeated_think", THINK_START, s) for s in (starts if opened else starts[1:])]
    stray = ends[1:] if opened or (starts and ends and starts[0] < ends[0]) else ends
    problems += [Problem("stray_think_end", THINK_END, e) for e in stray]
    last = starts[-1] if starts else -1
    if not ends or ends[-1] < last:
        problems.append(Problem("unclosed_think", THINK_START, last))
        return text[begin:], "", tuple(problems)
    close = next((e for e in ends if e >= begin), ends[-1])
    return text[begin:close], text[ends[-1] + len(THINK_END) :], tuple(problems)


def before_think_end(text: str) -> str | None:
    """What stands before the first ``</think>``, in any case; None where there is none."""
    ends = _offsets(text, THINK_END)
    return text[: ends[0]] if ends else None


def _offsets(text: str, piece: str) -> list[int]:
    return [m.start() for m in re.finditer(re.escape(piece), text, re.IGNORECASE | re.ASCII)]


def _read_body(body: str, start: int) -> tuple[Box | None, list[Problem]]:
    """Read what stands between two box tags; problems carry the offset of the opening tag."""

    def refuse(code: str) -> tuple[None, list[Problem]]:
        return None, [Problem(code, body[:_MAX_BODY], start)]

    if len(body) > _MAX_BODY:
        return refuse("long_box")
    inner = body.strip()
    if len(inner) < 2 or inner[0] not in "[(" or inner[-1] not in "])":
        return refuse("missing_bracket")
    fields = [f.strip() for f in inner[1:-1].split(",")]
    if any(len(f) > MAX_NUMBER or not NUMBER.fullmatch(f) for f in fields):
        return refuse("not_a_number")
    if len(fields) not in (4, 6):
        return refuse("bad_number_count")
    box: Box = Box2D(*map(float, fields)) if len(fields) == 4 else Box3D(*map(float, fields))
    found = [] if _CLOSING[inner[0]] == inner[-1] else [Problem("mixed_brackets", body, start)]
    return box, found + [Problem(code, body, start) for code in box_flaws(box)]


def box_flaws(box: Box) -> tuple[str, ...]:
    """Codes of what is odd about a box's numbers: "inverted_box" or "empty_box"; empty for a proper box."""
    half = len(box.coords) // 2
    spans = [high - low for low, high in zip(box.coords[:half], box.coords[half:], strict=True)]
    if any(s < 0 for s in spans):
        return ("inverted_box",)
    return ("empty_box",) if any(s == 0 for s in spans) else ()


def number_text(value: float) -> str:
    """Write one coordinate exactly, without exponent; whole numbers without a decimal point."""
    if not math.isfinite(value):
        raise FormatError(f"a box coordinate is {value}", "a finite number")
    text = str(int(value)) if value == int(value) else format(Decimal(repr(float(value))), "f")
    if len(text) > MAX_NUMBER:
        raise FormatError(f"the box coordinate {value!r} needs {len(text)} characters", f"at most {MAX_NUMBER}")
    return text
