"""Outcome rewards: the right answer in the right form, 0.8 and 0.2.

Our reward reads a Trace, never text from which special tokens were stripped. ``published_outcome`` reproduces the published
reward on plain text and serves comparisons only.
"""

from __future__ import annotations

from collections.abc import Sequence

from unireason.errors import FormatError
from unireason.grounding import grammar
from unireason.grounding.grammar import BOX_END, BOX_START, THINK_END, THINK_START
from unireason.grounding.prompts import letters_of
from unireason.metrics.answers import published_reward_choice, same_text
from unireason.types import LookStep, Trace

ANSWER_WEIGHT, FORMAT_WEIGHT = 0.8, 0.2

THINK_PROBLEMS = frozenset({"unclosed_think", "stray_think_end", "repeated_think", "text_before_think"})
BOX_PROBLEMS = frozenset(
    {
        "unclosed_box",
        "stray_box_end",
        "long_box",
        "missing_bracket",
        "mixed_brackets",
        "not_a_number",
        "bad_number_count",
        "inverted_box",
        "empty_box",
        "box_2d_on_volume",
        "box_3d_on_image",
        "box_outside_frame",
        "uncut_region",
        "spelled_tag",
    }
)


def outcome(
    trace: Trace,
    gold: str,
    *,
    must_look: bool = False,
    answer_weight: float = ANSWER_WEIGHT,
    format_weight: float = FORMAT_WEIGHT,
) -> dict[str, float]:
    """Score one trace of a question with options against the right letter.

    Args:
        trace: Steps, problems and raw text of one answer.
        gold: The right option letter, in either case.
        must_look: True if the box half of the format asks for at least one executed look.
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
    return _weighted(answer, form(trace, must_look=must_look), answer_weight, format_weight)


def open_outcome(
    trace: Trace,
    gold: Sequence[str],
    *,
    must_look: bool = False,
    answer_weight: float = ANSWER_WEIGHT,
    format_weight: float = FORMAT_WEIGHT,
) -> dict[str, float]:
    """Score one trace of an open question against the texts that count as right.

    Args:
        trace: Steps, problems and raw text of one answer.
        gold: Right answers, at least one; the answer must equal one of them after normalisation (``metrics.answers.same_text``).
        must_look: True if the box half of the format asks for at least one executed look.
        answer_weight: What the right answer earns.
        format_weight: What the format earns.

    Returns:
        The keys of ``outcome``.

    Raises:
        FormatError: If there is no gold text, or one has no word.
    """
    if not gold or isinstance(gold, str):
        raise FormatError(f"the gold answers are {gold!r}", "a list of at least one text")
    answer = float(any(same_text(trace.answer.text, text) for text in gold))
    return _weighted(answer, form(trace, must_look=must_look), answer_weight, format_weight)


def form(trace: Trace, *, must_look: bool = False) -> dict[str, float]:
    """How well a trace keeps the form of grounded reasoning.

    Returns:
        ``format`` = half ``think`` (exactly one closed think block, not blank, nothing in front of it) + half ``boxes`` (every box reads
        well, fits the frame and stands before ``</think>``; with ``must_look`` at least one of them was executed); ``looked`` 1 if a
        look was executed before ``</think>``. All in [0, 1]; all 0 for a trace that says nothing.
    """
    codes = {problem.code for problem in trace.problems}
    inside = looks_in_reasoning(trace)
    think = float(_has_reasoning(trace.raw_text) and not codes & THINK_PROBLEMS)
    looked = any(look.executed for look in inside)
    said = any(step.text.strip() for step in trace.steps)
    tidy = said and not codes & BOX_PROBLEMS and len(inside) == len(trace.looks)
    boxes = float(tidy and (looked or not must_look))
    return {"format": (think + boxes) / 2, "think": think, "boxes": boxes, "looked": float(looked)}


def looks_in_reasoning(trace: Trace) -> tuple[LookStep, ...]:
    """The looks that were written before the first ``</think>``, executed or not; all of them if the block never closes.

    A look behind it cannot have served the reasoning, whatever it shows.
    """
    before = grammar.before_think_end(trace.raw_text)
    return trace.looks if before is None else trace.looks[: len(grammar.parse(before).boxes)]


def _has_reasoning(raw_text: str) -> bool:
    """True if something other than blanks stands before a ``</think>`` in these letters; the prompt may have opened the block."""
    before, closed, _ = raw_text.partition(THINK_END)
    return bool(closed) and bool(before.replace(THINK_START, "", 1).strip())


def _weighted(answer: float, parts: dict[str, float], answer_weight: float, format_weight: float) -> dict[str, float]:
    return {"score": answer_weight * answer + format_weight * parts["format"], "answer": answer, **parts}


def published_outcome(solution: str, ground_truth: str) -> dict[str, float | str]:
    """The published outcome reward on plain text. For comparisons only: it counts tags without order or content.

    Args:
        solution: The response as text.
        ground_truth: The gold answer; its first single letter A to D counts.

    Returns:
        ``score``, ``answer_reward``, ``format_reward``, ``crop_area_ratio`` (always 0), ``pred_choice`` and ``gt_choice`` ("" for
        none). Empty text scores 0.

    Source: derived from the cases ``published_mcq_reward``.
    """
    chosen, gold = published_reward_choice(solution), published_reward_choice(ground_truth)
    lowered = solution.lower()
    balanced = [lowered.count(start) == lowered.count(end) for start, end in ((THINK_START, THINK_END), (BOX_START, BOX_END))]
    form = sum(balanced) / 2 if solution else 0.0
    answer = float(bool(gold) and chosen == gold)
    return {
        "score": ANSWER_WEIGHT * answer + FORMAT_WEIGHT * form,
        "answer_reward": answer,
        "format_reward": form,
        "crop_area_ratio": 0.0,
        "pred_choice": chosen,
        "gt_choice": gold,
    }
