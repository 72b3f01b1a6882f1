"""The policy update on groups of responses: the pictures and the prompt of a group once, its responses as rows behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from unireason.core.errors import UniReasonError
from unireason.core.types import Scored
from unireason.engine.sampling import forbidden_ids
from unireason.rewards.compose import Scores

from .config import Grpo
from .context import Crew, Learner
from .loss import LossMeasured, SampledTokens, log_probs, loss_denominator, policy_loss
from .packing import Pack, PrefixTree, TokenRun
from .policy import Head
from .rollout import Rolled, answer_iou, gold
from .sampler import bins

# --- Groups of responses to one question: what they earned, and what a run logs of them.


@dataclass(slots=True, eq=False)
class RolloutGroup:
    """The responses to one question."""

    rolled: list[Rolled]
    part: int = 0
    scores: list[Scores] = field(default_factory=list)
    advantage: list[float] = field(default_factory=list)

    @property
    def rewards(self) -> list[float]:
        """One number a response."""
        return [s.reward for s in self.scores]


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


def measure(groups: Sequence[RolloutGroup], crew: Crew) -> dict[str, float]:
    """What is logged of the rollouts of a step, over all processes."""
    values: dict[str, list[float]] = {}
    for group in groups:
        values.setdefault("frac_reward_zero_std", []).append(float(not any(group.advantage)))
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


# --- The update.


_CUT_OFF = ("token_budget", "context")


@dataclass(slots=True, eq=False)
class Batch:
    """A packed sequence of responses and what the objective needs of it."""

    packed: Pack
    advantage: torch.Tensor
    counts: torch.Tensor
    sampled_logp: torch.Tensor
    old_logp: torch.Tensor | None = None
    ref_logp: torch.Tensor | None = None


class Updater:
    """Steps the policy on scored groups."""

    def __init__(self, learner: Learner, settings: Grpo) -> None:
        """Prepare for a policy."""
        self._learner, self._settings = learner, settings
        self._head = head(learner, settings.rollout.temperature)
        self._most = settings.rollout.max_new_tokens or learner.checkpoint.profile.max_new_tokens

    def update(self, groups: Sequence[RolloutGroup], step: int, total: int) -> dict[str, float]:
        """All optimiser steps on the groups of this process."""
        learner, policy = self._learner, self._settings.policy
        together = [[group for group in groups if group.part == part] for part in range(policy.num_minibatches)]
        # Groups that would not move the policy count too in what a mini-batch is divided by.
        counts = [torch.tensor([sum(self._kept(r)) for g in part for r in g.rolled], dtype=torch.long) for part in together]
        denominators = learner.crew.sums([loss_denominator(c, policy, self._most) for c in counts])
        parts = [self.batches(part) for part in together]
        for part in parts:
            self._known(part)
        measured, loss, rate = LossMeasured(), 0.0, dict[str, float]()
        for part, denominator in list(zip(parts, denominators, strict=True)) * policy.num_iterations:
            if part and denominator:
                value, sums = self._accumulate(part, denominator)
                loss, measured = loss + value, measured + sums
                rate = learner.step(step, total)
        return self._told(loss, measured) | rate | self._sizes([b for part in parts for b in part])

    def batches(self, groups: Sequence[RolloutGroup]) -> list[Batch]:
        """Packed sequences of a mini-batch, as many in every process."""
        learner, crew = self._learner, self._learner.crew
        trees = self._trees(groups)
        rows = bins([tree.length for tree, _ in trees], self._settings.run.max_tokens_per_microbatch)
        rows += [[] for _ in range(int(crew.largest([len(rows)])[0]) - len(rows))]
        out = []
        for row in rows:
            [packed] = learner.packs([[trees[i][0] for i in row]])
            members = [member for i in row for member in trees[i][1]]
            logps = [p for r, _ in members for p, kept in zip(r.session.logprobs, self._kept(r), strict=True) if kept]
            counts = torch.bincount(packed.rows, minlength=max(1, len(members)))
            out.append(Batch(packed, torch.tensor([a for _, a in members] or [0.0]), counts, torch.tensor(logps)))
        return out

    def _trees(self, groups: Sequence[RolloutGroup]) -> list[tuple[PrefixTree, list[tuple[Rolled, float]]]]:
        """Trees and their rows' responses with advantages. Groups that would not move the policy are left out."""
        chosen = [g for g in groups if self._settings.policy.beta or any(g.advantage)]
        by_case: dict[str, list[RolloutGroup]] = {}
        for group in chosen:
            by_case.setdefault(group.rolled[0].asked.case.id, []).append(group)
        out = []
        for together in by_case.values():
            for batch in [together] if self._saves(together) else [[g] for g in together]:
                tree, members = self._tree(batch)
                # More tokens than may go through the network at once become several trees, each with the prefix and some of the rows.
                room = self._settings.run.max_tokens_per_microbatch - len(tree.prefix.ids)
                for part in bins([len(row.ids) for row in tree.rows], max(1, room)):
                    out.append((PrefixTree(tree.prefix, tuple(tree.rows[i] for i in part)), [members[i] for i in part]))
        return out

    def _saves(self, groups: Sequence[RolloutGroup]) -> bool:
        """True if sharing the pictures of several questions takes fewer tokens than sharing each question's whole prompt."""
        prompts = [g.rolled[0].session.prompt for g in groups]
        cuts = [self._pictures_end(p) for p in prompts]
        if len({p[:c] for p, c in zip(prompts, cuts, strict=True)}) > 1:
            return False
        repeated = sum((len(p) - c) * (len(g.rolled) - 1) for p, c, g in zip(prompts, cuts, groups, strict=True))
        return repeated < cuts[0] * (len(groups) - 1)

    def _pictures_end(self, prompt: Sequence[int]) -> int:
        """Ids up to and including the last picture."""
        return len(prompt) - prompt[::-1].index(self._learner.checkpoint.ids.vision_end)

    def _tree(self, groups: Sequence[RolloutGroup]) -> tuple[PrefixTree, list[tuple[Rolled, float]]]:
        checkpoint, first = self._learner.checkpoint, groups[0].rolled[0]
        prompt = first.session.prompt
        cut = len(prompt) if len(groups) == 1 else self._pictures_end(prompt)
        prefix = self._learner.encoder.run(prompt[:cut], first.asked.pictures)
        rows, members = [], []
        for rolled, advantage in ((r, a) for g in groups for r, a in zip(g.rolled, g.advantage, strict=True)):
            row, session = TokenRun(next=prefix.next), rolled.session
            row.text(session.prompt[cut:], label=False)
            shown = [(c.pixels, c.grid_thw or (0, 0, 0)) for c in session.crops]
            row.tokens(session.response, self._kept(rolled), pictures=shown, special=checkpoint.ids, merge=checkpoint.merge)
            rows.append(row)
            members.append((rolled, advantage))
        return PrefixTree(prefix, tuple(rows)), members

    def _kept(self, rolled: Rolled) -> Sequence[bool]:
        """Which tokens of a response are in the loss: the sampled ones, or none of one that was cut off and is to be masked."""
        masked = self._settings.policy.mask_truncated_completions and rolled.session.finish in _CUT_OFF
        return [False] * len(rolled.session.response) if masked else rolled.session.sampled

    @torch.no_grad()
    def _known(self, part: Sequence[Batch]) -> None:
        """Log-probabilities before the update, where it takes several steps, and those of the reference."""
        policy = self._settings.policy
        for batch in part:
            if policy.num_minibatches * policy.num_iterations > 1:
                batch.old_logp = self._learner.measure(batch.packed, self._head)[:, 0]
            if policy.beta:
                batch.ref_logp = self._learner.measure_reference(batch.packed, self._head)[:, 0]

    def _accumulate(self, part: Sequence[Batch], denominator: float) -> tuple[float, LossMeasured]:
        """Gradients of one mini-batch; its loss and sums in this process."""
        learner, loss, measured = self._learner, 0.0, LossMeasured()
        for batch in part:
            found = learner.measure(batch.packed, self._head)
            logp, entropy = found[:, 0], found[:, 1].detach()
            if batch.old_logp is None:
                batch.old_logp = logp.detach()
            rows, device = batch.packed.rows.to(logp.device), logp.device
            tokens = SampledTokens(
                old_logp=batch.old_logp,
                advantage=batch.advantage.to(device)[rows],
                response=rows,
                counts=batch.counts.to(device),
                ref_logp=batch.ref_logp,
                entropy=entropy,
            )
            value, sums = policy_loss(logp, tokens, self._settings.policy, denominator=denominator)
            torch.autograd.backward(value)
            loss, measured = loss + value.item(), measured + sums
        return loss, measured

    def _told(self, loss: float, measured: LossMeasured) -> dict[str, float]:
        crew, sums = self._learner.crew, asdict(measured)
        totals = dict(zip(sums, crew.sums(list(sums.values())), strict=True))
        totals["ratio_max"] = crew.largest([measured.ratio_max])[0]
        [loss] = crew.sums([loss])
        if not math.isfinite(loss):
            raise UniReasonError(f"the loss is {loss}", "a finite number", "lower the learning rate")
        return {"loss": loss, **LossMeasured(**totals).means()}

    def _sizes(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Tokens, padding and the distance between sampler and policy."""
        gaps = [(b.old_logp.cpu() - b.sampled_logp).abs() for b in batches if b.old_logp is not None]
        flat = torch.cat(gaps) if gaps else torch.zeros(0)
        tokens, slots = (float(sum(getattr(b.packed.layout, name) for b in batches)) for name in ("length", "slots"))
        tokens, slots, gap, count = self._learner.crew.sums([tokens, slots, float(flat.sum()), float(len(flat))])
        sizes = {"tokens": tokens, "padding": 1 - tokens / slots if slots else 0.0}
        # The sampler records at temperature 1; at another one the two are not the same thing.
        return sizes | ({"sampler_gap": gap / max(1.0, count)} if self._settings.rollout.temperature == 1 else {})


def head(learner: Learner, temperature: float) -> Head:
    """Log-probability and entropy (m, 2) of every target, as the sampler draws them."""
    forbidden = forbidden_ids(learner.checkpoint)

    def measure(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.stack(log_probs(logits, targets, temperature, forbidden), dim=1)

    return measure
