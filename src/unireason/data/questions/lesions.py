"""Measured kinds of question: diameters, burden, gaps, the largest slice, pairs of organs, single lesions, published thresholds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

from unireason.data import names
from unireason.data.rationale import seen
from unireason.data.rationale.wording import instance, the, wordings
from unireason.data.scene import DataQuestion, Scene, Structure

from .distractors import MARGIN, Dice, Places, compact, evened, is_lesion, parts, tally
from .places import exchanged
from .ranges import adjacent_ranges, apart, exchanged_ranges
from .wording import Choice, write

LEAST_MM = 3.0
"""A way that is shorter is not told well."""
LEAST_PERCENT = 0.5
LARGER, EQUAL = 1.25, 1.08
"""One of two organs is larger from the first ratio on, and both are about equal up to the second."""
ALIKE = "about equal"
LEAST_MORE = 10.0
"""Percent by which one of two organs is larger from which it is asked by how much."""
CONTACT_ENDS = (10.0, 30.0)
CONTACTS = ("in contact", "up to 10 mm apart", "10 to 30 mm apart", "more than 30 mm apart")
LEAST_SLICES_OFF = 3
MOST_COUNTED = 6
"""So many lesions are counted one by one."""


def _lesions(places: Places, dice: Dice) -> list[str]:
    return dice.shuffled([n for n in places.all if is_lesion(n)])


def _ranged(
    places: Places, dice: Dice, name: str, ask: str, of: partial[float | None], unit: str, said: str
) -> tuple[Choice, list[Choice]] | None:
    """Ranges of a quantity about a structure: those of other patients beside the true one, or ranges next to each other without peers."""
    true = of(places.scene)
    if true is None:
        return None
    if places.peers is None:
        pixel = max((places.scene.spacing_mm or (0.0,))[:2]) if unit == "mm" else 0.0  # nothing smaller can be measured
        return adjacent_ranges(true, dice, lambda least: (unit, 1.0), said, least=pixel)

    def value(_: Places, __: str, peer: Places) -> float:
        return of(peer.scene) or 0.0

    every = exchanged(places, name, ask, value, apart)
    return exchanged_ranges([v for v in every if v], dice, lambda least: (unit, 1.0), said)


def way_across(name: str, which: int, scene: Scene) -> float | None:
    """A diameter of a lesion that hangs together, in millimetres; None where it cannot be told."""
    lesion = scene.structures.get(name)
    if lesion is None or not scene.scale or not lesion.diameters or lesion.borders or not compact(lesion):
        return None
    return lesion.diameters[which] if lesion.diameters[which] >= LEAST_MM else None


def long_diameter(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """How far a lesion measures across at most, on the slice where it is largest; only where a scale is told."""
    yield from _diameter(places, dice, "long_diameter", 0)


def short_diameter(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """How far a lesion measures across at right angles to its longest diameter."""
    yield from _diameter(places, dice, "short_diameter", 1)


def _diameter(places: Places, dice: Dice, ask: str, which: int) -> Iterator[DataQuestion]:
    for lesion in _lesions(places, dice):
        choices = _ranged(places, dice, lesion, ask, partial(way_across, lesion, which), "mm", "it measures")
        if choices:
            yield write(places, dice, ask, (lesion,), *choices, (lesion,), x=the(lesion))


def burden_of(lesion: str, organ: str, scene: Scene) -> float | None:
    """Area or volume of a lesion in percent of that of an organ; None where it cannot be told."""
    both = [scene.structures.get(n) for n in (lesion, organ)]
    if any(s is None or s.borders for s in both):
        return None
    percent = 100 * scene.structures[lesion].measure / scene.structures[organ].measure
    return percent if LEAST_PERCENT <= percent <= 100 else None


def burden(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """How large a lesion is against an organ beside it, in percent of the organ's area or volume."""
    for lesion in _lesions(places, dice):
        near = places.scene.structures[lesion].neighbours
        for organ in dice.shuffled([n for n in near if n in places.boxes and not is_lesion(n)])[:2]:
            of = partial(burden_of, lesion, organ)
            choices = _ranged(places, dice, lesion, f"burden {organ}", of, "%", "it comes to")
            if choices:
                size = "area" if places.scene.kind == "image" else "volume"
                values = {"x": the(lesion), "y": the(organ), "size": size}
                yield write(places, dice, "burden", (lesion, organ), choices[0], choices[1], (organ, lesion), **values)


