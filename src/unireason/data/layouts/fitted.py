"""Rows of releases as samples in a model frame, or the reason why they are left out.

What a row says is kept word for word; boxes go from the frame of the release to that of the data set, and are written by the grammar.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unireason.data.checks.boxes import box_fault, off_mask
from unireason.data.extract.boxes import model_box
from unireason.data.frames import FrameRule
from unireason.data.question import IMPLICIT, LETTERS, Question
from unireason.data.records import SampleRecord
from unireason.errors import FormatError
from unireason.grounding import grammar
from unireason.grounding.crop import PATCH_FACTOR
from unireason.types import Box, Box2D, Frame, Look

from .posing import IMAGE, pose, with_crops
from .recover import MAX_TEXT, Recovered
from .umrg import UmrgRow

ANNOTATOR = "release"
"""Who wrote a reasoning, if a release does not tell."""
_TOKEN = re.compile(r"<\|[a-z_]{1,40}\|>|</?think>|</?answer>")

Reasoning = tuple[str | Look, ...]


class LeftOut(Exception):  # noqa: N818 (said of a row)
    """A row cannot be learned from.

    Attributes:
        reason: Why, in words that many rows share.
        detail: What was found in this one; "" if there is no more to say.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample belongs.

    Attributes:
        case: Identifier of its case.
        split: One of SPLITS.
        patient: Patient; "" if it is not known.
        written: The frame in whose pixels the release writes boxes.
        frame: The model frame of the case.
    """

    case: str
    split: str
    patient: str
    written: Frame
    frame: Frame

    def box(self, box: Box) -> Box:
        """A box of the release in the model frame, whole pixels.

        Raises:
            LeftOut: If it is of another kind than its picture, empty, or leaves it.
        """
        whole = type(box)(*(float(int(v)) for v in box.coords))  # as the engine cuts it
        fault = box_fault(whole, self.written)
        if fault:
            raise LeftOut("a box " + _told(fault))
        if self.written == self.frame:
            return type(box)(*(int(v) for v in whole.coords))
        half = len(box.coords) // 2
        low, high = (np.array(part, float) for part in (whole.coords[:half], whole.coords[half:]))
        return model_box(low, high, _sizes(self.written), self.frame)

    def point(self, point: Sequence[float], box: Box2D) -> tuple[int, int]:
        """A point of the release in the model frame, a pixel of the box. A point on the far edge of a box is in its last pixel."""
        x, y = (int((v + 0.5) * n / m) for v, n, m in zip(point, _sizes(self.frame), _sizes(self.written), strict=False))
        return min(max(x, int(box.x1)), int(box.x2) - 1), min(max(y, int(box.y1)), int(box.y2) - 1)


def written_frame(shape: tuple[int, ...]) -> Frame:
    """The frame in whose pixels UniMed-CoT writes boxes.

    Args:
        shape: (Y, X) of the stored picture, or (Z, Y, X) of a volume.

    Returns:
        Of an image its own pixels where the network would not resize it (sides that are multiples of 28), else those that it is resized
        to; of a volume those of the published stack. Source: the model frame of arXiv 2606.11740.
    """
    if len(shape) == 2 and not any(side % PATCH_FACTOR for side in shape):
        return Frame(shape[1], shape[0], 1, "image")
    return FrameRule().frame(shape)


def from_recovered(found: Recovered, table: str, place: Place) -> SampleRecord:
    """A row of UniMed-CoT as a sample.

    Args:
        found: What the row says.
        table: "sft" or "rl".
        place: Where it belongs.

    Raises:
        LeftOut: If it cannot be learned from as it is.
    """
    question, reasoning, annotator = _question(found), Reasoning(), ""
    if found.sample is not None:
        question, annotator, reasoning = found.sample.question, found.sample.annotator, found.sample.reasoning
        reasoning = tuple(p if isinstance(p, str) else Look(p.label, place.box(p.box), p.seen) for p in reasoning)
    elif table == "sft":
        annotator, reasoning = ANNOTATOR, _reasoning(found, place)
    made = SampleRecord(
        found.sample.id if found.sample else identifier(place.case, question.text, *question.options),
        place.case,
        place.patient,
        place.split,
        place.frame.kind,
        question,
        reasoning,
        annotator,
        stages=("sft",) if table == "sft" else ("grpo",),
        origin=found.origin,
    )
    return _posed(made, place.frame)


def from_umrg(row: UmrgRow, name: str, place: Place, *, mask: NDArray[np.bool_], called: str) -> SampleRecord:
    """A row of U-MRG as a sample.

    Args:
        row: The row.
        name: Identifier of the sample.
        place: Where it belongs.
        mask: Its mask, (Y, X) on the grid of the picture.
        called: Name of the mask among those of the case.

    Raises:
        LeftOut: If it cannot be learned from as it is.
    """
    if not row.question.strip():
        raise LeftOut("it has no text")
    box = place.box(Box2D(*row.box))
    assert isinstance(box, Box2D)
    x1, y1, x2, y2 = row.box
    apart = off_mask(Box2D(*row.box), mask)
    if apart:
        raise LeftOut("its box is not that of its mask", apart)
    if not all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in row.points):
        raise LeftOut("a point lies outside its box")
    points = (place.point(row.points[0], box), place.point(row.points[1], box))
    if points[0] == points[1]:
        raise LeftOut("its two points are one" if row.points[0] == row.points[1] else "its two points are one pixel of the frame")
    question = Question(IMPLICIT, "segment", (called,), row.question.strip(), (), -1, (), ())
    annotator = ANNOTATOR if row.reasoning.strip() else ""
    made = SampleRecord(
        name,
        place.case,
        place.patient,
        place.split,
        "image",
        question,
        _texts(row.reasoning) if annotator else (),
        annotator,
        box,
        points,
        row.category,
        row.supercategory,
        ("sft", "grpo") if annotator else ("grpo",),
        row.data_source,
    )
    return _posed(made, place.frame)


def other_crops(found: Recovered, sample: SampleRecord, frame: Frame) -> bool:
    """True if a row shows another number of crops than the engine cuts; a row that shows none at all says nothing about them."""
    shown = found.response.count(IMAGE)
    return bool(shown) and shown != len(with_crops(sample.response, frame)[1])


def identifier(*texts: str) -> str:
    """16 hex digits that name a question."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _question(found: Recovered) -> Question:
    """The question of a row, whatever else the row holds."""
    options = found.options
    if not found.question:
        raise LeftOut("it has no text")
    if len(options) < 2:
        raise LeftOut("it has no options")
    if len(set(options)) < len(options):
        raise LeftOut("two of its options are the same")
    if not found.letter:
        raise LeftOut("its answer is no letter of an option")
    return Question("", "", (), found.question, options, LETTERS.index(found.letter), (), ())


