"""Family spatial_relation: how structures lie to each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

from unireason.data import names
from unireason.data.annotate.wording import length, the, unit_of
from unireason.data.question import Question

from .dice import Dice
from .even import evened, tally
from .place import MARGIN, Places, kin, one_side
from .writing import Draft, rivals, write

FAMILY = "spatial_relation"
LEAST_RATIO = 1.25
MOST_STARTS = 16
"""So many structures at most are related to all others, so that scenes of a hundred take no longer."""
_TOWARDS = {
    "patient": {"left": "to the left", "right": "to the right", "anterior": "to the front", "posterior": "to the back"}
    | {"inferior": "towards the feet", "superior": "towards the head"},
    "picture": {"left": "to the left", "right": "to the right", "above": "up", "below": "down"},
}


def direction(places: Places, dice: Dice) -> Iterator[Question]:
    """Where one structure lies, seen from another; rare directions are drawn as often as common ones."""
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for a in dice.shuffled(places.placed)[:MOST_STARTS]:
        for b in places.placed:
            if a != b and one_side((a, b)) and (found := places.direction(a, b)) and not places.related(a, b):
                pairs[found].append((a, b))
    left = {d: dice.shuffled(pairs[d]) for d in dice.shuffled(sorted(pairs))}
    while left:
        for d in list(left):
            a, b = left[d].pop()
            if not left[d]:
                del left[d]
            question = _direction(places, dice, d, (a, b))
            if question is not None:
                yield question


def _direction(places: Places, dice: Dice, right: str, pair: tuple[str, str]) -> Question | None:
    axis, up = _axis(places, right)
    opposite = places.words[axis][not up]
    others = [w for i, both in enumerate(places.words) for w in both if i != axis]
    offset = places.offset(*pair)
    seen = [
        w
        for w in (opposite, *dice.shuffled(others))
        if (places.alone or any(peer.direction(*pair) == w for peer in places.others(*pair)))
    ]
    if not seen:
        return None
    chosen = seen[:3] if len(seen) >= 3 and dice.below(2) else seen[:1]
    wrong = [(w, _direction_fact(places, w, offset)) for w in chosen]
    first = (right, _direction_fact(places, right, offset))
    values = {"x": the(pair[0]), "y": the(pair[1])}
    return write(places, dice, Draft(FAMILY, "direction", pair, first, wrong, pair, values))


def _axis(places: Places, word: str) -> tuple[int, bool]:
    """Axis of a direction, and whether it runs towards larger values."""
    return next((i, word == both[1]) for i, both in enumerate(places.words) if word in both)


def _direction_fact(places: Places, word: str, offset: tuple[float, ...]) -> str:
    axis, _ = _axis(places, word)
    return f"the centre lies {_way(places, axis, offset[axis])}"


def _way(places: Places, axis: int, offset: float) -> str:
    """A distance along an axis with its direction: "23 mm to the left"."""
    towards = _TOWARDS[places.scene.space][places.words[axis][offset > 0]]
    return f"{length(offset, unit_of(places.scene.kind, places.scene.unit))} {towards}"


def nearest(places: Places, dice: Dice) -> Iterator[Question]:
    """Which structure is nearest to a given one, from centre to centre."""
    unit = unit_of(places.scene.kind, places.scene.unit)
    for x in dice.shuffled(places.placed):
        ways = {n: places.distance(n, x) for n in places.placed if n != x and not places.related(n, x)}
        for right in dice.shuffled(sorted(ways))[:3]:
            side = names.side_of(right)
            pool = [
                n
                for n, way in ways.items()
                if way >= LEAST_RATIO * ways[right]
                and names.side_of(n) == side
                and not kin(n, right)
                and (places.alone or any(peer.distance(n, x) < peer.distance(right, x) for peer in places.others(n, right, x)))
            ]
            wrong = rivals(dice, sorted(pool, key=ways.__getitem__))
            wrong = evened(places, dice, right, wrong, partial(_nearest_elsewhere, places, x)) if wrong else []
            if wrong:
                facts = [(n, f"its centre is {length(ways[n], unit)} away from that of {the(x)}") for n in (right, *wrong)]
                needs = [x, right, wrong[0]]
                yield write(places, dice, Draft(FAMILY, "nearest", (x,), facts[0], facts[1:], needs, {"x": the(x)}))


def which_direction(places: Places, dice: Dice) -> Iterator[Question]:
    """Which structure lies further in a direction than a given one; the others lie on its other side."""
    words = [(i, up, both[up]) for i, both in enumerate(places.words) for up in (False, True)]
    for x, (axis, up, word) in dice.shuffled([(n, w) for n in places.placed for w in words]):
        if axis == 0 and names.side_of(x):
            continue
        ways = {
            n: places.centres[n][axis] - places.centres[x][axis] for n in places.placed if n != x and not places.related(n, x)
        }
        margin = MARGIN * places.scene.extent[axis]
        ahead = [n for n, way in ways.items() if (way if up else -way) >= margin]
        behind = [n for n, way in ways.items() if (way if up else -way) <= -margin]
        if not ahead:
            continue
        right = dice.pick(ahead)
        fits = [
            n
            for n in behind
            if (axis or names.side_of(n) == names.side_of(right))
            and (places.alone or any((peer.offset(n, x)[axis] > 0) == up for peer in places.others(n, x)))
        ]
        wrong = rivals(dice, sorted(fits, key=lambda n: abs(ways[n])))
        wrong = evened(places, dice, right, wrong, partial(_beyond_elsewhere, places, x, axis, up)) if wrong else []
        if wrong:
            facts = [(n, f"its centre lies {_way(places, axis, ways[n])}, seen from {the(x)}") for n in (right, *wrong)]
            needs = [x, right, *wrong[: dice.below(2)]]
            values = {"x": the(x), "towards": _TOWARDS[places.scene.space][word]}
            yield write(places, dice, Draft(FAMILY, "which_direction", (word, x), facts[0], facts[1:], needs, values))


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


ASKS = (direction, nearest, which_direction)
