"""What goes through the network in a step, in numbers: trees of a prefix and its rows, pictures and regions.

A tree is what ``train.network`` makes of the samples on one case, or of a group of responses; lengths are means and need not be whole.

Source: 2 operations a weight and token forward and twice as many backward, arXiv 2001.08361, section 2.1; the fused attention kernel
computes its scores again backward, five products for two, arXiv 2205.14135.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.core.errors import FormatError, ModelError
from unireason.core.store import read_json
from unireason.model.files import BUILT_IN_CHECKPOINT, locate

from .config import Grpo, Model, Optim, PlanAssumptions, Sft

# --- Sizes of a Qwen2.5-VL: how many weights each part has. From ``config.json`` or, for the published ones, from a table.


_MOST = 1 << 24


@dataclass(frozen=True, slots=True)
class Language:
    """The language model."""

    layers: int
    width: int
    heads: int
    key_heads: int
    hidden: int
    vocabulary: int
    tied: bool = False

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.width // self.heads

    @property
    def key_width(self) -> int:
        """Width of keys, and of values."""
        return self.key_heads * self.head

    def linears(self) -> dict[str, tuple[int, int]]:
        """Matrices of a layer by name: (values in, values out)."""
        w, k, m = self.width, self.key_width, self.hidden
        return {
            "q_proj": (w, w), "k_proj": (w, k), "v_proj": (w, k), "o_proj": (w, w), "gate_proj": (w, m), "up_proj": (w, m),
            "down_proj": (m, w),
        }  # fmt: skip

    @property
    def layer_matrices(self) -> int:
        """Weights of all layers that a token is multiplied with."""
        return self.layers * sum(a * b for a, b in self.linears().values())

    @property
    def output(self) -> int:
        """Weights of the output layer, own or tied."""
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """All weights, the output layer included if it has its own; biases stand on q, k and v."""
        small = self.layers * (self.width + 2 * self.key_width + 2 * self.width) + self.width
        return self.layer_matrices + small + self.output * (1 if self.tied else 2)

    def adapters(self, rank: int, targets: tuple[str, ...]) -> int:
        """Weights of low-rank adapters."""
        linears = self.linears()
        unknown = [t for t in targets if t not in linears]
        if rank and unknown:
            raise FormatError(f"model.lora.targets names {unknown[0]!r}", f"some of: {', '.join(linears)}")
        return self.layers * sum(rank * sum(linears[t]) for t in targets if rank)


@dataclass(frozen=True, slots=True)
class Vision:
    """The vision tower."""

    blocks: int
    full: int
    width: int
    hidden: int
    out: int
    patch: int = 14
    merge: int = 2
    values: int = 3 * 2 * 14 * 14
    window: int = 112

    @property
    def block_matrices(self) -> int:
        """Weights of all blocks and of the patch embedding that a patch is multiplied with."""
        return self.blocks * (4 * self.width**2 + 3 * self.width * self.hidden) + self.values * self.width

    @property
    def projector_matrices(self) -> int:
        """Weights of the merger that a visual token is multiplied with."""
        merged = self.merge**2 * self.width
        return merged * (merged + self.out)

    @property
    def tower(self) -> int:
        """All weights of the tower without the merger: matrices, biases, norms."""
        return self.block_matrices + self.blocks * (4 * self.width + 2 * self.hidden + self.width + 2 * self.width)

    @property
    def projector(self) -> int:
        """All weights of the merger."""
        return self.projector_matrices + self.merge**2 * self.width + self.out + self.width


@dataclass(frozen=True, slots=True)
class CostShape:
    """A whole network."""

    name: str
    language: Language
    vision: Vision

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.language.parameters + self.vision.tower + self.vision.projector


def find(start: str, like: str = "") -> CostShape:
    """The sizes of a checkpoint."""
    name = like or start
    if name in PUBLISHED:
        return CostShape(name, *PUBLISHED[name])
    if name == BUILT_IN_CHECKPOINT or Path(name).expanduser().is_dir():
        return of_config(read_json(locate(name) / "config.json"), name)
    known = ", ".join(PUBLISHED)
    raise ModelError(f"the sizes of '{name}' are not known here", f"'phantom', a folder, or one of: {known}", "set plan.like")


def of_config(config: Mapping[str, Any], name: str) -> CostShape:
    """The sizes told by a ``config.json``, of old files (flat) or new ones (``text_config``)."""
    text, vision = config.get("text_config") or config, config.get("vision_config")
    if not isinstance(text, Mapping) or not isinstance(vision, Mapping):
        raise ModelError(f"config.json of '{name}' has no vision_config", "the configuration of a Qwen2.5-VL")
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))
    w = _size(text, "hidden_size")
    language = Language(
        layers=_size(text, "num_hidden_layers"), width=w, heads=_size(text, "num_attention_heads"),
        key_heads=_size(text, "num_key_value_heads"), hidden=_size(text, "intermediate_size"),
        vocabulary=_size(text, "vocab_size"), tied=bool(tied),
    )  # fmt: skip
    blocks, patch = _size(vision, "depth", 32), _size(vision, "patch_size", 14)
    colours = vision.get("in_channels", vision.get("in_chans", 3))
    whole = vision.get("fullatt_block_indexes", [7, 15, 23, 31])
    tower = Vision(
        blocks=blocks, full=len(set(whole)) if isinstance(whole, list) else blocks, width=_size(vision, "hidden_size", 1280),
        hidden=_size(vision, "intermediate_size", 3420), out=_size(vision, "out_hidden_size", w), patch=patch,
        merge=_size(vision, "spatial_merge_size", 2), window=_size(vision, "window_size", 112),
        values=int(colours) * _size(vision, "temporal_patch_size", 2) * patch**2,
    )  # fmt: skip
    return CostShape(name, language, tower)


def _size(table: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = table.get(key, default)
    if type(value) is not int or not 1 <= value <= _MOST:
        raise ModelError(f"config.json says {key} {value!r}", f"a whole number from 1 to {_MOST}")
    return value


_7B = (Language(28, 3584, 28, 4, 18944, 152064), Vision(32, 4, 1280, 3420, 3584))
PUBLISHED: Mapping[str, tuple[Language, Vision]] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": (Language(36, 2048, 16, 2, 11008, 151936, tied=True), Vision(32, 4, 1280, 3420, 2048)),
    "Qwen/Qwen2.5-VL-7B-Instruct": _7B,
    "Qwen/Qwen2.5-VL-32B-Instruct": (Language(64, 5120, 40, 8, 27648, 152064), Vision(32, 4, 1280, 3456, 5120)),
    "Qwen/Qwen2.5-VL-72B-Instruct": (Language(80, 8192, 64, 8, 29568, 152064), Vision(32, 4, 1280, 3456, 8192)),
    "IQuestLab/UniReason-Med": _7B,
    "lingshu-medical-mllm/Lingshu-7B": _7B,
}
"""Sizes of published checkpoints, so that a run can be planned without their files.

