"""Attention over a packed sequence: causal over every prefix, side by side over the rows of a tree.

Nothing is computed for pairs that may not see each other, and no mask over the whole sequence exists. The result equals padded batches
in which every row carries its own copy of the prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from .layout import Branch, Group, Layout

ATTENTION = "unireason_packed"
_PLAIN_UP_TO = 512


def attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Attention over a packed sequence; the interface of transformers' attention functions.

    Args:
        module: The attention layer.
        query: (1, heads, N, d).
        key: (1, key heads, N, d).
        value: (1, key heads, N, d).
        attention_mask: Ignored; the layout rules.
        **kwargs: ``layout`` (required) and ``scaling``.

    Returns:
        (1, N, heads, d) and None.
    """
    del module, attention_mask
    layout: Layout = kwargs["layout"]
    scale = float(kwargs["scaling"])
    out = []
    for branch in layout.branches:
        piece = slice(branch.start, branch.start + branch.length)
        out += _branch(query[:, :, piece], key[:, :, piece], value[:, :, piece], branch, scale)
    return torch.cat(out)[None], None


def _branch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, branch: Branch, scale: float) -> list[torch.Tensor]:
    """Attention of one tree: (prefix, heads, d) and (tokens behind it, heads, d)."""
    p = branch.prefix
    head = _attention(query[:, :, :p], key[:, :, :p], value[:, :, :p], None, scale)
    parts = [head[0].transpose(0, 1)]
    tails = [_rows(query, key, value, group, p, scale) for group in branch.groups]
    if len(tails) == 1 and branch.groups[0].index.shape[0] == 1:
        parts += tails
    elif tails:
        parts.append(torch.cat(tails)[branch.order])
    return parts


def _rows(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, group: Group, prefix: int, scale: float) -> torch.Tensor:
    """Rows of like length over the prefix and themselves: (tokens of the group, heads, d)."""
    rows, longest = group.index.shape
    flat = group.index.reshape(-1)

    def gather(states: torch.Tensor) -> torch.Tensor:
        picked = states[0, :, prefix:].index_select(1, flat)
        return picked.view(states.shape[1], rows, longest, -1).transpose(0, 1)

    def with_prefix(states: torch.Tensor) -> torch.Tensor:
        return torch.cat([states[:, :, :prefix].expand(rows, -1, -1, -1), gather(states)], dim=2)

    tail = _attention(gather(query), with_prefix(key), with_prefix(value), group.mask, scale)
    return tail.transpose(1, 2)[group.valid]


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Masked attention, or causal attention without a mask; key heads are shared by neighbouring query heads.

    The fused kernel keeps no scores. On a CPU in bfloat16 plain matrix products take a third of its backward time, which short
    sequences can afford.
    """
    n, groups = query.shape[2], query.shape[1] // key.shape[1]
    low = query.dtype == torch.bfloat16 or torch.is_autocast_enabled(query.device.type)
    plain = query.device.type == "cpu" and low and key.shape[2] <= _PLAIN_UP_TO
    if not plain:
        mask = None if mask is None else mask.to(query.dtype)
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None and n > 1, scale=scale, enable_gqa=groups > 1
        )
    if mask is None:
        mask = torch.full((n, n), float("-inf")).triu_(1)
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.matmul(query * scale, key.transpose(-1, -2)) + mask.to(query.dtype)
    return torch.matmul(torch.softmax(scores, dim=-1), value)


def use_packed_attention(network: Any) -> str:
    """Let the language model of a network use ``attend`` from now on; its vision tower keeps its own attention.

    Returns:
        The name of what it used before.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
    config = network.model.language_model.config
    before: str = config._attn_implementation
    config._attn_implementation = ATTENTION
    return before


@contextmanager
def packed_attention(network: Any) -> Iterator[None]:
    """The same inside the block only."""
    before = use_packed_attention(network)
    try:
        yield
    finally:
        network.model.language_model.config._attn_implementation = before
