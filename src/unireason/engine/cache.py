"""A key-value cache that grows in place.

The library's cache copies everything it holds whenever a token is added. This one writes into a buffer that doubles when full,
can be cut back to a prefix at no cost, and can drop slots that nobody will look at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import Cache, DynamicLayer

from unireason.core.errors import ModelError
from unireason.model.tokens import Grid, chunk_positions
from unireason.model.vision import embed

_ROOM = 256  # slots of a new buffer beyond what is needed at once


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer: ``keys`` and ``values`` are views (1, heads, slots, d) of larger buffers."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make empty buffers for tensors like these."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._buffers = [_empty(t, t.shape[2] + _ROOM) for t in (key_states, value_states)]
        self.keys, self.values = (b[:, :, :0] for b in self._buffers)
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Add slots (1, heads, n, d) behind the last; returns all keys and values."""
        del args, kwargs
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old, new = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        for i, states in enumerate((key_states, value_states)):
            if new > self._buffers[i].shape[2]:
                larger = _empty(states, max(new + _ROOM, 2 * old))
                larger[:, :, :old] = self._buffers[i][:, :, :old]
                self._buffers[i] = larger
            self._buffers[i][:, :, old:new] = states
        self.cut(new)
        return self.keys, self.values

    def cut(self, slots: int) -> None:
        """Show the first slots of the buffers only."""
        self.keys, self.values = (b[:, :, :slots] for b in self._buffers)

    def keep(self, start: int, kept: torch.Tensor) -> None:
        """Of the slots from ``start`` on keep those with these numbers (int64, rising, counted from ``start``)."""
        for buffer, shown in zip(self._buffers, (self.keys, self.values), strict=True):
            buffer[:, :, start : start + len(kept)] = shown[:, :, start:].index_select(2, kept)
        self.cut(start + len(kept))


class GrowingCache(Cache):  # type: ignore[misc]
    """The cache of all layers of a network, for one row."""

    def __init__(self, layers: int) -> None:
        """An empty cache for so many layers."""
        super().__init__(layers=[GrowingLayer() for _ in range(layers)])

    def cut(self, slots: int) -> None:
        """Forget all but the first slots."""
        for layer in self.layers:
            layer.cut(slots)

    def keep(self, start: int, kept: torch.Tensor) -> None:
        """Of the slots from ``start`` on keep those with these numbers (see ``GrowingLayer.keep``)."""
        for layer in self.layers:
            layer.keep(start, kept)


def _empty(like: torch.Tensor, slots: int) -> torch.Tensor:
    return torch.empty((*like.shape[:2], slots, like.shape[3]), dtype=like.dtype, device=like.device)


# --- Tokens of several cases in one pass of the network: projections see them all at once, attention works case by case.


class Parts(tuple[torch.Tensor, ...]):
    """Tensors, one a case, in the order of their tokens."""


class JoinedCache:
    """The caches of several cases as the library sees one."""

    def __init__(self, caches: Sequence[GrowingCache], sizes: Sequence[int]) -> None:
        """Take the caches, and how many of the new tokens belong to each, in order."""
        self._caches, self._sizes = list(caches), list(sizes)

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Parts, Parts]:
        """Add the new slots (1, heads, new, d) to each cache its own; returns all keys and values of each."""
        pieces = zip(self._caches, torch.split(keys, self._sizes, 2), torch.split(values, self._sizes, 2), strict=True)
        found = [cache.update(own_keys, own_values, layer) for cache, own_keys, own_values in pieces]
        return Parts(k for k, _ in found), Parts(v for _, v in found)


# --- Attention for continuing a cache: few new queries, many cached keys, fewer key heads than query heads.


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
    """Attention of new tokens over cached and new keys."""
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
    """Inside the block the output of the language model is right at the wanted tokens only; its cache is right at all."""
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


# --- Several responses in one row of the network.


_TOKENS_AT_ONCE = 4096
_DEAD_SLOTS = 256


@dataclass(slots=True, eq=False)
class Prefix:
    """The computed beginning of a prompt."""

    ids: tuple[int, ...]
    cache: GrowingCache
    next: int


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """New tokens of one node."""

    node: int
    ids: Sequence[int]
    features: Sequence[torch.Tensor] = ()
    grids: Sequence[Grid] = ()


def compute_prefix(network: Any, ids: tuple[int, ...], features: Sequence[torch.Tensor], grids: Sequence[Grid]) -> Prefix:
    """Run the network over the beginning of a prompt."""
    cache = GrowingCache(network.config.get_text_config().num_hidden_layers)
    device = network.get_input_embeddings().weight.device
    positions, following = chunk_positions(network, ids, grids, 0)
    with read_only_at(network, torch.empty(0, dtype=torch.long, device=device)):
        network.model.language_model(
            inputs_embeds=embed(network, torch.tensor([ids], device=device), features),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
        )
    return Prefix(ids, cache, following)


