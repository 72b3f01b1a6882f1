"""Family structure_localisation: where a structure lies, as a part of the picture, a box or a range of slices."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from unireason.data import names
from unireason.data.annotate.wording import the
from unireason.data.question import Question

from .dice import Dice
from .place import Places, is_lesion, parts
from .writing import Choice, Draft, write

FAMILY = "structure_localisation"
LEAST_STEP = 0.6
"""Of the side: boxes shifted by that have an IoU of at most 0.25."""
MOST_STEP = 1.1
LEAST_PIXELS, LEAST_SLICES = 6, 2
_ENDS = (("left edge", "right edge"), ("upper edge", "lower edge"), ("first slice", "last slice"))


def form(places: Places) -> str:
    """How boxes are written, for the question."""
    return "[x1,y1,x2,y2] in pixels" if places.scene.kind == "image" else "[x1,y1,z1,x2,y2,z2] in pixels and slices"


def part_choices(places: Places, name: str, axes: str) -> tuple[Choice, list[Choice]] | None:
    """The four parts of two axes as options about one structure: the right one and the others; None within the margin."""
    right = places.part(name, axes)
    if not right:
        return None
    fact = f"the centre lies {right}"
    wrong = [(part, f"{fact}, not {part}") for part, _ in parts(places.scene.space, axes) if part != right]
    return (right, f"{fact} of the middle"), wrong


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
            yield write(places, dice, Draft(FAMILY, "quadrant", (name, axes), right, wrong, (name,), {"x": the(name)}))


def _across(places: Places, name: str, axes: str, only: str) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
    """The part on the other side of the middle along one axis alone."""
    signs = places.signs[name]
    for part, pair in parts(places.scene.space, axes):
        if all((sign == signs[axis]) != ("xyz"[axis] == only) for axis, sign in pair):
            yield part, pair


def box(places: Places, dice: Dice) -> Iterator[Question]:
    """Which of four equal boxes encloses a structure."""
    half = len(places.scene.extent)
    patterns = [(i, j) for i in range(half) for j in range(i, half)]
    for name, pattern in dice.shuffled([(n, p) for n in places.all for p in patterns]):
        true = tuple(int(v) for v in places.scene.structures[name].box_model.coords)
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
    found = [f"{abs(s)} {'slices' if i == 2 else 'pixels'} towards the {_ENDS[i][s > 0]}" for i, s in enumerate(shift) if s]
    return f"it is shifted by {' and '.join(found)}"


def slices(places: Places, dice: Dice) -> Iterator[Question]:
    """Through which of four equally long ranges of model slices a structure goes; volumes only."""
    if places.scene.kind == "image":
        return
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
    return f"it begins {abs(shift)} slices too {'late' if shift > 0 else 'early'}"


ASKS = (quadrant, box, slices)