def gap_of(lesion: str, other: str, scene: Scene) -> float | None:
    """Shortest way from a lesion to a structure in millimetres; None where it cannot be told."""
    own = scene.structures.get(lesion)
    way = own.gaps.get(other) if own and scene.scale else None
    least = max(LEAST_MM, 2 * max(scene.spacing_mm or (0.0,)))
    return way if way is not None and way >= least and other in scene.structures else None


def gap(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """How far a lesion lies from a vessel or an organ at the nearest point; only where a scale is told."""
    for lesion in _lesions(places, dice):
        known = [n for n in places.scene.structures[lesion].gaps if n in places.boxes and not is_lesion(n)]
        for other in dice.shuffled(known)[:3]:
            choices = _ranged(places, dice, lesion, f"gap {other}", partial(gap_of, lesion, other), "mm", "the way is")
            if choices:
                yield write(places, dice, "gap", (lesion, other), *choices, (lesion, other), x=the(lesion), y=the(other))


def closest(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """To which structure a lesion lies nearest, from surface to surface."""
    for lesion in _lesions(places, dice):
        ways = {n: w for n, w in places.scene.structures[lesion].gaps.items() if n in places.boxes and not is_lesion(n)}
        if not places.scene.scale:
            continue
        for right in dice.shuffled(sorted(ways))[:3]:
            least = max(LEAST_MM, ways[right])
            pool = [n for n, w in ways.items() if w >= 1.3 * least + 2 and names.side_of(n) == names.side_of(right)]
            pool.sort(key=ways.__getitem__)
            wrong = evened(places, dice, right, pool, partial(_closest_elsewhere, places, lesion))
            if wrong:
                facts = [(n, f"it lies {seen.number(ways[n])} mm away from the lesion") for n in (right, *wrong)]
                needs = [lesion, right, *wrong]
                yield write(places, dice, "closest", (lesion,), facts[0], facts[1:], needs, x=the(lesion))


def _closest_elsewhere(places: Places, lesion: str, options: Sequence[str]) -> dict[str, float]:
    found = []
    for peer in places.every(lesion, *options):
        ways = peer.scene.structures[lesion].gaps
        found.append(min(options, key=lambda n: ways.get(n, 1e6)))
    return tally(found)


def widest(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """On which model slice of a volume most of a structure lies; wrong ones show less than 80% of that."""
    depth = places.scene.frame.depth
    for name in dice.shuffled(places.boxed) if places.scene.kind == "volume" else ():
        structure = places.scene.structures[name]
        if not structure.widest or structure.borders:
            continue
        true, low, high = structure.widest
        if places.peers is None:
            step = max(LEAST_SLICES_OFF, high - low + 1)
            rank = dice.below(4)
            every = [true, *(v for i in range(4) if (v := true + (i - rank) * step) != true and 0 <= v < depth)]
        else:
            every = exchanged(places, name, "widest", _widest_here, lambda a, b: abs(a - b) >= LEAST_SLICES_OFF)
        wrong = [v for v in every[1:] if not low - 1 <= v <= high + 1]
        if wrong:
            facts = [(str(v), f"most of it lies on slice {true}, which is {'later' if true > v else 'earlier'}") for v in wrong]
            right = (str(true), f"most of it lies on slice {true}")
            yield write(places, dice, "widest", (name,), right, facts, (name,), x=the(name))


def _widest_here(places: Places, name: str, peer: Places) -> int:
    """The slice of another patient in the frame of this one."""
    found = peer.scene.structures[name].widest or (0,)
    return min(round(found[0] * places.scene.frame.depth / peer.scene.frame.depth), places.scene.frame.depth - 1)


def pair(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which of two organs of a pair is the larger one, or whether both are about equal."""
    scene = places.scene
    size = "area" if scene.kind == "image" else "volume"
    lefts = [n for n in places.all if names.side_of(n) == "left" and names.counterpart(n) in places.boxes]
    for left in dice.shuffled([n for n in lefts if not is_lesion(n)]):
        right = names.counterpart(left)
        answer = larger_of(left, right, scene)
        others = [n for n in (left, right, ALIKE) if n != answer]
        votes = partial(_pair_elsewhere, places, left, right)
        wrong = evened(places, dice, answer, others, votes) if answer else []
        if wrong:
            both = [seen.size(scene.structures[n], scene) for n in (left, right)]
            unit, scale = seen.one_unit(both, scene)
            said = [f"it measures {seen.number(v / scale)} {unit}" for v in both]
            facts = {left: said[0], right: said[1], ALIKE: "both are held against each other"}
            order = [(n, facts[n]) for n in (answer, *wrong)]
            values = {"x": the(left), "y": the(right), "size": size}
            yield write(places, dice, "pair", (left, right), order[0], order[1:], (left, right), **values)


def larger_of(left: str, right: str, scene: Scene) -> str:
    """The larger one of a pair, ALIKE, or "" where it is cut off or too near to tell."""
    one, other = scene.structures[left], scene.structures[right]
    ratio = max(one.measure, other.measure) / min(one.measure, other.measure)
    if one.borders or other.borders or EQUAL < ratio < LARGER or not _on_their_sides(one, other, scene):
        return ""
    return ALIKE if ratio <= EQUAL else left if one.measure > other.measure else right


def _pair_elsewhere(places: Places, left: str, right: str, options: Sequence[str]) -> dict[str, float]:
    found = (larger_of(left, right, peer.scene) for peer in places.every(left, right))
    return tally(answer if answer in options else "" for answer in found)


def share_more(left: str, right: str, scene: Scene) -> float | None:
    """By how many percent of the smaller one the larger of a pair is larger; None where it is cut off, little, or not told."""
    one, other = scene.structures.get(left), scene.structures.get(right)
    if one is None or other is None or one.borders or other.borders or not _on_their_sides(one, other, scene):
        return None
    more = 100 * (max(one.measure, other.measure) / min(one.measure, other.measure) - 1)
    return more if more >= LEAST_MORE else None


def _on_their_sides(left: Structure, right: Structure, scene: Scene) -> bool:
    """False if no side may be told, or a patient's left and right organ do not lie on those sides of the midline."""
    if scene.side_words is None:
        return False
    return scene.space != "patient" or right.centre[0] < scene.midline.offset < left.centre[0]


def pair_share(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """By how much the larger of two organs of a pair is larger than the other."""
    scene = places.scene
    for left in dice.shuffled([n for n in places.all if names.side_of(n) == "left" and not is_lesion(n)]):
        right = names.counterpart(left)
        choices = _ranged(places, dice, left, "pair share", partial(share_more, left, right), "%", "the larger one is larger by")
        if choices:
            values = {"x": the(left), "y": the(right), "size": "area" if scene.kind == "image" else "volume"}
            yield write(places, dice, "pair_share", (left, right), choices[0], choices[1], (left, right), **values)


# --- Contact of lesions with what lies beside them.


def contact(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Whether a lesion touches a structure, and if not, roughly how far it is away; only where a scale is told."""
    for lesion in _lesions(places, dice):
        known = [n for n in places.scene.structures[lesion].gaps if n in places.boxes and not is_lesion(n)]
        for other in dice.shuffled(known)[:4]:
            right = contact_of(lesion, other, places.scene)
            found = [contact_of(lesion, other, peer.scene) for peer in places.every(lesion, other)]
            wrong = evened(places, dice, right, [c for c in CONTACTS if c != right], partial(_among, found)) if right else []
            if wrong:
                way = places.scene.structures[lesion].gaps[other]
                fact = "no voxel lies between them" if right == CONTACTS[0] else f"the way is {seen.number(way, 3)} mm"
                about, choices = (lesion, other), [(option, fact) for option in (right, *wrong)]
                yield write(places, dice, "contact", about, choices[0], choices[1:], about, x=the(lesion), y=the(other))


def contact_of(lesion: str, other: str, scene: Scene) -> str:
    """Of CONTACTS the one that certainly holds; "" if none does."""
    if other in scene.structures[lesion].touching:
        return CONTACTS[0] if scene.scale else ""
    way = gap_of(lesion, other, scene)
    if way is None or any(abs(way - end) < max(0.1 * end, *(scene.spacing_mm or ())) for end in CONTACT_ENDS):
        return ""
    return CONTACTS[1 + sum(way > end for end in CONTACT_ENDS)]


# --- Lesions one by one.


def single(lesion: Structure) -> list[tuple[int, ...]]:
    """Model boxes of the lesions of a kind, one by one, largest first; none if they cannot all be looked at."""
    boxes = [tuple(map(int, p.box_model.coords)) for p in lesion.parts[: lesion.part_count]]
    unsure = any(0.005 <= p.voxels / lesion.voxels <= 0.02 for p in lesion.parts)
    fine = 1 < lesion.part_count <= min(MOST_COUNTED, len(lesion.parts)) and not unsure and all(seen.clear(b) for b in boxes)
    return boxes if fine else []


def count_side(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """How many lesions of a kind lie on one side: of the body's midline, or of the picture's middle."""
    scene = places.scene
    for lesion in _lesions(places, dice) if _halves(scene) else ():
        for word in dice.shuffled(places.words[0]):
            number = on_side(lesion, word, places)
            total = scene.structures[lesion].part_count
            if number is None or not word:
                continue
            others = [n for n in range(total + 1) if n != number]
            if places.peers is not None:
                elsewhere = {on_side(lesion, word, peer) for peer in places.every(lesion)}
                others = [n for n in range(max(total, 3) + 1) if n in elsewhere and n != number]
            where = [seen.at(0, seen.middle(b)[0]) for b in single(scene.structures[lesion])]
            fact = f"they lie at {', '.join(where)}, compared with {seen.reference(scene, [0])}"
            wrong = [(str(n), fact) for n in dice.shuffled(others)[:3]]
            if wrong:
                values = {"x": the(lesion), "many": instance(lesion)[1], "side": word}
                yield write(places, dice, "count_side", (lesion, word), (str(number), fact), wrong, (lesion,), **values)


def on_side(lesion: str, word: str, places: Places) -> int | None:
    """How many lesions lie on a side; None if one of them is too near to the middle."""
    boxes, scene = single(places.scene.structures[lesion]), places.scene
    if not boxes or word not in places.words[0]:
        return None
    off = [(b[0] + b[2 + (len(b) == 6)]) / 2 - _middle_of(scene)[0] for b in boxes]
    if any(abs(o) < MARGIN * scene.frame.width for o in off):
        return None
    return sum((o > 0) == (word == places.words[0][1]) for o in off)


def _halves(scene: Scene) -> bool:
    """True if left and right of the patient, or of the picture, may be told."""
    return scene.side_words is not None and scene.terms in ("patient", "picture")


def _middle_of(scene: Scene) -> tuple[float, float]:
    """Across and downwards, where halves meet, in model pixels."""
    across = scene.midline_model if seen.own_midline(scene) else scene.frame.width / 2
    return across, scene.frame.height / 2


def largest_place(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """In which quarter of the picture the largest lesion of a kind lies."""
    for lesion in _lesions(places, dice) if _halves(places.scene) else ():
        right = place_of_largest(lesion, places)
        if not right:
            continue
        every = [part for part, _ in parts(places.scene.terms, "xy") if part != right]
        found = [place_of_largest(lesion, peer) for peer in places.every(lesion)]
        wrong = evened(places, dice, right, every, partial(_among, found))
        if wrong:
            fact = (
                f"the largest one has its middle at {seen.where(seen.middle(single(places.scene.structures[lesion])[0]), [0, 1])}"
            )
            values = {"x": the(lesion), "many": instance(lesion)[1], "one": instance(lesion)[0]}
            choices = [(part, fact) for part in (right, *wrong)]
            yield write(places, dice, "largest_place", (lesion,), choices[0], choices[1:], (lesion,), **values)


def _among(found: Sequence[str], options: Sequence[str]) -> dict[str, float]:
    """How often each option was found."""
    return tally(one if one in options else "" for one in found)


def place_of_largest(lesion: str, places: Places) -> str:
    """The part in which the largest of several lesions certainly lies; "" if that cannot be told."""
    structure, scene = places.scene.structures[lesion], places.scene
    boxes = single(structure)
    if not boxes or not _halves(scene) or structure.parts[0].voxels < LARGER * structure.parts[1].voxels:
        return ""
    half = len(boxes[0]) // 2
    off = [(boxes[0][i] + boxes[0][half + i]) / 2 - _middle_of(scene)[i] for i in (0, 1)]
    if any(abs(o) < MARGIN * n for o, n in zip(off, (scene.frame.width, scene.frame.height), strict=True)):
        return ""
    signs = tuple((i, 1 if o > 0 else -1) for i, o in enumerate(off))
    return next(part for part, pair_ in parts(scene.terms, "xy") if pair_ == signs)


# --- A measure, a published threshold, a label.


@dataclass(frozen=True, slots=True)
class Chain:
    """Published thresholds by which a measure of a structure becomes a label; see ``wordings/thresholds.toml``."""

    what: str
    measure: str
    rule: str
    source: str
    labels: tuple[str, ...]
    ends: tuple[float, ...]

    def label(self, value: float) -> str:
        """The label of a value; one on a border belongs to the lower label."""
        return self.labels[sum(value > end for end in self.ends)]

    def sure(self, value: float) -> bool:
        """True if a value lies clear of every border."""
        return all(abs(value / end - 1) >= MARGIN for end in self.ends)


@cache
def chains() -> tuple[Chain, ...]:
    """All of them."""
    return tuple(Chain(**values) for values in wordings("thresholds")["chain"])


def chain_of(name: str) -> Chain | None:
    """The thresholds that hold for a structure."""
    return next((c for c in chains() if re.fullmatch(c.what, names.base(name))), None)


def graded(name: str, scene: Scene) -> float | None:
    """The measure to be held against the thresholds, in millimetres; None where it cannot be told."""
    chain, structure = chain_of(name), scene.structures.get(name)
    if chain is None or structure is None or structure.borders or not scene.scale or not scene.spacing_mm:
        return None
    value, off = None, 0.0
    if chain.measure != "length":
        ways = [way_across(name, which, scene) for which in (0, 1)]
        value = ways[0] if chain.measure == "diameter" or ways[0] is None or ways[1] is None else (ways[0] + ways[1]) / 2
        off = max(scene.spacing_mm[:2])
    elif scene.kind == "volume" and scene.space == "patient":
        box, off = structure.box_canonical, scene.spacing_mm[2]
        value = (box[5] - box[2]) * off
    # A pixel or slice more or less may not change the label.
    sure = value is not None and chain.sure(value) and all(abs(value - end) >= off for end in chain.ends)
    return value if sure else None


def grade(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which label published thresholds give a structure by its size."""
    for name in dice.shuffled([n for n in places.all if chain_of(n)]):
        value, chain = graded(name, places.scene), chain_of(name)
        if value is None or chain is None:
            continue
        right = chain.label(value)
        pool = sorted(
            (label for label in chain.labels if label != right),
            key=lambda n: abs(chain.labels.index(n) - chain.labels.index(right)),
        )
        found = [chain.label(v) for peer in places.every(name) if (v := graded(name, peer.scene)) is not None]
        wrong = evened(places, dice, right, pool, partial(_among, found))
        if wrong:
            fact = f"it measures {seen.number(value, 3)} mm"
            values = {"x": the(name), "rule": chain.rule}
            yield write(places, dice, "grade", (name,), (right, fact), [(n, fact) for n in wrong], (name,), **values)
