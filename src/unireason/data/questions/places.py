"""The three families about place: where a structure lies, how structures lie to each other, what lies in a given place."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import ceil, log
from typing import TypeVar

from unireason.data import names
from unireason.data.rationale import seen
from unireason.data.rationale.wording import counted, listed, the
from unireason.data.records import box_of
from unireason.data.scene import TOWARDS, DataQuestion
from unireason.grounding import grammar
from unireason.metrics.boxes import box_iou

from .distractors import MARGIN, Dice, Places, alike, evened, is_lesion, kin, one_side, parts, tally
from .wording import Choice, write

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
    fact = middles(places, name, axes)
    wrong = [
        (part, fact)
        for part, _ in parts(places.scene.terms, axes)
        if part != right and (places.alone or any(peer.part(name, axes) == part for peer in places.others(name)))
    ]
    return (right, fact), wrong


def middles(places: Places, name: str, axes: str) -> str:
    """Where a structure lies and where the middle of the picture: the fact that decides in which part it lies."""
    scene, along = places.scene, ["xyz".index(a) for a in axes]
    here = seen.where(seen.middle_of(scene.structures[name]), along)
    return f"its middle is at {here}, compared with {seen.reference(scene, along)}"


def quadrant(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """In which part a structure lies, out of four, or of those in which it lies in some patients."""
    known = [n for n in places.placed if not is_lesion(n)]
    for name, axes in dice.shuffled([(n, a) for n in known for a in places.axes]):
        choices = None if "x" in axes and names.side_of(name) else part_choices(places, name, axes)
        if choices:
            right, wrong = choices
            wrong = even_parts(places, dice, name, axes, right, wrong)
            if wrong:
                yield write(places, dice, "quadrant", (name, axes), right, wrong, (name,), x=the(name))


def even_parts(places: Places, dice: Dice, name: str, axes: str, right: Choice, wrong: Sequence[Choice]) -> list[Choice]:
    """The wrong parts that may stand beside the right one."""

    def votes(options: Sequence[str]) -> dict[str, float]:
        return tally(part if (part := peer.part(name, axes)) in options else "" for peer in places.every(name))

    kept = evened(places, dice, right[0], [part for part, _ in wrong], votes)
    return [choice for choice in wrong if choice[0] in kept]


def box(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which box encloses a structure: the others are its boxes in other patients, or shifted ones if there are no peers."""
    if places.peers is None:
        yield from _shifted_box(places, dice)
        return
    for name in dice.shuffled(places.boxed):
        true, *boxes = exchanged(places, name, "box", numbers_here, _unlike)
        if boxes:
            wrong = [(_box_text(b), _box_fact(true, b)) for b in boxes]
            right = (_box_text(true), "it fits the outline on all sides")
            yield write(places, dice, "box", (name,), right, wrong, (name,), x=the(name), form=form(places))


def exchanged(
    places: Places,
    name: str,
    sort: str,
    value: Callable[[Places, str, Places], T],
    apart: Callable[[T, T], bool],
) -> list[T]:
    """What is true of a structure here, and in at most three other patients; ``value`` brings theirs into this frame."""
    assert places.peers is not None
    lent = places.peers.exchange(places.scene, name, sort, lambda a, b: apart(value(a, name, a), value(a, name, b)))
    every = [value(places, name, places)]
    for peer in lent:
        theirs = value(places, name, peer)
        if all(apart(theirs, other) for other in every):
            every.append(theirs)
    return every


