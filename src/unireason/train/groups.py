"""Groups of responses to one question: what they earned, and what a run logs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from unireason.rewards.compose import Scores
from unireason.types import Scored

from .crew import Crew
from .rollout import Rolled
from .scoring import answer_iou, gold


@dataclass(slots=True, eq=False)
class Group:
    """The responses to one question.

    Attributes:
        rolled: Responses.
        part: Mini-batch to which it belongs, from 0; it does not depend on the number of processes.
        scores: What each earned.
        advantage: Each reward against those of the group.
    """

    rolled: list[Rolled]
    part: int = 0
    scores: list[Scores] = field(default_factory=list)
    advantage: list[float] = field(default_factory=list)

    @property
    def rewards(self) -> list[float]:
        """One number a response."""
        return [s.reward for s in self.scores]


def shown(groups: Sequence[Group]) -> list[Scored]:
    """Responses for people to look at, those of one group in a row."""
    return [
        Scored(
            trace=rolled.trace,
            reward=scores.reward,
            parts=scores.terms,
            gold=gold(rolled.asked.sample),
            case=rolled.asked.case.id,
            pictures=np.stack(list(rolled.asked.pictures)),
            advantage=advantage,
        )
        for group in groups
        for rolled, scores, advantage in zip(group.rolled, group.scores, group.advantage, strict=True)
    ]


def measure(groups: Sequence[Group], crew: Crew) -> dict[str, float]:
    """What is logged of the rollouts of a step, over all processes.

    Returns:
        Means over responses: ``reward``, ``reward_<term>``, ``accuracy`` (also ``_2d`` and ``_3d``), ``answer_iou`` and
        ``mask_dice`` (of implicit questions), ``crop_rate``, ``crops_a_sample``,
        ``invalid_boxes``, ``box_area`` (share of the picture, over responses that looked), ``overflow`` (cut off), ``response_tokens``;
        over groups: ``zero_advantage``; and ``responses``. Names without a response are left out.
    """
    values: dict[str, list[float]] = {}
    for group in groups:
        values.setdefault("zero_advantage", []).append(float(not any(group.advantage)))
        for rolled, scores in zip(group.rolled, group.scores, strict=True):
            for name, value in _of(rolled, scores).items():
                values.setdefault(name, []).append(value)
    sums = crew.sums([f for name in _LOGGED for f in (sum(values.get(name, ())), len(values.get(name, ())))])
    pairs = dict(zip(_LOGGED, zip(sums[::2], sums[1::2], strict=True), strict=True))
    return {name: total / count for name, (total, count) in pairs.items() if count} | {"responses": pairs["reward"][1]}


_TERMS = ("answer", "format", "spatial", "mask", "looks", "length", "evidence")
_LOGGED = (
    "reward",
    *(f"reward_{term}" for term in _TERMS),
    "accuracy",
    "accuracy_2d",
    "accuracy_3d",
    "answer_iou",
    "mask_dice",
    "crop_rate",
    "crops_a_sample",
    "invalid_boxes",
    "box_area",
    "overflow",
    "response_tokens",
    "zero_advantage",
)


def _of(rolled: Rolled, scores: Scores) -> dict[str, float]:
    found, parts = scores.measures, scores.parts
    out = {
        "reward": scores.reward,
        **{f"reward_{term}": value for term, value in scores.terms.items()},
        "crop_rate": float(found.looked),
        "crops_a_sample": float(found.crops),
        "invalid_boxes": float(found.invalid_boxes),
        "overflow": float(found.truncated),
        "response_tokens": float(found.sampled_tokens),
    }
    if "answer" in parts:
        out["accuracy"] = out["accuracy_2d" if rolled.asked.sample.kind == "image" else "accuracy_3d"] = parts["answer"]
    if "mask_dice" in parts:
        out["mask_dice"] = parts["mask_dice"]
    overlap = answer_iou(rolled.trace, rolled.asked.sample)
    if overlap is not None:
        out["answer_iou"] = overlap
    return out if found.box_area is None else out | {"box_area": found.box_area}
