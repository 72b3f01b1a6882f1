"""Supervised fine-tuning on grounded reasoning: the model learns to write what the assistant wrote, with the regions in view.

Samples on one case share its pictures in one packed tree; trees fill rows up to a number of tokens; the loss of a step is the mean over
its labelled tokens, whatever rows and processes they were spread over. It knows nothing of rewards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from unireason.core.errors import FormatError, UniReasonError
from unireason.model import vocabulary

from .cases import unit_length
from .config import Sft
from .context import TrainContext
from .log import TrainWatcher
from .loss import NumberSmoothing
from .packing import Pack, token_counts
from .policy import Head
from .run_folder import RunFolder
from .sampler import BatchPlan, PackUnit, bins
from .validate import validate, validation_units


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
    # Load: processes, data, checkpoint, what learns of it, optimisers.
    context = TrainContext(settings, out, watch or TrainWatcher())
    plan = BatchPlan(
        context.training,
        samples=settings.batch_size,
        together=settings.max_questions_per_case,
        images=settings.data.images,
        run=settings.run,
    )
    held_out = validation_units(context)
    head = loss_head(context, settings.sigma)
    total, every = plan.steps, settings.run.eval_every

    with RunFolder(context, "sft", total) as folder, context.training_mode():  # goes on from the last state, if there is one
        for step in range(folder.done + 1, total + 1):
            values = train_step(context, plan.step(step - 1), head, step, total)
            if step == total or (every and step % every == 0):
                values |= evaluate(context, held_out, head)
                found = values.get("eval_loss", values.get("loss"))
                if found is not None:  # a step whose cases cannot be read has neither
                    folder.keep_best(step, -found)
            folder.end_step(step, values)  # log, tell, save a state when it is time
    return context.finish()


def train_step(context: TrainContext, units: Sequence[PackUnit], head: Head, step: int, total: int) -> dict[str, float]:
    """One optimiser step on some samples, counted from 1; returns what was measured."""
    crew, begun = context.crew, time.perf_counter()
    # Dropout follows from seed, step and process: a run that goes on drops what it would have.
    [seed] = np.random.SeedSequence([context.settings.run.seed, step, crew.rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(seed) >> 1)

    packs, samples = share(context, units)
    [labels] = crew.sums([float(sum(len(p.targets) for p in packs))])
    ready = time.perf_counter()
    if not labels:  # none of its cases could be read, which ``data.max_unreadable`` bounds
        if not any(context.pictures(case)[0] for case in context.training):
            raise UniReasonError(
                f"no sample of step {step} could be read, and none of any other", "readable cases", "mend the data set"
            )
        return {"samples": 0.0, "tokens": 0.0, "labels": 0.0, "seconds_data": ready - begun}

    loss, right = 0.0, 0.0
    for packed in packs:
        measured = context.measure(packed, head)
        part = measured[:, 0].sum() / labels
        torch.autograd.backward(part)
        loss, right = loss + part.item(), right + float(measured[:, 1].detach().sum())
    sizes = token_counts(packs)
    loss, right, tokens, slots, samples = crew.sums([loss, right, *sizes, samples])
    if not math.isfinite(loss):
        raise UniReasonError(f"the loss of step {step} is {loss}", "a finite number", "lower the learning rate")
    return {
        "loss": loss,
        "tokens_right": right / labels,
        **context.optimizer_step(step, total),
        "samples": samples,
        "tokens": tokens,
        "labels": labels,
        "padding": 1 - tokens / slots,
        "seconds_data": ready - begun,
        "seconds_update": time.perf_counter() - ready,
    }


def share(context: TrainContext, units: Sequence[PackUnit]) -> tuple[list[Pack], float]:
    """This process's part of a step as packed sequences, as many in every process, and the samples in them."""
    crew = context.crew
    if crew.world == 1:
        trees = {place: context.trees(unit) for place, unit in enumerate(units)}
        lengths = [sum(t.length for t in trees[place]) or 1 for place in range(len(units))]
    else:  # all lay out the whole step, and each reads its own pictures alone
        trees = {}
        lengths = [unit_length(context.encoder, *context.cases.asked(unit)) for unit in units]
    rows = crew.mine(bins(lengths, context.settings.run.max_tokens_per_microbatch, crew.world))
    own = [[t for i in row for t in trees.get(i) or context.trees(units[i])] for row in rows]
    return context.packs(own), float(sum(len(t.rows) for row in own for t in row))


@torch.no_grad()
def evaluate(context: TrainContext, units: Sequence[PackUnit], head: Head) -> dict[str, float]:
    """Loss on the validation samples, and what the model answers when it is asked them."""
    if not units:
        return {}
    with context.resting():
        found = [context.measure(packed, head) for packed in share(context, units)[0]]
    sums = [float(sum(m[:, 0].sum() for m in found)), float(sum(m[:, 1].sum() for m in found)), float(sum(map(len, found)))]
    loss, right, labels = context.crew.sums(sums)
    losses = {"eval_loss": loss / labels, "eval_tokens_right": right / labels} if labels else {}
    return losses | validate(context, units)


def loss_head(context: TrainContext, sigma: float) -> Head:
    """Loss and rightness (m, 2) of every target; with a sigma numbers are right by degrees."""
    smooth = None
    if sigma:
        ids = vocabulary.number_ids(context.checkpoint.tokenizer)
        if None in ids or len(set(ids)) < len(ids):
            raise FormatError("sigma is above 0 and the tokenizer splits whole numbers", "sigma = 0")
        smooth = NumberSmoothing(ids, context.checkpoint.network.get_output_embeddings().weight.shape[0], sigma=sigma)

    def measure(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = smooth(logits, targets) if smooth else F.cross_entropy(logits, targets, reduction="none")
        return torch.stack([losses, (logits.argmax(-1) == targets).float()], dim=1)

    return measure
