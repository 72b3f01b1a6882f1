"""Bytes of one device at the worst moment of a step.

What autograd keeps was counted on the layers of transformers with ``train.network`` around them, tensor by tensor, and holds to
the byte on a CPU; a GPU adds what its allocator cannot use. Formulas: docs/explanation/planning.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from unireason.train.settings.shared import Model, Optim

from .shape import Language, Shape
from .workload import Tree, Workload

_LOGITS_AT_ONCE = 1 << 26


@dataclass(frozen=True, slots=True)
class Storage:
    """How numbers are kept.

    Attributes:
        weight: Bytes of a weight at rest.
        computed: Bytes of a value in matrix products.
        stream: Bytes of a value of the residual stream.
        copied: Bytes of a weight's copy for matrix products, kept for the whole pass; 0 if the weights are used as they are.
        shards: Processes over which weights, gradients and moments are spread.
        replica: Bytes of a weight of the whole copy that answers questions beside sharded weights; 0 if there is none.
        reference: Bytes of a weight of the frozen reference, spread like the weights.
        gpu: True on a GPU, whose optimiser steps all weights at once.
    """

    weight: int
    computed: int
    stream: int
    copied: int
    shards: int
    replica: int
    reference: int
    gpu: bool


def storage(model: Model, *, processes: int, sharding: str, gpu: bool) -> Storage:
    """How a run keeps its numbers.

    Args:
        model: What is trained.
        processes: Processes of the run.
        sharding: ``run.sharding``.
        gpu: True on a GPU, where LoRA keeps the frozen weights in bfloat16.
    """
    sharded = sharding == "fsdp" or (sharding == "auto" and processes > 1 and not model.lora.rank)
    half = 2 if gpu else 4
    if model.lora.rank and gpu:
        weight, stream, copied = 2, 2 if model.precision == "bf16" else 4, 0
    else:
        mixed = model.precision == "bf16" and not sharded
        weight, stream, copied = 4, 2 if sharded and model.precision == "bf16" else 4, 2 if mixed else 0
    computed = 2 if model.precision == "bf16" else 4
    shards, replica, reference = (processes, half, 4) if sharded else (1, 0, half)
    return Storage(weight, computed, stream, copied, shards, replica, reference, gpu)


def trained_weights(shape: Shape, model: Model) -> int:
    """How many weights learn."""
    language = shape.language
    adapters = language.adapters(model.lora.rank, model.lora.targets)
    tuned = (adapters if model.lora.rank else language.parameters) if model.language else 0
    return tuned + shape.vision.tower * model.tower + shape.vision.projector * model.projector


def layer_values(language: Language, kept: Storage) -> tuple[float, float]:
    """Bytes that one layer keeps for its backward pass: (for every token, for every key that a row looks at).

    In float32 36 bytes a value of the width: two norms keep their input, the normed input and the output (24), attention its query and
    its output twice (12). Matrix products in bfloat16 over float32 weights keep three copies of the output of the first norm and
    two of the second; over bfloat16 weights both norms compute in float32 (22).
    """
    by_width = {4: 36, 2: 32 if kept.stream == 4 else 22}[kept.computed]
    keys = 2 * language.key_width * kept.computed
    return by_width * language.width + keys + 4 * kept.computed * language.hidden, keys


def activations(language: Language, trees: list[Tree], kept: Storage, *, checkpointing: bool) -> float:
    """Bytes that the language model keeps for the backward pass of one packed sequence.

    Args:
        language: The language model.
        trees: The sequence; ``count`` says how often each tree is in it.
        kept: How numbers are kept.
        checkpointing: True keeps the input of every layer, and the rest of one layer.
    """
    per_token, per_key = layer_values(language, kept)
    tokens = sum(tree.count * tree.tokens for tree in trees)
    layer = tokens * per_token
    for tree in trees:
        query = tree.row * language.width * kept.computed
        mask = tree.row * (tree.prefix + tree.row) * 2 if kept.computed == 2 else 0
        layer += tree.count * tree.rows * ((tree.prefix + tree.row) * per_key + query + mask)
    if checkpointing:
        return language.layers * tokens * language.width * kept.stream + layer
    return language.layers * layer


def passing(language: Language, trees: list[Tree], kept: Storage) -> float:
    """Bytes that come and go: the logits of the targets, or the gradients inside one layer, whichever is more."""
    targets = sum(tree.count * tree.rows * tree.written for tree in trees)
    logits = min(targets * language.vocabulary, _LOGITS_AT_ONCE) * (16 if kept.computed == 2 else 12)
    tokens = sum(tree.count * tree.tokens for tree in trees)
    return max(logits, tokens * (3 * language.hidden + 2 * language.width) * kept.computed)


def together(work: Workload, limit: int, processes: int) -> list[Tree]:
    """The trees that a process computes at once: as many of the longest kind as the limit on tokens allows, at least one.

    Args:
        work: The run.
        limit: ``run.tokens``.
        processes: Processes of the run.
    """
    longest = max(work.trees, key=lambda tree: tree.tokens)
    fit = max(1.0, limit // longest.tokens)
    held = max(1.0, sum(tree.count for tree in work.trees) / processes)
    count = min(fit, held)
    return [Tree(count, longest.prefix, longest.rows, longest.row, longest.written, longest.case, longest.crops)]


def resting(shape: Shape, model: Model, optim: Optim, kept: Storage, *, reference: bool) -> dict[str, float]:
    """Bytes of weights, gradients and moments on a device.

    Args:
        shape: The network.
        model: What of it learns.
        optim: How.
        kept: How numbers are kept.
        reference: True if a frozen copy of the start is kept beside it; adapters need none.
    """
    learns, vision = trained_weights(shape, model), shape.vision.tower + shape.vision.projector
    # A frozen tower stays whole beside shards.
    whole = 0 if model.tower or model.projector else vision
    held = whole + (shape.parameters - whole) / kept.shards
    adapters = shape.language.adapters(model.lora.rank, model.lora.targets)
    muon = shape.language.layer_matrices if optim.matrices == "muon" and model.language and not model.lora.rank else 0
    out = {
        "weights": held * (kept.weight + kept.copied) + adapters * 4 / kept.shards,
        "gradients": 4 * learns / kept.shards,
        "moments": 4 * (2 * learns - muon) / kept.shards,
    }
    if reference and not model.lora.rank:
        out["reference"] = held * kept.reference
    if kept.replica:
        out["whole copy for rollouts"] = float(shape.parameters * kept.replica)
    return out


def keys_and_values(language: Language, work: Workload, rows: int, kept: Storage) -> float:
    """Bytes of the keys and values of one group while it is written.

    Args:
        language: The language model.
        work: The run.
        rows: Responses generated together.
        kept: How numbers are kept.
    """
    longest = max(work.trees, key=lambda tree: tree.tokens)
    slots = longest.prefix + min(rows, longest.rows) * longest.row
    return 2 * language.layers * language.key_width * slots * kept.computed
