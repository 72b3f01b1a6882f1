"""The evidence contrast: does an answer still come out when the model is shown another place than it asked for?

``elsewhere`` draws that other place, ``Elsewhere`` puts it in the place of every look, ``contrast`` says what the answer earns. Pure
arithmetic: who generates the second answer, and how, is the caller's business. It knows nothing of networks, tokens or text.
"""

from __future__ import annotations

import math

import numpy as np

from unireason.errors import FormatError
from unireason.grounding import crop
from unireason.types import Box, Box2D, Box3D, Frame, Problem

MAX_IOU = 0.1
_TRIES = 256


def elsewhere(region: Box | crop.Plan, frame: Frame, rng: np.random.Generator, *, max_iou: float = MAX_IOU) -> Box | None:
    """Draw a random region of the same size in the same frame that hardly overlaps the given one.

    A cuboid is moved along x, y and z. The place is drawn evenly from all places that qualify; where those are so few that 256 draws
    miss them, a farthest corner of the frame is taken.

    Args:
        region: What was looked at: a box in the model frame (the crop rule says what it really cuts), or a plan.
        frame: Sizes of that frame.
        rng: Source of chance; the same state gives the same place.
        max_iou: Largest IoU of the two regions, in [0, 1).

    Returns:
        An integer box inside the frame that the crop rule leaves as it is: a rectangle for an image, a cuboid for a volume. None when
        the region fills so much of the frame that every other place overlaps it more.

    Raises:
        FormatError: If the box does not fit the kind of frame, the plan is empty or leaves the frame, or ``max_iou`` is out of range.
    """
    if not 0 <= max_iou < 1:
        raise FormatError(f"the largest IoU is {max_iou}", "a number from 0 to 1, 1 excluded")
    lows, highs = _cut(region, frame)
    sizes = [high - low for low, high in zip(lows, highs, strict=True)]
    bounds = (frame.width, frame.height, frame.depth)
    rooms = [bound - size for bound, size in zip(bounds, sizes, strict=True)]
    corner = _farthest(lows, rooms, rng)
    if _iou(lows, corner, sizes) > max_iou:
        return None
    place = corner
    for _ in range(_TRIES):
        drawn = [int(rng.integers(room + 1)) for room in rooms]
        if _iou(lows, drawn, sizes) <= max_iou:
            place = drawn
            break
    x, y, z = place
    width, height, depth = sizes
    return Box2D(x, y, x + width, y + height) if frame.kind == "image" else Box3D(x, y, z, x + width, y + height, z + depth)


class Elsewhere:
    """Shows a random region of the same size, hardly overlapping, in place of each region that a response asks for.

    Attributes:
        moved: True once a region was replaced; False as long as none was, or none could be.
    """

    def __init__(self, frame: Frame, rng: np.random.Generator) -> None:
        """Draw from a source of chance in a frame."""
        self.moved = False
        self._frame, self._rng = frame, rng

    def __call__(self, plan: crop.Plan) -> crop.Plan:
        """The plan of another region; the same plan where the region fills too much of the frame."""
        box = elsewhere(plan, self._frame, self._rng)
        other = None if box is None else crop.plan(box, self._frame)
        if other is None or isinstance(other, Problem):
            return plan
        self.moved = True
        return other


def contrast(score_true: float, score_elsewhere: float) -> float:
    """What the evidence term earns: by how much the look that was asked for beats the random one.

    Args:
        score_true: Score of the answer as given, in [0, 1]; 1 or 0 for right or wrong.
        score_elsewhere: Score of the answer that the same trajectory leads to with the random region, in [0, 1]; the mean of several.

    Returns:
        max(0, score_true - score_elsewhere), in [0, 1]. A wrong answer earns nothing, and is never punished for a lucky second one.

    Raises:
        FormatError: If a score is out of range.
    """
    for value in (score_true, score_elsewhere):
        if not 0 <= value <= 1:
            raise FormatError(f"a score of {value}", "a number from 0 to 1")
    return max(0.0, float(score_true) - float(score_elsewhere))


def _cut(region: Box | crop.Plan, frame: Frame) -> tuple[list[int], list[int]]:
    """Lower and upper ends (x, y, z) of what is really cut; z is [0, 1) on an image."""
    plan = crop.plan(region, frame) if isinstance(region, Box2D | Box3D) else region
    if isinstance(plan, Problem):
        raise FormatError(
            f"a box of {plan.text} in a frame of kind {frame.kind}", "a rectangle on an image, a cuboid in a volume"
        )
    if not plan:
        raise FormatError("the plan is empty", "at least one slice")
    slices, rects = [index for index, _ in plan], {rect for _, rect in plan}
    (x1, y1, x2, y2), *others = rects
    first, stop = min(slices), max(slices) + 1
    inside = 0 <= x1 < x2 <= frame.width and 0 <= y1 < y2 <= frame.height and 0 <= first < stop <= frame.depth
    if others or sorted(slices) != list(range(first, stop)) or not inside:
        raise FormatError(f"the plan {plan}", "one rectangle on consecutive slices inside the frame")
    return [x1, y1, first], [x2, y2, stop]


def _farthest(lows: list[int], rooms: list[int], rng: np.random.Generator) -> list[int]:
    """The place that overlaps least: on every axis the end that is farther away, a drawn one if both are as far."""
    ends = []
    for low, room in zip(lows, rooms, strict=True):
        to_end = room - low
        ends.append(0 if low > to_end or (low == to_end and rng.integers(2)) else room)
    return ends


def _iou(lows: list[int], others: list[int], sizes: list[int]) -> float:
    """IoU of two regions of one size at two places."""
    shared = math.prod(max(0, size - abs(a - b)) for a, b, size in zip(lows, others, sizes, strict=True))
    return shared / (2 * math.prod(sizes) - shared)
