"""Settings of the trainers. Every field has a default except what only the user can know.

Tables of a TOML file have the names of these fields; unknown keys fail (``config_file.read``). The reference page of run files is made from
these classes and their docstrings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any, Literal

from unireason.core.errors import FormatError


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters instead of tuning the language model itself.

    Attributes:
        rank: Rank of the adapters; 0 tunes the weights themselves.
        alpha: Scale; the update is multiplied by alpha / rank.
        dropout: Dropout in front of the adapters, in [0, 1).
        targets: Names of the linear layers of the language model that get an adapter.

    Source: LoRA, arXiv 2106.09685.
    """

    rank: int = 0
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Model:
    """What is trained.

    Attributes:
        start: "phantom", a checkpoint folder or a hub id; weights, tokenizer, image processor and profile come from there.
        profile: Prompt profile for questions with options and open questions: "" takes the checkpoint's own, else a built-in name or a
            TOML file.
        grounding: The same for implicit grounding questions, whose built-in profile is "umrg".
        crops: What a look shows, in place of what the profile says: "model" the region of the model frame, "native" the same region of
            full-resolution pixels (read from the source in every step), "none" nothing; "" keeps it. The trained checkpoint's profile
            says it too, so that it is asked as it was trained.
        phrases: Tokens added for the most frequent phrases of the training texts before training starts; 0 keeps the tokenizer. For small
            models only.
        tower: True trains the vision tower.
        projector: True trains the multimodal projector (the tower's merger).
        language: True trains the language model and its output layer; with LoRA only its adapters.
        lora: Adapters.
        checkpointing: True recomputes activations layer by layer in the backward pass: less memory, a quarter more time.
        precision: "bf16" computes matrix products in bfloat16 over float32 weights, "fp32" everything in float32.
    """

    start: str
    profile: str = ""
    grounding: str = ""
    crops: Literal["", "model", "native", "none"] = ""
    phrases: int = 0
    tower: bool = False
    projector: bool = False
    language: bool = True
    lora: Lora = field(default_factory=Lora)
    checkpointing: bool = False
    precision: Literal["bf16", "fp32"] = "bf16"


@dataclass(frozen=True, slots=True)
class Data:
    """What is learned from.

    Attributes:
        folders: Data sets made by ``unireason data build`` or ``unireason data import``.
        roots: Where the source of each lies now (the volumes of a release), in the order of ``folders``; () for those that know it
            themselves.
        split: Split to train on.
        validation: Split for evaluation during training.
        tasks: Which samples: "choice" (options), "open" (no options) and "umrg" (implicit grounding).
        looks: False leaves boxes, and with them crops, out of the reasoning: the same text without grounding, to compare with.
        images: Share of 2D samples in every step, in [0, 1]; -1 takes the shares of the data.
        cases: Cases at most of each split; 0 for all. For quick looks.
        skip: Share of cases that may turn out unreadable before the run stops.
    """

    folders: tuple[str, ...]
    roots: tuple[str, ...] = ()
    split: str = "train"
    validation: str = "validation"
    tasks: tuple[str, ...] = ("choice", "open", "umrg")
    looks: bool = True
    images: float = -1.0
    cases: int = 0
    skip: float = 0.01


@dataclass(frozen=True, slots=True)
class Optim:
    """How weights are stepped.

    Attributes:
        rate: Peak learning rate.
        matrices: "adamw" for all weights; "muon" steps the matrices of the language model's layers by Muon and the rest by AdamW.
        betas: AdamW's decay rates.
        decay: Weight decay.
        clip: Largest norm of the gradient over all trained weights; 0 for no limit.
        warmup: Share of the steps in which the rate rises linearly.
        schedule: What follows: "cosine" falls to ``floor``, "constant" stays.
        floor: Last rate as a share of the peak.
    """

    rate: float = 1e-5
    matrices: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.0
    clip: float = 1.0
    warmup: float = 0.03
    schedule: Literal["cosine", "constant"] = "cosine"
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Cache:
    """Prepared pictures, and visual features of a frozen tower, on disk.

    Attributes:
        folder: Where; "" for a folder inside the run folder, "off" for none. It can be shared by runs and processes.
        gigabytes: Bound; the entries that were not used for the longest time go first.
    """

    folder: str = ""
    gigabytes: float = 20.0


