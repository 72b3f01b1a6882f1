"""What a network made of pictures, kept for the next prompts: the least recently used goes first when the memory is full."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from unireason.imaging.array import content
from unireason.imaging.window import Window

Features = tuple[Tensor, ...]


class FeatureCache:
    """Features by what a picture holds and its window, whoever cuts it out and wherever it lies. Not safe for several threads.

    Args:
        limit_bytes: Most bytes of features kept; one picture is kept even if it alone takes more.
    """

    def __init__(self, limit_bytes: int = 512 << 20) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._kept: OrderedDict[tuple[str, Window], Features] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, pixels: NDArray[Any], window: Window, make: Callable[[], Features]) -> Features:
        """The features of a picture, made if they are not at hand.

        Args:
            pixels: (Y, X) or (Y, X, 3) intensities.
            window: How they become grey levels.
            make: Called when the features are not kept.
        """
        key = (content(pixels), window)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._kept[key] = make()
        self.held_bytes += _bytes(made)
        while self.held_bytes > self.limit_bytes and len(self._kept) > 1:
            self.held_bytes -= _bytes(self._kept.popitem(last=False)[1])
        return made


def _bytes(features: Features) -> int:
    return sum(tensor.nbytes for tensor in features)
