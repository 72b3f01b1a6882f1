"""A whole step of policy optimisation: rollouts, rewards, update; against the same done the plain way.

The plain way asks the reference back end for one response after the other (every round computes all pictures and the whole prompt
again) and updates on a padded batch of whole sequences, whose pictures go through the frozen tower once a row. Both follow the same
scripts, so that both do the same work: free tokens, a look, free tokens, an answer. One question, one update, no divergence.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.engine import make_checkpoint
from benchmarks.training.plain import response_logits
from benchmarks.training.process import Log, child
from benchmarks.training.sizes import SIZES
from unireason.core.types import Box3D, Frame, Stack
from unireason.data.build_store import BuildConfig
from unireason.data.frames import rule
from unireason.data.pipeline import build
from unireason.data.rationale.template import TemplateAnnotator
from unireason.engine.case import Request, prepare_case
from unireason.engine.local import LocalEngine
from unireason.engine.reasoner import Question, make_trace
from unireason.engine.reference import ReferenceEngine
from unireason.engine.sampling import Picker, Sampling, forbidden_ids
from unireason.engine.session import Session
from unireason.grounding.grammar import write
from unireason.grounding.trace import Execution
from unireason.model import tokens, vision
from unireason.model.checkpoint import Checkpoint
from unireason.model.save import save
from unireason.train import config as settings
from unireason.train.config import Cache, Data, Model, Run
from unireason.train.context import TrainContext
from unireason.train.groups import RolloutGroup
from unireason.train.grpo import batch_plan, sample_groups, score_groups, update
from unireason.train.log import TrainWatcher
from unireason.train.loss import SampledTokens, advantages, log_probs, loss_denominator, policy_loss
from unireason.train.rollout import Rolled, RolloutPrompt

TARGET = 5.0
GROUP = 8


class Followed:
    """Takes given tokens; says how probable they were."""

    def __init__(self, plan: Sequence[int]) -> None:
        self._left = list(reversed(plan))

    def pick(self, logits: torch.Tensor) -> tuple[int, float]:
        """The next token of the plan."""
        token = self._left.pop()
        return token, float(torch.log_softmax(logits.float(), 0)[token])


def script(checkpoint: Checkpoint, frame: Frame, row: int) -> list[int]:
    """About 125 tokens with one look; every other row forgets the tags of thinking, so that rewards differ."""
    random = np.random.default_rng(row)
    x, y, z = (int(random.integers(0, n // 2)) for n in (frame.width, frame.height, frame.depth))
    box = Box3D(x, y, z, x + frame.width // 3, y + frame.height // 3, z + 1)
    free = [random.integers(32, 127, 45).tolist() for _ in range(2)]
    think, end = (tokens.encode_text(checkpoint, "" if row % 2 else text) for text in ("<think>", "</think>A. yes"))
    return [*think, *free[0], *tokens.encode_text(checkpoint, write(box)), *free[1], *end, checkpoint.ids.im_end]


def make(folder: Path, size: str) -> None:
    """A random checkpoint and a data set of phantom volumes in its frame."""
    save(folder / "start", make_checkpoint(SIZES[size]), dtype="fp32")
    config = BuildConfig("phantom", options={"patients": "3"}, frame=rule("published"), implicit=0, shares=(1.0, 0.0, 0.0))
    build(config, folder / "data", annotator=TemplateAnnotator())


def opened(folder: Path, place: Path) -> tuple[TrainContext, settings.Grpo]:
    """A run on these, in float32 on one thread."""
    chosen = settings.Grpo(
        model=Model(str(folder / "start"), precision="fp32"),
        data=Data((str(folder / "data"),), tasks=("choice",), images=0.0),
        run=Run(steps=1, threads=1, eval_samples=0, device="cpu"),
        cache=Cache("off"),
        rollout=settings.Rollout(prompts_per_step=1, num_generations=GROUP, rollout_batch_size=GROUP, max_new_tokens=256),
        policy=settings.PolicySettings(beta=0.0, num_minibatches=1),
        traces_every=0,
    )
    return TrainContext(chosen, place, TrainWatcher()), chosen


def ours(context: TrainContext, chosen: settings.Grpo) -> dict[str, Any]:
    """The trainer's own step."""
    checkpoint, units = context.checkpoint, batch_plan(context, chosen).step(0)

    def picker(row: int, sampling: Sampling, seed: int, forbidden: torch.Tensor) -> Picker:
        return Followed(script(checkpoint, context.training[0].frame, row))

    followed = mock.patch("unireason.train.rollout.LocalEngine", partial(LocalEngine, picker=picker))
    times = [time.process_time()]
    with followed, context.training_mode():
        groups = sample_groups(context, chosen, units, 1)
        times.append(time.process_time())
        _score(context, chosen, groups[0])
        norm = update(context, chosen, groups, 1, 1)["grad_norm"]
        times.append(time.process_time())
    return _told(groups[0], times, norm)


