"""Agreement of two point pairs in space, each seen as the sphere whose diameter it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

Points = Sequence[Sequence[float]]


def sphere_dice(points_a: Points, points_b: Points, *, radius_eps: float = 0.0) -> float:
    """Dice coefficient of the two spheres, 2 I / (A + B).

    Args:
        points_a: Two points (x, y, z): the ends of a diameter.
        points_b: Two points in the same unit and space. The unit must be the same along all three axes.
        radius_eps: Added to both radii.

    Returns:
        A number in [0, 1]; 1 for identical spheres. When both pairs shrink to a point: 1 if it is the same point, else 0.
    """
    shared, volume_a, volume_b = sphere_overlap(points_a, points_b, radius_eps=radius_eps)
    if volume_a + volume_b == 0:
        return float(tuple(points_a[0]) == tuple(points_b[0]))
    return 2.0 * shared / (volume_a + volume_b)


def sphere_overlap(points_a: Points, points_b: Points, *, radius_eps: float = 0.0) -> tuple[float, float, float]:
    """Volumes (of the intersection, of sphere A, of sphere B) in cubed units; ``radius_eps`` is added to both radii.

    The intersection is a lens of two spherical caps that meet in the plane of the common circle. With h = r_a + r_b - d:
    V = pi h^2 (d^2 + 2 d (r_a + r_b) - 3 (r_a - r_b)^2) / (12 d).

    Source: I. N. Bronshtein et al., Handbook of Mathematics, spherical cap V = pi h^2 (3 r - h) / 3, added for both spheres.
    """
    (centre_a, ra), (centre_b, rb) = _sphere(points_a, radius_eps), _sphere(points_b, radius_eps)
    distance = math.dist(centre_a, centre_b)
    volume_a, volume_b = (4.0 / 3.0 * math.pi * r**3 for r in (ra, rb))
    depth = ra + rb - distance
    if depth <= 0:
        return 0.0, volume_a, volume_b
    if distance <= abs(ra - rb):
        return min(volume_a, volume_b), volume_a, volume_b
    shared = math.pi * depth**2 * (distance**2 + 2 * distance * (ra + rb) - 3 * (ra - rb) ** 2) / (12 * distance)
    return min(max(shared, 0.0), volume_a, volume_b), volume_a, volume_b


def _sphere(points: Points, radius_eps: float) -> tuple[tuple[float, ...], float]:
    """(centre, radius)."""
    first, second = points
    return tuple((a + b) / 2 for a, b in zip(first, second, strict=True)), math.dist(first, second) / 2 + radius_eps