@dataclass(frozen=True, slots=True)
class Run:
    """How long, how often, how many processes.

    Attributes:
        seed: Seed of order, shuffling and sampling.
        epochs: Passes over the data; used when ``steps`` is 0.
        steps: Optimiser steps; 0 lets ``epochs`` decide.
        save_every: Steps between saved states, from which a killed run continues.
        eval_every: Steps between evaluations; 0 for the end only.
        eval_samples: Validation samples an evaluation uses, always the same; 0 for none.
        tokens: Tokens at most that go through the network at once (a longer single prompt still goes alone).
        threads: Torch threads on a CPU; 0 chooses.
        sharding: "auto" keeps whole weights in every process when there is one process or LoRA, and shards them (FSDP) otherwise;
            "none" and "fsdp" decide.
        device: Torch device; "" takes the GPU of the process where there is one.
    """

    seed: int = 0
    epochs: float = 1.0
    steps: int = 0
    save_every: int = 100
    eval_every: int = 0
    eval_samples: int = 64
    tokens: int = 16384
    threads: int = 0
    sharding: Literal["auto", "none", "fsdp"] = "auto"
    device: str = ""


# --- Settings of supervised fine-tuning on grounded reasoning.


@dataclass(frozen=True, slots=True)
class Sft:
    """A run of ``unireason train sft``.

    Attributes:
        model: What is trained.
        data: On what.
        optim: How weights are stepped.
        run: How long.
        cache: Pictures and features on disk.
        samples: Samples a step over all processes.
        together: Samples at most on one case that share its pictures in one step.
        sigma: Width in pixels of the bell over neighbouring numbers in place of a one-hot target; 0 for plain cross-entropy. Needs a
            tokenizer that has one token a whole number.
    """

    model: Model
    data: Data
    optim: Optim = field(default_factory=Optim)
    run: Run = field(default_factory=Run)
    cache: Cache = field(default_factory=Cache)
    samples: int = 64
    together: int = 4
    sigma: float = 0.0


# --- Settings of group-relative policy optimisation on grounded rollouts.


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
class PolicySettings:
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
    policy: PolicySettings = field(default_factory=PolicySettings)
    traces_every: int = 20


# --- Sizes of the data for planning a run whose data set is not at hand, and the machine it is planned for.


@dataclass(frozen=True, slots=True)
class Planned:
    """The ``[plan]`` table of a run file; training does not look at it. The sizes stand for means, and give way to those of the data
    sets where these are at hand.

    Attributes:
        gpu: Machine: "A100-80", "H100-80", "H200", "cpu-core", or another name for one given by its rates.
        gpus: How many of them.
        like: Published checkpoint that has the sizes of the start, for a start that is not at hand yet.
        samples: Samples of an epoch.
        images: Share of 2D samples, in [0, 1]; a share set in ``data.images`` comes before it.
        image_size: Height and width in pixels of a 2D picture in the model frame.
        slices: Slices of a volume.
        slice_size: Height and width in pixels of a slice in the model frame.
        text: Tokens of system prompt, question and options.
        response: Tokens that the assistant writes.
        longest: Tokens of the longest response of a group, as a multiple of ``response``.
        crops: Regions injected into a response about an image.
        volume_crops: The same about a volume; a cuboid gives one a slice.
        crop_tokens: Visual tokens of a region.
        shared: Samples on one case that share its pictures in one SFT step; at most ``together``.
    """

    gpu: str = "H100-80"
    gpus: int = 8
    like: str = ""
    samples: int = 220_000
    images: float = 0.77
    image_size: tuple[int, int] = (504, 504)
    slices: int = 32
    slice_size: tuple[int, int] = (252, 252)
    text: float = 160.0
    response: float = 180.0
    longest: float = 1.5
    crops: float = 2.0
    volume_crops: float = 8.0
    crop_tokens: float = 16.0
    shared: float = 1.0


# --- What the values of a run may be. Types are checked where they are read (``config_file``).


TASKS = ("choice", "open", "umrg")
_LEAST = {
    0: "model.lora.rank data.cases run.seed run.steps run.eval_every run.eval_samples run.threads rollout.max_new_tokens traces_every",
    1: "run.save_every run.tokens rollout.prompts rollout.rows policy.updates policy.passes samples together "
    "plan.samples plan.slices plan.text plan.response",
    2: "rollout.samples",
}
"""Settings by their smallest whole number; those of tables that a run does not have are passed over."""
_RANGES: tuple[tuple[Callable[[float], bool], str, str], ...] = (
    (lambda v: v > 0, "above 0", "model.lora.alpha optim.rate cache.gigabytes run.epochs rollout.temperature"),
    (
        lambda v: v >= 0,
        "at least 0",
        "optim.decay reward.answer reward.form reward.evidence reward.looks reward.length policy.kl sigma",
    ),
    (lambda v: v >= 0, "at least 0; 0 is no limit", "optim.clip"),
    (lambda v: v >= 1, "at least 1", "plan.shared"),
    (lambda v: 0 <= v <= 1_000_000, "at least 0", "plan.crops plan.volume_crops plan.crop_tokens"),
    (lambda v: 0 <= v <= 1, "a share from 0 to 1", "data.skip optim.warmup optim.floor reward.mask plan.images"),
    (lambda v: v == -1 or 0 <= v <= 1, "a share from 0 to 1, or -1", "data.images"),
    (lambda v: 0 <= v < 1, "from 0 to below 1", "model.lora.dropout"),
    (lambda v: 0 <= v < 1, "two numbers from 0 to below 1", "optim.betas"),
    (lambda v: 0 < v < 1, "between 0 and 1", "policy.clip_low policy.clip_high"),
    (lambda v: 0 < v <= 1, "above 0, at most 1", "rollout.top_p"),
    (lambda v: 1 <= v <= 1 << 14, "two numbers of pixels, height and width", "plan.image_size plan.slice_size"),
)


