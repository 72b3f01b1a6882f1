"""Samples become packed token sequences: ids, positions, labels and the regions to inject.

Labels stand on what the assistant wrote and nowhere else: not on the prompt, not on injected image tokens, not on their delimiters.
Crops are planned by the same rule that the engine uses when it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.grounding import grammar
from unireason.grounding.crop import cut, fitted_size, plan
from unireason.grounding.prompts import Profile, render
from unireason.model.patches import resized
from unireason.types import Frame, Look, Problem, Sample

Cut = tuple[int, tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Coder:
    """What is needed to write token ids.

    Attributes:
        tokenizer: The checkpoint's tokenizer.
        profile: The checkpoint's prompt profile.
        min_pixels: Smallest picture area of the image processor.
        max_pixels: Largest picture area of the image processor.
    """

    tokenizer: Any
    profile: Profile
    min_pixels: int
    max_pixels: int

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, nothing added."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def token(self, text: str) -> int:
        """Id of one token."""
        return int(self.tokenizer.convert_tokens_to_ids(text))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Visual tokens (rows, columns) of a picture of that size."""
        h, w = fitted_size(height, width, factor=28, limits=(self.min_pixels, self.max_pixels))
        return h // 28, w // 28


@dataclass(slots=True)
class Row:
    """A run of tokens with M-RoPE positions; grows by text and by pictures.

    Attributes:
        ids: Token ids, image pads expanded.
        labels: One flag a token: True where the loss is taken.
        positions: (t, h, w) of every token.
        next: First free position.
        cuts: Regions to inject, in order.
        grids: Visual token (rows, columns) of every picture in this run, in order.
    """

    ids: list[int] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    positions: list[tuple[int, int, int]] = field(default_factory=list)
    next: int = 0
    cuts: list[Cut] = field(default_factory=list)
    grids: list[tuple[int, int]] = field(default_factory=list)

    def text(self, ids: Sequence[int], *, label: bool) -> None:
        """Appends text tokens, with or without loss on them."""
        self.ids += ids
        self.labels += [label] * len(ids)
        self.positions += [(p, p, p) for p in range(self.next, self.next + len(ids))]
        self.next += len(ids)

    def picture(self, coder: Coder, rows: int, columns: int) -> None:
        """Appends one picture with its delimiters; no loss on any of it.

        Source: M-RoPE of Qwen2-VL (arXiv 2409.12191): all tokens of a picture share t; h and w count its rows and columns.
        """
        self.text([coder.token("<|vision_start|>")], label=False)
        base = self.next
        self.ids += [coder.token("<|image_pad|>")] * (rows * columns)
        self.labels += [False] * (rows * columns)
        self.positions += [(base, base + r, base + c) for r in range(rows) for c in range(columns)]
        self.next = base + max(rows, columns)
        self.grids.append((rows, columns))
        self.text([coder.token("<|vision_end|>")], label=False)


def prompt(coder: Coder, frame: Frame, question: str, options: Sequence[str]) -> tuple[Row, list[int]]:
    """Splits a prompt behind its last picture.

    Returns:
        The prefix that all questions on a case share, as a row, and the ids of what follows, up to the assistant's first token.
    """
    messages = coder.profile.parts(frame.kind, question, options, n_slices=frame.depth)
    text = render(messages, assistant_prefix=coder.profile.assistant_prefix)
    marker = "<|vision_start|><|image_pad|><|vision_end|>"
    before = text.split(marker)
    row = Row()
    for piece in before[:-1]:
        row.text(coder.ids(piece), label=False)
        row.picture(coder, frame.height // 28, frame.width // 28)
    return row, coder.ids(before[-1])


def response(coder: Coder, frame: Frame, sample: Sample, row: Row) -> None:
    """Appends a sample's reasoning and answer to its row, with the crops behind every box.

    Raises:
        ValueError: If a look cannot be executed in the frame; the data builder promises that it can.
    """
    for part in sample.reasoning:
        if isinstance(part, Look):
            row.text(coder.ids(grammar.write(part.box)), label=True)
            regions = plan(part.box, frame)
            if isinstance(regions, Problem):
                raise ValueError(f"{sample.patient}: look {part} cannot be executed: {regions}")
            for index, rect in regions:
                row.cuts.append((index, rect))
                row.picture(coder, *coder.grid(rect[3] - rect[1], rect[2] - rect[0]))
        else:
            row.text(coder.ids(part), label=True)
    row.text([coder.token("<|im_end|>")], label=True)


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """One prefix and its rows, ready for the network.

    Attributes:
        ids: int64 (N,).
        positions: int64 (3, N).
        labels: bool (N,), True where the token itself is to be predicted.
        lengths: Tokens of each row.
        prefix: Tokens of the prefix.
        pictures: uint8 pictures in the order of their pads: the prefix's, then every row's crops.
        tags: A name for each row, for statistics; empty if not given.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.bool_]
    lengths: list[int]
    prefix: int
    pictures: list[NDArray[np.uint8]]
    tags: tuple[str, ...] = ()


def pack(prefix: Row, rows: Sequence[Row], pictures: NDArray[np.uint8], *, tags: Sequence[str] = ()) -> Pack:
    """Joins a prefix and its rows.

    Args:
        prefix: Shared prefix.
        rows: At least one row, positions already counted on from the prefix.
        pictures: uint8 (D, H, W) pictures of the model frame, from which crops are cut.
        tags: A name for each row, for statistics.
    """
    runs = [prefix, *rows]
    shown = list(pictures) if prefix.grids else []
    for row in rows:
        for (index, rect), (r, c) in zip(row.cuts, row.grids, strict=True):
            shown.append(resized(np.ascontiguousarray(cut(pictures[index], rect)), r * 28, c * 28))
    return Pack(
        ids=np.concatenate([np.array(r.ids, np.int64) for r in runs]),
        positions=np.concatenate([np.array(r.positions, np.int64).reshape(-1, 3) for r in runs]).T.copy(),
        labels=np.concatenate([np.array(r.labels, bool) for r in runs]),
        lengths=[len(r.ids) for r in rows],
        prefix=len(prefix.ids),
        pictures=shown,
        tags=tuple(tags),
    )
