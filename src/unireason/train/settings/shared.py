"""Settings that every trainer shares. Every field has a default except what only the user can know.

Tables of a TOML file have the names of these fields; unknown keys fail (``load.read``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


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
