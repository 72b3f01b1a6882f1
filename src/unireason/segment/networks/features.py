"""What a network made of pictures, kept for the next prompts: the least recently used goes first when the memory is full."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unireason.imaging.window import Window

Features = tuple[Tensor, ...]


class FeatureCache:
    """Features by picture and window.

    A picture is known by the memory it lies in, so that a slice of a volume stays the same picture whoever cuts it out; pixels of a case
    are never changed in place. The cache keeps no pixels alive, and features of memory that was given back are never taken for those of
    another picture there. Not safe for several threads.

    Args:
        limit_bytes: Most bytes of features kept; one picture is kept even if it alone takes more.
    """

    def __init__(self, limit_bytes: int = 512 << 20) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._kept: OrderedDict[tuple[Any, ...], tuple[weakref.ref[Any], Features]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, pixels: NDArray[Any], window: Window, make: Callable[[], Features]) -> Features:
        """The features of a picture, made if they are not at hand.

        Args:
            pixels: (Y, X) or (Y, X, 3) intensities.
            window: How they become grey levels.
            make: Called when the features are not kept.
        """
        owner = _owner(pixels)
        address = pixels.__array_interface__["data"][0]
        key = (address, pixels.shape, pixels.strides, pixels.dtype.str, window.low, window.high, window.identity)
        found = self._kept.get(key)
        if found is not None and found[0]() is owner:
            self._kept.move_to_end(key)
            return found[1]
        self._forget(key)
        made = make()
        self._kept[key] = (weakref.ref(owner), made)
        self.held_bytes += _bytes(made)
        while self.held_bytes > self.limit_bytes and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))
        return made

    def _forget(self, key: tuple[Any, ...]) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self.held_bytes -= _bytes(gone[1])


def _owner(pixels: NDArray[Any]) -> NDArray[Any]:
    """The array that a view looks into."""
    while isinstance(pixels.base, np.ndarray):
        pixels = pixels.base
    return pixels


def _bytes(features: Features) -> int:
    return sum(tensor.nbytes for tensor in features)
