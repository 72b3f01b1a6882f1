"""What a sample of a data set expects of a response."""

from __future__ import annotations

from unireason.data.records import SampleRecord
from unireason.errors import FormatError
from unireason.grounding import umrg
from unireason.metrics.overlap import box_iou
from unireason.rewards.compose import Letter, Texts, Truth
from unireason.rewards.spatial import Gold
from unireason.types import Trace


def truth(sample: SampleRecord) -> Truth:
    """The truth of a sample.

    Raises:
        FormatError: If the sample has none.
    """
    if sample.task == "umrg":
        if sample.box is None or sample.points is None:
            raise FormatError(f"sample {sample.id} has no box and points", "both, for implicit grounding")
        return Gold(sample.box, sample.points)
    question = sample.question
    return Letter(question.letter) if question.options else Texts((question.right,))


def looks(sample: SampleRecord) -> bool:
    """True if the reasoning of a sample looks at something: only then is a response asked to look too."""
    return any(not isinstance(part, str) for part in sample.reasoning)


def answer_iou(trace: Trace, sample: SampleRecord) -> float | None:
    """IoU of the box of an implicit answer with the true one, 0 without a usable box; None for other questions."""
    if sample.task != "umrg" or sample.box is None:
        return None
    box = umrg.read(trace.raw_text, way="strict").box
    return 0.0 if box is None else box_iou(box, sample.box)


def gold(sample: SampleRecord) -> str:
    """The truth in words, for people."""
    if sample.task == "umrg":
        return f"{sample.category} {list(sample.box.coords) if sample.box else ''}".strip()
    question = sample.question
    return f"{question.letter}. {question.right}" if question.options else question.right
