"""Token sequences with positions, labels and the pictures that belong into them.

Positions are those of the network (M-RoPE); labels stand on what the assistant wrote or sampled and nowhere else: not on the prompt, not
on injected visual tokens, not on their delimiters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from unireason.errors import ModelError
from unireason.model.checkpoint import SpecialIds
from unireason.model.tokens import Grid, picture_ids

from .layout import Layout, make_layout


@dataclass(slots=True)
class Run:
    """A run of tokens; grows by text and by pictures.

    Attributes:
        ids: Token ids, image pads expanded.
        labels: One flag a token: True where the token is to be predicted.
        positions: (t, h, w) of every token.
        next: First free position.
        pictures: uint8 (H, W) or (H, W, 3) of every picture in it, in order.
    """

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

        Args:
            pixels: The picture.
            grid: (t, h, w) in patches.
            special: Special ids.
            merge: Patches a side of a visual token.

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
        """Append ids that hold whole pictures already.

        Args:
            ids: Token ids.
            labels: One flag an id; must be False on pictures.
            pictures: Pixels and grid of every picture among them, in order.
            special: Special ids.
            merge: Patches a side of a visual token.

        Raises:
            ModelError: If the pictures do not fit the ids, or a label stands on one.
        """
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
class Tree:
    """One prefix and the rows behind it.

    Attributes:
        prefix: Shared beginning, at least one token.
        rows: Rows, positions counted on from the prefix, at least one token each.
        tags: A name for each row, for statistics; empty if there are none.
    """

    prefix: Run
    rows: tuple[Run, ...]
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
    """Trees as one sequence, ready for the network.

    Attributes:
        ids: int64 (N,).
        positions: int64 (3, N).
        targets: int64 (n,), places of the tokens to be predicted.
        sources: int64 (n,), places whose hidden state predicts them: the token before, which for the first of a row is the last of its
            prefix.
        rows: int64 (n,), row of each target, counted over all trees.
        layout: Who sees whom.
        pictures: In the order of their pads: those of each prefix, and the crops of each row that has some.
        tags: Of all rows in order; empty if there are none.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    sources: torch.Tensor
    rows: torch.Tensor
    layout: Layout
    pictures: tuple[tuple[NDArray[np.uint8], ...], ...]
    tags: tuple[str, ...] = ()


def pack(trees: Sequence[Tree]) -> Pack:
    """Join trees.

    Args:
        trees: At least one.
    """
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
