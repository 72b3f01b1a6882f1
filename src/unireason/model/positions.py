"""Rotary positions of a piece of a sequence, so that it can be computed on top of what is already cached.

Every position of the network is (next free number + something local to the piece), and the next free number is one more than the
largest so far. Leaving the positions to the library when continuing a cache gives others, silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .tokens import Grid


def chunk_positions(network: Any, ids: Sequence[int], grids: Sequence[Grid], start: int) -> tuple[torch.Tensor, int]:
    """Positions of the next piece of a sequence.

    Args:
        network: ``Qwen2_5_VLForConditionalGeneration``.
        ids: Ids of the piece, at least one; pictures only whole.
        grids: (t, h, w) in patches of the pictures in the piece, in order.
        start: The next free position, 0 at the beginning of a sequence.

    Returns:
        (int64 (3, 1, n): time, row and column positions on the CPU; the next free position).

    Source: Qwen2-VL, arXiv 2409.12191, section 2.1 (multimodal rotary positions).
    """
    if not grids:
        return torch.arange(start, start + len(ids)).view(1, 1, -1).expand(3, 1, -1), start + len(ids)
    row = torch.tensor([list(ids)])
    types = (row == network.config.image_token_id).int()
    local, _ = network.model.get_rope_index(row, mm_token_type_ids=types, image_grid_thw=torch.tensor([list(g) for g in grids]))
    positions = local + start
    return positions, int(positions.max()) + 1
