"""Numbers that come with an answer and might tell whether it is right, each in [0, 1]: overlap of its looks, probability of its answer.

The agreement among samples is ``voting.Vote.agreement``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from unireason.errors import FormatError
from unireason.evaluate.suites.suite import Entry
from unireason.metrics.calibration import Bin, auroc, calibration_error, reliability_bins
from unireason.rewards.measures import looks_iou
from unireason.types import Trace


def box_overlap(entry: Entry, trace: Trace) -> float | None:
    """Mean overlap of the boxes of the reasoning with the true looks, as ``rewards.measures.looks_iou``.

    Returns:
        A number in [0, 1], a missing look counting 0; None if the question has no true look that shows its structure.
    """
    found = looks_iou(trace, entry.looks)
    return fmean(found) if found else None


def answer_probability(trace: Trace, think_end: int | None) -> float | None:
    """Probability with which the model sampled its answer, given its reasoning: of all that it sampled behind ``</think>``.

    Args:
        trace: A response with token ids and log-probabilities.
        think_end: The id of ``</think>`` (``Checkpoint.ids.think_end``); None where it is not one token.

    Returns:
        A number in [0, 1]: the product of the recorded token probabilities, which the engines take at temperature 1; None without
        log-probabilities, without ``</think>``, with nothing behind it, or where the network lost its numbers (NaN).
    """
    tokens = trace.tokens
    if tokens is None or not tokens.logprobs or think_end not in tokens.response:
        return None
    start = len(tokens.response) - tokens.response[::-1].index(think_end)
    own = [value for value, sampled in zip(tokens.logprobs[start:], tokens.sampled[start:], strict=True) if sampled]
    total = sum(own)
    return None if not own or math.isnan(total) else min(1.0, math.exp(total))


def calibration(values: Sequence[float | None], right: Sequence[bool], *, count: int = 10) -> dict[str, Any]:
    """How well one predictor tells right from wrong, as plain JSON values.

    Args:
        values: The predictor, None where it is not known; such answers are left out.
        right: True where the answer is right.
        count: Bins to aim at.

    Returns:
        ``n`` answers with a value, ``missing`` ones, ``auroc`` and ``ece`` (None where undefined), ``bins`` (fields of
        ``metrics.calibration.Bin``; ``interval`` is a list).

    Raises:
        FormatError: If the lengths differ or a value is outside [0, 1].
    """
    if len(values) != len(right):
        raise FormatError(f"{len(values)} values and {len(right)} answers", "one an answer")
    known = [(value, hit) for value, hit in zip(values, right, strict=True) if value is not None]
    numbers, hits = [value for value, _ in known], [hit for _, hit in known]
    bins = reliability_bins(numbers, hits, count=count)
    return {
        "n": len(known),
        "missing": len(values) - len(known),
        "auroc": auroc(numbers, hits),
        "ece": calibration_error(bins),
        "bins": [_plain(own) for own in bins],
    }


def _plain(own: Bin) -> dict[str, Any]:
    return asdict(own) | {"interval": list(own.interval)}
