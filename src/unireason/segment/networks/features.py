"""What a network made of pictures, kept for the next prompts: the least recently used goes first when the memory is full."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor

from unireason.types import Case

Features = tuple[Tensor, ...]


class FeatureCache:
    """Features of slices, by case and slice.

    A case is known by its very pixels and by what decides their grey levels; pixels are never changed in place. The cache does not
    keep a case alive, and features of a case that is gone are never given to another. Not safe for several threads.

    Args:
        limit_bytes: Most bytes of features kept; one slice is kept even if it alone is larger.
    """

    def __init__(self, limit_bytes: int = 512 << 20) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._kept: OrderedDict[tuple[Any, ...], tuple[weakref.ref[Any], Features]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, case: Case, index: int, make: Callable[[], Features]) -> Features:
        """The features of a slice, made if they are not at hand.

        Args:
            case: Whose.
            index: Canonical slice; 0 for an image.
            make: Called when they are not kept.
        """
        key = (id(case.pixels), case.window, case.modality, index)
        found = self._kept.get(key)
        if found is not None and found[0]() is case.pixels:
            self._kept.move_to_end(key)
            return found[1]
        self._forget(key)
        made = make()
        self._kept[key] = (weakref.ref(case.pixels), made)
        self.held_bytes += _bytes(made)
        while self.held_bytes > self.limit_bytes and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))
        return made

    def _forget(self, key: tuple[Any, ...]) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self.held_bytes -= _bytes(gone[1])


def _bytes(features: Features) -> int:
    return sum(tensor.nbytes for tensor in features)
