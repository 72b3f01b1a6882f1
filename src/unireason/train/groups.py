"""Groups of responses to one question: what they earned, what a run logs of them, and how they are packed for the update.

The pictures and the prompt of a group go through the network once, its responses follow as rows behind them. Injected tokens are context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from unireason.core.types import Scored
from unireason.rewards.compose import Scores
from unireason.rewards.outcome import CUT_OFF

from .config import Grpo
from .context import Crew, TrainContext
from .packing import Pack, PrefixTree, TokenRun
from .rollout import Rolled, answer_iou, gold
from .sampler import bins


@dataclass(slots=True, eq=False)
class RolloutGroup:
    """The responses to one question."""

    rolled: list[Rolled]
    part: int = 0
    place: int = 0
    """Number of its question in the step, over all processes."""
    scores: list[Scores] = field(default_factory=list)
    advantage: list[float] = field(default_factory=list)

    @property
    def rewards(self) -> list[float]:
        """One number a response."""
        return [s.reward for s in self.scores]

    @property
    def idle(self) -> bool:
        """True if all responses earned the same, so that nothing is learned from them."""
        return not any(self.advantage)

    @property
    def success(self) -> float:
        """Share of right answers, or of what a mark on an implicit question can earn."""
        values = [s.parts.get("answer", s.terms.get("spatial", 0.0) + s.terms.get("mask", 0.0)) for s in self.scores]
        return min(1.0, sum(values) / len(values))


def shown(groups: Sequence[RolloutGroup]) -> list[Scored]:
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


def rollout_values(groups: Sequence[RolloutGroup], crew: Crew) -> dict[str, float]:
    """What is logged of the rollouts of a step, over all processes."""
    values: dict[str, list[float]] = {}
    for group in groups:
        values.setdefault("frac_reward_zero_std", []).append(float(group.idle))
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
    "empty_looks",
    "box_area",
    "clipped_ratio",
    "response_tokens",
    "frac_reward_zero_std",
)


def _of(rolled: Rolled, scores: Scores) -> dict[str, float]:
    found, parts = scores.measures, scores.parts
    out = {
        "reward": scores.reward,
        **{f"reward_{term}": value for term, value in scores.terms.items()},
        "crop_rate": float(found.looked),
        "crops_a_sample": float(found.crops),
        "invalid_boxes": float(found.invalid_boxes),
        "empty_looks": float(found.empty_looks),
        "clipped_ratio": float(found.truncated),
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


# --- Mini-batches.


Member = tuple[Rolled, float]
"""A response and its advantage."""


@dataclass(slots=True, eq=False)
class Batch:
    """A packed sequence of responses and what the objective needs of it."""

    packed: Pack
    advantage: torch.Tensor
    counts: torch.Tensor
    sampled_logp: torch.Tensor
    old_logp: torch.Tensor | None = None
    ref_logp: torch.Tensor | None = None


def pack_groups(context: TrainContext, settings: Grpo, groups: Sequence[RolloutGroup]) -> list[Batch]:
    """Packed sequences of a mini-batch, as many in every process. Groups that would not move the policy are left out."""
    by_case: dict[str, list[RolloutGroup]] = {}
    for group in groups:
        if settings.policy.beta or not group.idle:
            by_case.setdefault(group.rolled[0].asked.case.id, []).append(group)
    trees: list[tuple[PrefixTree, list[Member]]] = []
    for same in by_case.values():
        for together in [same] if _saves(context, same) else [[group] for group in same]:
            tree, members = _tree(context, settings, together)
            # More tokens than may go through the network at once become several trees, each with the prefix and some of the rows.
            room = settings.run.max_tokens_per_microbatch - len(tree.prefix.ids)
            for part in bins([len(row.ids) for row in tree.rows], max(1, room)):
                trees.append((PrefixTree(tree.prefix, tuple(tree.rows[i] for i in part)), [members[i] for i in part]))
    rows = bins([tree.length for tree, _ in trees], settings.run.max_tokens_per_microbatch)
    rows += [[] for _ in range(int(context.crew.largest([len(rows)])[0]) - len(rows))]
    batches = []
    for row, packed in zip(rows, context.packs([[trees[i][0] for i in row] for row in rows]), strict=True):
        members = [member for i in row for member in trees[i][1]]
        logps = [p for r, _ in members for p, kept in zip(r.session.logprobs, in_loss(settings, r), strict=True) if kept]
        counts = torch.bincount(packed.rows, minlength=max(1, len(members)))
        batches.append(Batch(packed, torch.tensor([a for _, a in members] or [0.0]), counts, torch.tensor(logps)))
    return batches


def in_loss(settings: Grpo, rolled: Rolled) -> Sequence[bool]:
    """Which tokens of a response are in the loss: the sampled ones, or none of one that was cut off and is to be masked."""
    masked = settings.policy.mask_truncated_completions and rolled.session.finish in CUT_OFF
    return [False] * len(rolled.session.response) if masked else rolled.session.sampled


def _saves(context: TrainContext, groups: Sequence[RolloutGroup]) -> bool:
    """True if sharing the pictures of several questions takes fewer tokens than sharing each question's whole prompt."""
    prompts = [g.rolled[0].session.prompt for g in groups]
    cuts = [_pictures_end(context, p) for p in prompts]
    if len({p[:c] for p, c in zip(prompts, cuts, strict=True)}) > 1:
        return False
    repeated = sum((len(p) - c) * (len(g.rolled) - 1) for p, c, g in zip(prompts, cuts, groups, strict=True))
    return repeated < cuts[0] * (len(groups) - 1)


def _pictures_end(context: TrainContext, prompt: Sequence[int]) -> int:
    """Ids up to and including the last picture."""
    return len(prompt) - prompt[::-1].index(context.checkpoint.ids.vision_end)


def _tree(context: TrainContext, settings: Grpo, groups: Sequence[RolloutGroup]) -> tuple[PrefixTree, list[Member]]:
    """The responses of some groups behind what they share: the prompt of one group, the pictures of several."""
    checkpoint, first = context.checkpoint, groups[0].rolled[0]
    prompt = first.session.prompt
    cut = len(prompt) if len(groups) == 1 else _pictures_end(context, prompt)
    prefix = context.encoder.run(prompt[:cut], first.asked.pictures)
    rows, members = [], [(r, a) for g in groups for r, a in zip(g.rolled, g.advantage, strict=True)]
    for rolled, _ in members:
        row, session = TokenRun(next=prefix.next), rolled.session
        row.text(session.prompt[cut:], label=False)
        shown = [(c.pixels, c.grid_thw or (0, 0, 0)) for c in session.crops]
        row.tokens(session.response, in_loss(settings, rolled), pictures=shown, special=checkpoint.ids, merge=checkpoint.merge)
        rows.append(row)
    return PrefixTree(prefix, tuple(rows)), members
