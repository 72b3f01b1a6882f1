"""Overlap of half-open boxes and of masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.types import Box, Box2D, Box3D

PUBLISHED_EPS = 1e-6


def box_iou(a: Box, b: Box, *, eps: float = 0.0) -> float:
    """Intersection over union in [0, 1] of two rectangles or two cuboids with continuous, half-open sides, in one unit and space.

    0 when a box is empty or inverted, also when both are. ``eps`` is added to the union: the published 2D metric uses
    ``PUBLISHED_EPS``, the published reward 1e-5. A rectangle and a cuboid are a FormatError.

    Source: MedReasoner, arXiv 2508.08177, evaluation (with eps).
    """
    if len(a.coords) != len(b.coords):
        raise FormatError(f"a box of {len(a.coords)} and one of {len(b.coords)} numbers", "two rectangles or two cuboids")
    axes = len(a.coords) // 2
    shared = extent_a = extent_b = 1.0
    for axis in range(axes):
        (low_a, high_a), (low_b, high_b) = ((box.coords[axis], box.coords[axis + axes]) for box in (a, b))
        shared *= max(0.0, min(high_a, high_b) - max(low_a, low_b))
        extent_a *= high_a - low_a
        extent_b *= high_b - low_b
    return shared / (extent_a + extent_b - shared + eps) if shared > 0.0 else 0.0


def mask_dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Dice coefficient, 2 |A and B| / (|A| + |B|), of two masks of one shape and any dtype; what is not 0 is inside.

    1 when both masks are empty (they agree), 0 when exactly one is; FormatError if the shapes differ.
    """
    shared, size_a, size_b = _counts(a, b)
    return 1.0 if size_a + size_b == 0 else 2.0 * shared / (size_a + size_b)


def mask_iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Intersection over union of two masks; empty ones count as in `mask_dice`."""
    shared, size_a, size_b = _counts(a, b)
    return 1.0 if size_a + size_b == 0 else shared / (size_a + size_b - shared)


def _counts(a: NDArray[Any], b: NDArray[Any]) -> tuple[int, int, int]:
    if a.shape != b.shape:
        raise FormatError(f"masks of shapes {a.shape} and {b.shape}", "one shape")
    inside_a, inside_b = a != 0, b != 0
    return int(np.count_nonzero(inside_a & inside_b)), int(np.count_nonzero(inside_a)), int(np.count_nonzero(inside_b))


# --- Agreement of two point pairs, each seen as the circle whose diameter it is.


Points = Sequence[Sequence[float]]

_UNION_EPS = 1e-5


def pdice(points_a: Points, points_b: Points) -> float:
    """Dice coefficient of the two circles, 2 I / (A + B), in [0, 1]; each pair (x, y) gives the ends of a diameter.

    When both pairs shrink to a point: 1 if it is the same point, else 0.
    """
    shared, area_a, area_b = circle_overlap(points_a, points_b)
    if area_a + area_b == 0:
        return float(tuple(points_a[0]) == tuple(points_b[0]))
    return 2.0 * shared / (area_a + area_b)


def pdice_released(points_a: Points, points_b: Points, *, radius_eps: float = 0.0) -> float:
    """The published score 2 I / (A + B - I) in [0, 2]: twice the IoU, so that identical circles score 2. For comparisons only.

    ``radius_eps`` is added to both radii; the published reward uses 1e-5. Without it two pairs that shrink to a point score 0.

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
    half_a = math.acos(max(-1.0, min(1.0, (distance**2 + ra**2 - rb**2) / (2 * distance * ra))))
    half_b = math.acos(max(-1.0, min(1.0, (distance**2 + rb**2 - ra**2) / (2 * distance * rb))))
    shared = ra**2 * (half_a - math.sin(2 * half_a) / 2) + rb**2 * (half_b - math.sin(2 * half_b) / 2)
    return min(max(shared, 0.0), area_a, area_b), area_a, area_b


