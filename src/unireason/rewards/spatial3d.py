"""The spatial reward in a volume: how well a cuboid and two points fit the truth.

The soft mode of ``spatial`` carried over to three axes: the cuboid in place of the rectangle, the sphere spanned by two points in place
of the circle, and the true Dice of the two spheres in place of the released one, which counts everything above half as full.

Source: MedReasoner, arXiv 2508.08177, soft accuracy rewards, in 2D; the 3D form is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from unireason.errors import FormatError
from unireason.grounding import umrg
from unireason.metrics.overlap import box_iou
from unireason.metrics.spheres import sphere_dice
from unireason.types import Box3D

from .spatial import EPS, MIN_GOLD_SIDE, MIN_SPREAD, format_parts, inside, penalised, smooth_log

MAXIMUM = 4.0
"""The highest score."""

_SCORED = ("format_think", "format_seg", "bbox_iou", "points_dice")
_VALID = ("bbox_position_valid", "bbox_volume_valid", "points_position_valid", "points_spread_valid")


@dataclass(frozen=True, slots=True)
class Gold3D:
    """The truth of one question about a volume.

    Attributes:
        box: Tight cuboid in the model frame (pixels, pixels, slices); positive sides.
        points: Two key points (x, y, z) inside it.
        scale: Millimetres along x, y, z a pixel and a slice of the model frame, so that the sphere is one in the patient. Without it
            a slice counts as much as a pixel.
    """

    box: Box3D
    points: umrg.Points
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            FormatError: If a side is shorter than 1e-3, a coordinate is beyond 1e9 or not a number, a point has not three numbers, or a
                scale is not between 1e-6 and 1e6.
        """
        values = (*self.box.coords, *self.points[0], *self.points[1])
        solid = {len(point) for point in self.points} == {3} and min(_sides(self.box)) >= MIN_GOLD_SIDE
        if not solid or not all(abs(v) <= umrg.MAX_COORDINATE for v in values):
            raise FormatError(
                f"the gold cuboid is {self.box.coords} with points {self.points}",
                "x1 < x2, y1 < y2, z1 < z2 and three numbers a point",
            )
        if len(self.scale) != 3 or not all(1e-6 <= s <= 1e6 for s in self.scale):
            raise FormatError(f"the scale {self.scale}", "three positive numbers, millimetres a model pixel")


def umrg_reward_3d(solution: str, gold: Gold3D) -> dict[str, float]:
    """Score one response about a volume.

    Args:
        solution: The response, tags kept; its box has six numbers, its points three (``grounding.umrg``, ``dims=3``).
        gold: The truth, in the model frame of the response.

    Returns:
        ``score`` = ``format_think`` + ``format_seg`` + ``bbox_iou`` + ``points_dice``, at most 4, and these parts, each in [0, 1]; the
        validity factors ``bbox_position_valid`` (halved for each gold point outside the cuboid of the response),
        ``bbox_volume_valid`` (halved unless its volume is between half and double the gold one), ``points_position_valid`` (halved for
        each point outside the gold cuboid) and ``points_spread_valid`` (halved unless the points lie more than 10 pixels apart, or as
        many in-plane pixels as millimetres say). What cannot be read is 0. The empty response scores 0.
    """
    reading = umrg.read(solution, dims=3, way="strict")
    parts = dict.fromkeys((*_SCORED, *_VALID), 0.0)
    parts.update(format_parts(reading))
    if isinstance(reading.box, Box3D):
        parts.update(_box_parts(reading.box, gold))
    if reading.points is not None:
        parts.update(_point_parts(reading.points, gold))
    return {"score": sum(parts[name] for name in _SCORED), **parts}


def _box_parts(box: Box3D, gold: Gold3D) -> dict[str, float]:
    position = math.prod(1.0 if inside(point, box) else 0.5 for point in gold.points)
    ratio = math.prod(max(0.0, side) for side in _sides(box)) / math.prod(_sides(gold.box))
    volume = 1.0 if 0.5 < ratio < 2.0 else 0.5
    iou = penalised(smooth_log(box_iou(box, gold.box, eps=EPS)), position, volume)
    return {"bbox_iou": iou, "bbox_position_valid": position, "bbox_volume_valid": volume}


def _point_parts(points: umrg.Points, gold: Gold3D) -> dict[str, float]:
    position = math.prod(1.0 if inside(point, gold.box) else 0.5 for point in points)
    found, true = (_scaled(pair, gold.scale) for pair in (points, gold.points))
    pixel = math.sqrt(gold.scale[0] * gold.scale[1])  # the threshold is 10 in-plane pixels, whatever the unit
    spread = 1.0 if math.dist(*found) > MIN_SPREAD * pixel else 0.5
    dice = penalised(smooth_log(sphere_dice(found, true, radius_eps=EPS)), position, spread)
    return {"points_dice": dice, "points_position_valid": position, "points_spread_valid": spread}


def _scaled(points: umrg.Points, scale: tuple[float, float, float]) -> umrg.Points:
    first, second = (tuple(v * s for v, s in zip(point, scale, strict=True)) for point in points)
    return first, second


def _sides(box: Box3D) -> tuple[float, float, float]:
    return box.x2 - box.x1, box.y2 - box.y1, box.z2 - box.z1
