"""Supervised fine-tuning on grounded reasoning: the model learns to write what the assistant wrote, with the regions in view.

Samples on one case share its pictures in one packed tree; trees fill rows up to a number of tokens; the loss of a step is the mean over
its labelled tokens, whatever rows and processes they were spread over. It knows nothing of rewards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional as F

from unireason.core.errors import UniReasonError

from .cases import unit_length
from .config import Sft
from .context import Learner
from .course import Silent, TrainWatcher
from .packing import Pack
from .policy import Head
from .sampler import BatchPlan, PackUnit, bins
from .validate import Examiner

STAGE = "sft"


def train(settings: Sft, out: Path, watch: TrainWatcher | None = None) -> Path:
    """Run, or go on with, a fine-tuning.

    Args:
        settings: What to do.
        out: Run folder: resolved settings, states, log, ``checkpoint`` (the last weights) and ``best`` (the lowest validation loss).
        watch: Who is told.

    Returns:
        The folder of the last checkpoint.

    Raises:
        UniReasonError: If the checkpoint, the data or the folder cannot be used, the loss is not finite, or the disk is full. The last
            saved state is whole then, and the same command goes on from it.
        Interrupted: After Ctrl-C or SIGTERM, when the step at hand is done and saved.
    """
    return Tuning(settings, out, watch or Silent()).run()


class Tuning:
    """One fine-tuning run."""

    def __init__(self, settings: Sft, out: Path, watch: TrainWatcher) -> None:
        """Load everything; see :func:`train`."""
        self.settings = settings
        self.learner = Learner(settings, out, watch)
        self.plan = BatchPlan(
            self.learner.training,
            samples=settings.batch_size,
            together=settings.max_questions_per_case,
            images=settings.data.images,
            run=settings.run,
        )
        self.head = head(self.learner, settings.sigma)
        self.examiner = Examiner(self.learner, settings)

    def run(self) -> Path:
        """All steps that are left."""
        learner, total = self.learner, self.plan.steps
        every = self.settings.run.eval_every
        with learner.running(STAGE, total) as course, learner.training_mode():
            for number in range(course.done + 1, total + 1):
                values = self.step(number)
                if number == total or (every and number % every == 0):
                    values |= self.examine()
                    found = values.get("eval_loss", values.get("loss"))
                    if found is not None:  # a step whose cases cannot be read has neither
                        course.best(number, -found)
                course.write(number, values)
        return learner.finish()

    def step(self, number: int) -> dict[str, float]:
        """One optimiser step, counted from 1; returns what was measured."""
        learner, begun = self.learner, time.perf_counter()
        learner.draw(number)
        packs, samples = self.share(self.plan.step(number - 1))
        [labels] = learner.crew.sums([float(sum(len(p.targets) for p in packs))])
        ready = time.perf_counter()
        if not labels:  # none of its cases could be read, which ``data.max_unreadable`` bounds
            if not any(learner.pictures(case)[0] for case in learner.training):
                raise UniReasonError(
                    f"no sample of step {number} could be read, and none of any other", "readable cases", "mend the data set"
                )
            return {"samples": 0.0, "tokens": 0.0, "labels": 0.0, "seconds_data": ready - begun}
        loss, right = 0.0, 0.0
        for packed in packs:
            measured = learner.measure(packed, self.head)
            part = measured[:, 0].sum() / labels
            torch.autograd.backward(part)
            loss, right = loss + part.item(), right + float(measured[:, 1].detach().sum())
        sizes = [float(sum(getattr(p.layout, name) for p in packs)) for name in ("length", "slots")]
        loss, right, tokens, slots, samples = learner.crew.sums([loss, right, *sizes, samples])
        if not math.isfinite(loss):
            raise UniReasonError(f"the loss of step {number} is {loss}", "a finite number", "lower the learning rate")
        values = {"loss": loss, "tokens_right": right / labels} | learner.step(number, self.plan.steps)
        return values | {
            "samples": samples,
            "tokens": tokens,
            "labels": labels,
            "padding": 1 - tokens / slots,
            "seconds_data": ready - begun,
            "seconds_update": time.perf_counter() - ready,
        }

    def share(self, units: Sequence[PackUnit]) -> tuple[list[Pack], float]:
        """This process's part of a step."""
        learner, crew = self.learner, self.learner.crew
        if crew.world == 1:
            trees = {place: learner.trees(unit) for place, unit in enumerate(units)}
            lengths = [sum(t.length for t in trees[place]) or 1 for place in range(len(units))]
        else:
            trees = {}
            lengths = [unit_length(learner.encoder, *learner.cases.asked(unit)) for unit in units]
        rows = crew.mine(bins(lengths, self.settings.run.max_tokens_per_microbatch, crew.world))
        own = [[t for i in row for t in trees.get(i) or learner.trees(units[i])] for row in rows]
        return learner.packs(own), float(sum(len(t.rows) for row in own for t in row))

    @torch.no_grad()
    def examine(self) -> dict[str, float]:
        """Loss on the validation samples, and what the model answers when it is asked them."""
        learner = self.learner
        if not self.examiner.units:
            return {}
        with learner.resting():
            found = [learner.measure(packed, self.head) for packed in self.share(self.examiner.units)[0]]
        sums = [float(sum(m[:, 0].sum() for m in found)), float(sum(m[:, 1].sum() for m in found)), float(sum(map(len, found)))]
        loss, right, labels = learner.crew.sums(sums)
        losses = {"eval_loss": loss / labels, "eval_tokens_right": right / labels} if labels else {}
        return losses | self.examiner.ask()


def head(learner: Learner, sigma: float) -> Head:
    """Loss and rightness (m, 2) of every target."""
    smooth = learner.smoothing(sigma) if sigma else None

    def measure(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = smooth(logits, targets) if smooth else F.cross_entropy(logits, targets, reduction="none")
        return torch.stack([losses, (logits.argmax(-1) == targets).float()], dim=1)

    return measure
