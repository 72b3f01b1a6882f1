"""Cheap reproducible draws.

A scene gives rise to hundreds of small draws, for which numpy's generator is slow. Python's ``random()`` promises the same
sequence for the same seed in every version; its other methods do not, so they are written out here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Draws seeded by one number of a numpy generator."""

    __slots__ = ("_draw",)

    def __init__(self, rng: np.random.Generator) -> None:
        """Take one number from ``rng``."""
        self._draw = random.Random(int(rng.integers(1 << 62))).random

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._draw()

    def below(self, n: int) -> int:
        """A whole number in [0, n); n at least 1."""
        return int(self._draw() * n)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items; there must be one."""
        return items[int(self._draw() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        order = list(items)
        for i in range(len(order) - 1, 0, -1):
            j = int(self._draw() * (i + 1))
            order[i], order[j] = order[j], order[i]
        return order
