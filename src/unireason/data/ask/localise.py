"""Family structure_localisation: where a structure lies, as a part of the picture, a box or a range of slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from typing import TypeVar

from unireason.data import names
from unireason.data.annotate.wording import counted, listed, the
from unireason.data.question import Question
from unireason.data.records import box_of
from unireason.metrics.overlap import box_iou

from .dice import Dice
from .place import Places, is_lesion, parts
from .writing import Choice, Draft, few, write

FAMILY = "structure_localisation"
LEAST_STEP = 0.6
"""Of the side: boxes shifted by that have an IoU of at most 0.25."""
MOST_STEP = 1.1
MOST_IOU = 0.4
"""Boxes or ranges that overlap less certainly differ, rounding included."""
LEAST_PIXELS, LEAST_SLICES = 6, 2
T = TypeVar("T")
_ENDS = (("left edge", "right edge"), ("upper edge", "lower edge"), ("first slice", "last slice"))
_FAR = (("to the left", "to the right"), ("up", "down"), ("towards the first slice", "towards the last slice"))
_SHORT = (("on the left", "on the right"), ("at the top", "at the bottom"), ("at the first slice", "at the last slice"))
MOST_FAULTS = 2
"""So many edges of a wrong box are spoken of."""


def form(places: Places) -> str:
    """How boxes are written, for the question."""
    return "[x1,y1,x2,y2] in pixels" if places.scene.kind == "image" else "[x1,y1,z1,x2,y2,z2] in pixels and slices"


def part_choices(places: Places, name: str, axes: str) -> tuple[Choice, list[Choice]] | None:
    """The four parts of two axes as options about one structure: the right one and the others; None within the margin."""
    right = places.part(name, axes)
    if not right:
        return None
    fact = f"the centre lies in the {right} part"
    wrong = [
        (part, f"{fact}, not in the {part} one")
        for part, _ in parts(places.scene.space, axes)
        if part != right and (places.alone or any(peer.part(name, axes) == part for peer in places.others(name)))
    ]
    return (right, fact), wrong


def quadrant(places: Places, dice: Dice) -> Iterator[Question]:
    """In which part a structure lies, out of four, or of two on both sides of one axis.

    Never about lesions, nor left or right of structures named by a side. Where anatomy fixes one axis, four parts tell too much;
    two that differ along the other axis do not.
    """
    known = [n for n in places.placed if not is_lesion(n)]
    for name, axes, only in dice.shuffled([(n, a, o) for n in known for a in places.axes for o in ("", *a)]):
        choices = None if "x" in axes and names.side_of(name) else part_choices(places, name, axes)
        if choices:
            right, wrong = choices
            if only:
                kept = {part for part, _ in _across(places, name, axes, only)}
                wrong = [w for w in wrong if w[0] in kept]
            if wrong:
                wrong = few(dice, wrong)
                yield write(places, dice, Draft(FAMILY, "quadrant", (name, axes), right, wrong, (name,), {"x": the(name)}))


def _across(places: Places, name: str, axes: str, only: str) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
    """The part on the other side of the middle along one axis alone."""
    signs = places.signs[name]
    for part, pair in parts(places.scene.space, axes):
        if all((sign == signs[axis]) != ("xyz"[axis] == only) for axis, sign in pair):
            yield part, pair


def box(places: Places, dice: Dice) -> Iterator[Question]:
    """Which box encloses a structure: the others are its boxes in other patients, or shifted ones if there are no peers."""
    if places.peers is None:
        yield from _shifted_box(places, dice)
        return
    for name in dice.shuffled(places.all):
        true, *boxes = exchanged(places, name, partial(_numbers_of, places, name), _unlike)
        if boxes:
            wrong = [(_box_text(b), _box_fact(true, b)) for b in boxes]
            right = (_box_text(true), "it fits the outline on all sides")
            values = {"x": the(name), "form": form(places)}
            yield write(places, dice, Draft(FAMILY, "box", (name,), right, wrong, (name,), values))


def _numbers_of(places: Places, name: str, peer: Places) -> tuple[int, ...]:
    return numbers_here(places, peer, name)


def exchanged(places: Places, name: str, value: Callable[[Places], T], apart: Callable[[T, T], bool]) -> list[T]:
    """Wrong values about a structure: what is true of it in other patients.

    Three are drawn once, without regard to the true value, and taken as they are or not at all, so that nothing tells which of the
    values is true. To draw again until they fit would favour true values that few others differ from.

    Args:
        places: The scene; it must have peers.
        name: The structure.
        value: What is true of it in a scene.
        apart: Whether two values certainly differ.

    Returns:
        The true value, then three others if all four differ from each other, else one that differs, else none.
    """
    assert places.peers is not None
    every = [value(peer) for peer in (places, *places.peers.exchange(places.scene, name))]
    if len(every) == 4 and all(apart(a, b) for i, a in enumerate(every) for b in every[:i]):
        return every
    return every[:2] if len(every) > 1 and apart(every[0], every[1]) else every[:1]


def numbers_here(places: Places, peer: Places, name: str) -> tuple[int, ...]:
    """A structure's box in another patient, brought into the frame of this one."""
    mine, theirs = places.scene.frame, peer.scene.frame
    there = peer.boxes[name]
    if mine == theirs:
        return there
    half = len(there) // 2
    sizes = ((mine.width, theirs.width), (mine.height, theirs.height), (mine.depth, theirs.depth))[:half]
    low = [min(round(there[i] * here / other), here - 1) for i, (here, other) in enumerate(sizes)]
    high = [max(round(there[half + i] * here / other), low[i] + 1) for i, (here, other) in enumerate(sizes)]
    return (*low, *high)


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """IoU of two boxes given as numbers."""
    half = len(a) // 2
    if any(a[i] >= b[half + i] or b[i] >= a[half + i] for i in range(half)):
        return 0.0
    return box_iou(box_of(a), box_of(b))