def _circle(points: Points, radius_eps: float) -> tuple[float, float, float]:
    (x1, y1), (x2, y2) = points
    return (x1 + x2) / 2, (y1 + y2) / 2, math.hypot(x2 - x1, y2 - y1) / 2 + radius_eps


# --- Agreement of two point pairs in space, each seen as the sphere whose diameter it is.


def sphere_dice(points_a: Points, points_b: Points, *, radius_eps: float = 0.0) -> float:
    """Dice coefficient of the two spheres, 2 I / (A + B), in [0, 1], in a unit that is the same along all three axes; see `pdice`."""
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


# --- Do looks at a slice and at the volume agree? The rectangle on a slice against the x-y projection of the cuboid, and both
# against truth.


@dataclass(frozen=True, slots=True)
class Consistency:
    """How a rectangle on one slice and a cuboid, both predicted, agree; shares in [0, 1].

    Attributes:
        agreement: IoU of the rectangle with the x-y projection of the cuboid: the published slice-volume consistency.
        crossed: True if the cuboid reaches the slice; the agreement does not depend on it.
        slice_iou: IoU of the rectangle with the true rectangle on that slice.
        projection_iou: IoU of the cuboid's projection with that of the true cuboid.
        volume_iou: IoU of both cuboids.
        ceiling: IoU of the true rectangle with the true cuboid's projection: the agreement of perfect looks. It is below 1 where the
            structure is smaller on this slice than elsewhere, so that an agreement above it is no merit.
    """

    agreement: float
    crossed: bool
    slice_iou: float
    projection_iou: float
    volume_iou: float
    ceiling: float


def projection(cuboid: Box3D) -> Box2D:
    """The shadow of a cuboid along z, in the unit and space of the cuboid."""
    return Box2D(cuboid.x1, cuboid.y1, cuboid.x2, cuboid.y2)


def slice_volume(
    rectangle: Box2D | None,
    cuboid: Box3D | None,
    *,
    slice_index: int,
    true_rectangle: Box2D,
    true_cuboid: Box3D,
    tolerance: float = 1e-6,
) -> Consistency:
    """Compare a predicted rectangle on a slice with a predicted cuboid; a missing one is 0 in all that need it.

    ``slice_index`` is canonical: the slice covers [n, n + 1).

    The true cuboid must reach the slice and, seen along z, hold the true rectangle, which may stand out by ``tolerance``
    canonical pixels (for a truth that was rounded in model frames, the size of their pixels); else FormatError: boxes of
    different spaces.

    Source: slice-volume consistency of arXiv 2606.11740; the comparisons with truth are ours.
    """

    def reaches(solid: Box3D) -> bool:
        return max(solid.z1, slice_index) < min(solid.z2, slice_index + 1)

    shadow, true_shadow = projection(cuboid) if cuboid else None, projection(true_cuboid)
    outer, inner = true_shadow.coords, true_rectangle.coords
    held = all(a <= b + tolerance for a, b in zip((*outer[:2], *inner[2:]), (*inner[:2], *outer[2:]), strict=True))
    if not reaches(true_cuboid) or not held:
        raise FormatError(
            f"the true rectangle {true_rectangle.coords} on slice {slice_index} lies outside the true cuboid {true_cuboid.coords}",
            "a rectangle of the same structure",
            "bring all boxes into one canonical space",
        )
    return Consistency(
        agreement=box_iou(rectangle, shadow) if rectangle and shadow else 0.0,
        crossed=cuboid is not None and reaches(cuboid),
        slice_iou=box_iou(rectangle, true_rectangle) if rectangle else 0.0,
        projection_iou=box_iou(shadow, true_shadow) if shadow else 0.0,
        volume_iou=box_iou(cuboid, true_cuboid) if cuboid else 0.0,
        ceiling=box_iou(true_rectangle, true_shadow),
    )
