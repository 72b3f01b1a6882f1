"""The reader of boxes: answers a question from boxes alone, those that a model wrote itself or the true ones.

It knows the question, the directions of the picture, its size and where the middle of the body is; of structures it knows nothing but
their boxes. So a wrong answer beside boxes that decide the question was decided badly, and not seen badly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from unireason.core.errors import FormatError
from unireason.core.types import Box, Box2D, Box3D, Frame, Trace
from unireason.data import names
from unireason.data.scene import DIRECTIONS, HALVES, LETTERS, SPECK, DataQuestion, Scene, is_lesion
from unireason.metrics.boxes import box_iou

FILL = {4: math.pi / 4, 6: math.pi / 6}
"""What a structure fills of its box, by numbers of the box: as an ellipse or an ellipsoid does."""
SAME = 0.5
"""Boxes of one name with an IoU from here on are one place, looked at twice."""
EQUAL = 1.15
"""Sizes up to this ratio are about equal: between the ratios that questions leave out."""

_BY_PARTS = ("count", "count_side", "largest_place")
_RANGE = re.compile(r"(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)(?: (\w+|%))?")
_UNITS = {"mm2": 1.0, "cm2": 100.0, "mm3": 1.0, "ml": 1000.0}

Named = Mapping[str, Sequence[Box]]
"""Boxes by the key of the structure that they are said to show; the first one says where it lies, all together how much there is of it."""


@dataclass(frozen=True, slots=True)
class BoxReader:
    """Answers one question.

    Attributes:
        ask: The kind of the question.
        about: Its arguments.
        options: Its options, structures by their keys.
        names: Keys of the structures that a box may be said to show.
        frame: The model frame, in which boxes are written.
        extent: Size of the picture along x, y (and z), as in ``Scene``.
        middle: The body's midline from the middle of the picture, in the same unit.
        terms: In which terms directions are said, as in ``Scene``.
        true: The letter that the true boxes give; "" where they do not decide.
    """

    ask: str
    about: tuple[str, ...]
    options: tuple[str, ...]
    names: tuple[str, ...]
    frame: Frame
    extent: tuple[float, ...]
    middle: float
    terms: str
    true: str = ""

    @classmethod
    def of(cls, question: DataQuestion, scene: Scene) -> BoxReader | None:
        """The reader of a question about a scene; None where the data do not say what kind of question it is, or what there is."""
        if not question.ask or not scene.described:
            return None
        keys = (*scene.structures, *scene.absent, *scene.unclear)
        options = tuple(o if o in keys else names.key_of(o, keys) or o for o in question.options)
        aside = scene.midline.offset if scene.space == "patient" or scene.midline.found == "macula" else 0.0
        told = (question.ask, question.about, options, keys, scene.frame, scene.extent, aside, scene.terms)
        true = {
            name: [p.box_model for p in own.parts if p.voxels >= SPECK * own.voxels]
            if question.ask in _BY_PARTS and is_lesion(name)
            else [p.box_model for p in own.shown]
            for name, own in scene.structures.items()
        }
        return cls(*told, true=cls(*told).letter(true))

    def own(self, trace: Trace) -> str:
        """The letter that the boxes of a response give; "" where they do not decide."""
        return self.letter(own_boxes(trace, self.names))

    def letter(self, boxes: Named) -> str:
        """The letter of the option that agrees best with boxes; "" where a box is missing, or boxes do not decide such a question."""
        try:
            found = self._fits(boxes)
        except (
            LookupError,
            ValueError,
            FormatError,
        ):  # a box, an argument or a word for a direction that is not there; an option of another form
            return ""
        best = max(found, default=math.nan)
        return LETTERS[found.index(best)] if found.count(best) == 1 else ""

    def _fits(self, boxes: Named) -> list[float]:
        """How well every option agrees with boxes, the greatest number best; none for a kind of question that boxes do not decide.

        Presence, looks, diameters, gaps, contact and the widest slice are no matter of boxes.
        """
        about, options = self.about, self.options
        match self.ask:
            case "quadrant" | "lesion_quadrant" | "lesion_side":
                return [self._towards(boxes[about[0]][0], option) for option in options]
            case "which_in_quadrant":
                return [self._towards(boxes[option][0], about[0]) for option in options]
            case "largest_place":
                largest = max(boxes[about[0]], key=self._size)
                return [self._towards(largest, option) for option in options]
            case "box":
                return [box_iou(_box(re.findall(r"\d+", option)), boxes[about[0]][0]) for option in options]
            case "which_at_box":
                marked = _box(re.findall(r"\d+", about[0]))
                return [box_iou(marked, boxes[option][0]) for option in options]
            case "which_on_slice":
                plane = int(about[0].removeprefix("slice ")) + 0.5
                return [-max(0.0, box.coords[2] - plane, plane - box.coords[5]) for box in (boxes[o][0] for o in options)]
            case "level":
                height = self._centre(boxes[about[0]][0])[-1]
                return [-abs(self._centre(boxes[option][0])[-1] - height) for option in options]
            case "slices":
                _, _, first, _, _, end = boxes[about[0]][0].coords
                ranges = [(low, high + 1) for low, high, _ in map(_range, options)]
                return [max(0.0, min(high, end) - max(low, first)) / (max(high, end) - min(low, first)) for low, high in ranges]
            case "largest" | "smallest":
                sign = 1 if self.ask == "largest" else -1
                return [sign * self._amount(boxes[option]) for option in options]
            case "how_large" | "lesion_extent":
                return [self._in_range(boxes[about[0]], option) for option in options]
            case "burden":
                share = 100 * self._amount(boxes[about[0]]) / self._amount(boxes[about[1]])
                return [_held(share, low, high) for low, high, _ in map(_range, options)]
            case "pair_share":
                amounts = sorted(self._amount(boxes[name]) for name in about)
                more = 100 * (amounts[1] / amounts[0] - 1)
                return [_held(more, low, high) for low, high, _ in map(_range, options)]
            case "pair":
                first, second = (math.log(self._amount(boxes[name])) for name in about)
                ahead = {
                    about[0]: first - second,
                    about[1]: second - first,
                    "about equal": 2 * math.log(EQUAL) - abs(first - second),
                }
                return [ahead[option] for option in options]
            case "count":
                return [-abs(int(option) - len(boxes[about[0]])) for option in options]
            case "count_side":
                number = sum(self._towards(box, about[1]) > 0 for box in boxes[about[0]])
                return [-abs(int(option) - number) for option in options]
            case "direction" | "which_direction":
                pairs = (
                    [(about[0], about[1], o) for o in options]
                    if self.ask == "direction"
                    else [(o, about[1], about[0]) for o in options]
                )
                return [self._towards(boxes[a][0], word, boxes[b][0]) for a, b, word in pairs]
            case "nearest":
                start = self._centre(boxes[about[0]][0])
                return [-math.dist(self._centre(boxes[option][0]), start) for option in options]
            case "host":
                return [self._holds(boxes[option][0], boxes[about[0]][0]) for option in options]
        return []

    def _sides(self, box: Box) -> list[float]:
        """Sides of a box in the unit of the extent."""
        half, frame = len(box.coords) // 2, (self.frame.width, self.frame.height, self.frame.depth)
        return [(box.coords[half + i] - box.coords[i]) * self.extent[i] / frame[i] for i in range(half)]

    def _centre(self, box: Box) -> list[float]:
        """The middle of a box from the middle of the picture, along x from that of the body, in the unit of the extent."""
        half, frame = len(box.coords) // 2, (self.frame.width, self.frame.height, self.frame.depth)
        centre = [((box.coords[i] + box.coords[half + i]) / (2 * frame[i]) - 0.5) * self.extent[i] for i in range(half)]
        return [centre[0] - self.middle, *centre[1:]]

    def _towards(self, box: Box, words: str, start: Box | None = None) -> float:
        """How far a box lies towards all of some words, from the middle or from another box; below 0 on the other side."""
        centre, origin = self._centre(box), self._centre(start) if start else [0.0] * 3
        sides = [_axes(self.terms)[word] for word in words.split()]
        if start:  # a direction is an amount in the unit of the extent, a part of the picture a share of it
            return min(sign * (centre[axis] - origin[axis]) for axis, sign in sides)
        return min(sign * centre[axis] / self.extent[axis] for axis, sign in sides)

    def _size(self, box: Box) -> float:
        return math.prod(self._sides(box)) * FILL[len(box.coords)]

    def _amount(self, boxes: Sequence[Box]) -> float:
        """Area or volume of all that some boxes show."""
        return sum(map(self._size, boxes))

    def _in_range(self, boxes: Sequence[Box], option: str) -> float:
        low, high, unit = _range(option)
        if unit in ("pixels", "voxels"):
            frame = (self.frame.width, self.frame.height, self.frame.depth)[: len(self.extent)]
            scale = math.prod(side / n for side, n in zip(self.extent, frame, strict=True))
        else:
            scale = _UNITS[unit]
        return _held(self._amount(boxes), low * scale, high * scale)

    def _holds(self, outer: Box, inner: Box) -> float:
        """Minus how far a box sticks out of another one; of two that hold it the smaller one holds it better."""
        half, a, b = len(inner.coords) // 2, outer.coords, inner.coords
        out = sum(max(0.0, a[i] - b[i]) + max(0.0, b[half + i] - a[half + i]) for i in range(half))
        return -out - self._size(outer) / math.prod(self.extent)


def own_boxes(trace: Trace, among: Sequence[str]) -> dict[str, list[Box]]:
    """The boxes that a response wrote, by the structure that the words in front of each name; those that name none are left out."""
    found: dict[str, list[Box]] = {}
    for look in trace.looks:
        half, numbers = len(look.box_model) // 2, look.box_model
        if len(numbers) != (6 if trace.frame.kind == "volume" else 4):
            continue
        if not all(low < high for low, high in zip(numbers[:half], numbers[half:], strict=True)):
            continue
        for _, _, name in names.mentions(look.label, among)[-1:]:
            box: Box = Box2D(*numbers) if half == 2 else Box3D(*numbers)
            own = found.setdefault(name, [])
            if all(box_iou(box, other) < SAME for other in own):
                own.append(box)
    return found


@lru_cache(maxsize=16)
def _axes(terms: str) -> dict[str, tuple[int, int]]:
    """Axis and sign of every word for a direction or a part."""
    tables = (DIRECTIONS[terms], HALVES[terms])
    return {
        word: (axis, sign)
        for table in tables
        for axis, both in enumerate(table)
        for word, sign in zip(both, (-1, 1), strict=True)
    }


def _box(numbers: Sequence[str]) -> Box:
    values = [int(n) for n in numbers]
    if len(values) not in (4, 6):
        raise ValueError("no box")
    return Box2D(*values) if len(values) == 4 else Box3D(*values)


def _range(option: str) -> tuple[float, float, str]:
    match = _RANGE.fullmatch(option)
    if match is None:
        raise ValueError("no range")
    return float(match[1]), float(match[2]), match[3] or ""


def _held(value: float, low: float, high: float) -> float:
    """1 for a range that holds a value, else minus the logarithm of the factor that is missing to it."""
    return 1.0 if low <= value < high else -abs(math.log(value / max(low if value < low else high, 1e-9)))
