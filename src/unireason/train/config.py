"""Run files: what the trainers may be told. One class a TOML table; the text under a field is its help.

Folders in a file are relative to the working directory, as on the command line. ``Was`` keeps an old name readable for a release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import Field, model_validator

from unireason.core.config import KIND, Like, Was, build, overridden, read_table, settings
from unireason.core.errors import FormatError

T = TypeVar("T")
PLAN = "plan"

Share = Annotated[float, Field(ge=0, le=1)]
Below1 = Annotated[float, Field(ge=0, lt=1)]
Inside1 = Annotated[float, Field(gt=0, lt=1)]
Above0 = Annotated[float, Field(gt=0)]
From0 = Annotated[float, Field(ge=0)]
From1 = Annotated[float, Field(ge=1)]
Mean = Annotated[float, Field(ge=0, le=1_000_000)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Least1 = Annotated[int, Field(ge=1, lt=1 << 63)]
Least2 = Annotated[int, Field(ge=2, lt=1 << 63)]
Side = Annotated[int, Field(ge=1, le=1 << 14)]
Text = Annotated[str, Field(min_length=1)]
Task = Literal["choice", "open", "umrg"]


@settings
class Lora:
    """Low-rank adapters instead of tuning the language model itself. Source: LoRA, arXiv 2106.09685."""

    rank: Annotated[Count, Like("lora_r")] = 0
    """Rank of the adapters; 0 tunes the weights themselves."""
    alpha: Annotated[Above0, Like("lora_alpha")] = 32.0
    """Scale; the update is multiplied by alpha / rank."""
    dropout: Below1 = 0.0
    """Dropout in front of the adapters."""
    targets: tuple[Text, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Names of the linear layers of the language model that get an adapter."""


@settings
class Model:
    """What is trained."""

    init_from: Annotated[Text, Was("start")]
    """"phantom", a checkpoint folder or a hub id; weights, tokenizer, image processor and profile come from there. It is
    also the frozen reference of GRPO."""
    profile: str = ""
    """Prompt profile for questions with options and open questions: "" takes the checkpoint's own, else a built-in name or a
    TOML file."""
    grounding: str = ""
    """The same for implicit grounding questions, whose built-in profile is "umrg"."""
    crops: Literal["", "model", "native", "none", "published"] = ""
    """What a look shows, in place of what the profile says: "model" the region of the model frame, "native" the same region
    of full-resolution pixels (read from the source in every step), "none" nothing; "" keeps it. The trained checkpoint's
    profile says it too, so that it is asked as it was trained."""
    extra_tokens: Annotated[Count, Was("phrases")] = 0
    """Tokens added for the most frequent phrases of the training texts before training starts; 0 keeps the tokenizer. For
    small models only."""
    train_vision: Annotated[bool, Was("tower")] = False
    """True trains the vision tower."""
    train_projector: Annotated[bool, Was("projector")] = False
    """True trains the multimodal projector (the tower's merger)."""
    train_llm: Annotated[bool, Was("language")] = True
    """True trains the language model and its output layer; with LoRA only its adapters."""
    lora: Lora = Field(default_factory=Lora)
    """Adapters."""
    gradient_checkpointing: Annotated[bool, Was("checkpointing")] = False
    """True recomputes activations layer by layer in the backward pass: less memory, a quarter more time."""
    precision: Annotated[Literal["bf16", "fp32"], Like("bf16")] = "bf16"
    """"bf16" computes matrix products in bfloat16 over float32 weights, "fp32" everything in float32."""

    @model_validator(mode="after")
    def _fits(self) -> Model:
        if not (self.train_vision or self.train_projector or self.train_llm):
            raise FormatError("train_vision, train_projector and train_llm of model are all false", "true for at least one")
        if self.lora.rank and not self.train_llm:
            came = "model.lora.rank is above 0 and model.train_llm is false"
            raise FormatError(came, "true", "adapters sit in the language model")
        if self.lora.rank and not self.lora.targets:
            raise FormatError("model.lora.targets is []", "the names of one or more layers")
        if self.lora.rank and self.extra_tokens:
            came = "model.extra_tokens is above 0 with adapters"
            raise FormatError(came, "0", "new tokens have embeddings, which adapters do not train")
        return self


