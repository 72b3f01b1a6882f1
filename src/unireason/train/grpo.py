"""Group-relative policy optimisation (GRPO) on grounded rollouts, in 2D and 3D.

A step asks some questions several times with the serving engine, scores the traces, and updates the policy on whole groups. The objective
is that of ``loss.policy_loss``; docs/explanation/grpo.md explains the choices.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch

from unireason.core.errors import UniReasonError
from unireason.engine.sampling import Sampling, forbidden_ids
from unireason.rewards import outcome
from unireason.rewards.compose import Weights, score, with_evidence, with_mask

from .config import Grpo
from .context import TrainContext
from .groups import Batch, RolloutGroup, in_loss, pack_groups, rollout_values, shown
from .log import TrainWatcher
from .loss import LossMeasured, SampledTokens, advantages, log_probs, loss_denominator, policy_loss
from .packing import token_counts
from .policy import Head
from .rollout import Outliner, looks, seeds, truth
from .run_folder import RunFolder
from .sampler import BatchPlan, DifficultyWindow, PackUnit
from .validate import validate, validation_units

_SHOWN = 2  # groups of a step kept for looking at


def train(settings: Grpo, out: Path, watch: TrainWatcher | None = None) -> Path:
    """Run, or go on with, policy optimisation.

    Args:
        settings: What to do.
        out: Run folder: resolved settings, states, log, ``checkpoint`` (the last weights) and ``best`` (the highest validation reward).
        watch: Who is told, and gets sample traces.

    Returns:
        The folder of the last checkpoint.

    Raises:
        UniReasonError: If the checkpoint, the data or the folder cannot be used, a gradient is not finite, or the disk is full. The last
            saved state is whole then, and the same command goes on from it.
        Interrupted: After Ctrl-C or SIGTERM, when the step at hand is done and saved.
    """
    # Load: processes, data, checkpoint, what learns of it, the frozen reference, optimisers.
    context = TrainContext(settings, out, watch or TrainWatcher())
    plan = batch_plan(context, settings)
    outliner = Outliner(context.cases, settings.mask_expert) if settings.reward.mask else None
    held_out = validation_units(context)
    total, every, traces = plan.steps, settings.run.eval_every, settings.traces_every

    with RunFolder(context, "grpo", total) as folder, context.training_mode():  # goes on from the last state, if there is one
        window = DifficultyWindow(settings.rollout, folder.questions)
        for step in range(folder.done + 1, total + 1):
            groups, values = draw_groups(context, settings, plan, window, step, outliner)
            begun = time.perf_counter()
            if context.crew.main and traces and (step == 1 or step % traces == 0):
                context.watch.traces(step, shown(groups[:_SHOWN]))
            values |= update(context, settings, groups, step, total)
            values["seconds_update"] = time.perf_counter() - begun
            if step == total or (every and step % every == 0):
                values |= validate(context, held_out)
                found = values.get("eval_reward", values.get("reward"))
                if found is not None:  # a step whose cases cannot be read has neither
                    folder.keep_best(step, found)
            folder.end_step(step, values)  # log, tell, save a state when it is time
    return context.finish()


def batch_plan(context: TrainContext, settings: Grpo) -> BatchPlan:
    """The questions of every step; those on one case together, as far as their responses are generated together."""
    rollout = settings.rollout
    together = max(1, rollout.rollout_batch_size // rollout.num_generations)
    return BatchPlan(
        context.training, samples=rollout.prompts_per_step, together=together, images=settings.data.images, run=settings.run
    )


# --- Rollouts.


def draw_groups(
    context: TrainContext, settings: Grpo, plan: BatchPlan, window: DifficultyWindow, step: int, outliner: Outliner | None = None
) -> tuple[list[RolloutGroup], dict[str, float]]:
    """The scored groups that a step learns from, and what is logged of all that were drawn for it.

    Questions outside the window are passed over. In place of groups whose responses all earned the same, other questions are asked,
    in as many further draws as the settings allow; what is idle then stays. Which question takes whose place does not depend on the
    processes among which they are dealt.
    """
    most, parts = settings.rollout.redraws, settings.policy.num_minibatches
    candidates = (unit for draw in range(1 + most) for unit in plan.step(step - 1, draw))
    vacant = list(range(sum(len(unit.samples) for unit in plan.step(step - 1))))
    size, draws = len(vacant), 0
    groups, drawn, names = list[RolloutGroup](), list[RolloutGroup](), list[str]()
    seconds, before = {"seconds_rollout": 0.0, "seconds_reward": 0.0}, window.skipped
    for draw in range(1 + most):
        units = window.take(candidates, len(vacant))
        if not units:
            break
        draws += 1
        count = sum(len(unit.samples) for unit in units)
        names += [name for unit in units for name in unit.samples]
        begun = time.perf_counter()
        new = sample_groups(context, settings, units, step, draw)
        rolled = time.perf_counter()
        new = score_groups(context, settings, new, step, outliner)
        for group in new:
            group.advantage = advantages([group.rewards], settings.policy.scale_rewards).tolist()
        seconds["seconds_rollout"] += rolled - begun
        seconds["seconds_reward"] += time.perf_counter() - rolled
        drawn += new
        teach = context.crew.sums([float(any(g.place == place and not g.idle for g in new)) for place in range(count)])
        moves = dict(zip((place for place in range(count) if teach[place]), vacant, strict=False))
        if not draw:  # every question of the first draw has its place already
            moves = {place: place for place in range(count)}
            vacant = [place for place in vacant if place >= count or not teach[place]]
        else:
            vacant = vacant[len(moves) :]
        groups = [group for group in groups if group.place not in moves.values()]
        for group in (g for g in new if g.place in moves):
            group.place = moves[group.place]
            group.part = group.place % parts
            groups.append(group)
        if not vacant:
            break
    groups.sort(key=lambda group: group.place)
    values = rollout_values(drawn, context.crew) | seconds
    if most:
        values |= {"draws": float(draws), "questions_drawn": float(len(names)), "questions_used": float(size - len(vacant))}
    if window.active:
        _remember(context, window, names, drawn)
        values["questions_skipped"] = float(window.skipped - before)
    return groups, values


def _remember(context: TrainContext, window: DifficultyWindow, names: Sequence[str], drawn: Sequence[RolloutGroup]) -> None:
    """Tell the window of every process how the questions of a step went in all of them."""
    once = list(dict.fromkeys(names))
    totals, counts = dict.fromkeys(once, 0.0), dict.fromkeys(once, 0.0)
    for group in drawn:
        name = group.rolled[0].asked.sample.id
        totals[name] += group.success
        counts[name] += 1
    sums = context.crew.sums([*totals.values(), *counts.values()])
    for name, total, count in zip(once, sums[: len(once)], sums[len(once) :], strict=True):
        if count:
            window.saw(name, total / count)


def sample_groups(
    context: TrainContext, settings: Grpo, units: Sequence[PackUnit], step: int, draw: int = 0
) -> list[RolloutGroup]:
    """Responses to this process's questions of a draw of a step, one group a question. Every group knows its mini-batch."""
    rollout, parts = settings.rollout, settings.policy.num_minibatches
    first = accumulate((len(unit.samples) for unit in units), initial=0)
    own = context.crew.dealt(list(zip(first, units, strict=False)), parts=parts)
    placed = [pair for place, unit in own for pair in enumerate(context.questions(unit), place)]
    asked = [question for _, question in placed]
    drawn = seeds(settings.run.seed, step, [name for unit in units for name in unit.samples], rollout.num_generations, draw)
    sampling = Sampling(temperature=rollout.temperature, top_p=rollout.top_p, logprobs="processed")
    with context.serving(rows=rollout.rollout_batch_size, max_new_tokens=rollout.max_new_tokens) as roller:
        made = roller.roll(asked, sampling, [drawn[place] for place, _ in placed]) if asked else []
    return [RolloutGroup(responses, place % parts, place) for (place, _), responses in zip(placed, made, strict=True)]