def numbers_here(places: Places, name: str, peer: Places) -> tuple[int, ...]:
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
    if not overlap(true, other):
        middle = [(other[i] + other[half + i] - true[i] - true[half + i]) // 2 for i in range(half)]
        found = [f"{counted(abs(m), _step(i))} too far {_FAR[i][m > 0]}" for i, m in enumerate(middle) if m]
        return f"it lies {listed(found)}"
    # The edges that are off by most of the true box's side: beyond the true ones, or short of them.
    off = [(end, i, (other[end * half + i] - true[end * half + i]) * (1 if end else -1)) for i in range(half) for end in (0, 1)]
    worst = sorted(off, key=lambda e: -abs(e[2]) / (true[half + e[1]] - true[e[1]]))[:MOST_FAULTS]
    far = [f"{counted(out, _step(i))} too far {_FAR[i][end]}" for end, i, out in worst if out > 0]
    short = [f"{counted(-out, _step(i))} short {_SHORT[i][end]}" for end, i, out in worst if out < 0]
    said = [f"{verb} {listed(edges)}" for verb, edges in (("reaches", far), ("falls", short)) if edges]
    return f"it {listed(said)}"


def _step(axis: int) -> str:
    return "slice" if axis == 2 else "pixel"


def _shifted_box(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Four equal boxes, one of them right."""
    half, frame = len(places.scene.extent), places.scene.frame
    sizes = (frame.width, frame.height, frame.depth)
    patterns = [(i, j) for i in range(half) for j in range(i, half)]
    for name, pattern in dice.shuffled([(n, p) for n in places.boxed for p in patterns]):
        true = places.boxes[name]
        shifts = _shifts(dice, tuple(true[half + i] - true[i] for i in range(half)), pattern)
        moved = [tuple(v + s[i % half] for i, v in enumerate(true)) for s in shifts]
        if not all(b[i] >= 0 and b[half + i] <= sizes[i] for b in moved for i in range(half)):
            continue
        ends = [[f"{counted(abs(v), _step(i))} towards the {_ENDS[i][v > 0]}" for i, v in enumerate(s) if v] for s in shifts]
        wrong = [(_box_text(b), f"it is shifted by {listed(found)}") for b, found in zip(moved, ends, strict=True)]
        right = (_box_text(true), "it fits the outline on all sides")
        yield write(places, dice, "box", (name,), right, wrong, (name,), x=the(name), form=form(places))


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


def _box_text(box_model: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, box_model))}]"


def slices(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Through which range of model slices a structure goes; the others as for boxes; volumes only."""
    if places.scene.kind == "image":
        return
    if places.peers is None:
        yield from _shifted_slices(places, dice)
        return
    for name in dice.shuffled(places.all):
        true, *found = exchanged(places, name, "slices", _slices_of, _unequal)
        found = [ends for ends in found if ends[1] - ends[0] > 1]
        if found and true[1] - true[0] > 1:  # nobody follows a structure through one slice
            wrong = [(_range_text(a, b - a), _ends_fact(true, (a, b))) for a, b in found]
            right = (_range_text(true[0], true[1] - true[0]), "it begins and ends there")
            yield write(places, dice, "slices", (name,), right, wrong, (name,), x=the(name))


def _slices_of(places: Places, name: str, peer: Places) -> tuple[int, int]:
    """The model slices of a structure, those of another patient brought into this one's frame."""
    box = numbers_here(places, name, peer)
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


def _shifted_slices(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Four ranges of equal length, one of them right."""
    for name in dice.shuffled(places.all):
        first, end = places.scene.structures[name].slices
        length = end - first
        step = max(LEAST_SLICES, ceil(length * dice.uniform(LEAST_STEP, MOST_STEP)))
        rank = dice.below(4)
        begins = [first + (i - rank) * step for i in range(4)]
        if length < 2 or begins[0] < 0 or begins[3] + length > places.scene.frame.depth:
            continue
        wrong = [(_range_text(b, length), _ends_fact((first, end), (b, b + length))) for b in begins if b != first]
        right = (_range_text(first, length), "it begins and ends there")
        yield write(places, dice, "slices", (name,), right, wrong, (name,), x=the(name))


def _range_text(first: int, length: int) -> str:
    return f"{first} to {first + length - 1}"


# --- spatial_relation: how structures lie to each other.

LEAST_RATIO = 1.25
SEEN_RATIO = 1.12
"""And from middle to middle of the boxes, so that the rounded distances tell it as well."""
MOST_STARTS = 16
"""So many structures at most are related to all others, so that scenes of a hundred take no longer."""


def direction(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Where one structure lies, seen from another; rare directions are drawn as often as common ones."""
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for a in dice.shuffled(places.placed)[:MOST_STARTS]:
        for b in places.placed:
            if a != b and one_side((a, b)) and (found := places.direction(a, b)) and not places.related(a, b):
                pairs[found].append((a, b))
    axis_of = {word: i for i, both in enumerate(places.words) for word in both if word}
    left = {d: dice.shuffled(pairs[d]) for d in dice.shuffled(sorted(pairs))}
    while left:
        for d in list(left):
            a, b = left[d].pop()
            if not left[d]:
                del left[d]
            axis = axis_of[d]
            opposite = next(w for w in places.words[axis] if w != d)
            # Without a scale pixels and slices cannot be held against each other: only the opposite is offered then.
            others = [w for w, i in axis_of.items() if i != axis] if seen.unit_of_distance(places.scene) else []
            known = [
                w
                for w in (opposite, *dice.shuffled(others))
                if (places.alone or any(peer.towards(a, b) == w for peer in places.others(a, b)))
            ]
            if known:
                chosen = known[:3]
                facts = [(w, f"it lies {_way(places, axis_of[w], a, b)}") for w in (d, *chosen)]
                yield write(places, dice, "direction", (a, b), facts[0], facts[1:], (a, b), x=the(a), y=the(b))


def _way(places: Places, axis: int, a: str, b: str) -> str:
    """How far one structure lies from another along an axis, with the direction: "23 mm to the left"."""
    scene = places.scene
    offset = seen.offset(scene.structures[a], scene.structures[b], scene)[axis]
    said = f"{abs(offset)} mm" if scene.scale else counted(abs(offset), _step(axis))
    return f"{said} {TOWARDS[scene.terms][axis][offset > 0]}"


def nearest(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which structure is nearest to a given one, from centre to centre."""
    unit, structures = seen.unit_of_distance(places.scene), places.scene.structures
    for x in dice.shuffled(places.placed) if unit else ():
        ways = {n: places.distance(n, x) for n in places.placed if n != x and not places.related(n, x)}
        for right in dice.shuffled(sorted(ways))[:3]:
            side, least = names.side_of(right), seen.distance(structures[right], structures[x], places.scene)
            pool = [
                n
                for n, way in ways.items()
                if way >= LEAST_RATIO * ways[right]
                and seen.distance(structures[n], structures[x], places.scene) >= SEEN_RATIO * least
                and names.side_of(n) == side
                and not kin(n, right)
                and (places.alone or any(peer.distance(n, x) < peer.distance(right, x) for peer in places.others(n, right, x)))
            ]
            wrong = evened(places, dice, right, sorted(pool, key=ways.__getitem__), partial(_nearest_elsewhere, places, x))
            if wrong:
                here = {n: seen.distance(structures[n], structures[x], places.scene) for n in (right, *wrong)}
                facts = [(n, f"its middle is {seen.number(here[n])} {unit} away from that of {the(x)}") for n in here]
                needs = [x, right, *wrong]
                yield write(places, dice, "nearest", (x,), facts[0], facts[1:], needs, x=the(x))


def which_direction(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which structure lies further in a direction than a given one; the others lie on its other side."""
    words = [(i, up, both[up]) for i, both in enumerate(places.words) for up in (False, True) if both[up]]
    for x, (axis, up, word) in dice.shuffled([(n, w) for n in places.placed for w in words]):
        if axis == 0 and names.side_of(x):
            continue
        ways = {
            n: places.centres[n][axis] - places.centres[x][axis] for n in places.placed if n != x and not places.related(n, x)
        }
        margin = MARGIN * places.scene.extent[axis]
        shown = {n: (places.middles[n][axis] - places.middles[x][axis]) * (1 if up else -1) for n in ways}
        ahead = [n for n, way in ways.items() if (way if up else -way) >= margin and shown[n] > 0]
        behind = [n for n, way in ways.items() if (way if up else -way) <= -margin and shown[n] < 0]
        if not ahead:
            continue
        right = dice.pick(ahead)
        fits = [
            n
            for n in behind
            if (axis or names.side_of(n) == names.side_of(right))
            and (places.alone or any((peer.offset(n, x)[axis] > 0) == up for peer in places.others(n, x)))
        ]
        fits.sort(key=lambda n: abs(ways[n]))
        wrong = evened(places, dice, right, fits, partial(_beyond_elsewhere, places, x, axis, up))
        if wrong:
            facts = [(n, f"it lies {_way(places, axis, n, x)}, seen from {the(x)}") for n in (right, *wrong)]
            needs = [x, right, *wrong]
            yield write(
                places,
                dice,
                "which_direction",
                (word, x),
                facts[0],
                facts[1:],
                needs,
                x=the(x),
                towards=TOWARDS[places.scene.terms][axis][up],
            )


def _nearest_elsewhere(places: Places, x: str, options: Sequence[str]) -> dict[str, float]:
    """How often each option is nearest to a structure in other patients."""
    found = []
    for peer in places.every(x, *options):
        first, second = sorted(options, key=partial(peer.distance, x))[:2]
        found.append(first if peer.distance(second, x) >= LEAST_RATIO * peer.distance(first, x) else "")
    return tally(found)


def _beyond_elsewhere(places: Places, x: str, axis: int, up: bool, options: Sequence[str]) -> dict[str, float]:
    """How often each option alone lies beyond a structure in other patients, along an axis."""
    found = []
    for peer in places.every(x, *options):
        beyond = [n for n in options if (peer.offset(n, x)[axis] > 0) == up]
        found.append(beyond[0] if len(beyond) == 1 else "")
    return tally(found)


# --- spatial_localisation: which structure lies in a given place.

SPATIAL_MOST_IOU = 0.3
LEAST_ALIKE = 0.002
"""How alike, on average over other patients, the boxes of every option must be to the one that is asked about."""
WEIGHT = 2000.0
"""Brings that likeness to the scale of counts."""
ALIKE = 0.3
"""Boxes that overlap so much might be taken for each other."""


def which_in_quadrant(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which of four structures lies in a part; the others are there and lie elsewhere."""
    for right, axes in dice.shuffled([(n, a) for n in places.placed for a in places.axes]):
        part = places.part(right, axes)
        if not part:
            continue
        side = names.side_of(right)
        pool = [
            n
            for n in places.placed
            if n != right
            and ("x" not in axes or names.side_of(n) == side)
            and places.outside(n, axes, right)
            and not places.related(n, right)
            and (places.alone or any(peer.part(n, axes) == part for peer in places.others(n)))
        ]
        pool.sort(key=partial(_told_apart, places, axes, right))
        wrong = evened(places, dice, right, pool, partial(_in_part_elsewhere, places, axes, part))
        if wrong:
            facts = [(n, middles(places, n, axes)) for n in (right, *wrong)]
            needs = [right, *wrong]
            yield write(
                places,
                dice,
                "which_in_quadrant",
                (part,),
                facts[0],
                facts[1:],
                needs,
                part=part,
            )


def _told_apart(places: Places, axes: str, right: str, other: str) -> tuple[int, float]:
    """How easily anatomy tells a wrong structure: by the axes other than x that part it from the right one; then by distance."""
    mine, theirs = places.signs[other], places.signs[right]
    return sum(mine[i] == -theirs[i] for i in map("xyz".index, axes) if i), places.distance(other, right)


def which_at_box(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which structure a box encloses; the others lie near, have nearly its size, and the same side in the name."""
    structures = places.scene.structures
    for right in dice.shuffled(places.boxed):
        box = structures[right].box_model
        side = names.side_of(right)
        pool = [
            n
            for n in places.boxed
            if n != right
            and names.side_of(n) == side
            and not kin(n, right)
            and overlap(places.boxes[n], places.boxes[right]) < SPATIAL_MOST_IOU
            and (places.alone or any(overlap(numbers_here(places, n, p), places.boxes[right]) >= ALIKE for p in places.others(n)))
        ]
        # Hardest first: near against the size of the picture, and of a similar size.
        measure, widest = structures[right].measure, max(places.scene.extent)
        unlike = {n: places.distance(n, right) / widest + 0.3 * abs(log(structures[n].measure / measure)) for n in pool}
        wrong = evened(places, dice, right, sorted(pool, key=unlike.__getitem__), partial(_fill_elsewhere, places, right))
        if wrong:
            written = grammar.write(box)
            plain = written.removeprefix(grammar.BOX_START).removesuffix(grammar.BOX_END)
            rest = [(n, "its outline lies elsewhere") for n in wrong]
            needs = [right, *wrong]
            yield write(
                places,
                dice,
                "which_at_box",
                (written,),
                (right, "its outline fits the box"),
                rest,
                needs,
                box=plain,
                form=form(places),
            )


def _in_part_elsewhere(places: Places, axes: str, part: str, options: Sequence[str]) -> dict[str, float]:
    """How often each option alone lies in a part in other patients."""
    found = []
    for peer in places.every(*options):
        inside = [n for n in options if peer.part(n, axes) == part]
        found.append(inside[0] if len(inside) == 1 else "")
    return tally(found)


def _fill_elsewhere(places: Places, right: str, options: Sequence[str]) -> dict[str, float]:
    """How often, about, each option has a box like that of the right one in other patients; empty if one hardly ever has."""
    frame = places.scene.frame
    sizes = (frame.width, frame.height, frame.depth)
    found = {}
    for name in options:
        peers = places.every(name)
        near = [alike(numbers_here(places, name, peer), places.boxes[right], sizes) for peer in peers]
        mean = sum(near) / max(len(near), 1)
        found[name] = WEIGHT * mean if mean > LEAST_ALIKE else 0.0
    return found


# --- What a slice of a volume passes through, and at the level of which vertebra something lies.

LEAST_INSIDE, LEAST_OUTSIDE = 1, 2
"""Slices between the one asked about and the ends of a structure that it passes through, and between it and one that it does not."""
_VERTEBRA = re.compile(r"[CTLS]\d+ vertebra")
MOST_ASKED = 3
"""So many slices of a volume are asked about for each structure."""


def which_on_slice(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which structure a slice of a volume passes through; the others end before it, or begin behind it."""
    structures = places.scene.structures
    for right in dice.shuffled(places.boxed) if places.scene.kind == "volume" else ():
        first, end = structures[right].slices
        for k in dice.shuffled(range(first + LEAST_INSIDE, end - LEAST_INSIDE))[:MOST_ASKED]:
            pool = [n for n in places.boxed if _on_slice(places, n, k) is False and not kin(n, right)]
            pool = [n for n in pool if names.side_of(n) == names.side_of(right)] or pool
            pool.sort(key=lambda n: min(abs(k - structures[n].slices[0]), abs(k - structures[n].slices[1])))
            wrong = evened(places, dice, right, pool, partial(_on_slice_elsewhere, places, k))
            if wrong:
                ends = {n: structures[n].slices for n in (right, *wrong)}
                facts = [(n, f"it reaches from slice {a} to slice {b - 1}") for n, (a, b) in ends.items()]
                yield write(
                    places, dice, "which_on_slice", (f"slice {k}",), facts[0], facts[1:], [right, *wrong], slice=f"slice {k}"
                )


def _on_slice(places: Places, name: str, k: float) -> bool | None:
    """Whether a model slice passes through a structure; None if it is too near to its end to tell."""
    first, end = places.scene.structures[name].slices
    if first + LEAST_INSIDE <= k < end - LEAST_INSIDE:
        return True
    return False if k < first - LEAST_OUTSIDE or k >= end + LEAST_OUTSIDE else None


def _on_slice_elsewhere(places: Places, k: int, options: Sequence[str]) -> dict[str, float]:
    """How often a slice at this height passes through one option alone in other patients."""
    found = []
    for peer in places.every(*options):
        there = k * peer.scene.frame.depth / places.scene.frame.depth
        inside = [n for n in options if _on_slice(peer, n, there)]
        found.append(inside[0] if len(inside) == 1 else "")
    return tally(found)


def level(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """At the level of which vertebra the middle of a structure lies; only in volumes with patient directions and vertebrae."""
    if places.scene.kind != "volume" or places.scene.space != "patient":
        return
    for name in dice.shuffled([n for n in places.placed if not _is_vertebra(n)]):
        bones = [n for n in places.boxed if _is_vertebra(n) and not places.scene.structures[n].borders]
        right = level_of(name, bones, places)
        near = sorted((n for n in bones if n != right), key=lambda n: _off(n, name, places))
        sure = [n for n in near if right and _off(n, name, places) >= _off(right, name, places) + LEAST_OUTSIDE]
        wrong = evened(places, dice, right, sure, partial(_level_elsewhere, places, name)) if right else []
        if wrong:
            middle = {n: seen.middle_of(places.scene.structures[n])[2] for n in (right, *wrong)}
            facts = [(n, f"its middle is on slice {k}") for n, k in middle.items()]
            yield write(places, dice, "level", (name,), facts[0], facts[1:], [name, right, *wrong], x=the(name))


def _is_vertebra(name: str) -> bool:
    return bool(_VERTEBRA.fullmatch(names.display(name)))


def _off(bone: str, name: str, places: Places) -> float:
    """Slices between the middles of two boxes."""
    a, b = (places.scene.structures[n].box_model.coords for n in (bone, name))
    return abs(a[2] + a[5] - b[2] - b[5]) / 2


def level_of(name: str, bones: Sequence[str], places: Places) -> str:
    """The vertebra nearest to the middle of a structure along z, if that is within half its height; "" if none is."""
    best = min(bones, key=lambda n: _off(n, name, places), default="")
    if not best:
        return ""
    first, end = places.scene.structures[best].slices
    return best if _off(best, name, places) <= (end - first) / 2 else ""


def _level_elsewhere(places: Places, name: str, options: Sequence[str]) -> dict[str, float]:
    """How often each option is the nearest in other patients."""
    return tally(level_of(name, options, peer) for peer in places.every(name, *options))
