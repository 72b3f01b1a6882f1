"""Attention for continuing a cache: few new queries, many cached keys, fewer key heads than query heads.

The library repeats every cached key and value once a query head before it computes, at every step and in every layer. Here the
query heads that share a key head become rows of one query instead, so that nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from unireason.errors import ModelError

NAME = "unireason_cached"
_FOLD_UP_TO = 32  # new tokens; above, folding costs more than the kernel's own handling of shared key heads


def cached_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of new tokens over cached and new keys.

    Args:
        module: The attention layer.
        query: (1, heads, n, d).
        key: (1, key heads, K, d), the new ones last.
        value: Like ``key``.
        attention_mask: bool (1, 1, n, K), True where a query sees a key. None: a fresh sequence (n = K, causal), or one token
            that sees everything.
        **options: ``scaling`` is used; dropout never applies in inference.

    Returns:
        ((1, n, heads, d), None), as the library's attention functions.

    Raises:
        ModelError: If several tokens come without a mask on top of a cache; that would leave them unmasked, silently.
    """
    heads, n, width = query.shape[1:]
    groups, fresh = heads // key.shape[1], attention_mask is None and n > 1
    if fresh and key.shape[2] != n:
        raise ModelError(f"{n} tokens continue a cache of {key.shape[2] - n} without a mask", "an explicit mask")
    if fresh or n > _FOLD_UP_TO or groups == 1:
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, is_causal=fresh, scale=options.get("scaling"), enable_gqa=groups > 1
        )
    else:
        folded = query.reshape(1, key.shape[1], groups * n, width)
        mask = None if attention_mask is None else attention_mask.repeat(1, 1, groups, 1)
        out = scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=options.get("scaling"))
        out = out.reshape(1, heads, n, width)
    return out.transpose(1, 2).contiguous(), None


@contextmanager
def use_cached_attention(network: Any) -> Iterator[None]:
    """Let the language model of a network use ``cached_attention`` inside the block; afterwards it is as before."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, cached_attention)
    config = network.model.language_model.config
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
