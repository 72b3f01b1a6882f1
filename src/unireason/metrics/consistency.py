"""Do looks at a slice and at the volume agree? The rectangle on a slice against the x-y projection of the cuboid, and both against truth.

All boxes are half-open and in one canonical space; boxes in a model frame must be brought there first, because slice and volume are shown
to the network at different sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

from unireason.errors import FormatError
from unireason.types import Box2D, Box3D

from .overlap import box_iou


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
    """Compare a look at a slice with a look at the volume.

    Args:
        rectangle: Predicted on the slice; None if nothing was predicted.
        cuboid: Predicted in the volume; None if nothing was predicted.
        slice_index: Canonical index of the slice; it covers ``[slice_index, slice_index + 1)``.
        true_rectangle: Of the structure on that slice.
        true_cuboid: Of the structure in the volume. It must reach the slice and, seen along z, hold the true rectangle.
        tolerance: Canonical pixels by which the true rectangle may stand out; for a truth that was rounded in model frames, the size of
            their pixels.

    Returns:
        The measures; a missing prediction is 0 in all that need it.

    Raises:
        FormatError: If the truth contradicts itself: most often boxes of different spaces.

    Source: slice-volume consistency of arXiv 2606.11740; the comparisons with truth are ours.
    """
    shadow, true_shadow = projection(cuboid) if cuboid else None, projection(true_cuboid)
    if not _reaches(true_cuboid, slice_index) or not _holds(true_shadow, true_rectangle, tolerance):
        raise FormatError(
            f"the true rectangle {true_rectangle.coords} on slice {slice_index} lies outside the true cuboid {true_cuboid.coords}",
            "a rectangle of the same structure",
            "bring all boxes into one canonical space",
        )
    return Consistency(
        agreement=box_iou(rectangle, shadow) if rectangle and shadow else 0.0,
        crossed=cuboid is not None and _reaches(cuboid, slice_index),
        slice_iou=box_iou(rectangle, true_rectangle) if rectangle else 0.0,
        projection_iou=box_iou(shadow, true_shadow) if shadow else 0.0,
        volume_iou=box_iou(cuboid, true_cuboid) if cuboid else 0.0,
        ceiling=box_iou(true_rectangle, true_shadow),
    )


def _reaches(cuboid: Box3D, slice_index: int) -> bool:
    """True if a cuboid has a part of a slice inside."""
    return max(cuboid.z1, slice_index) < min(cuboid.z2, slice_index + 1)


def _holds(outer: Box2D, inner: Box2D, slack: float) -> bool:
    """True if one rectangle lies in another, or stands out by no more than the slack."""
    low = outer.x1 <= inner.x1 + slack and outer.y1 <= inner.y1 + slack
    return low and inner.x2 <= outer.x2 + slack and inner.y2 <= outer.y2 + slack