class PackedRow:
    """The tree of nodes on top of one prefix."""

    def __init__(self, network: Any, prefix: Prefix) -> None:
        """Start with the prefix as node 0. The prefix's cache is used in place; ``close`` gives it back."""
        self._network, self._prefix = network, prefix
        self._device = network.get_input_embeddings().weight.device
        prefix.cache.cut(len(prefix.ids))
        self._owner = torch.zeros(len(prefix.ids), dtype=torch.long, device=self._device)
        self._next = [prefix.next]
        self._sees = torch.ones((1, 1), dtype=torch.bool, device=self._device)

    def add(self, parent: int) -> int:
        """Make a node below another; it starts where its parent's tokens end. Returns its number."""
        node = len(self._next)
        grown = torch.zeros((node + 1, node + 1), dtype=torch.bool, device=self._device)
        grown[:node, :node] = self._sees
        grown[node, :node] = self._sees[parent]
        grown[node, node] = True
        self._sees = grown
        self._next.append(self._next[parent])
        return node

    def drop(self, live: Sequence[int]) -> None:
        """Free the slots that none of these nodes sees, once there are enough of them to be worth it."""
        start = len(self._prefix.ids)
        seen = self._sees[list(live)].any(0)[self._owner[start:]]
        dead = int((~seen).sum())
        if dead >= _DEAD_SLOTS and 4 * dead >= len(self._owner) - start:
            kept = seen.nonzero()[:, 0]
            self._prefix.cache.keep(start, kept)
            self._owner = torch.cat([self._owner[:start], self._owner[start:][kept]])

    def close(self) -> None:
        """Leave the prefix alone in its cache."""
        self._prefix.cache.cut(len(self._prefix.ids))

    @property
    def cache(self) -> GrowingCache:
        """Keys and values of all its nodes."""
        return self._prefix.cache

    def place(self, chunks: Sequence[Chunk]) -> tuple[torch.Tensor, torch.Tensor]:
        """Give new tokens their slots, the next ones of the cache, which must be fed before any other."""
        positions = []
        for chunk in chunks:
            own, self._next[chunk.node] = chunk_positions(self._network, chunk.ids, chunk.grids, self._next[chunk.node])
            positions.append(own)
        past = len(self._owner)
        nodes = torch.tensor([chunk.node for chunk in chunks for _ in chunk.ids], device=self._device)
        self._owner = torch.cat([self._owner, nodes])
        return torch.cat(positions, dim=-1).to(self._device), self._mask(nodes, past)

    def _mask(self, nodes: torch.Tensor, past: int) -> torch.Tensor:
        """bool (1, 1, new, slots): the slot's node is seen and the slot is not behind the token."""
        new = len(nodes)
        visible = self._sees[nodes][:, self._owner]
        if new > 1:
            slots = torch.arange(past + new, device=self._device)
            visible &= slots[None] <= (slots[past:])[:, None]
        return visible[None, None]


def step(network: Any, fed: Sequence[tuple[PackedRow, Chunk]]) -> torch.Tensor:
    """Feed new tokens."""
    out, waiting, size = [], list[tuple[PackedRow, Chunk]](), 0
    for row, chunk in fed:
        if waiting and size + len(chunk.ids) > _TOKENS_AT_ONCE:
            out.append(_forward(network, waiting))
            waiting, size = [], 0
        waiting.append((row, chunk))
        size += len(chunk.ids)
    return torch.cat([*out, _forward(network, waiting)])


def _forward(network: Any, fed: Sequence[tuple[PackedRow, Chunk]]) -> torch.Tensor:
    chunks = [chunk for _, chunk in fed]
    device = network.get_input_embeddings().weight.device
    together = [(row, [chunk for _, chunk in own]) for row, own in groupby(fed, key=lambda pair: pair[0])]
    placed = [row.place(own) for row, own in together]
    sizes = [positions.shape[-1] for positions, _ in placed]
    cache: Any = together[0][0].cache if len(together) == 1 else JoinedCache([row.cache for row, _ in together], sizes)
    ends = torch.tensor([len(chunk.ids) for chunk in chunks], device=device).cumsum(0) - 1
    ids = torch.tensor([[token for chunk in chunks for token in chunk.ids]], device=device)
    masks = Parts(own for _, own in placed)
    mask: Any = None
    if len(masks) > 1:  # in the form that the library hands to every layer as it is
        mask = {"full_attention": masks, "sliding_attention": masks}
    elif masks[0].shape[2] > 1 or not bool(masks[0].all()):  # else the only new token sees all
        mask = masks[0]
    many = ids.shape[1] > len(chunks)  # else every token is the last of its chunk
    with read_only_at(network, ends) if many else nullcontext():
        hidden = network.model.language_model(
            inputs_embeds=embed(network, ids, [f for chunk in chunks for f in chunk.features]),
            position_ids=torch.cat([positions for positions, _ in placed], dim=-1),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    logits: torch.Tensor = network.lm_head(hidden[0, ends])
    return logits
