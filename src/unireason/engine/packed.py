"""Several responses in one row of the network.

Every cache slot belongs to a node of a small tree: the prefix up to the last picture, below it one node a distinct question,
below that one node a response. A token sees the slots of its own node and of the nodes above it, up to itself. There is no
padding and nothing is copied; a row may take one token in a step and its neighbour a dozen pictures. Rows on several cases go through
the network together too: all but attention is shared, which stays with the tree of each case (``joined``).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from unireason.model.positions import chunk_positions
from unireason.model.tokens import Grid
from unireason.model.vision import embed

from .attention import read_only_at
from .cache import GrowingCache
from .joined import JoinedCache, joined_mask

_TOKENS_AT_ONCE = 4096
_DEAD_SLOTS = 256


@dataclass(slots=True, eq=False)
class Prefix:
    """The computed beginning of a prompt.

    Attributes:
        ids: Its token ids.
        cache: Keys and values; the first ``len(ids)`` slots belong to the prefix.
        next: The next free position.
    """

    ids: tuple[int, ...]
    cache: GrowingCache
    next: int


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """New tokens of one node.

    Attributes:
        node: The node.
        ids: At least one id; pictures only whole.
        features: Visual features of the pictures in it, in order.
        grids: Their grids in patches.
    """

    node: int
    ids: Sequence[int]
    features: Sequence[torch.Tensor] = ()
    grids: Sequence[Grid] = ()


def compute_prefix(network: Any, ids: tuple[int, ...], features: Sequence[torch.Tensor], grids: Sequence[Grid]) -> Prefix:
    """Run the network over the beginning of a prompt.

    Args:
        network: ``Qwen2_5_VLForConditionalGeneration``.
        ids: Prompt ids up to and including the last picture.
        features: Visual features of its pictures.
        grids: Their grids in patches.
    """
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
        """Give new tokens their slots, the next ones of the cache, which must be fed before any other.

        Args:
            chunks: At most one a node, at least one in all.

        Returns:
            Positions (3, 1, new) and what they see, bool (1, 1, new, slots).
        """
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
    """Feed new tokens.

    Args:
        network: ``Qwen2_5_VLForConditionalGeneration`` that uses ``cached_attention``.
        fed: Packed rows, each with a chunk; those of one packed row stand together and are on different nodes. At least one.

    Returns:
        Logits (chunks, vocabulary) behind the last token of each. Many tokens are fed in several passes.
    """
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
    many = ids.shape[1] > len(chunks)  # else every token is the last of its chunk
    with read_only_at(network, ends) if many else nullcontext():
        hidden = network.model.language_model(
            inputs_embeds=embed(network, ids, [f for chunk in chunks for f in chunk.features]),
            position_ids=torch.cat([positions for positions, _ in placed], dim=-1),
            attention_mask=_mask_of([mask for _, mask in placed]),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    logits: torch.Tensor = network.lm_head(hidden[0, ends])
    return logits


def _mask_of(masks: Sequence[torch.Tensor]) -> Any:
    """The mask of one tree; None if its only new token sees all. Those of several trees are joined."""
    if len(masks) > 1:
        return joined_mask(masks)
    return None if masks[0].shape[2] == 1 and bool(masks[0].all()) else masks[0]