def _reasoning(found: Recovered, place: Place) -> Reasoning:
    """The reasoning of a row between its think tags, word for word."""
    text = found.response.replace(IMAGE, "")
    if len(text) > MAX_TEXT:
        raise LeftOut(f"its response has more than {MAX_TEXT:,} characters")
    if grammar.THINK_START not in text:
        raise LeftOut("it has no reasoning")
    flaws = [flaw for flaw in found.problems if flaw != "mixed_brackets"]
    if flaws:
        raise LeftOut("its response cannot be read", ", ".join(flaws))
    start, end = text.index(grammar.THINK_START) + len(grammar.THINK_START), text.rindex(grammar.THINK_END)
    if not text[start:end].strip():
        raise LeftOut("it has no reasoning")
    parts: list[str | Look] = []
    for box, look in zip(grammar.parse(text).boxes, found.looks, strict=True):
        if box.start >= end:
            raise LeftOut("it looks behind its reasoning")
        parts += [text[start : box.start], Look(look.label, place.box(box.box))]
        start = box.end
    return _texts(*parts, text[start:end])


def _texts(*parts: str | Look) -> Reasoning:
    """Parts without empty texts.

    Raises:
        LeftOut: If a text holds a token that only the engine writes.
    """
    if any(_TOKEN.search(part) for part in parts if isinstance(part, str)):
        raise LeftOut("its text holds a special token")
    return tuple(part for part in parts if part)


def _posed(sample: SampleRecord, frame: Frame) -> SampleRecord:
    """The sample, if it can be asked and its looks can be executed."""
    question = sample.question
    if any(_TOKEN.search(text) for text in (question.text, *question.options)):
        raise LeftOut("its text holds a special token")
    try:
        "".join((sample.id, question.text, *question.options, sample.response)).encode()
        pose(sample, frame)
    except (FormatError, UnicodeEncodeError) as error:
        raise LeftOut("it cannot be asked", str(error)) from error
    return sample


def _told(fault: str) -> str:
    """A fault of a box without its numbers, so that rows can be counted by it."""
    return re.sub(r"\[[^\]]*\] |of \d[\dx ]*", "", fault).strip()


def _sizes(frame: Frame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Sizes along x, y (and z)."""
    sizes = (frame.width, frame.height, frame.depth)[: 2 if frame.kind == "image" else 3]
    return np.array(sizes, np.float64)
