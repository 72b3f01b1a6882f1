"""Sizes of a Qwen2.5-VL: how many weights each part has. From ``config.json`` or, for the published ones, from a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.errors import FormatError, ModelError
from unireason.model.files import BUILT_IN, locate, read_json

_MOST = 1 << 24


@dataclass(frozen=True, slots=True)
class Language:
    """The language model.

    Attributes:
        layers: Layers.
        width: Width of the residual stream.
        heads: Query heads.
        key_heads: Key and value heads.
        hidden: Hidden width of the feed-forward layers.
        vocabulary: Rows of the embedding.
        tied: True if the output layer is the embedding.
    """

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
        """Weights of low-rank adapters.

        Raises:
            FormatError: If a target is no linear layer.
        """
        linears = self.linears()
        unknown = [t for t in targets if t not in linears]
        if rank and unknown:
            raise FormatError(f"model.lora.targets names {unknown[0]!r}", f"some of: {', '.join(linears)}")
        return self.layers * sum(rank * sum(linears[t]) for t in targets if rank)


@dataclass(frozen=True, slots=True)
class Vision:
    """The vision tower.

    Attributes:
        blocks: Blocks.
        full: Blocks whose attention sees the whole picture; the others see windows.
        width: Width of a patch in the tower.
        hidden: Hidden width of its feed-forward layers.
        out: Width of a visual token.
        patch: Side of a patch in pixels.
        merge: Patches a side that make one visual token.
        values: Values of a patch (colours x frames x patch x patch).
        window: Side of an attention window in pixels.
    """

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
class Shape:
    """A whole network.

    Attributes:
        name: Where the sizes come from.
        language: The language model.
        vision: The vision tower.
    """

    name: str
    language: Language
    vision: Vision

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.language.parameters + self.vision.tower + self.vision.projector


def find(start: str, like: str = "") -> Shape:
    """The sizes of a checkpoint.

    Args:
        start: "phantom", a checkpoint folder or a hub id.
        like: A published checkpoint that has its sizes, for a start that need not be at hand; "" looks at the start.

    Raises:
        ModelError: If the start is neither at hand nor published, or its configuration cannot be used.
    """
    name = like or start
    if name in PUBLISHED:
        return Shape(name, *PUBLISHED[name])
    if name == BUILT_IN or Path(name).expanduser().is_dir():
        return of_config(read_json(locate(name) / "config.json"), name)
    known = ", ".join(PUBLISHED)
    raise ModelError(f"the sizes of '{name}' are not known here", f"'phantom', a folder, or one of: {known}", "set plan.like")


def of_config(config: Mapping[str, Any], name: str) -> Shape:
    """The sizes told by a ``config.json``, of old files (flat) or new ones (``text_config``).

    Raises:
        ModelError: If one is missing or no whole number from 1.
    """
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
    return Shape(name, language, tower)


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
