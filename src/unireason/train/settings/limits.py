"""What the numbers of a run may be. Types are checked where they are read (``load``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Any

from unireason.errors import FormatError

from .grpo import Grpo, Outline, Policy, Reward, Rollout
from .planned import Planned
from .sft import Sft
from .shared import Cache, Data, Lora, Model, Optim, Run

TASKS = ("choice", "open", "umrg")
_MAX_ROUND = 1_000_000


@singledispatch
def check(settings: Any) -> None:
    """Check the values of settings, and how they fit together.

    Args:
        settings: ``Sft``, ``Grpo``, one of their tables, or anything else, of which nothing is known.

    Raises:
        FormatError: At the first value out of its range.
    """


@check.register
def _lora(lora: Lora) -> None:
    _least("model.lora.rank", lora.rank, 0)
    _within("model.lora.alpha", lora.alpha, lambda v: v > 0, "above 0")
    _within("model.lora.dropout", lora.dropout, lambda v: 0 <= v < 1, "from 0 to below 1")
    if lora.rank and not (lora.targets and all(lora.targets)):
        raise FormatError(f"model.lora.targets is {list(lora.targets)}", "the names of one or more layers")


@check.register
def _model(model: Model) -> None:
    if not model.start:
        raise FormatError("model.start is empty", "'phantom', a checkpoint folder or a hub id")
    check(model.lora)
    if not (model.tower or model.projector or model.language):
        raise FormatError("tower, projector and language of model are all false", "true for at least one", "nothing would learn")
    if model.lora.rank and not model.language:
        raise FormatError("model.lora.rank is above 0 and model.language is false", "true", "adapters sit in the language model")
    if model.lora.rank and model.phrases:
        raise FormatError(
            "model.phrases is above 0 with adapters", "0", "new tokens have embeddings, which adapters do not train"
        )


@check.register
def _data(data: Data) -> None:
    if not data.folders or not all(data.folders):
        raise FormatError(f"data.folders is {list(data.folders)}", "one or more folders made by 'unireason data build'")
    if data.roots and len(data.roots) != len(data.folders):
        raise FormatError(f"data.roots has {len(data.roots)} entries", f"none, or one for each of {len(data.folders)} folders")
    for name in ("split", "validation"):
        if not getattr(data, name):
            raise FormatError(f"data.{name} is empty", "the name of a split, such as 'train'")
    unknown = [task for task in data.tasks if task not in TASKS]
    if unknown or not data.tasks:
        raise FormatError(f"data.tasks is {list(data.tasks)}", f"one or more of: {', '.join(TASKS)}")
    if len(set(data.tasks)) != len(data.tasks):
        raise FormatError(f"data.tasks is {list(data.tasks)}", "every task once")
    _within("data.images", data.images, lambda v: v == -1 or 0 <= v <= 1, "a share from 0 to 1, or -1")
    _least("data.cases", data.cases, 0)
    _within("data.skip", data.skip, lambda v: 0 <= v <= 1, "a share from 0 to 1")


@check.register
def _optim(optim: Optim) -> None:
    _within("optim.rate", optim.rate, lambda v: v > 0, "above 0")
    for beta in optim.betas:
        _within("optim.betas", beta, lambda v: 0 <= v < 1, "two numbers from 0 to below 1")
    _within("optim.decay", optim.decay, lambda v: v >= 0, "at least 0")
    _within("optim.clip", optim.clip, lambda v: v >= 0, "at least 0; 0 is no limit")
    _within("optim.warmup", optim.warmup, lambda v: 0 <= v <= 1, "a share from 0 to 1")
    _within("optim.floor", optim.floor, lambda v: 0 <= v <= 1, "a share from 0 to 1")


@check.register
def _cache(cache: Cache) -> None:
    _within("cache.gigabytes", cache.gigabytes, lambda v: v > 0, "above 0")


@check.register
def _run(run: Run) -> None:
    for name, least in (("seed", 0), ("steps", 0), ("save_every", 1), ("eval_every", 0), ("eval_samples", 0), ("threads", 0)):
        _least(f"run.{name}", getattr(run, name), least)
    _least("run.tokens", run.tokens, 1)
    _within("run.epochs", run.epochs, lambda v: v > 0, "above 0")


@check.register
def _rollout(rollout: Rollout) -> None:
    _least("rollout.prompts", rollout.prompts, 1)
    _least("rollout.samples", rollout.samples, 2)
    _within("rollout.temperature", rollout.temperature, lambda v: v > 0, "above 0")
    _within("rollout.top_p", rollout.top_p, lambda v: 0 < v <= 1, "above 0, at most 1")
    _least("rollout.max_new_tokens", rollout.max_new_tokens, 0)
    _least("rollout.rows", rollout.rows, 1)


@check.register
def _reward(reward: Reward) -> None:
    for name in ("answer", "form", "evidence", "looks", "length"):
        _within(f"reward.{name}", getattr(reward, name), lambda v: v >= 0, "at least 0")
    _within("reward.mask", reward.mask, lambda v: 0 <= v <= 1, "a share from 0 to 1")
    if reward.answer == reward.form == 0:
        raise FormatError("reward.answer and reward.form are both 0", "a weight above 0", "nothing would be reinforced")


@check.register
def _outline(outline: Outline) -> None:
    if not outline.expert:
        raise FormatError("outline.expert is empty", "the name of an expert, such as 'classical'")


@check.register
def _policy(policy: Policy) -> None:
    _within("policy.clip_low", policy.clip_low, lambda v: 0 < v < 1, "between 0 and 1")
    _within("policy.clip_high", policy.clip_high, lambda v: 0 < v < 1, "between 0 and 1")
    _within("policy.kl", policy.kl, lambda v: v >= 0, "at least 0")
    _least("policy.updates", policy.updates, 1)
    _least("policy.passes", policy.passes, 1)


@check.register
def _sft(sft: Sft) -> None:
    _sharding(sft.model, sft.run)
    for part in (sft.model, sft.data, sft.optim, sft.run, sft.cache):
        check(part)
    _least("samples", sft.samples, 1)
    _least("together", sft.together, 1)
    _within("sigma", sft.sigma, lambda v: v >= 0, "at least 0")


@check.register
def _grpo(grpo: Grpo) -> None:
    _sharding(grpo.model, grpo.run)
    for part in (grpo.model, grpo.data, grpo.optim, grpo.run, grpo.cache, grpo.rollout, grpo.reward, grpo.outline, grpo.policy):
        check(part)
    _least("traces_every", grpo.traces_every, 0)
    if grpo.model.lora.dropout:
        raise FormatError(
            f"model.lora.dropout is {grpo.model.lora.dropout}", "0", "the policy that is updated must be the one that was sampled"
        )
    if grpo.policy.updates > grpo.rollout.prompts:
        raise FormatError(
            f"policy.updates is {grpo.policy.updates}",
            f"at most rollout.prompts, {grpo.rollout.prompts}",
            "a mini-batch has whole groups",
        )


@check.register
def _planned(plan: Planned) -> None:
    _least("plan.samples", plan.samples, 1)
    _within("plan.images", plan.images, lambda v: 0 <= v <= 1, "a share from 0 to 1")
    for name in ("image_size", "slice_size"):
        for side in getattr(plan, name):
            _within(f"plan.{name}", side, lambda v: 1 <= v <= 1 << 14, "two numbers of pixels, height and width")
    for name in ("slices", "text", "response"):
        _least(f"plan.{name}", getattr(plan, name), 1)
    for name in ("crops", "volume_crops", "crop_tokens"):
        _within(f"plan.{name}", getattr(plan, name), lambda v: 0 <= v <= _MAX_ROUND, "at least 0")
    _within("plan.shared", plan.shared, lambda v: v >= 1, "at least 1")


def _sharding(model: Model, run: Run) -> None:
    if model.lora.rank and run.sharding == "fsdp":
        raise FormatError(
            'run.sharding is "fsdp" and model.lora.rank above 0', '"auto" or "none"', "whole weights fit: they are frozen"
        )


def _least(name: str, value: int, least: int) -> None:
    if value < least:
        raise FormatError(f"{name} is {value}", f"a whole number from {least}")


def _within(name: str, value: float, fits: Callable[[float], bool], expected: str) -> None:
    if not (math.isfinite(value) and fits(value)):
        raise FormatError(f"{name} is {value}", expected)
