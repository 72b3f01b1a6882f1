"""Settings of group-relative policy optimisation on grounded rollouts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .shared import Cache, Data, Model, Optim, Run


@dataclass(frozen=True, slots=True)
class Rollout:
    """How the policy is sampled.

    Attributes:
        prompts: Questions a step over all processes.
        samples: Responses a question (the group).
        temperature: Sampling temperature.
        top_p: Nucleus.
        max_new_tokens: Sampled tokens at most a response; 0 takes the profile's.
        rows: Responses generated together at most.
    """

    prompts: int = 128
    samples: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 0
    rows: int = 16


@dataclass(frozen=True, slots=True)
class Reward:
    """What a response earns.

    Attributes:
        answer: Weight of the right answer.
        form: Weight of the format.
        must_look: True if the format asks for at least one executed look (questions with a grounded reasoning only).
        spatial: Mode of the spatial reward for implicit grounding questions.
        mask: Share of that reward, in [0, 1], that the Dice of a mask takes over: a frozen expert outlines the answer's box and points. 1
            leaves nothing but the mask. Needs the source of the data set; an imported release brings its masks, and its questions without
            one keep the spatial reward alone. Risk: the policy learns the expert's weaknesses.
        evidence: Weight of the evidence contrast: right answers earn it only if the same trajectory with random low-overlap regions in
            place of what it looked at does not lead to them. 0 is off. Risk: teaches the model to distrust what it sees elsewhere, and
            costs one more generation a right response.
        looks: Bonus of a response with an executed look. 0 is off. Risk: looks for their own sake.
        length: Taken off for every 100 sampled tokens. 0 is off. Risk: reasoning that is cut short.
    """

    answer: float = 0.8
    form: float = 0.2
    must_look: bool = True
    spatial: Literal["soft", "hard", "base"] = "soft"
    mask: float = 0.0
    evidence: float = 0.0
    looks: float = 0.0
    length: float = 0.0


@dataclass(frozen=True, slots=True)
class Outline:
    """The frozen expert that makes masks where ``reward.mask`` is above 0.

    Attributes:
        expert: Its name, as in ``unireason segment``.
        weights: Its weights, a folder or hub id; "" for "classical", which has none.
    """

    expert: str = "classical"
    weights: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """The objective.

    Attributes:
        clip_low: How far the probability ratio may fall below 1 before the gradient stops.
        clip_high: The same above 1.
        kl: Weight of the divergence from the frozen reference (the start of the run); 0 needs no reference.
        scale: "group" divides advantages by the group's standard deviation, "none" leaves them (unbiased).
        average: How token losses become one number: "token" is the mean over all tokens of the mini-batch, "response" the mean over
            responses of their mean, "constant" the sum over ``max_new_tokens`` x responses (unbiased).
        updates: Optimiser steps a batch of rollouts makes in one pass (mini-batches).
        passes: Passes over a batch of rollouts.
        truncated: Responses that were cut off by the token budget are scored as they are ("score") or left out of the loss ("mask").
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: float = 0.01
    scale: Literal["group", "none"] = "group"
    average: Literal["token", "response", "constant"] = "token"
    updates: int = 2
    passes: int = 1
    truncated: Literal["score", "mask"] = "score"


@dataclass(frozen=True, slots=True)
class Grpo:
    """A run of ``unireason train grpo``.

    Attributes:
        model: What is trained; its start is also the frozen reference.
        data: On what.
        optim: How weights are stepped.
        run: How long; a step is one batch of rollouts.
        cache: Pictures and features on disk.
        rollout: How the policy is sampled.
        reward: What a response earns.
        outline: Who makes the masks of ``reward.mask``.
        policy: The objective.
        traces_every: Steps between sample traces kept for looking at; 0 for none.
    """

    model: Model
    data: Data
    optim: Optim = field(default_factory=lambda: Optim(rate=1e-6, schedule="constant", warmup=0.0))
    run: Run = field(default_factory=Run)
    cache: Cache = field(default_factory=Cache)
    rollout: Rollout = field(default_factory=Rollout)
    reward: Reward = field(default_factory=Reward)
    outline: Outline = field(default_factory=Outline)
    policy: Policy = field(default_factory=Policy)
    traces_every: int = 20