def _unlike(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """True if two boxes certainly differ, also where a first or last slice is one more or less by rounding."""
    return all(overlap(p, q) < MOST_IOU for p in _roundings(a) for q in _roundings(b))


def _roundings(box: tuple[int, ...]) -> list[tuple[int, ...]]:
    """A box, and a cuboid also without its first or its last slice if it keeps one."""
    if len(box) == 4 or box[5] - box[2] < 2:
        return [box]
    return [box, (*box[:2], box[2] + 1, *box[3:]), (*box[:5], box[5] - 1)]


def _box_fact(true: tuple[int, ...], other: tuple[int, ...]) -> str:
    """What is wrong with a box, in words of the picture."""
    half = len(true) // 2
    if overlap(true, other):
        return _edges_fact(true, other)
    middle = [(other[i] + other[half + i] - true[i] - true[half + i]) // 2 for i in range(half)]
    found = [f"{counted(abs(m), _step(i))} too far {_FAR[i][m > 0]}" for i, m in enumerate(middle) if m]
    return f"it lies {listed(found)}"


def _edges_fact(true: tuple[int, ...], other: tuple[int, ...]) -> str:
    """The edges that are off by most of the true box's side: beyond the true ones, or short of them."""
    half = len(true) // 2
    off = [(end, i, (other[end * half + i] - true[end * half + i]) * (1 if end else -1)) for i in range(half) for end in (0, 1)]
    worst = sorted(off, key=lambda e: -abs(e[2]) / (true[half + e[1]] - true[e[1]]))[:MOST_FAULTS]
    far = [f"{counted(out, _step(i))} too far {_FAR[i][end]}" for end, i, out in worst if out > 0]
    short = [f"{counted(-out, _step(i))} short {_SHORT[i][end]}" for end, i, out in worst if out < 0]
    said = [f"{verb} {listed(edges)}" for verb, edges in (("reaches", far), ("falls", short)) if edges]
    return f"it {listed(said)}"


def _step(axis: int) -> str:
    return "slice" if axis == 2 else "pixel"


def _shifted_box(places: Places, dice: Dice) -> Iterator[Question]:
    """Four equal boxes, one of them right."""
    half = len(places.scene.extent)
    patterns = [(i, j) for i in range(half) for j in range(i, half)]
    for name, pattern in dice.shuffled([(n, p) for n in places.all for p in patterns]):
        true = places.boxes[name]
        shifts = _shifts(dice, tuple(true[half + i] - true[i] for i in range(half)), pattern)
        moved = [tuple(v + s[i % half] for i, v in enumerate(true)) for s in shifts]
        if not all(_fits(b, places) for b in moved):
            continue
        wrong = [(_box_text(b), _shift_fact(s)) for b, s in zip(moved, shifts, strict=True)]
        values = {"x": the(name), "form": form(places)}
        right = (_box_text(true), "it fits the outline on all sides")
        yield write(places, dice, Draft(FAMILY, "box", (name,), right, wrong, (name,), values))


def _shifts(dice: Dice, sides: tuple[int, ...], pattern: tuple[int, int]) -> list[tuple[int, ...]]:
    """Shifts of the three wrong boxes: a lattice of two by two along two axes, or a line of four along one."""
    steps = []
    for axis in pattern:
        least = LEAST_SLICES if axis == 2 else LEAST_PIXELS
        steps.append(max(least, ceil(sides[axis] * dice.uniform(LEAST_STEP, MOST_STEP))))
    if pattern[0] == pattern[1]:
        rank = dice.below(4)
        along = [[(i - rank) * steps[0]] for i in range(4)]
    else:
        first, second = dice.below(2), dice.below(2)
        along = [[(i - first) * steps[0], (j - second) * steps[1]] for i in range(2) for j in range(2)]
    shifts = []
    for values in along:
        shift = [0] * len(sides)
        for axis, value in zip(pattern, values, strict=False):
            shift[axis] = value
        shifts.append(tuple(shift))
    return [s for s in shifts if any(s)]


def _fits(box_model: tuple[int, ...], places: Places) -> bool:
    frame = places.scene.frame
    half = len(box_model) // 2
    sizes = (frame.width, frame.height, frame.depth)
    return all(box_model[i] >= 0 and box_model[half + i] <= sizes[i] for i in range(half))


def _box_text(box_model: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, box_model))}]"


