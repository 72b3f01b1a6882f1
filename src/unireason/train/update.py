"""The policy update on groups of responses: the pictures and the prompt of a group once, its responses as rows behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from unireason.engine.sampling import forbidden_ids
from unireason.errors import UniReasonError

from .feed.plan import bins
from .groups import Group
from .learner import Learner
from .network.policy import Head
from .network.sequence import Pack, Run, Tree
from .objective.policy import Measured, SampledTokens, loss_denominator, policy_loss
from .objective.tokens import log_probs
from .rollout import Rolled
from .settings.grpo import Grpo

_CUT_OFF = ("token_budget", "context")


@dataclass(slots=True, eq=False)
class Batch:
    """A packed sequence of responses and what the objective needs of it.

    Attributes:
        packed: The sequence.
        advantage: float (rows,).
        counts: int64 (rows,), tokens in the loss.
        sampled_logp: float (n,), log-probabilities at temperature 1 when the tokens were drawn.
        old_logp: float (n,), under the policy before the update, computed as in the update; None while that is the present policy.
        ref_logp: float (n,), under the frozen reference; None without a divergence.
    """

    packed: Pack
    advantage: torch.Tensor
    counts: torch.Tensor
    sampled_logp: torch.Tensor
    old_logp: torch.Tensor | None = None
    ref_logp: torch.Tensor | None = None


class Updater:
    """Steps the policy on scored groups."""

    def __init__(self, learner: Learner, settings: Grpo) -> None:
        """Prepare for a policy.

        Args:
            learner: The policy.
            settings: Clips, divergence, mini-batches, tokens a row.
        """
        self._learner, self._settings = learner, settings
        self._head = head(learner, settings.rollout.temperature)
        self._most = settings.rollout.max_new_tokens or learner.checkpoint.profile.max_new_tokens

    def update(self, groups: Sequence[Group], step: int, total: int) -> dict[str, float]:
        """All optimiser steps on the groups of this process.

        Args:
            groups: Scored groups with advantages; may be empty if other processes have some.
            step: Step of the run, for the learning rate.
            total: Steps of the run.

        Returns:
            ``loss``, the means of ``Measured``, ``rate``, ``gradient``, ``padding``, ``tokens``, and at temperature 1 ``sampler_gap``: the
            mean distance in nats between log-probabilities when sampled and before the update.

        Raises:
            UniReasonError: If the loss or the gradient is not finite.
        """
        learner, policy = self._learner, self._settings.policy
        together = [[group for group in groups if group.part == part] for part in range(policy.updates)]
        denominators = learner.crew.sums([self._denominator(part) for part in together])
        parts = [self.batches(part) for part in together]
        for part in parts:
            self._known(part)
        measured, loss, rate = Measured(), 0.0, dict[str, float]()
        for part, denominator in list(zip(parts, denominators, strict=True)) * policy.passes:
            if part and denominator:
                value, sums = self._accumulate(part, denominator)
                loss, measured = loss + value, measured + sums
                rate = learner.step(step, total)
        return self._told(loss, measured) | rate | self._sizes([b for part in parts for b in part])

    def _denominator(self, groups: Sequence[Group]) -> float:
        """What the losses of a mini-batch are divided by; groups that would not move the policy count too."""
        counts = torch.tensor([sum(self._kept(rolled)) for group in groups for rolled in group.rolled], dtype=torch.long)
        return loss_denominator(counts, self._settings.policy, self._most)

    def batches(self, groups: Sequence[Group]) -> list[Batch]:
        """Packed sequences of a mini-batch, as many in every process."""
        learner, crew = self._learner, self._learner.crew
        trees = self._trees(groups)
        rows = bins([tree.length for tree, _ in trees], self._settings.run.tokens)
        rows += [[] for _ in range(int(crew.largest([len(rows)])[0]) - len(rows))]
        out = []
        for row in rows:
            [packed] = learner.packs([[trees[i][0] for i in row]])
            members = [member for i in row for member in trees[i][1]]
            logps = [p for r, _ in members for p, kept in zip(r.session.logprobs, self._kept(r), strict=True) if kept]
            counts = torch.bincount(packed.rows, minlength=max(1, len(members)))
            out.append(Batch(packed, torch.tensor([a for _, a in members] or [0.0]), counts, torch.tensor(logps)))
        return out

    def _trees(self, groups: Sequence[Group]) -> list[tuple[Tree, list[tuple[Rolled, float]]]]:
        """Trees and their rows' responses with advantages. Groups that would not move the policy are left out."""
        chosen = [g for g in groups if self._settings.policy.kl or any(g.advantage)]
        by_case: dict[str, list[Group]] = {}
        for group in chosen:
            by_case.setdefault(group.rolled[0].asked.case.id, []).append(group)
        out = []
        for together in by_case.values():
            for batch in [together] if self._saves(together) else [[g] for g in together]:
                out += self._bounded(*self._tree(batch))
        return out

    def _bounded(self, tree: Tree, members: Sequence[tuple[Rolled, float]]) -> list[tuple[Tree, list[tuple[Rolled, float]]]]:
        """A tree of more tokens than may go through the network at once as several, each with the prefix and some of the rows."""
        room = self._settings.run.tokens - len(tree.prefix.ids)
        parts = bins([len(row.ids) for row in tree.rows], max(1, room))
        return [(Tree(tree.prefix, tuple(tree.rows[i] for i in part)), [members[i] for i in part]) for part in parts]

    def _saves(self, groups: Sequence[Group]) -> bool:
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

    def _tree(self, groups: Sequence[Group]) -> tuple[Tree, list[tuple[Rolled, float]]]:
        checkpoint, first = self._learner.checkpoint, groups[0].rolled[0]
        prompt = first.session.prompt
        cut = len(prompt) if len(groups) == 1 else self._pictures_end(prompt)
        prefix = self._learner.encoder.run(prompt[:cut], first.asked.pictures)
        rows, members = [], []
        for rolled, advantage in ((r, a) for g in groups for r, a in zip(g.rolled, g.advantage, strict=True)):
            row, session = Run(next=prefix.next), rolled.session
            row.text(session.prompt[cut:], label=False)
            shown = [(c.pixels, c.grid_thw or (0, 0, 0)) for c in session.crops]
            row.tokens(session.response, self._kept(rolled), pictures=shown, special=checkpoint.ids, merge=checkpoint.merge)
            rows.append(row)
            members.append((rolled, advantage))
        return Tree(prefix, tuple(rows)), members

    def _kept(self, rolled: Rolled) -> Sequence[bool]:
        """Which tokens of a response are in the loss: the sampled ones, or none of one that was cut off and is to be masked."""
        masked = self._settings.policy.truncated == "mask" and rolled.session.finish in _CUT_OFF
        return [False] * len(rolled.session.response) if masked else rolled.session.sampled

    @torch.no_grad()
    def _known(self, part: Sequence[Batch]) -> None:
        """Log-probabilities before the update, where it takes several steps, and those of the reference."""
        policy = self._settings.policy
        for batch in part:
            if policy.updates * policy.passes > 1:
                batch.old_logp = self._learner.measure(batch.packed, self._head)[:, 0]
            if policy.kl:
                batch.ref_logp = self._learner.measure_reference(batch.packed, self._head)[:, 0]

    def _accumulate(self, part: Sequence[Batch], denominator: float) -> tuple[float, Measured]:
        """Gradients of one mini-batch; its loss and sums in this process."""
        learner, loss, measured = self._learner, 0.0, Measured()
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

    def _told(self, loss: float, measured: Measured) -> dict[str, float]:
        crew, sums = self._learner.crew, asdict(measured)
        totals = dict(zip(sums, crew.sums(list(sums.values())), strict=True))
        totals["ratio_max"] = crew.largest([measured.ratio_max])[0]
        [loss] = crew.sums([loss])
        if not math.isfinite(loss):
            raise UniReasonError(f"the loss is {loss}", "a finite number", "lower the learning rate")
        return {"loss": loss, **Measured(**totals).means()}

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
    """Log-probability and entropy (m, 2) of every target, as the sampler draws them.

    Args:
        learner: Whose sampler never draws some tokens.
        temperature: Of the sampler.
    """
    forbidden = forbidden_ids(learner.checkpoint)

    def measure(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.stack(log_probs(logits, targets, temperature, forbidden), dim=1)

    return measure