@settings
class Data:
    """What is learned from."""

    folders: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Data sets made by ``unireason data build`` or ``unireason data import``."""
    roots: tuple[str, ...] = ()
    """Where the source of each lies now (the volumes of a release), in the order of ``folders``; [] for those that know it
    themselves."""
    split: Text = "train"
    """Split to train on."""
    validation: Text = "validation"
    """Split for evaluation during training."""
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("choice", "open", "umrg")
    """Which samples: "choice" (options), "open" (no options) and "umrg" (implicit grounding)."""
    grounded: Annotated[bool, Was("looks")] = True
    """False leaves boxes, and with them crops, out of the reasoning: the same text without grounding, to compare with."""
    images: float = -1.0
    """Share of 2D samples in every step, from 0 to 1; -1 takes the shares of the data."""
    cases: Count = 0
    """Cases at most of each split; 0 for all. For quick looks."""
    max_unreadable: Annotated[Share, Was("skip")] = 0.01
    """Share of cases that may turn out unreadable before the run stops."""

    @model_validator(mode="after")
    def _fits(self) -> Data:
        if self.images != -1 and not 0 <= self.images <= 1:
            raise FormatError(f"data.images is {self.images}", "a share from 0 to 1, or -1")
        if len(self.roots) not in (0, len(self.folders)):
            raise FormatError(
                f"data.roots has {len(self.roots)} entries", f"none, or one for each of {len(self.folders)} folders"
            )
        if len(set(self.tasks)) != len(self.tasks):
            raise FormatError(f"data.tasks is {list(self.tasks)}", "every task once")
        return self


@settings
class Optim:
    """How weights are stepped."""

    lr: Annotated[Above0, Was("rate"), Like("learning_rate")] = 1e-5
    """Peak learning rate."""
    optimizer: Annotated[Literal["adamw", "muon"], Was("matrices")] = "adamw"
    """"adamw" for all weights; "muon" steps the matrices of the language model's layers by Muon and the rest by AdamW."""
    betas: tuple[Below1, Below1] = (0.9, 0.999)
    """AdamW's decay rates."""
    weight_decay: Annotated[From0, Was("decay")] = 0.0
    """Weight decay."""
    max_grad_norm: Annotated[From0, Was("clip")] = 1.0
    """Largest norm of the gradient over all trained weights; 0 for no limit."""
    warmup: Annotated[Share, Like("warmup_ratio")] = 0.03
    """Share of the steps in which the rate rises linearly."""
    schedule: Annotated[Literal["cosine", "constant"], Like("lr_scheduler_type")] = "cosine"
    """What follows: "cosine" falls to ``min_lr_ratio``, "constant" stays."""
    min_lr_ratio: Annotated[Share, Was("floor")] = 0.0
    """Last rate as a share of the peak."""


@settings
class Cache:
    """Prepared pictures, and visual features of a frozen tower, on disk."""

    folder: str = ""
    """Where; "" for a folder inside the run folder, "off" for none. It can be shared by runs and processes."""
    gigabytes: Above0 = 20.0
    """Bound; the entries that were not used for the longest time go first."""


@settings
class Run:
    """How long, how often, how many processes."""

    seed: Count = 0
    """Seed of order, shuffling and sampling."""
    epochs: Annotated[Above0, Like("num_train_epochs")] = 1.0
    """Passes over the data; used when ``steps`` is 0."""
    steps: Annotated[Count, Like("max_steps")] = 0
    """Optimiser steps (of GRPO: batches of rollouts); 0 lets ``epochs`` decide."""
    save_every: Annotated[Least1, Like("save_steps")] = 100
    """Steps between saved states, from which a killed run continues."""
    eval_every: Annotated[Count, Like("eval_steps")] = 0
    """Steps between evaluations; 0 for the end only."""
    eval_samples: Count = 64
    """Validation samples an evaluation uses, always the same; 0 for none."""
    max_tokens_per_microbatch: Annotated[Least1, Was("tokens")] = 16384
    """Tokens at most that go through the network at once (a longer single prompt still goes alone)."""
    threads: Count = 0
    """Torch threads on a CPU; 0 chooses."""
    sharding: Literal["auto", "none", "fsdp"] = "auto"
    """"auto" keeps whole weights in every process when there is one process or LoRA, and shards them (FSDP) otherwise;
    "none" and "fsdp" decide."""
    device: str = ""
    """Torch device; "" takes the GPU of the process where there is one."""