def _shift_fact(shift: tuple[int, ...]) -> str:
    """Where a wrong box lies against the right one, in words of the picture."""
    found = [f"{counted(abs(s), _step(i))} towards the {_ENDS[i][s > 0]}" for i, s in enumerate(shift) if s]
    return f"it is shifted by {listed(found)}"


def slices(places: Places, dice: Dice) -> Iterator[Question]:
    """Through which range of model slices a structure goes; the others as for boxes; volumes only."""
    if places.scene.kind == "image":
        return
    if places.peers is None:
        yield from _shifted_slices(places, dice)
        return
    for name in dice.shuffled(places.all):
        true, *found = exchanged(places, name, partial(_slices_of, places, name), _unequal)
        if found:
            wrong = [(_range_text(a, b - a), _ends_fact(true, (a, b))) for a, b in found]
            right = (_range_text(true[0], true[1] - true[0]), "it begins and ends there")
            yield write(places, dice, Draft(FAMILY, "slices", (name,), right, wrong, (name,), {"x": the(name)}))


def _slices_of(places: Places, name: str, peer: Places) -> tuple[int, int]:
    """The model slices of a structure, those of another patient brought into this one's frame."""
    box = numbers_here(places, peer, name)
    return box[2], box[5]


def _unequal(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """True if two ranges share less than half of what they cover together."""
    common = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return common < MOST_IOU * (max(a[1], b[1]) - min(a[0], b[0]))


def _ends_fact(true: tuple[int, int], other: tuple[int, int]) -> str:
    """By how much a wrong range begins or ends too early or too late, whichever is more."""
    begins, ends = other[0] - true[0], other[1] - true[1]
    verb, off = ("begins", begins) if abs(begins) >= abs(ends) else ("ends", ends)
    return f"it {verb} {counted(abs(off), 'slice')} too {'late' if off > 0 else 'early'}"


def _shifted_slices(places: Places, dice: Dice) -> Iterator[Question]:
    """Four ranges of equal length, one of them right."""
    for name in dice.shuffled(places.all):
        first, end = places.scene.structures[name].slices
        length = end - first
        step = max(LEAST_SLICES, ceil(length * dice.uniform(LEAST_STEP, MOST_STEP)))
        rank = dice.below(4)
        begins = [first + (i - rank) * step for i in range(4)]
        if length < 2 or begins[0] < 0 or begins[3] + length > places.scene.frame.depth:
            continue
        wrong = [(_range_text(b, length), _range_fact(b - first)) for b in begins if b != first]
        right = (_range_text(first, length), "it begins and ends there")
        yield write(places, dice, Draft(FAMILY, "slices", (name,), right, wrong, (name,), {"x": the(name)}))


def _range_text(first: int, length: int) -> str:
    return f"{first} to {first + length - 1}"


def _range_fact(shift: int) -> str:
    return f"it begins {counted(abs(shift), 'slice')} too {'late' if shift > 0 else 'early'}"


ASKS = (quadrant, box, slices)
