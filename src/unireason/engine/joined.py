"""Tokens of several cases in one pass of the network: projections see them all at once, attention works case by case.

Each case keeps its own cache; a ``Parts`` of tensors, one a case, travels where the library passes on keys, values and masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .cache import GrowingCache


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


def joined_mask(masks: Sequence[torch.Tensor]) -> dict[str, Parts]:
    """Masks bool (1, 1, new, slots), one a case, in the form that the library hands to every layer as it is."""
    parts = Parts(masks)
    return {"full_attention": parts, "sliding_attention": parts}
