"""What a trainer logs of every response beside its reward: whether and how it looked, and whether it came to an end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from unireason.grounding.crop import plan
from unireason.metrics.overlap import box_iou
from unireason.types import Box2D, Box3D, Look, Problem, Trace

from .outcome import BOX_PROBLEMS, looks_in_reasoning

_CUT_OFF = {"token_budget", "context"}


@dataclass(frozen=True, slots=True)
class Measures:
    """Measured quantities of one response. None of them is a score.

    Attributes:
        looked: True if a look was executed before ``</think>``.
        looks: Executed looks.
        crops: Regions injected; a look in a volume injects one a slice.
        invalid_boxes: Boxes that do not read well, do not fit the frame or could not be cut.
        box_area: Mean share of the picture (x-y plane) that an executed look showed, in (0, 1]; None without one.
        slices: Mean share of the slices that an executed look showed, in (0, 1]; 1 for images, None without a look.
        sampled_tokens: Tokens that the model sampled; 0 in a trace without tokens.
        truncated: True if the token budget or the context ended the response.
        answered: True if it names an option; for a question without options, if text stands behind ``</think>``.
    """

    looked: bool
    looks: int
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
        crops=sum(len(look.crops) for look in executed),
        invalid_boxes=sum(problem.code in BOX_PROBLEMS for problem in trace.problems),
        box_area=fmean(areas) if areas else None,
        slices=fmean(len(look.crops) / trace.frame.depth for look in executed) if executed else None,
        sampled_tokens=0 if trace.tokens is None else sum(trace.tokens.sampled),
        truncated=trace.finish in _CUT_OFF,
        answered=answer.choice is not None if trace.options else bool(answer.text.strip()),
    )


def looks_iou(trace: Trace, true: Iterable[Look]) -> list[float]:
    """How well the boxes of a response fit the true looks, whatever their order.

    Boxes are given to true looks one to one, so that the sum of IoU is largest. A box counts where it stands in the reasoning and could be
    cut, also if nothing was shown for it: this measures where the model looks, not what it got to see.

    Args:
        trace: The response.
        true: The true looks.

    Returns:
        For every true look that shows its structure, in order, the IoU with its box; 0 where none is left for it, or only one of another
        kind. Places where an absent structure would lie are no truth and are left out.
    """
    seen = [look.box for look in true if look.seen]
    boxes = [(Box2D if len(look.box_model) == 4 else Box3D)(*look.box_model) for look in looks_in_reasoning(trace)]
    usable = [box for box in boxes if not isinstance(plan(box, trace.frame), Problem)]
    overlap = np.array([[box_iou(one, box) if type(one) is type(box) else 0.0 for box in usable] for one in seen])
    best = [0.0] * len(seen)
    if overlap.size:
        from scipy.optimize import linear_sum_assignment

        for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            best[row] = float(overlap[row, column])
    return best
