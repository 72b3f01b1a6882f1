"""Group-relative policy optimisation (GRPO) on grounded rollouts, in 2D and 3D.

A step asks some questions several times with the serving engine, scores the traces, and updates the policy on whole groups: the pictures
and the prompt of a group go through the network once, the responses follow as rows behind them. Injected tokens are context, never
target. The objective is that of ``loss.policy_loss``; docs/explanation/grpo.md explains the choices.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

import numpy as np

from unireason.engine.sampling import Sampling
from unireason.rewards import outcome
from unireason.rewards.compose import Weights, score, with_evidence, with_mask

from .config import Grpo
from .context import Learner
from .course import Silent, TrainWatcher
from .loss import advantages
from .rollout import Outliner, looks, seeds, truth
from .sampler import BatchPlan
from .update import RolloutGroup, Updater, measure, shown
from .validate import Examiner

STAGE = "grpo"
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
    return Optimisation(settings, out, watch or Silent()).run()


class Optimisation:
    """One GRPO run."""

    def __init__(self, settings: Grpo, out: Path, watch: TrainWatcher) -> None:
        """Load everything; see :func:`train`."""
        self.settings, self.watch = settings, watch
        self.learner = Learner(settings, out, watch)
        rollout, reward = settings.rollout, asdict(settings.reward)
        self.plan = BatchPlan(
            self.learner.training,
            samples=rollout.prompts_per_step,
            together=max(1, rollout.rollout_batch_size // rollout.num_generations),
            images=settings.data.images,
            run=settings.run,
        )
        self.weights = Weights(**reward)
        self.outliner = Outliner(self.learner.cases, settings.mask_expert) if settings.reward.mask else None
        self.sampling = Sampling(temperature=rollout.temperature, top_p=rollout.top_p)
        self.updater = Updater(self.learner, settings)
        self.examiner = Examiner(self.learner, settings)

    def run(self) -> Path:
        """All steps that are left."""
        learner, total = self.learner, self.plan.steps
        every = self.settings.run.eval_every
        with learner.running(STAGE, total) as course, learner.training_mode():
            for number in range(course.done + 1, total + 1):
                values = self.step(number)
                if number == total or (every and number % every == 0):
                    values |= self.examiner.ask()
                    found = values.get("eval_reward", values.get("reward"))
                    if found is not None:  # a step whose cases cannot be read has neither
                        course.best(number, found)
                course.write(number, values)
        return learner.finish()

    def step(self, number: int) -> dict[str, float]:
        """Rollouts, rewards and updates of one batch of questions, counted from 1; returns what was measured."""
        begun = time.perf_counter()
        groups = self.rollouts(number)
        rolled = time.perf_counter()
        groups = self.score(groups, number)
        scored = time.perf_counter()
        every = self.settings.traces_every
        if self.learner.crew.main and every and (number == 1 or number % every == 0):
            self.watch.traces(number, shown(groups[:_SHOWN]))
        values = measure(groups, self.learner.crew) | self.updater.update(groups, number, self.plan.steps)
        done = time.perf_counter()
        return values | {
            "seconds_rollout": rolled - begun,
            "seconds_reward": scored - rolled,
            "seconds_update": done - scored,
        }

    def rollouts(self, number: int) -> list[RolloutGroup]:
        """Responses to this process's questions of a step, one group a question."""
        learner, rollout, parts = self.learner, self.settings.rollout, self.settings.policy.num_minibatches
        units = self.plan.step(number - 1)
        first = accumulate((len(unit.samples) for unit in units), initial=0)
        own = learner.crew.dealt(list(zip(first, units, strict=False)), parts=parts)
        placed = [pair for place, unit in own for pair in enumerate(learner.questions(unit), place)]
        asked = [question for _, question in placed]
        drawn = seeds(self.settings.run.seed, number, [name for unit in units for name in unit.samples], rollout.num_generations)
        with learner.serving(rows=rollout.rollout_batch_size, max_new_tokens=rollout.max_new_tokens) as roller:
            made = roller.roll(asked, self.sampling, [drawn[place] for place, _ in placed]) if asked else []
        return [RolloutGroup(responses, place % parts) for (place, _), responses in zip(placed, made, strict=True)]

    def score(self, groups: Sequence[RolloutGroup], number: int) -> list[RolloutGroup]:
        """Fill in scores and advantages; returns the groups without those whose true mask cannot be read."""
        kept = []
        for group in groups:
            sample = group.rolled[0].asked.sample
            group.scores = [score(r.trace, truth(sample), self.weights, grounded=looks(sample)) for r in group.rolled]
            with self.learner.guarded():
                if self.outliner and sample.target:
                    dice = self.outliner.dice(group.rolled)
                    group.scores = [with_mask(*pair, self.weights) for pair in zip(group.scores, dice, strict=True)]
                kept.append(group)
        if self.weights.evidence:
            self.contrast(kept, number)
        for group in kept:
            group.advantage = advantages([group.rewards], self.settings.policy.scale_rewards).tolist()
        return kept

    def contrast(self, groups: Sequence[RolloutGroup], number: int) -> None:
        """Add the evidence term: right responses again, with a random low-overlap region in place of what they looked at."""
        chosen, regions = [], []
        for group in groups:
            for place, (rolled, scores) in enumerate(zip(group.rolled, group.scores, strict=True)):
                if scores.right and scores.measures.looked:
                    chosen.append((group, place))
                    regions.append(outcome.Elsewhere(rolled.session.frame, np.random.default_rng([rolled.seed, number])))
        # Every process takes part, even without a response: serving gathers sharded weights.
        with self.learner.serving(
            rows=self.settings.rollout.rollout_batch_size, max_new_tokens=self.settings.rollout.max_new_tokens
        ) as roller:
            others = roller.again([g.rolled[p] for g, p in chosen], regions) if chosen else []
        for (group, place), other, region in zip(chosen, others, regions, strict=True):
            second = score(other.trace, truth(other.asked.sample), self.weights)
            value = outcome.contrast(1.0, second.parts["answer"]) if region.moved else 0.0
            group.scores[place] = with_evidence(group.scores[place], value, self.weights)