@singledispatch
def check(settings: Any) -> None:
    """Check the values of settings, and how they fit together."""


@check.register(Sft)
@check.register(Grpo)
def _run_settings(settings: Sft | Grpo) -> None:
    _check_numbers(settings)
    model, lora, data = settings.model, settings.model.lora, settings.data
    if lora.rank and settings.run.sharding == "fsdp":
        raise FormatError(
            'run.sharding is "fsdp" and model.lora.rank above 0', '"auto" or "none"', "whole weights fit: they are frozen"
        )
    if not model.start:
        raise FormatError("model.start is empty", "'phantom', a checkpoint folder or a hub id")
    if lora.rank and not (lora.targets and all(lora.targets)):
        raise FormatError(f"model.lora.targets is {list(lora.targets)}", "the names of one or more layers")
    if not (model.tower or model.projector or model.language):
        raise FormatError("tower, projector and language of model are all false", "true for at least one", "nothing would learn")
    if lora.rank and not model.language:
        raise FormatError("model.lora.rank is above 0 and model.language is false", "true", "adapters sit in the language model")
    if lora.rank and model.phrases:
        raise FormatError(
            "model.phrases is above 0 with adapters", "0", "new tokens have embeddings, which adapters do not train"
        )
    if not data.folders or not all(data.folders):
        raise FormatError(f"data.folders is {list(data.folders)}", "one or more folders made by 'unireason data build'")
    if data.roots and len(data.roots) != len(data.folders):
        raise FormatError(f"data.roots has {len(data.roots)} entries", f"none, or one for each of {len(data.folders)} folders")
    for name in ("split", "validation"):
        if not getattr(data, name):
            raise FormatError(f"data.{name} is empty", "the name of a split, such as 'train'")
    if not data.tasks or not set(data.tasks) <= set(TASKS):
        raise FormatError(f"data.tasks is {list(data.tasks)}", f"one or more of: {', '.join(TASKS)}")
    if len(set(data.tasks)) != len(data.tasks):
        raise FormatError(f"data.tasks is {list(data.tasks)}", "every task once")
    if isinstance(settings, Grpo):
        if settings.reward.answer == settings.reward.form == 0:
            raise FormatError("reward.answer and reward.form are both 0", "a weight above 0", "nothing would be reinforced")
        if not settings.outline.expert:
            raise FormatError("outline.expert is empty", "the name of an expert, such as 'classical'")
        if lora.dropout:
            raise FormatError(
                f"model.lora.dropout is {lora.dropout}", "0", "the policy that is updated must be the one that was sampled"
            )
        if settings.policy.updates > settings.rollout.prompts:
            raise FormatError(
                f"policy.updates is {settings.policy.updates}",
                f"at most rollout.prompts, {settings.rollout.prompts}",
                "a mini-batch has whole groups",
            )


@check.register
def _planned(plan: Planned) -> None:
    _check_numbers(plan)


def _check_numbers(settings: Any) -> None:
    within = "plan." if isinstance(settings, Planned) else ""

    def values(names: str) -> Iterator[tuple[str, float]]:
        for name in names.split():
            if name.startswith("plan.") != bool(within):
                continue
            found = settings
            for key in name.removeprefix(within).split("."):
                found = getattr(found, key, None)
            yield from ((name, value) for value in (found if isinstance(found, tuple) else (found,)) if value is not None)

    for least, names in _LEAST.items():
        for name, value in values(names):
            if value < least:
                raise FormatError(f"{name} is {value}", f"a whole number from {least}")
    for fits, expected, names in _RANGES:
        for name, value in values(names):
            if not (math.isfinite(value) and fits(value)):
                raise FormatError(f"{name} is {value}", expected)