# --- Rewards.


def score_groups(
    context: TrainContext, settings: Grpo, groups: Sequence[RolloutGroup], step: int, outliner: Outliner | None = None
) -> list[RolloutGroup]:
    """Fill in the scores; returns the groups without those whose true mask cannot be read."""
    weights, kept = Weights(**asdict(settings.reward)), []
    for group in groups:
        sample = group.rolled[0].asked.sample
        group.scores = [score(r.trace, truth(sample), weights, grounded=looks(sample)) for r in group.rolled]
        with context.skips.counted():
            if outliner and sample.target:
                dice = outliner.dice(group.rolled)
                group.scores = [with_mask(*pair, weights) for pair in zip(group.scores, dice, strict=True)]
            kept.append(group)
    if not weights.evidence:
        return kept

    # Evidence: right responses again, with a random low-overlap region in place of what they looked at.
    chosen, regions = [], []
    for group in kept:
        for place, (rolled, scores) in enumerate(zip(group.rolled, group.scores, strict=True)):
            if scores.right and scores.measures.looked:
                chosen.append((group, place))
                regions.append(outcome.Elsewhere(rolled.session.frame, np.random.default_rng([rolled.seed, step])))
    # Every process takes part, even without a response: serving gathers sharded weights.
    with context.serving(rows=settings.rollout.rollout_batch_size, max_new_tokens=settings.rollout.max_new_tokens) as roller:
        others = roller.again([group.rolled[place] for group, place in chosen], regions) if chosen else []
    for (group, place), other, region in zip(chosen, others, regions, strict=True):
        second = score(other.trace, truth(other.asked.sample), weights)
        value = outcome.contrast(1.0, second.parts["answer"]) if region.moved else 0.0
        group.scores[place] = with_evidence(group.scores[place], value, weights)
    return kept


