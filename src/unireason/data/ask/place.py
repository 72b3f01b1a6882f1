"""Where structures lie: directions, parts of the picture, and which structures may be held against each other.

Everything is read off a scene. Margins make sure that what is said is true by a distance, see docs/reference/questions.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from unireason.data import names
from unireason.data.scene import Scene, Structure

if TYPE_CHECKING:
    from .peers import Peers

MARGIN = 0.05
"""Of the picture's size: a centre nearer to the middle than this is on neither side."""
DOMINANCE = 2.0
"""An offset is in the direction of one axis if it is so many times larger there than on any other axis."""
NESTED = 0.8
"""Boxes that share so much of the smaller one hold structures that may lie inside each other."""
MOST_OTHERS = 16
"""So many other patients are asked whether something is possible."""
SCATTERED = 0.8
"""A structure whose largest part holds less than this has no one place."""

DIRECTIONS = {
    "patient": (("right", "left"), ("anterior", "posterior"), ("inferior", "superior")),
    "picture": (("left", "right"), ("above", "below")),
}
"""Words for directions towards smaller and larger values, an axis each."""
_PARTS = {"patient": DIRECTIONS["patient"], "picture": (("left", "right"), ("upper", "lower"))}
_AXES = {("patient", 2): ("xy",), ("patient", 3): ("xy", "xz", "yz"), ("picture", 2): ("xy",), ("picture", 3): ("xy",)}
_POSITION = frozenset(
    (
        *(
            "upper",
            "lower",
            "superior",
            "inferior",
            "anterior",
            "posterior",
            "ventral",
            "dorsal",
            "front",
            "back",
            "top",
            "bottom",
        ),
        *("middle", "central", "medial", "lateral", "cranial", "caudal", "ascending", "descending"),
    )
)


class Places:
    """One scene, with what is asked of it again and again.

    Attributes:
        scene: The scene.
        all: Its structures in order of their names, unions of others left out.
        placed: Those with one place: their largest part holds most of them, and no word of the name tells a position.
        words: Directions by axis, the one towards smaller values first.
        axes: Pairs of axes that span parts.
        boxes: Box of every structure in the model frame, as whole numbers.
        centres: Centre of every structure.
        signs: Side of the picture's middle by axis for every structure: -1, 1, or 0 within the margin.
        peers: Scenes of other patients; None if there are none to compare with.
    """

    __slots__ = ("_others", "_related", "all", "axes", "boxes", "centres", "peers", "placed", "scene", "signs", "words")

    def __init__(self, scene: Scene, peers: Peers | None = None) -> None:
        """Look a scene over."""
        self.scene = scene
        self.peers = peers
        self.all = [n for n in scene.structures if "union" not in n]
        self.placed = [n for n in self.all if compact(scene.structures[n]) and not tells_position(n)]
        self.words = DIRECTIONS[scene.space][: len(scene.extent)]
        self.axes = _AXES[scene.space, len(scene.extent)]
        self.boxes = {n: tuple(map(int, scene.structures[n].box_model.coords)) for n in self.all}
        self.centres = {n: scene.structures[n].centre for n in self.all}
        self.signs = {n: tuple(map(_sign, c, scene.extent)) for n, c in self.centres.items()}
        self._related: dict[tuple[str, str], bool] = {}
        self._others: dict[tuple[str, ...], list[Places]] = {}

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

    def distance(self, a: str, b: str) -> float:
        """Between two centres."""
        return math.hypot(*self.offset(a, b))

    def direction(self, a: str, b: str) -> str:
        """Direction of a seen from b; "" if no axis dominates, or one without a word does."""
        offset = self.offset(a, b)
        sizes = [abs(d) for d in offset]
        axis = sizes.index(max(sizes))
        others = [s for i, s in enumerate(sizes) if i != axis]
        far = sizes[axis] >= MARGIN * self.scene.extent[axis] and sizes[axis] >= DOMINANCE * max(others)
        return self.words[axis][offset[axis] > 0] if far and axis < len(self.words) else ""

    def part(self, name: str, axes: str) -> str:
        """The part of the picture in which a structure lies; "" if it is too near to a border between parts."""
        signs = self.signs[name]
        pair = [(i, signs[i]) for i in map("xyz".index, axes)]
        return part_text(self.scene.space, tuple(pair)) if all(s for _, s in pair) else ""

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


def _sign(centre: float, extent: float) -> int:
    return 0 if abs(centre) < MARGIN * extent else 1 if centre > 0 else -1


def part_text(space: str, pair: tuple[tuple[int, int], ...]) -> str:
    """Name of a part of the picture.

    Args:
        space: "patient" or "picture".
        pair: Two axes with the sign of the side.
    """
    found = [_PARTS[space][axis][sign > 0] for axis, sign in pair]
    return " ".join(found if space == "patient" else reversed(found))


def parts(space: str, axes: str) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    """The four parts that two axes span, with the signs of their sides."""
    first, second = map("xyz".index, axes)
    pairs = [((first, s), (second, t)) for s in (-1, 1) for t in (-1, 1)]
    return [(part_text(space, pair), pair) for pair in pairs]


def compact(structure: Structure) -> bool:
    """True if one part holds most of the structure, so that its centre tells where it lies."""
    return structure.part_count <= 1 or (bool(structure.parts) and structure.parts[0].voxels >= SCATTERED * structure.voxels)


@lru_cache(maxsize=4096)
def words_of(name: str) -> frozenset[str]:
    """Words of a name, plurals cut."""
    return frozenset(w[:-1] if w.endswith("s") else w for w in name.split())


@lru_cache(maxsize=4096)
def group_of(name: str) -> str:
    """``names.group``, kept: it tries many patterns."""
    return names.group(name)


def is_lesion(name: str) -> bool:
    """True if the structure is a lesion."""
    return group_of(name) == "lesion"


def tells_position(name: str) -> bool:
    """True if a word of the name tells a position other than left or right."""
    return not _POSITION.isdisjoint(name.split())


def kin(a: str, b: str) -> bool:
    """True if one name is a special case of the other ("kidney", "left kidney", "left kidney cyst")."""
    first, second = words_of(a), words_of(b)
    return first <= second or second <= first


def one_side(candidates: Iterable[str]) -> bool:
    """True if all names tell the same side, or none tells one."""
    return len({names.side_of(n) for n in candidates}) <= 1


def held(inner: tuple[int, ...], outer: tuple[int, ...]) -> float:
    """Share of one box that lies in another; boxes half-open, whole numbers, not empty."""
    half = len(inner) // 2
    common, whole = 1, 1
    for i in range(half):
        common *= max(0, min(inner[half + i], outer[half + i]) - max(inner[i], outer[i]))
        whole *= inner[half + i] - inner[i]
    return common / whole