@settings
class Shared:
    """What every training run says."""

    model: Model
    """What is trained."""
    data: Data
    """On what."""
    optim: Optim = Field(default_factory=Optim)
    """How weights are stepped."""
    run: Run = Field(default_factory=Run)
    """How long."""
    cache: Cache = Field(default_factory=Cache)
    """Pictures and features on disk."""

    @model_validator(mode="after")
    def _shards(self) -> Any:
        if self.model.lora.rank and self.run.sharding == "fsdp":
            came = 'run.sharding is "fsdp" and model.lora.rank above 0'
            raise FormatError(came, '"auto" or "none"', "whole weights fit: they are frozen")
        return self


@settings
class Sft(Shared):
    """A run of ``unireason train sft``: supervised fine-tuning on grounded reasoning."""

    batch_size: Annotated[Least1, Was("samples"), Like("per_device_train_batch_size")] = 64
    """Samples a step over all processes."""
    max_questions_per_case: Annotated[Least1, Was("together")] = 4
    """Samples at most on one case that share its pictures in one step."""
    sigma: From0 = 0.0
    """Width in pixels of the bell over neighbouring numbers in place of a one-hot target; 0 for plain cross-entropy. Needs a
    tokenizer that has one token a whole number."""


@settings
class Rollout:
    """How the policy is sampled."""

    prompts_per_step: Annotated[Least1, Was("prompts"), Like("batch_size")] = 128
    """Questions a step over all processes."""
    num_generations: Annotated[Least2, Was("samples")] = 16
    """Responses a question (the group)."""
    temperature: Above0 = 1.0
    """Sampling temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus."""
    max_new_tokens: Annotated[Count, Like("max_completion_length")] = 0
    """Sampled tokens at most a response; 0 takes the profile's."""
    rollout_batch_size: Annotated[Least1, Was("rows")] = 16
    """Responses generated together at most."""
    redraws: Count = 0
    """Further batches of questions that a step may draw from: in place of questions whose responses all earned the same, and of those that
    the window below skips. Source: dynamic sampling of DAPO, arXiv 2503.14476, section 3.2."""
    min_success: Share = 0.0
    """Questions whose running success rate is below are skipped. The rate is what was known of a question and its newest responses,
    half each. 0, and 1 for the upper end, skip none. Source: online difficulty filtering, arXiv 2504.03380."""
    max_success: Share = 1.0
    """Questions whose running success rate is above are skipped."""
    skips_at_most: Least1 = 4
    """So many times in a row a question is skipped; then it is asked again, for the policy has changed."""

    @model_validator(mode="after")
    def _window(self) -> Rollout:
        if self.min_success >= self.max_success:
            came = f"rollout.min_success is {self.min_success} and rollout.max_success {self.max_success}"
            raise FormatError(came, "a smaller and a larger share", "every question would be skipped")
        return self


@settings
class Reward:
    """What a response earns."""

    answer: From0 = 0.8
    """Weight of the right answer."""
    format: Annotated[From0, Was("form")] = 0.2
    """Weight of the format."""
    must_look: bool = True
    """True if the format asks for at least one executed look (questions with a grounded reasoning only)."""
    must_show: bool = True
    """True if looks that show nothing (nearly the whole picture, a box below 2 px, what was shown before, a look without a word in front
    of it) spoil the box half of the format and earn no ``looks``; false pays them like others, as the published reward does."""
    spatial: Literal["soft", "hard", "base"] = "soft"
    """Mode of the spatial reward for implicit grounding questions."""
    mask: Share = 0.0
    """Share of that reward that the Dice of a mask takes over: a frozen expert outlines the answer's box and points. 1
    leaves nothing but the mask. Needs the source of the data set; an imported release brings its masks, and its questions
    without one keep the spatial reward alone. Risk: the policy learns the expert's weaknesses."""
    evidence: From0 = 0.0
    """Weight of the evidence contrast: right answers earn it only if the same trajectory with random low-overlap regions in
    place of what it looked at does not lead to them. 0 is off. Risk: teaches the model to distrust what it sees
    elsewhere, and costs one more generation a right response."""
    looks: From0 = 0.0
    """Bonus of a response with an executed look. 0 is off. Risk: looks for their own sake."""
    length: From0 = 0.0
    """Taken off for every 100 sampled tokens. 0 is off. Risk: reasoning that is cut short."""

    @model_validator(mode="after")
    def _some(self) -> Reward:
        if self.answer == self.format == 0:
            raise FormatError("reward.answer and reward.format are both 0", "a weight above 0", "nothing would be reinforced")
        return self


