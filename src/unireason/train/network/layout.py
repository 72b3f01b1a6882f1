"""Which token of a packed sequence sees which.

A packed sequence is a row of trees: ``[prefix | row 0 | row 1 | ...] [prefix | row 0 | ...] ...``. A row sees its tree's prefix and its
own past; it never sees another row or another tree. Nothing is repeated and nothing is padded in what the layers compute; only inside
attention rows of similar length are laid side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

MOST_PADDING = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Rows of one tree whose attention is computed side by side.

    Attributes:
        index: int64 (rows, longest), places counted from the first token behind the prefix; padding points to the row's first.
        valid: bool (rows, longest), False at padding.
        mask: float (rows, 1, longest, prefix + longest), 0 where a query looks and minus infinity elsewhere.
    """

    index: torch.Tensor
    valid: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One tree.

    Attributes:
        start: Its first place in the packed sequence.
        prefix: Tokens of its prefix.
        length: All its tokens.
        groups: Its rows; none if it is a prefix alone.
        order: int64 (length - prefix,), where the tokens behind the prefix lie among those of ``groups`` laid end to end.
    """

    start: int
    prefix: int
    length: int
    groups: tuple[Group, ...]
    order: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A packed sequence.

    Attributes:
        branches: Its trees, in order.
        length: All its tokens.
        slots: Places that are computed for them, padding inside row attention included.
    """

    branches: tuple[Branch, ...]
    length: int
    slots: int

    @property
    def padding(self) -> float:
        """Share of the slots that hold no token; at most a tenth."""
        return 1 - self.length / self.slots


def make_layout(trees: Sequence[tuple[int, Sequence[int]]], *, device: torch.device | str = "cpu") -> Layout:
    """Lay out a packed sequence.

    Args:
        trees: For each tree the tokens of its prefix and of each of its rows, every number at least 1; rows may be missing.
        device: Where the tensors go.

    Returns:
        The layout. Within a group at most a tenth of the slots is padding.
    """
    branches, start, slots = [], 0, 0
    for prefix, lengths in trees:
        branch = _branch(start, prefix, list(lengths), device)
        slots += prefix + sum(g.valid.numel() for g in branch.groups)
        branches.append(branch)
        start += branch.length
    return Layout(tuple(branches), start, slots)


def _branch(start: int, prefix: int, lengths: list[int], device: torch.device | str) -> Branch:
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    groups, places = [], list[torch.Tensor]()
    for rows in _alike(lengths):
        group = _group(prefix, [starts[r] for r in rows], [lengths[r] for r in rows])
        places.append(group.index[group.valid])
        groups.append(Group(*(t.to(device) for t in (group.index, group.valid, group.mask))))
    order = torch.argsort(torch.cat(places)) if places else torch.empty(0, dtype=torch.long)
    return Branch(start, prefix, prefix + starts[-1], tuple(groups), order.to(device))


def _group(prefix: int, starts: list[int], lengths: list[int]) -> Group:
    sizes, begin = torch.tensor(lengths), torch.tensor(starts)
    column = torch.arange(max(lengths))
    valid = column[None] < sizes[:, None]
    index = begin[:, None] + torch.where(valid, column[None], torch.zeros(1, dtype=torch.long))
    own = (column[None] <= column[:, None])[None] & valid[:, None, :]
    # A padded query may look at the prefix, so that its softmax is no 0/0; nobody reads it.
    sees = torch.cat([torch.ones(len(lengths), len(column), prefix, dtype=torch.bool), own], dim=2)[:, None]
    return Group(index, valid, torch.zeros(sees.shape).masked_fill(~sees, float("-inf")))


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