# --- The update.


def update(context: TrainContext, settings: Grpo, groups: Sequence[RolloutGroup], step: int, total: int) -> dict[str, float]:
    """All optimiser steps on the groups of this process; returns what was measured over all."""
    crew, policy = context.crew, settings.policy
    most = settings.rollout.max_new_tokens or context.checkpoint.profile.max_new_tokens
    head = log_prob_head(context, settings.rollout.temperature)
    together = [[group for group in groups if group.part == part] for part in range(policy.num_minibatches)]
    # Groups that would not move the policy count too in what a mini-batch is divided by.
    counts = [torch.tensor([sum(in_loss(settings, r)) for g in part for r in g.rolled], dtype=torch.long) for part in together]
    denominators = crew.sums([loss_denominator(c, policy, most) for c in counts])
    parts = [pack_groups(context, settings, part) for part in together]
    batches = [batch for part in parts for batch in part]

    with torch.no_grad():  # log-probabilities before the update, where it takes several steps, and those of the reference
        for number, batch in ((number, batch) for number, part in enumerate(parts) for batch in part):
            if number or policy.num_iterations > 1:  # a single pass steps the first mini-batch from the policy that sampled it
                batch.old_logp = context.measure(batch.packed, head)[:, 0]
            if policy.beta:
                batch.ref_logp = context.measure_reference(batch.packed, head)[:, 0]

    measured, loss, moved = LossMeasured(), 0.0, dict[str, float]()
    for part, denominator in list(zip(parts, denominators, strict=True)) * policy.num_iterations:
        if part and denominator:
            value, sums = backward(context, settings, part, denominator, head)
            loss, measured = loss + value, measured + sums
            moved = context.optimizer_step(step, total)

    names = list(asdict(measured))
    totals = dict(zip(names, crew.sums(list(asdict(measured).values())), strict=True))
    totals["ratio_max"] = crew.largest([measured.ratio_max])[0]
    # The distance between sampler and policy. Behind a nucleus the two are not the same thing.
    gaps = [(b.old_logp.cpu() - b.sampled_logp).abs() for b in batches if b.old_logp is not None]
    gap = [float(sum(g.sum() for g in gaps)), float(sum(map(len, gaps)))]
    sizes = token_counts([batch.packed for batch in batches])
    loss, tokens, slots, *gap = crew.sums([loss, *sizes, *gap])
    if not math.isfinite(loss):
        raise UniReasonError(f"the loss is {loss}", "a finite number", "lower the learning rate")
    told = {"loss": loss, **LossMeasured(**totals).means(), **moved}
    if not policy.importance_sampling_cap:
        del told["sampling_weight"], told["sampling_capped"]
    told |= {"tokens": tokens, "padding": 1 - tokens / slots if slots else 0.0}
    return told | ({"sampler_gap": gap[0] / max(1.0, gap[1])} if settings.rollout.top_p == 1 else {})


def backward(
    context: TrainContext, settings: Grpo, part: Sequence[Batch], denominator: float, head: Head
) -> tuple[float, LossMeasured]:
    """Gradients of one mini-batch; its loss and sums in this process."""
    loss, measured = 0.0, LossMeasured()
    for batch in part:
        found = context.measure(batch.packed, head)
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
            sampled_logp=batch.sampled_logp.to(device),
        )
        value, sums = policy_loss(logp, tokens, settings.policy, denominator=denominator)
        torch.autograd.backward(value)
        loss, measured = loss + value.item(), measured + sums
    return loss, measured


def log_prob_head(context: TrainContext, temperature: float) -> Head:
    """Log-probability and entropy (m, 2) of every target, as the sampler draws them."""
    forbidden = forbidden_ids(context.checkpoint)

    def measure(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.stack(log_probs(logits, targets, temperature, forbidden), dim=1)

    return measure
