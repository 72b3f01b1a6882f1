"""A seeded random two-layer Qwen2.5-VL with a byte-level tokenizer built in code, scripted samplers, and small stacks.

The attention of the tiny network is boosted so that wrong positions or a wrong mask change its logits by far more than rounding.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unireason.core.types import Stack
from unireason.grounding.profile import Profile
from unireason.model.checkpoint import Checkpoint, assemble
from unireason.model.files import make_processor

torch.set_num_threads(1)

SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ p['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROFILE = Profile(
    name="tiny", system_2d="look", system_3d="look well", volume_shape=(4, 56, 56), max_rounds=4, max_new_tokens=400,
    max_round_tokens_2d=200, max_round_tokens_3d=200,
)  # fmt: skip


def make_tokenizer(*, think: bool = True) -> Any:
    """Bytes are tokens; the special tokens of Qwen2.5-VL follow; think tags are single tokens if wanted."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    if think:
        core.add_tokens([AddedToken(s, normalized=False) for s in ("<think>", "</think>")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_config(tokenizer: Any, *, tie: bool = False) -> Any:
    """Two layers, two key-value heads for four heads, one windowed and one full vision layer."""
    from transformers import Qwen2_5_VLConfig

    token = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        vision_config={
            **{"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64},
            **{"fullatt_block_indexes": [1], "window_size": 56, "patch_size": 14, "spatial_merge_size": 2},
            **{"temporal_patch_size": 2, "in_channels": 3, "hidden_act": "silu"},
        },
        text_config={
            **{"vocab_size": 272, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
            **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6},
            **{"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}},
            **{"tie_word_embeddings": tie, "initializer_range": 0.08},
        },
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"), tie_word_embeddings=tie,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    return config


def make_network(tokenizer: Any, *, seed: int = 0, tie: bool = False) -> Any:
    """Random float32 weights from a seed; queries and keys boosted."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(seed)
    network = Qwen2_5_VLForConditionalGeneration(make_config(tokenizer, tie=tie)).float().eval()
    with torch.no_grad():
        for layer in network.model.language_model.layers:
            layer.self_attn.q_proj.weight *= 3
            layer.self_attn.k_proj.weight *= 3
    return network


@lru_cache(maxsize=4)
def checkpoint(*, think: bool = True, seed: int = 0, max_pixels: int = 56 * 84) -> Checkpoint:
    """The tiny checkpoint; shared between tests, so nobody may change it."""
    tokenizer = make_tokenizer(think=think)
    processor = make_processor({"min_pixels": 784, "max_pixels": max_pixels})
    return assemble(make_network(tokenizer, seed=seed), tokenizer, processor, profile=PROFILE, name="tiny")


def save(
    folder: Path, *, shard_size: str = "50KB", old_style: bool = True, tie: bool = False, dtype: Any = torch.float32
) -> Checkpoint:
    """Write the tiny checkpoint in the published layout and return what was written."""
    tokenizer = make_tokenizer()
    network = make_network(tokenizer, tie=tie).to(dtype)
    network.save_pretrained(folder, max_shard_size=shard_size)
    tokenizer.save_pretrained(folder)
    limits = {"min_pixels": 784, "max_pixels": 4704} if old_style else {"size": {"shortest_edge": 784, "longest_edge": 4704}}
    table = {
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_processor_type": "Qwen2VLImageProcessor",
        **limits,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(table))
    (folder / "profile.toml").write_text(PROFILE.to_toml())
    return assemble(network, tokenizer, make_processor(table), profile=PROFILE)


def stack(kind: str = "volume", *, depth: int = 4, side: int = 56, seed: int = 0) -> Stack:
    """Random pictures; the native volume has twice the slices and three times the pixels a side."""
    random = np.random.default_rng(seed)
    if kind == "image":
        native = random.integers(0, 256, (side * 3, side * 3), dtype=np.uint8)
        return Stack(native[::3, ::3][None].copy(), "image", "as stored", ((0, 1),), native)
    native = random.integers(0, 256, (depth * 2, side * 3, side * 3), dtype=np.uint8)
    covered = tuple((2 * d, 2 * d + 2) for d in range(depth))
    return Stack(native[::2, ::3, ::3].copy(), "volume", "as stored", covered, native)


class Scripted:
    """A picker that follows a plan and keeps the logits it was shown: an id is forced, None takes the best plain byte."""

    def __init__(self, plan: list[int | None]) -> None:
        self.plan, self.seen = list(plan), list[torch.Tensor]()

    def pick(self, logits: torch.Tensor) -> tuple[int, float]:
        forced = self.plan[len(self.seen)]
        self.seen.append(logits.float().clone())
        return (int(logits[:256].argmax()) if forced is None else forced), -0.5


class Script:
    """Makes a scripted picker a row and remembers them."""

    def __init__(self, *plans: list[int | None]) -> None:
        self.plans = plans
        self.pickers: dict[int, Scripted] = {}

    def __call__(self, row: int, *rest: Any) -> Scripted:
        del rest
        self.pickers[row] = Scripted(self.plans[row])
        return self.pickers[row]

    def logits(self, row: int) -> torch.Tensor:
        """(tokens, vocabulary) of one row."""
        return torch.stack(self.pickers[row].seen)


def spell(text: str) -> list[int | None]:
    """The ids of a text, as a forced plan."""
    made = checkpoint()
    return list(made.tokenizer(text, add_special_tokens=False)["input_ids"])


def plan(boxes: list[tuple[int, ...]], *, free: int = 4, tail: int = 5) -> list[int | None]:
    """Free tokens and a forced box for each round, free tokens and the end of the turn at last."""
    out: list[int | None] = []
    for box in boxes:
        out += [None] * free + spell(f"<|box_start|>[{','.join(map(str, box))}]<|box_end|>")
    return [*out, *[None] * tail, checkpoint().ids.im_end]
