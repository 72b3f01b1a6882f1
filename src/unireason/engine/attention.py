"""Attention for continuing a cache: few new queries, many cached keys, fewer key heads than query heads.

The library repeats every cached key and value once a query head before it computes, at every step and in every layer. Here the
query heads that share a key head become rows of one query instead, so that nothing is copied. And where only some tokens of a
piece are read afterwards (none of a prefix, the last one of a crop), the last layer computes keys and values for all of them but
the rest of its work only for those.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from unireason.errors import ModelError

from .joined import Parts

NAME = "unireason_cached"
_WANTED = "_unireason_wanted"
_FOLD_UP_TO = 32  # new tokens; above, folding costs more than the kernel's own handling of shared key heads


def cached_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor | Parts,
    value: torch.Tensor | Parts,
    attention_mask: torch.Tensor | Parts | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of new tokens over cached and new keys.

    Args:
        module: The attention layer.
        query: (1, heads, n, d).
        key: (1, key heads, K, d), the new ones last.
        value: Like ``key``.
        attention_mask: bool (1, 1, n, K), True where a query sees a key. None: a fresh sequence (n = K, causal), or one token
            that sees everything. ``Parts`` of key, value and mask: new tokens of several cases, each attending to its own.
        **options: ``scaling`` is used; dropout never applies in inference.

    Returns:
        ((1, n, heads, d), None), as the library's attention functions.

    Raises:
        ModelError: If several tokens come without a mask on top of a cache; that would leave them unmasked, silently.
    """
    wanted = getattr(module, _WANTED, None)
    if isinstance(key, Parts) or isinstance(value, Parts) or isinstance(attention_mask, Parts):
        return _case_by_case(query, key, value, attention_mask, wanted, options.get("scaling")), None
    if wanted is not None:
        return _some(query, key, value, attention_mask, wanted, options.get("scaling")), None
    n = query.shape[2]
    fresh = attention_mask is None and n > 1
    if fresh and key.shape[2] != n:
        raise ModelError(f"{n} tokens continue a cache of {key.shape[2] - n} without a mask", "an explicit mask")
    return _attend(query, key, value, attention_mask, fresh, options.get("scaling")), None


def _case_by_case(
    query: torch.Tensor, keys: Any, values: Any, masks: Any, wanted: torch.Tensor | None, scale: float | None
) -> torch.Tensor:
    """Attention of the new tokens of several cases, each to the keys of its own."""
    out, start = [], 0
    for key, value, mask in zip(keys, values, masks, strict=True):
        end = start + mask.shape[2]
        own = query[:, :, start:end]
        if wanted is None:
            out.append(_attend(own, key, value, mask, False, scale))
        else:
            inside = wanted[(wanted >= start) & (wanted < end)] - start
            out.append(_some(own, key, value, mask, inside, scale))
        start = end
    return torch.cat(out, dim=1)


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, causal: bool, scale: float | None
) -> torch.Tensor:
    heads, n, width = query.shape[1:]
    groups = heads // key.shape[1]
    if causal or n > _FOLD_UP_TO or groups == 1:
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=groups > 1
        )
    else:
        folded = query.reshape(1, key.shape[1], groups * n, width)
        tiled = None if mask is None else mask.repeat(1, 1, groups, 1)
        out = scaled_dot_product_attention(folded, key, value, attn_mask=tiled, scale=scale).reshape(1, heads, n, width)
    return out.transpose(1, 2).contiguous()


def _some(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    wanted: torch.Tensor,
    scale: float | None,
) -> torch.Tensor:
    """Attention of the wanted tokens; zeros, which nobody reads, in the place of the others."""
    out = torch.zeros_like(query).transpose(1, 2).contiguous()
    if len(wanted):
        if mask is None:
            raise ModelError("some tokens of a fresh sequence are wanted", "none of them, or an explicit mask")
        out[:, wanted] = _attend(query[:, :, wanted], key, value, mask[:, :, wanted], False, scale)
    return out


@contextmanager
def read_only_at(network: Any, wanted: torch.Tensor) -> Iterator[None]:
    """Inside the block the output of the language model is right at the wanted tokens only; its cache is right at all.

    Args:
        network: ``Qwen2_5_VLForConditionalGeneration`` that uses ``cached_attention``.
        wanted: int64 (k,), places in the piece that is fed; k may be 0.
    """
    last = network.model.language_model.layers[-1]
    whole = last.mlp.forward

    def sparse(hidden: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(hidden)
        if len(wanted):
            out[:, wanted] = whole(hidden[:, wanted])
        return out

    setattr(last.self_attn, _WANTED, wanted)
    last.mlp.forward = sparse
    try:
        yield
    finally:
        delattr(last.self_attn, _WANTED)
        del last.mlp.forward


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
