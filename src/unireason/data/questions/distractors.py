"""What questions are made from: draws, places in a scene, scenes of other patients, and options that are right equally often."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np

from unireason.data import names
from unireason.data.rationale import seen
from unireason.data.scene import DIRECTIONS, GATES, HALVES, Scene, Structure, held

T = TypeVar("T")
Ends = list[float]


class Dice:
    """Draws seeded by one number of a numpy generator.

    A scene gives rise to hundreds of small draws, for which numpy's generator is slow. Python's ``random()`` promises the same
    sequence for the same seed in every version; its other methods do not, so they are written out here.
    """

    __slots__ = ("_draw",)

    def __init__(self, rng: np.random.Generator) -> None:
        """Take one number from ``rng``."""
        self._draw = random.Random(int(rng.integers(1 << 62))).random

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._draw()

    def below(self, n: int) -> int:
        """A whole number in [0, n); n at least 1."""
        return int(self._draw() * n)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items; there must be one."""
        return items[int(self._draw() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        order = list(items)
        for i in range(len(order) - 1, 0, -1):
            j = int(self._draw() * (i + 1))
            order[i], order[j] = order[j], order[i]
        return order


# --- Where structures lie: directions, parts of the picture, and which structures may be held against each other.

MARGIN = 0.05
"""Of the picture's size: a centre nearer to the middle than this is on neither side."""
DOMINANCE = 2.0
"""An offset is in the direction of one axis if it is so many times larger there than on any other axis."""
NESTED = 0.8
"""Boxes that share so much of the smaller one hold structures that may lie inside each other."""
MOST_OTHERS = 16
"""So many other patients are asked whether something is possible."""

_AXES = {("patient", 2): ("xy",), ("patient", 3): ("xy", "xz", "yz"), ("picture", 2): ("xy",), ("picture", 3): ("xy",)}
_POSITION_WORDS = """
upper lower superior inferior anterior posterior ventral dorsal front back top bottom middle central medial lateral cranial caudal
ascending descending
"""
_POSITION = frozenset(_POSITION_WORDS.split())


def _half_shown(name: str, structure: Structure) -> bool:
    """True of a class of a pair ("kidneys") of which the picture shows one: its place is not that of both."""
    return structure.part_count == 1 and names.is_pair(name)


class Places:
    """One scene, with what is asked of it again and again.

    Attributes:
        scene: The scene.
        all: Its structures in order of their names, unions of others left out.
        boxed: Those with one box: their largest part holds most of them.
        placed: Those of them with one place: no word of the name tells a position, and no pair of which one is shown.
        words: Directions by axis, the one towards smaller values first; "" for x where no side may be told.
        axes: Pairs of axes that span parts.
        boxes: Box of every structure in the model frame, as whole numbers.
        centres: Centre of every structure.
        middles: Middle of every structure's box in the model frame, as whole numbers.
        places: The same as the centres, along x from the midline where there is one.
        signs: Side by axis for every structure, along x of the midline, else of the picture's middle: -1, 1, or 0 within the margin,
            where centre and box differ, and along x where no side may be told.
        peers: Scenes of other patients; None if there are none to compare with.
    """

    __slots__ = (
        "_ends",
        "_others",
        "_related",
        "all",
        "axes",
        "boxed",
        "boxes",
        "centres",
        "middles",
        "peers",
        "placed",
        "places",
        "scene",
        "signs",
        "words",
    )

    def __init__(self, scene: Scene, peers: Peers | None = None) -> None:
        """Look a scene over."""
        self.scene = scene
        self.peers = peers
        self.all = [n for n in scene.structures if "union" not in n]
        self.boxed = [n for n in self.all if compact(scene.structures[n])]
        self.placed = [n for n in self.boxed if not tells_position(n) and not _half_shown(n, scene.structures[n])]
        self.words = DIRECTIONS[scene.terms][: len(scene.extent)]
        if GATES.get(scene.modality) == "none":
            self.words = (("", ""), *self.words[1:])
        self.axes = _AXES[scene.space, len(scene.extent)]
        self.boxes = {n: tuple(map(int, scene.structures[n].box_model.coords)) for n in self.all}
        self.centres = {n: scene.structures[n].centre for n in self.all}
        middle = scene.midline.offset  # 0 where that is the middle of the picture
        self.places = {n: (c[0] - middle, *c[1:]) for n, c in self.centres.items()}
        self.middles = {n: seen.middle(box) for n, box in self.boxes.items()}
        self.signs = {n: _signs(c, self.middles[n], scene) for n, c in self.places.items()}
        self._related: dict[tuple[str, str], bool] = {}
        self._others: dict[tuple[str, ...], list[Places]] = {}
        self._ends: dict[str, tuple[Ends, Ends, Ends]] = {}

    @property
    def alone(self) -> bool:
        """True if there are no scenes of other patients to compare with."""
        return self.peers is None

    def others(self, *involved: str) -> list[Places]:
        """Scenes of other patients in which all the structures are there: what is true of one of them, anatomy does not rule out."""
        known = self._others.get(involved)
        if known is None:
            found = () if self.peers is None else self.peers.of(self.scene, *involved)
            known = self._others[involved] = list(islice(found, MOST_OTHERS))
        return known

    def every(self, *involved: str) -> list[Places]:
        """Like ``others``, but all that are known: to count what is frequent."""
        return [] if self.peers is None else list(self.peers.of(self.scene, *involved))

    def offset(self, a: str, b: str) -> tuple[float, ...]:
        """From the centre of b to that of a."""
        return tuple(p - q for p, q in zip(self.centres[a], self.centres[b], strict=True))

    def ends(self, name: str) -> tuple[Ends, Ends, Ends]:
        """Lower corner, upper corner and middle of a box, in the unit of the scene's extent."""
        known = self._ends.get(name)
        if known is None:
            known = self._ends[name] = ends_of(self.scene, name)
        return known

    def distance(self, a: str, b: str) -> float:
        """Between two centres."""
        return math.hypot(*self.offset(a, b))

    def direction(self, a: str, b: str) -> str:
        """Direction of a seen from b; "" if no axis dominates, one without a word does, or the boxes do not tell it as well."""
        found = self.towards(a, b)
        if not found:
            return ""
        axis = next(i for i, both in enumerate(self.words) if found in both)
        return found if self._shows(a, b, axis, self.centres[a][axis] - self.centres[b][axis]) else ""

    def towards(self, a: str, b: str) -> str:
        """The same by the masks alone."""
        offset = self.offset(a, b)
        sizes = [abs(d) for d in offset]
        axis = sizes.index(max(sizes))
        others = [s for i, s in enumerate(sizes) if i != axis]
        far = sizes[axis] >= MARGIN * self.scene.extent[axis] and sizes[axis] >= DOMINANCE * max(others)
        return self.words[axis][offset[axis] > 0] if far and axis < len(self.words) else ""

    def _shows(self, a: str, b: str, axis: int, way: float) -> bool:
        """True if the boxes tell the same direction: the same side along the axis, and no further along another."""
        first, second = (self.scene.structures[n] for n in (a, b))
        if (self.middles[a][axis] - self.middles[b][axis]) * way <= 0:
            return False
        shift = [abs(s) for s in seen.offset(first, second, self.scene)]
        return not seen.unit_of_distance(self.scene) or all(shift[axis] > s for i, s in enumerate(shift) if i != axis)

    def part(self, name: str, axes: str) -> str:
        """The part of the picture in which a structure lies; "" if it is too near to a border between parts."""
        signs = self.signs[name]
        pair = [(i, signs[i]) for i in map("xyz".index, axes)]
        return part_text(self.scene.terms, tuple(pair)) if all(s for _, s in pair) else ""

    def outside(self, name: str, axes: str, other: str) -> bool:
        """True if a structure certainly lies in another part than ``other``, whose part is known."""
        mine, theirs = self.signs[name], self.signs[other]
        return any(mine[i] == -theirs[i] for i in map("xyz".index, axes))

    def related(self, a: str, b: str) -> bool:
        """True if one may be part of the other, by their names or because their boxes lie inside each other."""
        key = (a, b) if a < b else (b, a)
        known = self._related.get(key)
        if known is None:
            first, second = (self.scene.structures[n].box_canonical for n in key)
            known = self._related[key] = kin(a, b) or max(held(first, second), held(second, first)) >= NESTED
        return known


def _signs(place: tuple[float, ...], middle: tuple[int, ...], scene: Scene) -> tuple[int, ...]:
    found = []
    for axis, (c, e, m, half) in enumerate(zip(place, scene.extent, middle, seen.centre_of(scene), strict=True)):
        sign = 0 if abs(c) < MARGIN * e or (axis == 0 and not scene.side_words) else 1 if c > 0 else -1
        found.append(sign if sign * (m - half) > 0 else 0)
    return tuple(found)


def ends_of(scene: Scene, name: str) -> tuple[Ends, Ends, Ends]:
    """Lower corner, upper corner and middle of a structure's box, in the unit of the scene's extent."""
    box, half = scene.structures[name].box_canonical, len(scene.extent)
    unit = [e / n for e, n in zip(scene.extent, scene.shape[::-1], strict=True)]
    low, high = ([box[end * half + i] * unit[i] for i in range(half)] for end in (0, 1))
    return low, high, [(a + b) / 2 for a, b in zip(low, high, strict=True)]


def part_text(terms: str, pair: tuple[tuple[int, int], ...]) -> str:
    """Name of a part of the picture."""
    found = [HALVES[terms][axis][sign > 0] for axis, sign in pair]
    return " ".join(found if terms == "patient" else reversed(found))


def parts(terms: str, axes: str) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    """The four parts that two axes span, with the signs of their sides."""
    first, second = map("xyz".index, axes)
    pairs = [((first, s), (second, t)) for s in (-1, 1) for t in (-1, 1)]
    return [(part_text(terms, pair), pair) for pair in pairs]


def compact(structure: Structure) -> bool:
    """True if one part holds most of the structure, so that its centre tells where it lies."""
    return not structure.scattered


@names.kept
def words_of(name: str) -> frozenset[str]:
    """Words of a name, plurals cut."""
    return frozenset(w[:-1] if w.endswith("s") else w for w in name.split())


def group_of(name: str) -> str:
    """The super-category of a structure."""
    return names.group(name)


def is_lesion(name: str) -> bool:
    """True if the structure is a lesion."""
    return group_of(name) == "lesion"


@names.kept
def tells_position(name: str) -> bool:
    """True if a word of the name, as spelled or as texts say it, tells a position other than left or right."""
    return not _POSITION.isdisjoint((*name.split(), *names.display(name).split()))


def kin(a: str, b: str) -> bool:
    """True if one name is a special case, a part or a synonym of the other ("kidney", "left kidney", "left kidney cyst")."""
    first, second = words_of(a), words_of(b)
    return first <= second or second <= first or names.related(a, b)


def one_side(candidates: Iterable[str]) -> bool:
    """True if all names tell the same side, or none tells one."""
    return len({names.side_of(n) for n in candidates}) <= 1


# --- Scenes of other patients, by which wrong options become plausible.

EACH = 24
"""Scenes kept of every structure and kind."""
GROUP = 4
"""Patients that exchange a structure's box, slices or size: one is asked, the others lend theirs as wrong ones."""
LENT = 8
"""Single lesions of a kind that are kept of another patient."""
MOST = 120
"""Scenes looked at of every structure: those kept for another one may hold it too."""


Key = tuple[str, str, str, str]


class Peers:
    """Scenes of other patients, by structure: some of the whole data set, and those that are near in the list of items."""

    def __init__(self, scenes: Iterable[Scene], near: Iterable[Scene] = ()) -> None:
        """Sort scenes by what they hold."""
        whole = [Places(scene) for scene in scenes]
        self._any = whole
        self._all = _sorted(whole, MOST)
        self._near = _sorted(map(Places, near), None)
        self._grouped: dict[tuple[str, ...], dict[str, list[Places]]] = {}

    def beside(self, near: Iterable[Scene]) -> Peers:
        """The same with other scenes to exchange with."""
        other = Peers(())
        other._any, other._all, other._near = self._any, self._all, _sorted(map(Places, near), None)
        return other

    def of(self, scene: Scene, *names: str) -> Iterator[Places]:
        """Scenes of other patients that hold all the named structures, of the same kind, with directions and units of one sort."""
        more = names[1:]
        for places in self._all.get(_key(scene, names[0]), ()):
            centres = places.centres
            if places.scene.patient != scene.patient and all(n in centres for n in more):
                yield places

    def any_of(self, scene: Scene) -> list[Places]:
        """All scenes of other patients of the same kind, whatever they hold: of every structure as many, so rare ones are too frequent."""
        return [p for p in self._any if p.scene.kind == scene.kind and p.scene.patient != scene.patient]

    def exchange(self, scene: Scene, name: str, sort: str, apart: Callable[[Places, Places], bool]) -> list[Places]:
        """Near scenes of other patients that lend what is true of a structure to this one; at most three, one a patient.

        Patients whose values are apart form groups; one of each group is asked, by chance, so that in a group all are right equally often.
        ``sort`` names what is compared by ``apart``, which may not depend on who of the two is asked.
        """
        key = (sort, *_key(scene, name))
        if key not in self._grouped:
            first: dict[str, Places] = {}
            for places in self._near.get(_key(scene, name), []):
                first.setdefault(places.scene.patient, places)
            groups: list[list[Places]] = []
            for patient in sorted(first, key=lambda patient: _rank(name, patient)):
                one = first[patient]
                fits = (g for g in groups if len(g) < GROUP and all(apart(one, other) for other in g))
                group = next(fits, None)
                if group is None:
                    groups.append([one])
                else:
                    group.append(one)
            asked = [min(g, key=lambda p: _rank(f"{name} asked", p.scene.patient)) for g in groups]
            self._grouped[key] = {
                one.scene.case: [p for p in group if p is not one] for one, group in zip(asked, groups, strict=True)
            }
        return self._grouped[key].get(scene.case, [])


def _rank(name: str, patient: str) -> bytes:
    """Where a patient stands among those that hold a structure."""
    return hashlib.blake2b(f"{name}\0{patient}".encode(), digest_size=8).digest()


def _key(scene: Scene, name: str) -> Key:
    return scene.kind, scene.terms, scene.unit, name


def _sorted(scenes: Iterable[Places], most: int | None) -> dict[Key, list[Places]]:
    """Scenes by structure, at most so many of each."""
    found: defaultdict[Key, list[Places]] = defaultdict(list)
    for places in scenes:
        for name in places.all:
            same = found[_key(places.scene, name)]
            if most is None or len(same) < most:
                same.append(places)
    return dict(found)


class PeerChoice:
    """Chooses which scenes become peers, while all scenes pass by once."""

    def __init__(self, seed: int, *, each: int = EACH) -> None:
        """Start with none."""
        self._seed, self._each = seed, each
        self._kept: defaultdict[tuple[str, str], dict[str, tuple[bytes, str]]] = defaultdict(dict)
        self._scenes: dict[str, tuple[Scene, int]] = {}

    def offer(self, scene: Scene) -> None:
        """Take a scene into account."""
        for name in scene.structures:
            kept = self._kept[scene.kind, name]
            if scene.patient in kept:
                continue
            rank = hashlib.blake2b(f"{self._seed}\0{name}\0{scene.patient}".encode(), digest_size=8).digest()
            if len(kept) == self._each:
                last = max(kept, key=lambda patient: kept[patient])
                if rank > kept[last][0]:
                    continue
                case = kept.pop(last)[1]
                released, uses = self._scenes.pop(case)
                if uses > 1:
                    self._scenes[case] = released, uses - 1
            kept[scene.patient] = (rank, scene.case)
            held = self._scenes.get(scene.case)
            if held is None:  # without what no question about another patient needs
                slim = {n: replace(s, parts=s.parts[: LENT if is_lesion(n) else 1]) for n, s in scene.structures.items()}
                held = replace(scene, structures=slim, absent=(), unclear=()), 0
            self._scenes[scene.case] = held[0], held[1] + 1

    def chosen(self) -> list[Scene]:
        """The scenes kept, in order of their cases."""
        return [self._scenes[case][0] for case in sorted(self._scenes)]


# --- Keeping questions at such a rate that every option offered is right equally often.

RAREST = 0.2
"""An option that is right less than so many times as often as the commonest is too rare to be made up for: the ratio is not known well."""
WRONG, MOST_SETS = 3, 10
"""Wrong options of a question, and how many sets of them are tried."""
SMOOTH = 1.0
"""Added to both counts: of a few patients, one more or less is chance."""
PLACE_WIDTH, SIZE_WIDTH = 0.04, 0.2
"""How far boxes of a structure may differ to count as alike: centres, as a share of the frame; sides, as the logarithm of their ratio."""


Votes = Callable[[Sequence[str]], Mapping[str, float]]
"""Of some options, how often each is the right one among them in other patients."""


def evened(places: Places, dice: Dice, right: str, pool: Sequence[str], votes: Votes) -> list[str]:
    """Wrong options to offer beside the right one, so that all are right about equally often: three if they can be had, else fewer.

    ``pool`` has the hardest first. What makes a set uneven is left out, and the next of the pool takes its place.
    """
    drawn = dice.shuffled(pool[: WRONG + 2])
    chosen, left = drawn[:WRONG], [*drawn[WRONG:], *pool[WRONG + 2 :]]
    if places.alone:
        return chosen
    for _ in range(MOST_SETS):
        if not chosen:
            return []
        count = votes((right, *chosen))
        every = [count.get(option, 0.0) for option in chosen]
        mine = count.get(right, 0.0)
        least, most = min(mine, *every), max(mine, *every)
        if least > RAREST * most:
            return chosen if dice.uniform(0, mine + SMOOTH) < least + SMOOTH else []
        # The right one may be the rare one: then what is right too often goes.
        worst = every.index(max(every) if mine <= RAREST * most else min(every))
        chosen[worst : worst + 1] = [left.pop(0)] if left else []
    return []


def tally(found: Iterable[str]) -> dict[str, float]:
    """How often each option was found right; "" is none."""
    return {option: float(count) for option, count in Counter(found).items() if option}


def alike(a: tuple[int, ...], b: tuple[int, ...], frame: tuple[int, ...]) -> float:
    """How alike two boxes are in place and size: 1 if equal, near 0 if not at all."""
    half, far = len(a) // 2, 0.0
    for i in range(half):
        far += ((a[i] + a[half + i] - b[i] - b[half + i]) / 2 / frame[i] / PLACE_WIDTH) ** 2
        far += (math.log((a[half + i] - a[i]) / (b[half + i] - b[i])) / SIZE_WIDTH) ** 2
    return math.exp(-far / 2)
