"""Overlap of half-open boxes and of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError
from unireason.types import Box

PUBLISHED_EPS = 1e-6


def box_iou(a: Box, b: Box, *, eps: float = 0.0) -> float:
    """Intersection over union of two boxes with continuous, half-open sides.

    Args:
        a: Rectangle or cuboid, any unit.
        b: The same kind, the same unit and space.
        eps: Added to the union. The published 2D metric uses ``PUBLISHED_EPS``, the published reward 1e-5.

    Returns:
        A number in [0, 1]; 0 when a box is empty or inverted, also when both are.

    Raises:
        FormatError: If one box is a rectangle and the other a cuboid.

    Source: MedReasoner, arXiv 2508.08177, evaluation (with eps).
    """
    if len(a.coords) != len(b.coords):
        raise FormatError(f"a box of {len(a.coords)} and one of {len(b.coords)} numbers", "two rectangles or two cuboids")
    axes = len(a.coords) // 2
    shared = 1.0
    for axis in range(axes):
        low = max(a.coords[axis], b.coords[axis])
        shared *= max(0.0, min(a.coords[axis + axes], b.coords[axis + axes]) - low)
    if shared <= 0.0:
        return 0.0
    return shared / (_extent(a) + _extent(b) - shared + eps)


def mask_dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Dice coefficient, 2 |A and B| / (|A| + |B|), of two masks of one shape.

    Args:
        a: Any dtype; what is not 0 is inside.
        b: The same shape.

    Returns:
        A number in [0, 1]; 1 when both masks are empty (they agree), 0 when exactly one is.

    Raises:
        FormatError: If the shapes differ.
    """
    shared, size_a, size_b = _counts(a, b)
    return 1.0 if size_a + size_b == 0 else 2.0 * shared / (size_a + size_b)


def mask_iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Intersection over union of two masks of one shape.

    Args:
        a: Any dtype; what is not 0 is inside.
        b: The same shape.

    Returns:
        A number in [0, 1]; 1 when both masks are empty (they agree), 0 when exactly one is.

    Raises:
        FormatError: If the shapes differ.
    """
    shared, size_a, size_b = _counts(a, b)
    return 1.0 if size_a + size_b == 0 else shared / (size_a + size_b - shared)


def _extent(box: Box) -> float:
    """Area or volume of a box whose sides are all positive."""
    axes = len(box.coords) // 2
    extent = 1.0
    for axis in range(axes):
        extent *= box.coords[axis + axes] - box.coords[axis]
    return extent


def _counts(a: NDArray[Any], b: NDArray[Any]) -> tuple[int, int, int]:
    if a.shape != b.shape:
        raise FormatError(f"masks of shapes {a.shape} and {b.shape}", "one shape")
    inside_a, inside_b = a != 0, b != 0
    return int(np.count_nonzero(inside_a & inside_b)), int(np.count_nonzero(inside_a)), int(np.count_nonzero(inside_b))