Source: Qwen2.5-VL, arXiv 2502.13923, table 1; UniReason-Med, arXiv 2606.11740, and Lingshu, arXiv 2506.07044, are tuned from the 7B."""


# --- What goes through the network in a step.


DELIMITERS = 2
"""Tokens around every picture."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of one size."""

    count: float
    patches: float
    tokens: float

    @property
    def placed(self) -> float:
        """Tokens that all of them take in a sequence."""
        return self.count * (self.tokens + DELIMITERS)


@dataclass(frozen=True, slots=True)
class WorkloadTree:
    """A prefix and its rows."""

    count: float
    prefix: float
    rows: float
    row: float
    written: float
    case: Pictures
    crops: Pictures

    @property
    def tokens(self) -> float:
        """Tokens of one tree."""
        return self.prefix + self.rows * self.row


@dataclass(frozen=True, slots=True)
class Workload:
    """A run in numbers."""

    trees: tuple[WorkloadTree, ...]
    steps: int
    epochs: float
    samples: int
    cases: tuple[tuple[float, float], ...]

    def total(self, name: str) -> float:
        """A number of tokens a step over all processes: "tokens", "prompt", "written" or "injected"."""
        return sum(tree.count * _tokens(tree)[name] for tree in self.trees)


def _tokens(tree: WorkloadTree) -> dict[str, float]:
    written, injected = tree.rows * tree.written, tree.rows * tree.crops.placed
    return {"tokens": tree.tokens, "prompt": tree.tokens - written - injected, "written": written, "injected": injected}


