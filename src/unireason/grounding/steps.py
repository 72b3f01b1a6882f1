"""Turns the text of a response, with what was executed, into the steps of a trace.

It reads boxes through the grammar and knows nothing of networks, files or JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unireason.errors import FormatError
from unireason.grounding import crop, grammar
from unireason.types import AnswerStep, Crop, Frame, LookStep, Problem, Step, TextStep

VISION_START = "<|vision_start|>"

_TAGS = re.compile(r"<\|[a-z_]{1,40}\|>|</?(?i:think)>")
_CLAUSE = re.compile(r"[.;!?\n,]")
_ARTICLES = {"the", "a", "an", "this", "that", "its", "another"}
_CONNECTORS = {
    "at",
    "in",
    "on",
    "is",
    "are",
    "lies",
    "seen",
    "here",
    "located",
    "see",
    "look",
    "looking",
    "shown",
    "within",
    "to",
}
_LABEL_CHARS, _LABEL_WORDS = 200, 6


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """What came of one box whose region was shown to the model.

    Attributes:
        crops: The regions, in slice order; at least one.
        box_voxel: What they show together, in the file's own index space.
        box_world_mm: Axis-aligned LPS bounds in millimetres; None without geometry.
    """

    crops: tuple[Crop, ...]
    box_voxel: tuple[float, ...] | None = None
    box_world_mm: tuple[float, ...] | None = None


def steps_from_text(
    text: str,
    *,
    executions: Sequence[Execution] = (),
    choose: Callable[[str], str | None],
    opened: bool = False,
    frame: Frame | None = None,
) -> tuple[tuple[Step, ...], tuple[Problem, ...]]:
    """Read a response as text, looks and an answer.

    A box was executed if injected pictures stand right behind it, that is ``<|vision_start|>``: those tokens cannot be sampled,
    so the text itself says which boxes they are. Looks behind ``</think>`` come first; the text of the answer step
    leaves them out.

    Args:
        text: The response, special tokens kept, image pads collapsed or not.
        executions: What was executed, in order; one for each box with pictures behind it.
        choose: Names the option letter of an answer text, or None (see ``metrics.answers``).
        opened: True if the prompt already opened the think block.
        frame: The model frame, so that boxes that leave it are told ("box_outside_frame"); None where it is not known.

    Returns:
        (steps, problems). A response whose think block never closes has no answer step; the empty text has no steps. Boxes with
        more picture tags behind them than were executed (a model may spell a tag letter by letter) give "spelled_tag".

    Raises:
        FormatError: If there are more executions than boxes with pictures behind them.
    """
    parsed = grammar.parse(text)
    shown = [found.end for found in parsed.boxes if text.startswith(VISION_START, found.end)]
    if len(shown) < len(executions):
        raise FormatError(
            f"{len(executions)} executed looks for a text with {len(shown)}", "one for each box with pictures behind it"
        )
    spelled = [Problem("spelled_tag", VISION_START, end) for end in shown[len(executions) :]]
    _, answer, think_problems = grammar.split_think(text, opened=opened)
    answer_start = len(text) - len(answer) if answer else len(text)
    steps: list[Step] = []
    executed, last_end = dict(zip(shown, executions, strict=False)), 0
    for found in parsed.boxes:
        _add_text(steps, text[last_end : min(found.start, answer_start)])
        clause_start = max(last_end, answer_start) if found.start >= answer_start else last_end
        steps.append(_look(found, _label(text[clause_start : found.start]), executed.get(found.end)))
        last_end = found.end
    _add_text(steps, text[last_end:answer_start])
    if answer:
        said = _clean(_without_boxes(answer, [f for f in parsed.boxes if f.start >= answer_start], answer_start))
        steps.append(AnswerStep(said, choose(said)))
    outside = [
        Problem(code, found.text, found.start) for found in parsed.boxes if frame for code in crop.frame_flaws(found.box, frame)
    ]
    problems = sorted([*parsed.problems, *think_problems, *spelled, *outside], key=lambda p: p.start)
    return tuple(steps), tuple(problems)


def _look(found: grammar.FoundBox, label: str, execution: Execution | None) -> LookStep:
    if execution is None:
        return LookStep(found.text, found.box.coords, label=label)
    return LookStep(
        found.text,
        found.box.coords,
        box_voxel=execution.box_voxel,
        box_world_mm=execution.box_world_mm,
        slices=tuple(crop.slice_index for crop in execution.crops),
        crops=execution.crops,
        executed=True,
        label=label,
    )


def _add_text(steps: list[Step], raw: str) -> None:
    said = _clean(raw)
    if said:
        steps.append(TextStep(said))


def _clean(raw: str) -> str:
    return _TAGS.sub("", raw).strip()


def _without_boxes(answer: str, boxes: Sequence[grammar.FoundBox], offset: int) -> str:
    pieces, position = [], 0
    for found in boxes:
        pieces.append(answer[position : found.start - offset])
        position = found.end - offset
    return "".join([*pieces, answer[position:]])


def _label(before: str) -> str:
    """The words that name what a box shows: those behind the last article of the clause in front of it, at most six."""
    said = _clean(before[-_LABEL_CHARS:]).rstrip(" :(-\u2013")
    words = _CLAUSE.split(said)[-1].replace(":", " ").split()
    while words and words[-1].lower() in _CONNECTORS:
        words.pop()
    articles = [i for i, word in enumerate(words) if word.lower() in _ARTICLES]
    return " ".join(words[articles[-1] + 1 if articles else 0 :][-_LABEL_WORDS:])