@settings
class MaskExpert:
    """The frozen segmentation expert that makes masks where ``reward.mask`` is above 0."""

    expert: Text = "classical"
    """Its name, as in ``unireason segment``."""
    weights: str = ""
    """Its weights, a folder or hub id; "" for "classical", which has none."""


@settings
class PolicySettings:
    """The objective."""

    clip_low: Inside1 = 0.2
    """How far the probability ratio may fall below 1 before the gradient stops."""
    clip_high: Inside1 = 0.2
    """The same above 1."""
    delta: From0 = 0.0
    """Largest probability ratio of a token with a negative advantage, above 1 + ``clip_high``; 0 for none. Without it one such token
    whose ratio has grown weighs without bound. Source: INTELLECT-2, arXiv 2505.07291, section 3.4; dual clip, arXiv 1912.09729."""
    importance_sampling_cap: From0 = 0.0
    """Where sampler and trainer give a sampled token other probabilities (other kernels, precision, a nucleus), its loss is multiplied by
    trainer / sampler, at most by this; 2 is usual, 0 is off. Source: truncated importance sampling, Yao et al. 2025, "Your efficient RL
    framework secretly brings you off-policy RL training"; the cap: IMPALA, arXiv 1802.01561."""
    beta: Annotated[From0, Was("kl")] = 0.01
    """Weight of the divergence (KL) from the frozen reference (the start of the run); 0 needs no reference."""
    use_bias_correction_kl: bool = False
    """True weighs the divergence of a token by its probability ratio, which stays in the gradient: an unbiased estimate also behind the
    first optimiser step, with the gradient of the reverse divergence. Source: DeepSeek-V3.2, arXiv 2512.02556, section 3.1."""
    scale_rewards: Annotated[Literal["group", "none"], Was("scale")] = "group"
    """"group" divides advantages by the group's standard deviation, "none" leaves them (unbiased)."""
    loss_type: Annotated[
        Literal["dapo", "grpo", "dr_grpo"], Was("average", {"token": "dapo", "response": "grpo", "constant": "dr_grpo"})
    ] = "dapo"
    """How token losses become one number: "dapo" is the mean over all tokens of the mini-batch, "grpo" the mean over
    responses of their mean, "dr_grpo" the sum over ``max_new_tokens`` x responses (unbiased)."""
    num_minibatches: Annotated[Least1, Was("updates")] = 2
    """Optimiser steps a batch of rollouts makes in one pass."""
    num_iterations: Annotated[Least1, Was("passes")] = 1
    """Passes over a batch of rollouts."""
    mask_truncated_completions: Annotated[bool, Was("truncated", {"score": False, "mask": True})] = False
    """True leaves responses that were cut off (token budget, looks, context) out of the loss; false scores them as they are. Source:
    overlong filtering of DAPO, arXiv 2503.14476, section 3.4."""

    @model_validator(mode="after")
    def _bounds(self) -> PolicySettings:
        if 0 < self.delta <= 1 + self.clip_high:
            came = f"policy.delta is {self.delta}"
            raise FormatError(came, f"above 1 + clip_high = {1 + self.clip_high:g}, or 0 for none", "the clip would never act")
        return self


@settings
class Verl:
    """Processes and lengths of ``unireason train grpo --engine verl``; training by ourselves does not look at it."""

    nodes: Least1 = 1
    """Machines."""
    gpus: Least1 = 8
    """GPUs of each."""
    tensor_parallel: Least1 = 1
    """GPUs that hold one copy of the weights for rollouts."""
    gpu_memory: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of a GPU's memory that rollouts take."""
    prompt_length: Least1 = 4096
    """Ids at most of a prompt, pictures included; a longer one is an error. Every prompt is padded to it."""
    response_length: Least1 = 4096
    """Ids at most of a response, injected ones included; a look that does not fit ends it. Every response is padded to it."""
    overrides: tuple[Text, ...] = ()
    """Further settings of verl, each "key=value" as its own command line takes them."""