def plain(context: TrainContext, chosen: settings.Grpo) -> dict[str, Any]:
    """The same, everything computed as often as it comes."""
    [asked] = [question for unit in batch_plan(context, chosen).step(0) for question in context.questions(unit)]
    times = [time.process_time()]
    group = RolloutGroup([_rolled(context, chosen, asked, row) for row in range(GROUP)])
    times.append(time.process_time())
    _score(context, chosen, group)
    _backward(context, chosen, group)
    norm = context.optimizer_step(1, 1)["grad_norm"]
    times.append(time.process_time())
    return _told(group, times, norm)


def _score(context: TrainContext, chosen: settings.Grpo, group: RolloutGroup) -> None:
    score_groups(context, chosen, [group], 1)
    group.advantage = advantages([group.rewards], chosen.policy.scale_rewards).tolist()


def _rolled(context: TrainContext, chosen: settings.Grpo, asked: RolloutPrompt, row: int) -> Rolled:
    """One response by the reference back end."""
    checkpoint = context.checkpoint
    slices = np.stack(list(asked.pictures))
    stack = Stack(slices, "volume", "", tuple((z, z + 1) for z in range(len(slices))), slices)
    case = prepare_case(checkpoint, stack)
    engine = ReferenceEngine(checkpoint, picker=lambda *_: Followed(script(checkpoint, case.frame, row)))
    with context.serving(rows=1, max_new_tokens=chosen.rollout.max_new_tokens) as roller:
        request = Request(case, roller.encoder.prompt(asked.sample, case.frame), roller.budget(asked))
        [session] = engine.generate([request])
    question = Question(asked.sample.question.text, asked.sample.question.options)
    executions = [Execution(look.crops) for look in session.looks]
    return Rolled(asked, session, make_trace(checkpoint, session, question, executions=executions))


def _backward(context: TrainContext, chosen: settings.Grpo, group: RolloutGroup) -> None:
    """Gradients of the padded batch."""
    checkpoint, policy = context.checkpoint, chosen.policy
    sessions: list[Session] = [r.session for r in group.rolled]
    pictures = [p for r in group.rolled for p in (*r.asked.pictures, *(c.pixels for c in r.session.crops))]
    prepared = vision.prepare(checkpoint, pictures)
    kept = [s.sampled for s in sessions]
    found = response_logits(
        checkpoint.network,
        sessions[0].prompt,
        [s.response for s in sessions],
        kept,
        prepared.grid_thw,
        pixels=prepared.pixel_values,
    )
    logp = log_probs(*found, chosen.rollout.temperature, forbidden_ids(checkpoint))[0]
    counts = torch.tensor([sum(row) for row in kept])
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    sampled = SampledTokens(logp.detach(), torch.tensor(group.advantage)[owner], owner, counts)
    loss, _ = policy_loss(logp, sampled, policy, denominator=loss_denominator(counts, policy, 0))
    torch.autograd.backward(loss)


def _told(group: RolloutGroup, times: list[float], norm: float) -> dict[str, Any]:
    rollout, rest = (b - a for a, b in pairwise(times))
    return {
        "seconds": {"rollouts": rollout, "rewards and update": rest, "step": rollout + rest},
        "responses": [r.session.response for r in group.rolled],
        "prompt": len(group.rolled[0].session.prompt),
        "rewards": group.rewards,
        "gradient": norm,
    }


def measure(*, quick: bool, runs: int, log: Log) -> dict[str, Any]:
    """Both in turn, each time in a fresh process."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
    with tempfile.TemporaryDirectory() as place:
        child("step", "make", place, "--size", "tiny" if quick else "small")
        for _ in range(runs):
            for who, results in found.items():
                results.append(child("step", who, place))
                log(f"step, {who}: {results[-1]['seconds']}")
    a, b = found["ours"][0], found["plain"][0]
    if a["responses"] != b["responses"] or a["rewards"] != b["rewards"]:
        raise SystemExit("the two steps did different work: no figures")
    seconds = {
        who: {part: round(statistics.median(r["seconds"][part] for r in results), 2) for part in a["seconds"]}
        for who, results in found.items()
    }
    return {
        "targets": {"step": TARGET},
        "ratios": {part: round(seconds["plain"][part] / seconds["ours"][part], 2) for part in a["seconds"]},
        "seconds": seconds,
        "prompt": a["prompt"],
        "responses": [len(r) for r in a["responses"]],
        "gradient_norms": {who: results[0]["grad_norm"] for who, results in found.items()},
    }


def main() -> None:
    """One step in this process; prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("make", "ours", "plain"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="small")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.what == "make":
        make(chosen.folder, chosen.size)
        print("{}")
        return
    with tempfile.TemporaryDirectory() as place:
        run = opened(chosen.folder, Path(place))
        print(json.dumps((ours if chosen.what == "ours" else plain)(*run)))


if __name__ == "__main__":
    main()
