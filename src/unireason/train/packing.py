"""Token sequences with positions, labels and the pictures that belong into them.

Positions are those of the network (M-RoPE); labels stand on what the assistant wrote or sampled and nowhere else: not on the prompt, not
on injected visual tokens, not on their delimiters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention

from unireason.core.errors import ModelError
from unireason.model.checkpoint import SpecialIds
from unireason.model.tokens import Grid, picture_ids

# --- Which token of a packed sequence sees which.


MOST_PADDING = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class LayoutGroup:
    """Rows of one tree whose attention is computed side by side."""

    index: torch.Tensor
    valid: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One tree."""

    start: int
    prefix: int
    length: int
    groups: tuple[LayoutGroup, ...]
    order: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A packed sequence."""

    branches: tuple[Branch, ...]
    length: int
    slots: int

    @property
    def padding(self) -> float:
        """Share of the slots that hold no token; at most a tenth."""
        return 1 - self.length / self.slots

    def to(self, device: torch.device | str) -> Layout:
        """The same with its tensors on a device."""

        def moved(branch: Branch) -> Branch:
            groups = tuple(LayoutGroup(*(t.to(device) for t in (g.index, g.valid, g.mask))) for g in branch.groups)
            return replace(branch, groups=groups, order=branch.order.to(device))

        return replace(self, branches=tuple(moved(branch) for branch in self.branches))


def make_layout(trees: Sequence[tuple[int, Sequence[int]]]) -> Layout:
    """Lay out a packed sequence, on the CPU."""
    branches, start, slots = [], 0, 0
    for prefix, lengths in trees:
        branch = _branch(start, prefix, list(lengths))
        slots += prefix + sum(g.valid.numel() for g in branch.groups)
        branches.append(branch)
        start += branch.length
    return Layout(tuple(branches), start, slots)


def _branch(start: int, prefix: int, lengths: list[int]) -> Branch:
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    groups, places = [], list[torch.Tensor]()
    for rows in _alike(lengths):
        group = _group(prefix, [starts[r] for r in rows], [lengths[r] for r in rows])
        places.append(group.index[group.valid])
        groups.append(group)
    order = torch.argsort(torch.cat(places)) if places else torch.empty(0, dtype=torch.long)
    return Branch(start, prefix, prefix + starts[-1], tuple(groups), order)


def _group(prefix: int, starts: list[int], lengths: list[int]) -> LayoutGroup:
    sizes, begin = torch.tensor(lengths), torch.tensor(starts)
    column = torch.arange(max(lengths))
    valid = column[None] < sizes[:, None]
    index = begin[:, None] + torch.where(valid, column[None], torch.zeros(1, dtype=torch.long))
    own = (column[None] <= column[:, None])[None] & valid[:, None, :]
    # A padded query may look at the prefix, so that its softmax is no 0/0; nobody reads it.
    sees = torch.cat([torch.ones(len(lengths), len(column), prefix, dtype=torch.bool), own], dim=2)[:, None]
    return LayoutGroup(index, valid, torch.zeros(sees.shape).masked_fill(~sees, float("-inf")))


def _alike(lengths: list[int]) -> list[list[int]]:
    """Rows in groups of like length: each group is as long as padding allows."""
    groups: list[list[int]] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lambda r: -lengths[r]):
        if groups:
            most = lengths[groups[-1][0]]
            if 1 - (tokens + lengths[row]) / (most * (len(groups[-1]) + 1)) <= MOST_PADDING:
                groups[-1].append(row)
                tokens += lengths[row]
                continue
        groups.append([row])
        tokens = lengths[row]
    return groups


# --- Token sequences with positions, labels and the pictures that belong into them.


@dataclass(slots=True)
class TokenRun:
    """A run of tokens; grows by text and by pictures."""

    ids: list[int] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    positions: list[tuple[int, int, int]] = field(default_factory=list)
    next: int = 0
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)

    def text(self, ids: Sequence[int], *, label: bool) -> None:
        """Append text tokens, with or without loss on them."""
        self.ids += ids
        self.labels += [label] * len(ids)
        self.positions += [(p, p, p) for p in range(self.next, self.next + len(ids))]
        self.next += len(ids)

    def picture(self, pixels: NDArray[np.uint8], grid: Grid, special: SpecialIds, *, merge: int = 2) -> None:
        """Append one picture with its delimiters; no loss on any of it.

        Source: M-RoPE of Qwen2-VL (arXiv 2409.12191): the tokens of a picture share t; h and w count its rows and columns.
        """
        rows, columns = grid[1] // merge, grid[2] // merge
        ids = picture_ids(special, grid, merge=merge)
        self.text(ids[:1], label=False)
        base = self.next
        self.ids += ids[1:-1]
        self.labels += [False] * (rows * columns)
        self.positions += [(base, base + r, base + c) for r in range(rows) for c in range(columns)]
        self.next = base + max(rows, columns)
        self.pictures.append(pixels)
        self.text(ids[-1:], label=False)

    def tokens(
        self,
        ids: Sequence[int],
        labels: Sequence[bool],
        *,
        pictures: Sequence[tuple[NDArray[np.uint8], Grid]],
        special: SpecialIds,
        merge: int = 2,
    ) -> None:
        """Append ids that hold whole pictures already."""
        place, left = 0, list(pictures)
        while place < len(ids):
            if ids[place] != special.vision_start:
                end = next((i for i in range(place, len(ids)) if ids[i] == special.vision_start), len(ids))
                for i in range(place, end):
                    self.text([ids[i]], label=labels[i])
                place = end
                continue
            pixels, grid = left.pop(0) if left else (np.zeros((0, 0), np.uint8), (0, 0, 0))
            shown = picture_ids(special, grid, merge=merge)
            here = slice(place, place + len(shown))
            if tuple(ids[here]) != shown or any(labels[here]):
                raise ModelError("the pictures of a response do not fit its ids", "one grid a picture, no label on it")
            self.picture(pixels, grid, special, merge=merge)
            place += len(shown)
        if left:
            raise ModelError(f"{len(left)} pictures too many for the ids of a response", "one grid a picture")


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """One prefix and the rows behind it."""

    prefix: TokenRun
    rows: tuple[TokenRun, ...]
    tags: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prefix.ids) + sum(len(r.ids) for r in self.rows)

    @property
    def labelled(self) -> int:
        """Tokens to be predicted."""
        return sum(sum(r.labels) for r in self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """Trees as one sequence, ready for the network."""

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    sources: torch.Tensor
    rows: torch.Tensor
    layout: Layout
    pictures: tuple[tuple[NDArray[np.uint8], ...], ...]
    tags: tuple[str, ...] = ()


def pack(trees: Sequence[PrefixTree]) -> Pack:
    """Join trees."""
    runs = [run for tree in trees for run in (tree.prefix, *tree.rows)]
    targets, sources, rows, start, row = [], [], [], 0, 0
    for tree in trees:
        behind = last = start + len(tree.prefix.ids)
        for run in tree.rows:
            places = [i for i, label in enumerate(run.labels) if label]
            targets += [behind + i for i in places]
            sources += [behind + i - 1 if i else last - 1 for i in places]
            rows += [row] * len(places)
            behind += len(run.ids)
            row += 1
        start = behind
    return Pack(
        ids=torch.tensor([i for run in runs for i in run.ids]),
        positions=torch.tensor([p for run in runs for p in run.positions]).T.contiguous(),
        targets=torch.tensor(targets, dtype=torch.long),
        sources=torch.tensor(sources, dtype=torch.long),
        rows=torch.tensor(rows, dtype=torch.long),
        layout=make_layout([(len(t.prefix.ids), [len(r.ids) for r in t.rows]) for t in trees]),
        pictures=tuple(tuple(run.pictures) for run in runs if run.pictures),
        tags=tuple(tag for t in trees for tag in t.tags),
    )


def token_counts(packs: Sequence[Pack]) -> list[float]:
    """Tokens of the samples, and slots of all rows; what stands in for an empty row (``TrainContext.packs``) is padding."""
    return [float(sum(p.layout.length for p in packs if len(p.targets))), float(sum(p.layout.slots for p in packs))]


# --- Attention over a packed sequence: causal over every prefix, side by side over the rows of a tree.


ATTENTION = "unireason_packed"
_PLAIN_UP_TO = 512


def attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Attention over a packed sequence; the interface of transformers' attention functions."""
    del module, attention_mask
    layout: Layout = kwargs["layout"]
    scale = float(kwargs["scaling"])
    out = []
    for branch in layout.branches:
        piece = slice(branch.start, branch.start + branch.length)
        out += _attend_branch(query[:, :, piece], key[:, :, piece], value[:, :, piece], branch, scale)
    return torch.cat(out)[None], None


def _attend_branch(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, branch: Branch, scale: float
) -> list[torch.Tensor]:
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


def _rows(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, group: LayoutGroup, prefix: int, scale: float
) -> torch.Tensor:
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
    """Masked attention, or causal attention without a mask; key heads are shared by neighbouring query heads."""
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
    """Let the language model of a network use ``attend`` from now on; its vision tower keeps its own attention."""
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