@settings
class Grpo(Shared):
    """A run of ``unireason train grpo``: group-relative policy optimisation on grounded rollouts."""

    optim: Optim = Field(default_factory=lambda: Optim(lr=1e-6, schedule="constant", warmup=0.0))
    """How weights are stepped."""
    rollout: Rollout = Field(default_factory=Rollout)
    """How the policy is sampled."""
    reward: Reward = Field(default_factory=Reward)
    """What a response earns."""
    mask_expert: Annotated[MaskExpert, Was("outline")] = Field(default_factory=MaskExpert)
    """Who makes the masks of ``reward.mask``."""
    policy: PolicySettings = Field(default_factory=PolicySettings)
    """The objective."""
    traces_every: Count = 20
    """Steps between sample traces kept for looking at; 0 for none."""
    verl: Verl = Field(default_factory=Verl)
    """Where verl trains in our place."""

    @model_validator(mode="after")
    def _fits(self) -> Grpo:
        if self.model.lora.dropout:
            came = f"model.lora.dropout is {self.model.lora.dropout}"
            raise FormatError(came, "0", "the policy that is updated must be the one that was sampled")
        if self.policy.num_minibatches > self.rollout.prompts_per_step:
            came = f"policy.num_minibatches is {self.policy.num_minibatches}"
            expected = f"at most rollout.prompts_per_step, {self.rollout.prompts_per_step}"
            raise FormatError(came, expected, "a mini-batch has whole groups")
        return self


@settings
class PlanAssumptions:
    """The ``[plan]`` table of a run file; training does not look at it. The sizes stand for means, and give way to those of
    the data sets where these are at hand."""

    gpu: str = "H100-80"
    """Machine: "A100-80", "H100-80", "H200", "cpu-core", or another name for one given by its rates."""
    gpus: Least1 = 8
    """How many of them."""
    like: str = ""
    """Published checkpoint that has the sizes of the start, for a start that is not at hand yet."""
    samples: Least1 = 220_000
    """Samples of an epoch."""
    images: Share = 0.77
    """Share of 2D samples; a share set in ``data.images`` comes before it."""
    image_size: tuple[Side, Side] = (504, 504)
    """Height and width in pixels of a 2D picture in the model frame."""
    slices: Least1 = 32
    """Slices of a volume."""
    slice_size: tuple[Side, Side] = (252, 252)
    """Height and width in pixels of a slice in the model frame."""
    text: From1 = 160.0
    """Tokens of system prompt, question and options."""
    response: From1 = 180.0
    """Tokens that the assistant writes."""
    longest: float = 1.5
    """Tokens of the longest response of a group, as a multiple of ``response``."""
    crops: Mean = 2.0
    """Regions injected into a response about an image."""
    volume_crops: Mean = 8.0
    """The same about a volume; a cuboid gives one a slice."""
    crop_tokens: Mean = 16.0
    """Visual tokens of a region."""
    shared: From1 = 1.0
    """Samples on one case that share its pictures in one SFT step; at most ``max_questions_per_case``."""


KINDS: Mapping[str, type[Any]] = {"sft": Sft, "grpo": Grpo}


def read(path: str | Path | None, kind: type[T], overrides: Sequence[str] = ()) -> T:
    """Read a run file of one kind.

    Args:
        path: TOML file with ``kind = "..."`` (the class's name in small letters) and one table a field. A ``[plan]`` table is for
            ``unireason plan``; it is checked and left out. None for a run that the overrides alone describe.
        kind: Class of the settings, such as ``Sft`` or ``Grpo``.
        overrides: Values that come in place of the file's, each ``"a.b=value"`` in TOML; a value that is no TOML is a text.

    Raises:
        FormatError: If the file cannot be read, is not TOML, is of another kind, lacks a required key, has an unknown one, or a value has
            the wrong type or range.
    """
    return cast(T, _read(path, {kind.__name__.lower(): kind}, overrides)[0])


def read_any(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Sft | Grpo, PlanAssumptions]:
    """Read a run file of either kind, and its ``[plan]`` table; see :func:`read`."""
    return _read(path, KINDS, overrides)


def _read(path: str | Path | None, kinds: Mapping[str, type[Any]], overrides: Sequence[str]) -> tuple[Any, PlanAssumptions]:
    table = {KIND: next(iter(kinds))} if path is None else read_table(path)
    named = table.pop(KIND, None)
    if not isinstance(named, str) or named not in kinds:
        file = "the run" if path is None else Path(path).name
        came = f"{file} has no kind" if named is None else f"{file} is of the kind {named!r}"
        remedy = f"use: unireason train {named}" if isinstance(named, str) and named in KINDS else ""
        raise FormatError(came, " or ".join(f'{KIND} = "{name}"' for name in kinds), remedy)
    table = overridden(kinds[named], table, overrides)
    planned = build(PlanAssumptions, table.pop(PLAN, {}), within=PLAN)
    return build(kinds[named], table), planned
