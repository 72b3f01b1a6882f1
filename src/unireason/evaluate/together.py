"""When cases that wait are asked: several go through the network together, and not more than fit into memory."""

from __future__ import annotations

from collections.abc import Sequence

from unireason.engine.case import EncodedCase
from unireason.types import Case

TOGETHER = 40
"""Responses that are generated together, or as many as the questions on one case need."""
PATCHES, BYTES = 131_072, 1 << 30
"""Of cases that wait: patches that the network sees, what it keeps of them grows with these; and pixels in memory."""


def is_enough(waiting: Sequence[tuple[Case, EncodedCase]], responses: int) -> bool:
    """Whether waiting cases are to be asked now.

    Args:
        waiting: The cases as they are and as the model sees them.
        responses: Responses that they are asked for.
    """
    patches = sum(t * h * w for _, encoded in waiting for t, h, w in encoded.prepared.grid_thw)
    pixels = sum(case.pixels.nbytes + encoded.stack.native.nbytes for case, encoded in waiting)
    return responses >= TOGETHER or patches >= PATCHES or pixels >= BYTES
