"""One forward pass over a shared prompt and many responses to it.

The sequence is ``[prefix | row 0 | row 1 | ...]``; every row sees the prefix and its own past, never another row. Attention is
computed in two parts, causal over the prefix and batched over the rows, so that nothing is computed for pairs that may not see each
other and no (N, N) mask exists. The result equals one padded batch with the prefix repeated.

Source: the layout is that of ``docs/explanation/engine.md``; prefix sharing for policy updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

ATTENTION = "unireason_shared_prefix"


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Which position of a packed sequence belongs to which row.

    Attributes:
        prefix: Length of the shared prefix; at least 1.
        index: int64 (rows, longest) positions behind the prefix, counted from it; padding points to 0.
        valid: bool (rows, longest), False at padding.
        mask: float (rows, 1, longest, prefix + longest), 0 where a query may look and minus infinity elsewhere.
        causal: float (prefix, prefix), the same for the prefix.
    """

    prefix: int
    index: torch.Tensor
    valid: torch.Tensor
    mask: torch.Tensor
    causal: torch.Tensor


def _additive(mask: torch.Tensor) -> torch.Tensor:
    return torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))


def make_layout(prefix: int, lengths: list[int]) -> Layout:
    """Layout of rows of the given lengths behind a prefix.

    Args:
        prefix: Tokens in the shared prefix, at least 1.
        lengths: Tokens of each row, each at least 1.

    Returns:
        The layout; the packed sequence has ``prefix + sum(lengths)`` positions.
    """
    longest = max(lengths)
    sizes = torch.tensor(lengths)
    starts = torch.cumsum(sizes, 0) - sizes
    column = torch.arange(longest)
    valid = column[None] < sizes[:, None]
    index = torch.where(valid, starts[:, None] + column[None], torch.zeros(1, dtype=torch.long))
    own = (column[None] <= column[:, None])[None] & valid[:, None, :]
    mask = torch.cat([torch.ones(len(lengths), longest, prefix, dtype=torch.bool), own], dim=2)[:, None]
    return Layout(prefix, index, valid, _additive(mask), _additive(torch.ones(prefix, prefix, dtype=torch.bool).tril()))


def _softmax_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    """Plain attention. On a CPU with bfloat16 matrix products its backward pass takes a third of the fused kernel's time."""
    scores = torch.matmul(query * scale, key.transpose(-1, -2)) + mask.to(query.dtype)
    return torch.matmul(torch.softmax(scores, dim=-1), value)


def attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Attention over a packed sequence; the interface of transformers' attention functions.

    Args:
        module: The attention layer (gives the number of query heads a key head serves).
        query: (1, heads, N, d).
        key: (1, kv_heads, N, d).
        value: (1, kv_heads, N, d).
        attention_mask: Ignored; the layout rules.
        **kwargs: ``layout`` (required) and ``scaling``.

    Returns:
        (1, N, heads, d) and None.
    """
    layout: Layout = kwargs["layout"]
    scale, p = float(kwargs["scaling"]), layout.prefix
    groups = module.num_key_value_groups
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    head = _softmax_attention(query[:, :, :p], key[:, :, :p], value[:, :, :p], layout.causal, scale)
    rows, longest = layout.index.shape
    flat = layout.index.reshape(-1)

    def gather(states: torch.Tensor) -> torch.Tensor:
        picked = states[0, :, p:].index_select(1, flat)
        return picked.view(states.shape[1], rows, longest, -1).transpose(0, 1)

    def with_prefix(states: torch.Tensor) -> torch.Tensor:
        return torch.cat([states[:, :, :p].expand(rows, -1, -1, -1), gather(states)], dim=2)

    tail = _softmax_attention(gather(query), with_prefix(key), with_prefix(value), layout.mask, scale)
    packed = tail.transpose(1, 2)[layout.valid]
    return torch.cat([head[0].transpose(0, 1), packed], dim=0)[None], None


def register(network: Any) -> None:
    """Makes the language model of a network use ``attend``; the vision tower keeps its own attention."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
    network.model.language_model.config._attn_implementation = ATTENTION


def unregister(network: Any) -> None:
    """Gives the language model its ordinary attention back, for generation or saving."""
    network.model.language_model.config._attn_implementation = "sdpa"


def hidden_states(network: Any, embeddings: torch.Tensor, positions: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Runs the language model over a packed sequence.

    Args:
        network: A registered network.
        embeddings: (N, width) input embeddings, image features already in place.
        positions: int64 (3, N) M-RoPE positions.
        layout: Rows of the sequence.

    Returns:
        (N, width) final hidden states.
    """
    out = network.model.language_model(
        inputs_embeds=embeddings[None],
        position_ids=positions[:, None],
        attention_mask={"full_attention": None},
        use_cache=False,
        layout=layout,
    )
    states: torch.Tensor = out.last_hidden_state[0]
    return states
