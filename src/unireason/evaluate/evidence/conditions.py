"""The conditions under which a question is asked again: other regions in place of looks, other pictures in place of the case.

Nothing here runs a network. A region is what the crop rule really cuts, slice by slice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unireason.evaluate.questions import shuffle_key
from unireason.evaluate.suites.suite import Entry
from unireason.grounding import crop
from unireason.rewards.evidence import Elsewhere
from unireason.types import Frame, Problem, Stack

CONDITIONS: Mapping[str, str] = {
    "true": "the picture as it is; every look shows what its box asks for",
    "blank": "every picture of the case is one grey, the mean of all its pixels after windowing",
    "other": "the pictures of another patient",
    "random_region": "every look shows a random region of the same size, IoU at most 0.1",
    "no_region": "looks show nothing: the box stands and the text goes on behind it",
    "given_region": "each look shows the true region that it hits best",
    "shuffled": "each look shows a region that the model looked at for another question",
    "blanked": "the regions looked at under true are filled, inside the picture, with the mean of a ring around them",
}
"""Names of the conditions, in the order of the table, and what is fed under each."""

REMOVED = ("blank", "other", "random_region", "no_region", "shuffled", "blanked")
"""Conditions that take evidence away."""

HEADLINE = "random_region"
"""The condition of the headline figure; docs/explanation/evidence.md says why."""

_LEAST_RING, _RING_SHARE = 2, 0.25  # pixels; share of a region's shorter side

Plans = Sequence[crop.Plan]


class Shown:
    """Answers the looks of one response with other regions and remembers both.

    Attributes:
        asked: For every look the region asked for.
        shown: For every look the region shown; empty where nothing was.
    """

    def __init__(self, choose: Callable[[int, crop.Plan], crop.Plan] = lambda _, asked: asked) -> None:
        """Take a function of the rank of a look, from 0, and of what it asks for; by default that is shown."""
        self.asked: list[crop.Plan] = []
        self.shown: list[crop.Plan] = []
        self._choose = choose

    def __call__(self, plan: crop.Plan) -> crop.Plan:
        """What is shown in place of a plan."""
        other = self._choose(len(self.asked), plan)
        self.asked.append(plan)
        self.shown.append(other)
        return other


def random_region(entry: Entry, frame: Frame, seed: int) -> Shown:
    """Random low-overlap regions; those of a question depend on the seed and its identifier alone."""
    move = Elsewhere(frame, np.random.default_rng([seed, *entry.id.encode()]))
    return Shown(lambda _, asked: move(asked))


def no_region() -> Shown:
    """Nothing is shown."""
    return Shown(lambda _, asked: ())


def given_region(entry: Entry, frame: Frame) -> Shown:
    """The true region, of those not shown yet, that a look hits best; the next if it hits none. Further looks show what they ask for."""
    planned = [crop.plan(look.box, frame) for look in entry.looks]
    left = [plan for plan in planned if not isinstance(plan, Problem)]

    def choose(_: int, asked: crop.Plan) -> crop.Plan:
        if not left:
            return asked
        return left.pop(max(range(len(left)), key=lambda n: _iou(left[n], asked)))

    return Shown(choose)


def shuffled(others: Plans) -> Shown:
    """The regions of another question, from the first again when there are fewer of them.

    Args:
        others: At least one.
    """
    return Shown(lambda rank, _: others[rank % len(others)])


def partners(names: Sequence[str], same: Callable[[str, str], bool], kinds: Mapping[str, Hashable], seed: int) -> dict[str, str]:
    """Pair every name with the next of its kind, in an order drawn by the seed, that is not the same.

    Args:
        names: Cases or questions.
        same: True if two of them must not be paired.
        kinds: The kind of every name; only names of one kind are paired.
        seed: Of the order.

    Returns:
        The partner of each name that has one. The order does not depend on that of ``names``.
    """
    order = sorted(names, key=lambda name: shuffle_key(seed, name))
    found: dict[str, str] = {}
    for kind in {kinds[name] for name in order}:
        ring = [name for name in order if kinds[name] == kind]
        for place, name in enumerate(ring):
            others = (ring[(place + step) % len(ring)] for step in range(1, len(ring)))  # no copy: rings may be long
            partner = next((other for other in others if not same(name, other)), None)
            if partner is not None:
                found[name] = partner
    return found


def _iou(one: crop.Plan, other: crop.Plan) -> float:
    """IoU of two regions in pixels of all slices."""
    shared = 0
    for index, (x1, y1, x2, y2) in one:
        for slice_, (u1, v1, u2, v2) in other:
            if slice_ == index:
                shared += max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
    whole = sum((x2 - x1) * (y2 - y1) for _, (x1, y1, x2, y2) in (*one, *other))
    return shared / (whole - shared)


def blank(stack: Stack) -> Stack:
    """A stack of one grey: the mean of all pixels and colours of all slices, rounded."""
    grey = round(float(stack.slices.mean()))
    return replace(stack, slices=np.full_like(stack.slices, grey), native=np.full_like(stack.native, grey))


def blanked(stack: Stack, frame: Frame, plans: Plans) -> Stack:
    """A stack whose regions are filled, slice by slice, with the mean of a ring around them.

    A ring is a quarter of the region's shorter side wide, 2 pixels at least, and leaves out what is itself filled. A region that leaves
    no ring is filled with the mean of its slice.

    Args:
        stack: The stack.
        frame: The model frame in which the regions are written.
        plans: Regions; none gives an equal stack.

    Returns:
        A stack of the same sizes. In full-resolution pixels every slice is filled that a filled slice covers.
    """
    slices, native = stack.slices.copy(), stack.native.copy()
    planes = native if stack.kind == "volume" else native[None]
    rects: dict[int, set[crop.Rect]] = {}
    for index, rect in (piece for plan in plans for piece in plan):
        rects.setdefault(index, set()).add(rect)
    for index, own in rects.items():
        _fill(slices[index], own, frame)
        for plane in range(*stack.coverage[index]):
            _fill(planes[plane], own, frame)
    return replace(stack, slices=slices, native=native)


def _fill(picture: NDArray[np.uint8], rects: set[crop.Rect], frame: Frame) -> None:
    """Fill rectangles of the model frame in a picture of any size, in place."""
    height, width = picture.shape[:2]
    spans = [_pixels(rect, width / frame.width, height / frame.height) for rect in sorted(rects)]
    inside = np.zeros((height, width), np.bool_)
    for x1, y1, x2, y2 in spans:
        inside[y1:y2, x1:x2] = True
    before = picture.copy()
    for x1, y1, x2, y2 in spans:
        reach = max(_LEAST_RING, round(_RING_SHARE * min(x2 - x1, y2 - y1)))
        ring = np.zeros_like(inside)
        ring[max(0, y1 - reach) : y2 + reach, max(0, x1 - reach) : x2 + reach] = True
        ring &= ~inside
        around = before[ring] if ring.any() else before.reshape(-1, *before.shape[2:])
        picture[y1:y2, x1:x2] = np.rint(around.mean(axis=0)).astype(np.uint8)


def _pixels(rect: crop.Rect, across: float, down: float) -> crop.Rect:
    """Every pixel that a rectangle of the model frame touches."""
    x1, y1, x2, y2 = rect
    return math.floor(x1 * across), math.floor(y1 * down), math.ceil(x2 * across), math.ceil(y2 * down)