def workload(settings: Sft | Grpo, planned: PlanAssumptions, vision: Vision) -> Workload:
    """The numbers of a run."""
    grpo = settings if isinstance(settings, Grpo) else None
    samples = settings.rollout.prompts_per_step if isinstance(settings, Grpo) else settings.batch_size
    shared = 1.0 if isinstance(settings, Grpo) else min(float(settings.max_questions_per_case), planned.shared)
    images = planned.images if settings.data.images == -1 else settings.data.images
    steps = settings.run.steps or max(1, -(-round(settings.run.epochs * planned.samples) // samples))
    side, patches = vision.patch * vision.merge, vision.merge**2
    trees, cases = [], []
    for share, count, (height, width), cut in (
        (images, 1, planned.image_size, planned.crops),
        (1 - images, planned.slices, planned.slice_size, planned.volume_crops),
    ):
        if not share:
            continue
        # Sides are whole visual tokens, as in the model frame.
        tokens = max(1, round(height / side)) * max(1, round(width / side))
        case = Pictures(count, tokens * patches, tokens)
        crops = Pictures(cut, planned.crop_tokens * patches, planned.crop_tokens)
        response, held = planned.response + crops.placed, share * samples
        if grpo:  # responses to one question share all of the prompt
            prefix, rows, row = case.placed + planned.text, float(grpo.rollout.num_generations), response
        else:  # questions on one case share its pictures
            prefix, rows, row, held = case.placed, shared, planned.text + response, held / shared
        trees.append(WorkloadTree(held, prefix, rows, row, planned.response, case, crops))
        cases.append((share * planned.samples / shared * case.count, case.tokens))
    return Workload(tuple(trees), steps, steps * samples / planned.samples, samples, tuple(cases))


# --- Bytes of one device at the worst moment of a step.


_LOGITS_AT_ONCE = 1 << 26


@dataclass(frozen=True, slots=True)
class Storage:
    """How numbers are kept."""

    weight: int
    computed: int
    stream: int
    copied: int
    shards: int
    replica: int
    reference: int
    gpu: bool


def storage(model: Model, *, processes: int, sharding: str, gpu: bool) -> Storage:
    """How a run keeps its numbers."""
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


def trained_weights(shape: CostShape, model: Model) -> int:
    """How many weights learn."""
    language = shape.language
    adapters = language.adapters(model.lora.rank, model.lora.targets)
    tuned = (adapters if model.lora.rank else language.parameters) if model.train_llm else 0
    return tuned + shape.vision.tower * model.train_vision + shape.vision.projector * model.train_projector


def layer_values(language: Language, kept: Storage) -> tuple[float, float]:
    """Bytes that one layer keeps for its backward pass: (for every token, for every key that a row looks at)."""
    by_width = {4: 36, 2: 32 if kept.stream == 4 else 22}[kept.computed]
    keys = 2 * language.key_width * kept.computed
    return by_width * language.width + keys + 4 * kept.computed * language.hidden, keys


def activations(language: Language, trees: list[WorkloadTree], kept: Storage, *, checkpointing: bool) -> float:
    """Bytes that the language model keeps for the backward pass of one packed sequence."""
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


def passing(language: Language, trees: list[WorkloadTree], kept: Storage) -> float:
    """Bytes that come and go: the logits of the targets, or the gradients inside one layer, whichever is more."""
    targets = sum(tree.count * tree.rows * tree.written for tree in trees)
    logits = min(targets * language.vocabulary, _LOGITS_AT_ONCE) * (16 if kept.computed == 2 else 12)
    tokens = sum(tree.count * tree.tokens for tree in trees)
    return max(logits, tokens * (3 * language.hidden + 2 * language.width) * kept.computed)


def together(work: Workload, limit: int, processes: int) -> list[WorkloadTree]:
    """The trees that a process computes at once: as many of the longest kind as the limit on tokens allows, at least one."""
    longest = max(work.trees, key=lambda tree: tree.tokens)
    fit = max(1.0, limit // longest.tokens)
    held = max(1.0, sum(tree.count for tree in work.trees) / processes)
    count = min(fit, held)
    return [WorkloadTree(count, longest.prefix, longest.rows, longest.row, longest.written, longest.case, longest.crops)]


def resting(shape: CostShape, model: Model, optim: Optim, kept: Storage, *, reference: bool) -> dict[str, float]:
    """Bytes of weights, gradients and moments on a device."""
    learns, vision = trained_weights(shape, model), shape.vision.tower + shape.vision.projector
    # A frozen tower stays whole beside shards.
    whole = 0 if model.train_vision or model.train_projector else vision
    held = whole + (shape.parameters - whole) / kept.shards
    adapters = shape.language.adapters(model.lora.rank, model.lora.targets)
    muon = shape.language.layer_matrices if optim.optimizer == "muon" and model.train_llm and not model.lora.rank else 0
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
    """Bytes of the keys and values of one group while it is written."""
    longest = max(work.trees, key=lambda tree: tree.tokens)
    slots = longest.prefix + min(rows, longest.rows) * longest.row
    return 2 * language.layers * language.key_width * slots * kept.computed


# --- Floating-point operations of a step: a multiplication and an addition are two.


_ATTENTION_BACKWARD = 2.5


@dataclass(frozen=True, slots=True)
class Pass:
    """Operations of one forward pass, by where they happen."""

    matrices: float
    attention: float
    output: float

    @property
    def forward(self) -> float:
        """All of them."""
        return self.matrices + self.attention + self.output


def passed(language: Language, tree: WorkloadTree) -> Pass:
    """One forward pass over a tree; the prefix is computed once."""
    pairs = tree.prefix * (tree.prefix + 1) / 2 + tree.rows * tree.row * (tree.prefix + tree.row)
    return Pass(
        matrices=2 * language.layer_matrices * tree.tokens,
        attention=4 * language.layers * language.width * pairs,
        output=2 * language.output * tree.rows * tree.written,
    )


def trained(shape: CostShape, model: Model, tree: WorkloadTree) -> float:
    """Forward and backward pass over a tree, without the vision tower."""
    language, one = shape.language, passed(shape.language, tree)
    adapters = 2 * language.adapters(model.lora.rank, model.lora.targets) * tree.tokens
    weights = one.matrices + one.output if model.train_llm and not model.lora.rank else 0.0
    backward = one.matrices + one.output + weights + _ATTENTION_BACKWARD * one.attention + 2 * adapters
    again = one.matrices + one.attention + adapters if model.gradient_checkpointing else 0.0
    return one.forward + adapters + backward + again


def looked(vision: Vision, pictures: Pictures) -> float:
    """One forward pass of the vision tower and the projector over pictures."""
    inside = min(pictures.patches, (vision.window / vision.patch) ** 2)
    seen = vision.full * pictures.patches + (vision.blocks - vision.full) * inside
    matrices = vision.block_matrices * pictures.patches + vision.projector_matrices * pictures.tokens
    return pictures.count * (2 * matrices + 4 * vision.width * pictures.patches * seen)


def looked_backward(vision: Vision, model: Model, pictures: Pictures) -> float:
    """Operations of the backward pass through the parts of tower and projector that learn, with checkpointing if asked for."""
    forward, projector = looked(vision, pictures), 2 * vision.projector_matrices * pictures.tokens * pictures.count
    if model.train_vision:
        return forward * (3 if model.gradient_checkpointing else 2)
    return 2 * projector if model.train_projector else 0.0


def decoded(language: Language, tree: WorkloadTree) -> float:
    """Operations of writing the rows of a tree token by token behind a prefix that is computed already."""
    one, alone = passed(language, tree), passed(language, _bare(tree))
    return one.matrices + one.attention + one.output - alone.matrices - alone.attention


def prefilled(language: Language, tree: WorkloadTree) -> float:
    """Operations of reading the prefix of a tree."""
    alone = passed(language, _bare(tree))
    return alone.matrices + alone.attention + 2 * language.output


def _bare(tree: WorkloadTree) -> WorkloadTree:
    return WorkloadTree(tree.count, tree.prefix, 0, 0, 0, tree.case, tree.crops)
