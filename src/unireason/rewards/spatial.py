"""Spatial rewards of medical reasoning grounding: how well a box and two points fit the truth.

Source: MedReasoner, arXiv 2508.08177, format and accuracy rewards; modes "soft" and "hard" as released but for faults that
``published=True`` keeps: a draft inside the reasoning counts as the answer, truth values, NaN and infinities count as numbers, and in hard
mode a box without height loses its whole group while one that is inverted on both sides keeps it. The released "base" mode fails inside and
gives 0 for its box terms; ours is what it means: three yes/no questions.
Source: MedReasoner, arXiv 2508.08177, soft accuracy rewards, in 2D; the 3D form is ours.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from unireason.core.errors import FormatError
from unireason.core.types import Box, Box2D, Box3D
from unireason.grounding import answer
from unireason.metrics.boxes import box_iou, pdice_released, sphere_dice

Mode = Literal["soft", "hard", "base"]

MAXIMUM = {"soft": 4.0, "hard": 8.0, "base": 5.0}
"""The highest score of each mode."""

EPS = 1e-5
MIN_SPREAD = 10.0
_LOG_EPS = 1e-6  # inside the released logarithms
MIN_GOLD_SIDE = 1e-3
_BASE_IOU, _BASE_BOX_L1, _BASE_POINT_DISTANCE = 0.5, 10.0, 100.0
_BOX_PARTS = ("bbox_iou", "bbox_align", "bbox_scale", "bbox_position_valid", "bbox_area_valid")
_POINT_PARTS = ("points_dice", "points_align", "points_angle", "points_position_valid", "points_spread_valid")
_SCORED = ("format_think", "format_seg", "bbox_iou", "points_dice", "bbox_align", "bbox_scale", "points_align", "points_angle")


@dataclass(frozen=True, slots=True)
class Gold:
    """The truth of one question.

    Attributes:
        box: Tight box, pixels; positive sides.
        points: Two key points inside it.
    """

    box: Box2D
    points: answer.Points

    def __post_init__(self) -> None:
        """Refuse a side below 1e-3 px, a coordinate beyond 1e9 or not a number, and a point without two numbers."""
        values = (*self.box.coords, *self.points[0], *self.points[1])
        sides = (self.box.x2 - self.box.x1, self.box.y2 - self.box.y1)
        flat = {len(point) for point in self.points} == {2}
        if not flat or not all(abs(v) <= answer.MAX_COORDINATE for v in values) or min(sides) < MIN_GOLD_SIDE:
            raise FormatError(f"the gold box is {self.box.coords} with points {self.points}", "x1 < x2 and y1 < y2, in pixels")


def read_gold(text: str) -> Gold:
    """Read the released ground truth, a JSON object with ``bbox_2d`` (4 numbers) and ``point_2d`` (2 x 2 numbers)."""
    try:
        value = json.loads(text)
        box = Box2D(*_plain(value["bbox_2d"], 4))
        first, second = (_plain(p, 2) for p in value["point_2d"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise FormatError(
            f"the ground truth is {text[:80]!r}", '{"bbox_2d": [4 numbers], "point_2d": [[x, y], [x, y]]}'
        ) from error
    return Gold(box, ((first[0], first[1]), (second[0], second[1])))


def umrg_reward(solution: str, gold: Gold, *, mode: Mode = "soft", published: bool = False) -> dict[str, float]:
    """Score one response.

    Args:
        solution: The response, tags kept.
        gold: The truth, in the pixels of the response.
        mode: "soft" scores format, box IoU and point circles (at most 4); "hard" adds alignment, scale and angle (at most 8);
            "base" scores format and three yes/no terms (at most 5): ``bbox_iou`` = IoU above 0.5; ``bbox_align`` = mean distance of the
            four coordinates below 10 px; ``points_align`` = both points nearer than 100 px to their gold points, in the better
            pairing, and inside the box of the response, because the two go together to the frozen segmenter.
        published: True scores what the released code does, faults included, for comparisons.

    Returns:
        ``score`` and its twelve parts, the same keys in every mode; parts that a mode does not use are 0. The box group is 0
        throughout for an inverted box in hard mode. The empty response scores 0.

    Raises:
        FormatError: If the mode is unknown.
    """
    if mode not in get_args(Mode):
        raise FormatError(f"the reward mode {mode!r}", " or ".join(get_args(Mode)))
    reading = answer.read(solution, way="published" if published else "strict")
    parts = dict.fromkeys(
        (*_SCORED, "bbox_position_valid", "bbox_area_valid", "points_position_valid", "points_spread_valid"), 0.0
    )
    parts.update(format_parts(reading))
    box = reading.box if isinstance(reading.box, Box2D) else None
    if mode == "base":
        parts.update(_base_parts(box, reading.points, gold))
    else:
        if box is not None:
            parts.update(zip(_BOX_PARTS, _box_group(box, gold, hard=mode == "hard", published=published), strict=True))
        if reading.points is not None:
            parts.update(zip(_POINT_PARTS, _point_group(reading.points, gold, hard=mode == "hard"), strict=True))
    return {"score": sum(parts[name] for name in _SCORED), **parts}


def format_parts(reading: answer.AnswerReading) -> dict[str, float]:
    """``format_think`` (0 no block, 0.2 blank, 1) and ``format_seg`` (how much of the answer can be read: 0, 0.2, 0.4, 0.6 or 1)."""
    think = 0.0 if reading.think is None else 1.0 if reading.think.strip() else 0.2
    valid = (reading.box is not None) + (reading.points is not None)
    read = 0.4 if reading.missing or valid == 0 else 0.6 if valid == 1 else 1.0
    return {"format_think": think, "format_seg": 0.0 if reading.answer is None else read if reading.is_object else 0.2}


def _box_group(box: Box2D, gold: Gold, *, hard: bool, published: bool) -> tuple[float, ...]:
    """(iou, align, scale, position_valid, area_valid)."""
    position = math.prod(1.0 if inside(p, box) else 0.5 for p in gold.points)
    width, height = box.x2 - box.x1, box.y2 - box.y1
    gold_width, gold_height = gold.box.x2 - gold.box.x1, gold.box.y2 - gold.box.y1
    ratio = max(0.0, width) * max(0.0, height) / (gold_width * gold_height)
    area = 1.0 if 0.5 < ratio < 2.0 else 0.5
    iou = penalised(smooth_log(box_iou(box, gold.box, eps=EPS)), position, area)
    if not hard:
        return iou, 0.0, 0.0, position, area
    if not published and min(width, height) < 0:
        return 0.0, 0.0, 0.0, 0.0, 0.0  # no logarithm of its size, so no scale term: the released group fails as a whole
    distance = sum(abs(a - b) for a, b in zip(box.coords, gold.box.coords, strict=True)) / 4
    align = _smooth_exp(min(distance / (math.hypot(gold_width, gold_height) + EPS), 2.0))
    far = 1.0  # as far as the distance of scales counts; that of a box without width or height is greater than any
    if published:
        try:
            sizes = (width * height, gold_width * gold_height), (width / height, gold_width / gold_height)
            logs = [math.log((own + _LOG_EPS) / (true + _LOG_EPS)) for own, true in sizes]
        except (ValueError, ZeroDivisionError, OverflowError):
            return 0.0, 0.0, 0.0, 0.0, 0.0
        far = min(math.sqrt(logs[0] ** 2 + logs[1] ** 2), far)  # in this order: what is not a number stays so
    elif ratio > 0:
        aspect = math.log(width / height) - math.log(gold_width / gold_height)
        far = min(math.hypot(math.log(ratio), aspect), far)
    scale = _smooth_exp(far, middle=0.5)
    return iou, penalised(align, position, area), penalised(scale, position, area), position, area


def _point_group(points: answer.Points, gold: Gold, *, hard: bool) -> tuple[float, ...]:
    """(dice, align, angle, position_valid, spread_valid)."""
    position = math.prod(1.0 if inside(p, gold.box) else 0.5 for p in points)
    spread = 1.0 if math.dist(*points) > MIN_SPREAD else 0.5
    dice = penalised(smooth_log(pdice_released(points, gold.points, radius_eps=EPS)), position, spread)
    if not hard:
        return dice, 0.0, 0.0, position, spread
    straight, crossed = (  # mean over the pairs of the mean distance along x and y
        sum((abs(a[0] - b[0]) + abs(a[1] - b[1])) / 2 for a, b in zip(points, pair, strict=True)) / 2
        for pair in (gold.points, gold.points[::-1])
    )
    diagonal = math.hypot(gold.box.x2 - gold.box.x1, gold.box.y2 - gold.box.y1)
    align = _smooth_exp(min(min(straight, crossed) / (diagonal + EPS), 2.0))
    # |cos| of the angle between the lines through the two pairs; 0 when a pair has no direction.
    (ax, ay), (bx, by) = ((b[0] - a[0], b[1] - a[1]) for a, b in (points, gold.points))
    length = math.hypot(ax, ay) * math.hypot(bx, by)
    angle = smooth_log(0.0 if length == 0 else min(1.0, abs(ax * bx + ay * by) / length))
    return dice, penalised(align, position, spread), penalised(angle, position, spread), position, spread


def _base_parts(box: Box2D | None, points: answer.Points | None, gold: Gold) -> dict[str, float]:
    """The three yes/no terms of the base mode; a missing box or missing points answer no."""
    if box is None:
        return {}
    near = sum(abs(a - b) for a, b in zip(box.coords, gold.box.coords, strict=True)) / 4 < _BASE_BOX_L1
    parts = {"bbox_iou": float(box_iou(box, gold.box) > _BASE_IOU), "bbox_align": float(near)}
    if points is not None:
        pairings = (gold.points, gold.points[::-1])
        close = min(max(map(math.dist, points, pair)) for pair in pairings) < _BASE_POINT_DISTANCE
        parts["points_align"] = float(close and all(inside(point, box) for point in points))
    return parts


def smooth_log(value: float) -> float:
    """0.1 at 0, 1 at 1, steep near 0."""
    return 0.9 * math.log(3.0 * value + 1.0) / math.log(4.0) + 0.1


def _smooth_exp(value: float, *, middle: float = 1.0) -> float:
    """1 at 0, 0.1 at 2, a falling logistic curve around ``middle``."""

    def curve(x: float) -> float:
        return 1.0 / (1.0 + math.exp(3.0 * (x - middle)))

    return 0.9 * (curve(value) - curve(2.0)) / (curve(0.0) - curve(2.0) + 1e-8) + 0.1


def penalised(reward: float, first: float, second: float) -> float:
    """Keep 70% of a reward and let two validity factors decide over the rest; four decimals in [0, 1]."""
    return round(min(max(0.7 * reward + 0.3 * reward * (first + second) / 2, 0.0), 1.0), 4)


def inside(point: answer.Point, box: Box) -> bool:
    """True if a point lies in a box of the same number of axes, both ends included."""
    axes = len(point)
    return all(low <= value <= high for low, value, high in zip(box.coords[:axes], point, box.coords[axes:], strict=True))


def _plain(value: Any, size: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != size or not all(type(v) in (int, float) for v in value):
        raise ValueError(f"not a list of {size} numbers")
    return tuple(float(v) for v in value)


# --- The spatial reward in a volume: how well a cuboid and two points fit the truth.


MAXIMUM_3D = 4.0
"""The highest score."""

_SCORED_3D = ("format_think", "format_seg", "bbox_iou", "points_dice")
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
    points: answer.Points
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Refuse what `Gold` refuses, in three numbers a point, and a scale that is not between 1e-6 and 1e6."""
        values = (*self.box.coords, *self.points[0], *self.points[1])
        solid = {len(point) for point in self.points} == {3} and min(_sides(self.box)) >= MIN_GOLD_SIDE
        if not solid or not all(abs(v) <= answer.MAX_COORDINATE for v in values):
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
    reading = answer.read(solution, dims=3, way="strict")
    parts = dict.fromkeys((*_SCORED_3D, *_VALID), 0.0)
    parts.update(format_parts(reading))
    if isinstance(reading.box, Box3D):
        box = reading.box
        position = math.prod(1.0 if inside(point, box) else 0.5 for point in gold.points)
        ratio = math.prod(max(0.0, side) for side in _sides(box)) / math.prod(_sides(gold.box))
        volume = 1.0 if 0.5 < ratio < 2.0 else 0.5
        iou = penalised(smooth_log(box_iou(box, gold.box, eps=EPS)), position, volume)
        parts |= {"bbox_iou": iou, "bbox_position_valid": position, "bbox_volume_valid": volume}
    if reading.points is not None:
        position = math.prod(1.0 if inside(point, gold.box) else 0.5 for point in reading.points)
        found, true = (
            [tuple(v * s for v, s in zip(point, gold.scale, strict=True)) for point in pair]
            for pair in (reading.points, gold.points)
        )
        pixel = math.sqrt(gold.scale[0] * gold.scale[1])  # the threshold is 10 in-plane pixels, whatever the unit
        spread = 1.0 if math.dist(*found) > MIN_SPREAD * pixel else 0.5
        dice = penalised(smooth_log(sphere_dice(found, true, radius_eps=EPS)), position, spread)
        parts |= {"points_dice": dice, "points_position_valid": position, "points_spread_valid": spread}
    return {"score": sum(parts[name] for name in _SCORED_3D), **parts}


def _sides(box: Box3D) -> tuple[float, float, float]:
    return box.x2 - box.x1, box.y2 - box.y1, box.z2 - box.z1
