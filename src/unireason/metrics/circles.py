"""Agreement of two point pairs, each seen as the circle whose diameter it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

Points = Sequence[Sequence[float]]

_UNION_EPS = 1e-5


def pdice(points_a: Points, points_b: Points) -> float:
    """Dice coefficient of the two circles, 2 I / (A + B).

    Args:
        points_a: Two points (x, y): the ends of a diameter.
        points_b: Two points in the same unit and space.

    Returns:
        A number in [0, 1]; 1 for identical circles. When both pairs shrink to a point: 1 if it is the same point, else 0.
    """
    shared, area_a, area_b = circle_overlap(points_a, points_b)
    if area_a + area_b == 0:
        return float(tuple(points_a[0]) == tuple(points_b[0]))
    return 2.0 * shared / (area_a + area_b)


def pdice_released(points_a: Points, points_b: Points, *, radius_eps: float = 0.0) -> float:
    """The published score 2 I / (A + B - I): twice the IoU, so that identical circles score 2.

    Use it only to compare with published figures.

    Args:
        points_a: Two points (x, y): the ends of a diameter.
        points_b: Two points in the same unit and space.
        radius_eps: Added to both radii; the published reward uses 1e-5.

    Returns:
        A number in [0, 2]; 0 when both pairs shrink to a point and ``radius_eps`` is 0.

    Source: MedReasoner, arXiv 2508.08177, metric pDice as released.
    """
    shared, area_a, area_b = circle_overlap(points_a, points_b, radius_eps=radius_eps)
    return 2.0 * shared / (area_a + area_b - shared + _UNION_EPS)


def circle_overlap(points_a: Points, points_b: Points, *, radius_eps: float = 0.0) -> tuple[float, float, float]:
    """Areas (of the intersection, of circle A, of circle B) in squared units; ``radius_eps`` is added to both radii."""
    (xa, ya, ra), (xb, yb, rb) = _circle(points_a, radius_eps), _circle(points_b, radius_eps)
    distance = math.hypot(xa - xb, ya - yb)
    area_a, area_b = math.pi * ra * ra, math.pi * rb * rb
    if distance >= ra + rb:
        return 0.0, area_a, area_b
    if distance <= abs(ra - rb):
        return min(area_a, area_b), area_a, area_b
    # Two circular segments, each its sector less a triangle; rounding may push a cosine just outside [-1, 1].
    half_a = math.acos(_unit((distance**2 + ra**2 - rb**2) / (2 * distance * ra)))
    half_b = math.acos(_unit((distance**2 + rb**2 - ra**2) / (2 * distance * rb)))
    shared = ra**2 * (half_a - math.sin(2 * half_a) / 2) + rb**2 * (half_b - math.sin(2 * half_b) / 2)
    return min(max(shared, 0.0), area_a, area_b), area_a, area_b


def _circle(points: Points, radius_eps: float) -> tuple[float, float, float]:
    (x1, y1), (x2, y2) = points
    return (x1 + x2) / 2, (y1 + y2) / 2, math.hypot(x2 - x1, y2 - y1) / 2 + radius_eps


def _unit(value: float) -> float:
    return max(-1.0, min(1.0, value))
