"""Outcome rewards: the right letter in the right form, 0.8 and 0.2.

Our reward reads a Trace, never text from which special tokens were stripped. ``published_outcome`` reproduces the published
reward on plain text and serves comparisons only.
"""

from __future__ import annotations

from unireason.errors import FormatError
from unireason.grounding.grammar import BOX_END, BOX_START, THINK_END, THINK_START
from unireason.metrics.answers import published_reward_choice
from unireason.types import Trace

ANSWER_WEIGHT, FORMAT_WEIGHT = 0.8, 0.2

_THINK_PROBLEMS = {"unclosed_think", "stray_think_end", "repeated_think", "text_before_think"}
_BOX_PROBLEMS = {
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
}


def outcome(trace: Trace, gold: str, *, must_look: bool = False) -> dict[str, float]:
    """Score one trace against the gold letter.

    Args:
        trace: Steps, problems and raw text of one answer.
        gold: The right option letter, in either case.
        must_look: True if the box half of the format asks for at least one executed look.

    Returns:
        ``score`` = 0.8 ``answer`` + 0.2 ``format``; ``answer`` 1 or 0; ``format`` = half ``think`` (exactly one closed think
        block) + half ``boxes`` (every box reads well and fits the frame; with ``must_look`` at least one was executed);
        ``looked`` 1 if a look was executed. All in [0, 1]. A trace without steps scores 0.

    Raises:
        FormatError: If ``gold`` is not one letter.

    Source: weights from arXiv 2606.11740; the structural checks are ours.
    """
    if len(gold) != 1 or not gold.isalpha():
        raise FormatError(f"the gold answer is {gold!r}", "one option letter")
    codes = {problem.code for problem in trace.problems}
    think = float(THINK_END in trace.raw_text and not codes & _THINK_PROBLEMS)
    looked = any(look.executed for look in trace.looks)
    boxes = float(not codes & _BOX_PROBLEMS and (looked or not must_look) and bool(trace.steps))
    answer = float(trace.answer.choice == gold.upper())
    form = (think + boxes) / 2
    return {
        "score": ANSWER_WEIGHT * answer + FORMAT_WEIGHT * form,
        "answer": answer,
        "format": form,
        "think": think,
        "boxes": boxes,
        "looked": float(looked),
    }


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
