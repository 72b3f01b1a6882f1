"""A small Qwen2.5-VL from nothing: tokenizer, configuration and weights.

Small models learn from few examples when their input is easy to take apart. So a frequent phrase ("left kidney") and a whole number
("187") are one token each, and the embeddings of numbers start as smooth functions of their value. Everything else of the text is
bytes, so that any question can be written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from unireason.core.config import settings
from unireason.model.vocabulary import NUMBERS, number_ids
from unireason.train.config import Above0, Least1

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
THINK = ("<think>", "</think>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@settings
class NetworkShape:
    """Sizes of a small model."""

    width: Least1 = 192
    """Language model width; also the width of a visual token."""
    layers: Least1 = 6
    """Language model layers."""
    heads: Least1 = 6
    """Attention heads; width / heads must be even."""
    kv_heads: Least1 = 2
    """Key-value heads."""
    mlp: Least1 = 512
    """Hidden width of the feed-forward layers."""
    vision_width: Least1 = 128
    """Vision tower width."""
    vision_layers: Least1 = 3
    """Vision tower layers, all with full attention."""
    vision_heads: Least1 = 4
    """Vision tower heads."""
    rope_theta: Above0 = 10_000.0
    """Base of the rotary positions."""


def make_tokenizer(phrases: Iterable[str]) -> Any:
    """A byte-level tokenizer in which every phrase and every number below 256 is one token.

    Args:
        phrases: Pieces of text, usually with their leading blank; the longest match wins.

    Returns:
        A transformers fast tokenizer with the special tokens and a ChatML template. Decoding gives the very text back.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    core.add_tokens([AddedToken(s, normalized=False) for s in THINK])
    core.add_tokens([AddedToken(str(n), normalized=False) for n in range(10, NUMBERS)])
    core.add_tokens([AddedToken(p, normalized=False) for p in sorted(set(phrases))])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_config(shape: NetworkShape, tokenizer: Any) -> Any:
    """A Qwen2_5_VLConfig of the given sizes for the given tokenizer."""
    from transformers import Qwen2_5_VLConfig

    def token(text: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(text))

    half = shape.width // shape.heads // 2
    temporal = half // 4
    height = (half - temporal) // 2
    vocab = 8 * math.ceil(len(tokenizer) / 8)
    return Qwen2_5_VLConfig(
        vision_config={
            "depth": shape.vision_layers,
            "hidden_size": shape.vision_width,
            "intermediate_size": 2 * shape.vision_width,
            "num_heads": shape.vision_heads,
            "out_hidden_size": shape.width,
            "fullatt_block_indexes": list(range(shape.vision_layers)),
            "window_size": 112,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
            "hidden_act": "silu",
        },
        text_config={
            "vocab_size": vocab,
            "hidden_size": shape.width,
            "intermediate_size": shape.mlp,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "initializer_range": 1.0 / math.sqrt(shape.width),
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [temporal, height, half - temporal - height],
                "rope_theta": shape.rope_theta,
            },
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=False,
    )


def make_network(shape: NetworkShape, tokenizer: Any, *, seed: int) -> Any:
    """A randomly initialised network, with number embeddings that vary smoothly with the number.

    Args:
        shape: Sizes.
        tokenizer: From ``make_tokenizer``.
        seed: Seed of the initial weights.

    Returns:
        Qwen2_5_VLForConditionalGeneration in float32.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(seed)
    config = make_config(shape, tokenizer)
    config._attn_implementation = "sdpa"
    network = Qwen2_5_VLForConditionalGeneration(config).float()
    values = torch.arange(NUMBERS, dtype=torch.float32)[:, None]
    periods = torch.exp(torch.linspace(math.log(6.0), math.log(600.0), shape.width // 2))[None]
    waves = torch.cat([torch.sin(2 * math.pi * values / periods), torch.cos(2 * math.pi * values / periods)], dim=1)
    ids = torch.tensor(number_ids(tokenizer))
    with torch.no_grad():
        for table in (network.get_input_embeddings().weight, network.get_output_embeddings().weight):
            spread = table.std()
            table[ids] = 0.3 * table[ids] + waves * spread
    return network
