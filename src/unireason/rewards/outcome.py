"""Outcome rewards: the right answer in the right form, 0.8 and 0.2.

Our reward reads a Trace, never text from which special tokens were stripped. ``published_outcome`` reproduces the published
reward on plain text and serves comparisons only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from unireason.core.errors import FormatError
from unireason.core.types import Box, Box2D, Box3D, Frame, Look, LookStep, Problem, Trace
from unireason.grounding import crop, grammar
from unireason.grounding.grammar import BOX_END, BOX_START, THINK_END, THINK_START
from unireason.grounding.profile import letters_of
from unireason.metrics.answers import published_reward_choice
from unireason.metrics.boxes import box_iou
from unireason.metrics.open_answers import right_answer

ANSWER_WEIGHT, FORMAT_WEIGHT = 0.8, 0.2

THINK_PROBLEMS = frozenset({"unclosed_think", "stray_think_end", "repeated_think", "text_before_think"})
BOX_PROBLEMS = frozenset(
    (
        *("unclosed_box", "stray_box_end", "long_box", "missing_bracket", "mixed_brackets", "not_a_number", "bad_number_count"),
        *("inverted_box", "empty_box", "box_2d_on_volume", "box_3d_on_image", "box_outside_frame", "uncut_region", "spelled_tag"),
    )
)


def outcome(
    trace: Trace,
    gold: str,
    *,
    must_look: bool = False,
    must_show: bool = False,
    answer_weight: float = ANSWER_WEIGHT,
    format_weight: float = FORMAT_WEIGHT,
) -> dict[str, float]:
    """Score one trace of a question with options against the right letter.

    Args:
        trace: Steps, problems and raw text of one answer.
        gold: The right option letter, in either case.
        must_look: True if the box half of the format asks for at least one executed look.
        must_show: True if a look that shows nothing (``empty_looks``) earns nothing.
        answer_weight: What the right answer earns.
        format_weight: What the format earns.

    Returns:
        ``score`` = ``answer_weight`` x ``answer`` + ``format_weight`` x ``format``; ``answer`` 1 or 0; and the keys of ``form``.
        A trace that says nothing scores 0.

    Raises:
        FormatError: If ``gold`` is not one letter on offer.

    Source: weights from arXiv 2606.11740; the structural checks are ours.
    """
    letter = gold.upper()
    if len(gold) != 1 or not gold.isalpha() or letter not in letters_of(trace.options or " " * 26):
        raise FormatError(f"the gold answer is {gold!r}", "one option letter")
    answer = float(trace.answer.choice == letter)
    return _weighted(answer, form(trace, must_look=must_look, must_show=must_show), answer_weight, format_weight)


def open_outcome(
    trace: Trace,
    gold: Sequence[str],
    *,
    more: Sequence[Sequence[str]] = (),
    tolerance: float = 0.0,
    must_look: bool = False,
    must_show: bool = False,
    answer_weight: float = ANSWER_WEIGHT,
    format_weight: float = FORMAT_WEIGHT,
) -> dict[str, float]:
    """Score one trace of an open question against the texts that count as right; arguments and result as for ``outcome``.

    The answer must say one of the ``gold`` texts, and what else has to be named (``more``), as ``metrics.open_answers`` reads it.
    """
    answer = float(right_answer(trace.answer.text, (gold, *more), tolerance))
    return _weighted(answer, form(trace, must_look=must_look, must_show=must_show), answer_weight, format_weight)


def form(trace: Trace, *, must_look: bool = False, must_show: bool = False) -> dict[str, float]:
    """How well a trace keeps the form of grounded reasoning.

    Returns:
        ``format`` = half ``think`` (exactly one closed think block, not blank, nothing in front of it) + half ``boxes`` (every box reads
        well, fits the frame and stands before ``</think>``; with ``must_look`` at least one of them was executed, with ``must_show``
        none of them shows nothing, as ``empty_looks`` has it); ``looked`` 1 if a look was executed before ``</think>``, with
        ``must_show`` one that shows something. All in [0, 1]; all 0 for a trace that says nothing.
    """
    codes = {problem.code for problem in trace.problems}
    inside = looks_in_reasoning(trace)
    before, closed, _ = trace.raw_text.partition(THINK_END)  # the prompt may have opened the block
    think = float(bool(closed) and bool(before.replace(THINK_START, "", 1).strip()) and not codes & THINK_PROBLEMS)
    empty = empty_looks(trace) if must_show else ()
    looked = sum(look.executed for look in inside) > len(empty)
    said = any(step.text.strip() for step in trace.steps)
    tidy = said and not codes & BOX_PROBLEMS and len(inside) == len(trace.looks)
    boxes = float(tidy and not empty and (looked or not must_look))
    return {"format": (think + boxes) / 2, "think": think, "boxes": boxes, "looked": float(looked)}


def looks_in_reasoning(trace: Trace) -> tuple[LookStep, ...]:
    """The looks that were written before the first ``</think>``, executed or not; all of them if the block never closes.

    A look behind it cannot have served the reasoning, whatever it shows.
    """
    before = grammar.before_think_end(trace.raw_text)
    return trace.looks if before is None else trace.looks[: len(grammar.parse(before).boxes)]


_WHOLE, _SAME, _SMALLEST = 0.9, 0.9, 2.0


def empty_looks(trace: Trace) -> tuple[str, ...]:
    """The looks of a reasoning that were executed and show nothing, a reason each: rewarded, they are learned in place of looking.

    "whole": the look covers at least 0.9 of the picture or the volume, which the model has seen. "tiny": a side of the box as written
    is below 2 px of the model frame. "repeated": its IoU with what an earlier look showed is at least 0.9. "wordless": there is no word
    between it and the look before, or the beginning.
    """
    out, shown, words = list[str](), list[Box](), ""
    left = len(looks_in_reasoning(trace))
    for step in trace.steps:
        if not isinstance(step, LookStep):
            words += step.text
            continue
        if not left:
            break
        left -= 1
        if step.executed and step.crops:
            region = crop.extent(step.crops, trace.frame.kind)
            out += _emptiness(step, region, shown, words.replace(THINK_START, ""), trace.frame)
            shown.append(region)
        words = ""
    return tuple(out)


def _emptiness(look: LookStep, region: Box, shown: Sequence[Box], words: str, frame: Frame) -> list[str]:
    """The first reason why a look shows nothing; none for one that shows something."""
    x1, y1, x2, y2 = look.box_model[:2] + look.box_model[-3:-1] if len(look.box_model) == 6 else look.box_model
    flat = isinstance(region, Box2D)
    whole = Box2D(0, 0, frame.width, frame.height) if flat else Box3D(0, 0, 0, frame.width, frame.height, frame.depth)
    reasons = {
        "whole": box_iou(region, whole) >= _WHOLE,
        "tiny": min(x2 - x1, y2 - y1) < _SMALLEST,
        "repeated": any(box_iou(region, before) >= _SAME for before in shown),
        "wordless": not any(character.isalnum() for character in words),
    }
    return [reason for reason, holds in reasons.items() if holds][:1]


def _weighted(answer: float, parts: dict[str, float], answer_weight: float, format_weight: float) -> dict[str, float]:
    return {"score": answer_weight * answer + format_weight * parts["format"], "answer": answer, **parts}


def published_outcome(
    solution: str,
    ground_truth: str,
    *,
    answer_weight: float = ANSWER_WEIGHT,
    format_weight: float = FORMAT_WEIGHT,
    crop_area_ratio: float = 0.0,
) -> dict[str, float | str]:
    """The published outcome reward on plain text. For comparisons only: it counts tags without order or content.

    The first single letter A to D of the gold answer counts. Think tags are counted in either case, box tags as they are. Empty text
    earns nothing for its form. ``crop_area_ratio``, the share of the picture that the last look showed, is handed through; a choice is
    "" for none.

    Source: derived from the cases ``published_mcq_reward`` and ``outcome_reward``.
    """
    chosen, gold = published_reward_choice(solution), published_reward_choice(ground_truth)
    tags = ((solution.lower(), THINK_START, THINK_END), (solution, BOX_START, BOX_END))
    form = sum(text.count(start) == text.count(end) for text, start, end in tags) / 2 if solution else 0.0
    answer = float(bool(gold) and chosen == gold)
    return {
        "score": answer_weight * answer + format_weight * form,
        "answer_reward": answer,
        "format_reward": form,
        "crop_area_ratio": crop_area_ratio,
        "pred_choice": chosen,
        "gt_choice": gold,
    }


# --- The evidence contrast: does an answer still come out when the model is shown another place than it asked for?


MAX_IOU = 0.1
_TRIES = 256


def elsewhere(region: Box | crop.Plan, frame: Frame, rng: np.random.Generator, *, max_iou: float = MAX_IOU) -> Box | None:
    """Draw a random integer box of the same size in the same frame that hardly overlaps the given one (IoU at most ``max_iou``).

    ``region`` is what was looked at: a box in the model frame (the crop rule says what it really cuts), or a plan. A cuboid is moved
    along x, y and z. The place is drawn evenly from all places that qualify; where those are so few that 256 draws miss them, a
    farthest corner of the frame is taken. None when the region fills so much of the frame that every other place overlaps it more.

    Raises:
        FormatError: If the box does not fit the kind of frame, the plan is empty or leaves it, or ``max_iou`` is out of range.
    """
    if not 0 <= max_iou < 1:
        raise FormatError(f"the largest IoU is {max_iou}", "a number from 0 to 1, 1 excluded")
    lows, highs = _cut(region, frame)
    sizes = [high - low for low, high in zip(lows, highs, strict=True)]
    bounds = (frame.width, frame.height, frame.depth)
    rooms = [bound - size for bound, size in zip(bounds, sizes, strict=True)]
    corner = _farthest(lows, rooms, rng)
    if _iou(lows, corner, sizes) > max_iou:
        return None
    place = corner
    for _ in range(_TRIES):
        drawn = [int(rng.integers(room + 1)) for room in rooms]
        if _iou(lows, drawn, sizes) <= max_iou:
            place = drawn
            break
    x, y, z = place
    width, height, depth = sizes
    return Box2D(x, y, x + width, y + height) if frame.kind == "image" else Box3D(x, y, z, x + width, y + height, z + depth)


class Elsewhere:
    """Shows a random region of the same size, hardly overlapping, in place of each region that a response asks for.

    Attributes:
        moved: True once a region was replaced; False as long as none was, or none could be.
    """

    def __init__(self, frame: Frame, rng: np.random.Generator) -> None:
        """Draw from a source of chance in a frame."""
        self.moved = False
        self._frame, self._rng = frame, rng

    def __call__(self, plan: crop.Plan) -> crop.Plan:
        """The plan of another region; the same plan where the region fills too much of the frame."""
        box = elsewhere(plan, self._frame, self._rng)
        other = None if box is None else crop.plan(box, self._frame)
        if other is None or isinstance(other, Problem):
            return plan
        self.moved = True
        return other


def contrast(score_true: float, score_elsewhere: float) -> float:
    """What the evidence term earns: by how much the look that was asked for beats the random one.

    ``max(0, score_true - score_elsewhere)`` of two scores in [0, 1]: of the answer as given, and of the answer (or the mean of
    several) that the same trajectory leads to with the random region. A wrong answer earns nothing, and is never punished for a
    lucky second one.
    """
    for value in (score_true, score_elsewhere):
        if not 0 <= value <= 1:
            raise FormatError(f"a score of {value}", "a number from 0 to 1")
    return max(0.0, float(score_true) - float(score_elsewhere))


def _cut(region: Box | crop.Plan, frame: Frame) -> tuple[list[int], list[int]]:
    """Lower and upper ends (x, y, z) of what is really cut; z is [0, 1) on an image."""
    plan = crop.plan(region, frame) if isinstance(region, Box2D | Box3D) else region
    if isinstance(plan, Problem):
        raise FormatError(
            f"a box of {plan.text} in a frame of kind {frame.kind}", "a rectangle on an image, a cuboid in a volume"
        )
    if not plan:
        raise FormatError("the plan is empty", "at least one slice")
    slices, rects = [index for index, _ in plan], {rect for _, rect in plan}
    (x1, y1, x2, y2), *others = rects
    first, stop = min(slices), max(slices) + 1
    inside = 0 <= x1 < x2 <= frame.width and 0 <= y1 < y2 <= frame.height and 0 <= first < stop <= frame.depth
    if others or sorted(slices) != list(range(first, stop)) or not inside:
        raise FormatError(f"the plan {plan}", "one rectangle on consecutive slices inside the frame")
    return [x1, y1, first], [x2, y2, stop]


def _farthest(lows: list[int], rooms: list[int], rng: np.random.Generator) -> list[int]:
    """The place that overlaps least: on every axis the end that is farther away, a drawn one if both are as far."""
    ends = []
    for low, room in zip(lows, rooms, strict=True):
        to_end = room - low
        ends.append(0 if low > to_end or (low == to_end and rng.integers(2)) else room)
    return ends


def _iou(lows: list[int], others: list[int], sizes: list[int]) -> float:
    """IoU of two regions of one size at two places."""
    shared = math.prod(max(0, size - abs(a - b)) for a, b, size in zip(lows, others, sizes, strict=True))
    return shared / (2 * math.prod(sizes) - shared)


# --- What a trainer logs of every response beside its reward: whether and how it looked, and whether it came to an end.


CUT_OFF = frozenset({"token_budget", "round_budget", "context"})
"""Ends of a response that a limit made: whatever it would have said is not there."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Measured quantities of one response. None of them is a score.

    Attributes:
        looked: True if a look was executed before ``</think>``.
        looks: Executed looks.
        empty_looks: Executed looks of the reasoning that show nothing (``empty_looks``).
        crops: Regions injected; a look in a volume injects one a slice.
        invalid_boxes: Boxes that do not read well, do not fit the frame or could not be cut.
        box_area: Mean share of the picture (x-y plane) that an executed look showed, in (0, 1]; None without one.
        slices: Mean share of the slices that an executed look showed, in (0, 1]; 1 for images, None without a look.
        sampled_tokens: Tokens that the model sampled; 0 in a trace without tokens.
        truncated: True if the token budget, the number of looks or the context ended the response.
        answered: True if it names an option; for a question without options, if text stands behind ``</think>``.
    """

    looked: bool
    looks: int
    empty_looks: int
    crops: int
    invalid_boxes: int
    box_area: float | None
    slices: float | None
    sampled_tokens: int
    truncated: bool
    answered: bool


def measure(trace: Trace) -> Measures:
    """Measure one response. A trace without steps gives zeros, False and None."""
    executed = [look for look in trace.looks if look.executed and look.crops]
    plane = trace.frame.width * trace.frame.height
    areas = [
        fmean((c.box_model[2] - c.box_model[0]) * (c.box_model[3] - c.box_model[1]) / plane for c in k.crops) for k in executed
    ]
    answer = trace.answer
    return Measures(
        looked=any(look.executed for look in looks_in_reasoning(trace)),
        looks=len(executed),
        empty_looks=len(empty_looks(trace)),
        crops=sum(len(look.crops) for look in executed),
        invalid_boxes=sum(problem.code in BOX_PROBLEMS for problem in trace.problems),
        box_area=fmean(areas) if areas else None,
        slices=fmean(len(look.crops) / trace.frame.depth for look in executed) if executed else None,
        sampled_tokens=0 if trace.tokens is None else sum(trace.tokens.sampled),
        truncated=trace.finish in CUT_OFF,
        answered=answer.choice is not None if trace.options else bool(answer.text.strip()),
    )


def looks_iou(trace: Trace, true: Iterable[Look]) -> list[float]:
    """How well the boxes of a response fit the true looks, whatever their order: for every true look that shows its structure an IoU.

    Boxes are given to true looks one to one, so that the sum of IoU is largest; 0 where none is left, or only one of another
    kind. A box counts where it stands in the reasoning and could be cut, also if nothing was shown for it: this measures where
    the model looks, not what it got to see. Places where an absent structure would lie are no truth and are left out.
    """
    seen = [look.box for look in true if look.seen]
    boxes = [(Box2D if len(look.box_model) == 4 else Box3D)(*look.box_model) for look in looks_in_reasoning(trace)]
    usable = [box for box in boxes if not isinstance(crop.plan(box, trace.frame), Problem)]
    overlap = np.array([[box_iou(one, box) if type(one) is type(box) else 0.0 for box in usable] for one in seen])
    best = [0.0] * len(seen)
    if overlap.size:
        from scipy.optimize import linear_sum_assignment

        for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            best[row] = float(overlap[row, column])
    return best
