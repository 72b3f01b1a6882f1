"""Family size_comparison: which structure is larger or smaller, and how large one is, by area or volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

from unireason.data.annotate.wording import amount, the, unit_of
from unireason.data.question import Question
from unireason.data.scene import Structure
from unireason.grounding.grammar import number_text

from .dice import Dice
from .even import evened, tally
from .localise import exchanged
from .place import Places
from .writing import Choice, Draft, write

FAMILY = "size_comparison"
LEAST_RATIO, MOST_RATIO = 1.25, 4.0
FACTORS = (1.35, 1.5, 1.75, 2.0)
INNER = (0.2, 0.8)
"""Where in its range a size may lie, on a logarithmic scale."""
_SCALES = {"mm3": ("ml", 1000.0), "mm2": ("cm2", 100.0)}
EDGE = 1.05
"""A size is so many times away from both ends of its range."""


def quantity(places: Places) -> str:
    """What sizes are called."""
    return "area" if places.scene.kind == "image" else "volume"


def _ordered(places: Places, dice: Dice, ask: str) -> Iterator[Question]:
    """Questions after the largest or the smallest of two or four."""
    scene = places.scene
    whole = [n for n in places.all if not scene.structures[n].borders]
    sizes = {n: scene.structures[n].measure for n in whole}
    for right in dice.shuffled(whole):
        ratios = {n: sizes[right] / sizes[n] if ask == "largest" else sizes[n] / sizes[right] for n in whole}
        pool = [
            n
            for n in whole
            if ratios[n] >= LEAST_RATIO
            and not places.related(n, right)
            and (places.alone or any(_beats(peer, n, right, ask) for peer in places.others(n, right)))
        ]
        pool.sort(key=ratios.__getitem__)
        close = [n for n in pool if ratios[n] <= MOST_RATIO]
        if not close:
            continue
        next_one = dice.pick(close[:4])
        beyond = [n for n in pool if ratios[n] >= ratios[next_one] and n != next_one]
        four = len(beyond) >= 2 and dice.below(3)
        wrong = [next_one, *(dice.shuffled(beyond[:4])[:2] if four else [])]
        wrong = evened(places, dice, right, wrong, partial(_extreme_elsewhere, places, ask))
        if wrong:
            yield _compare(places, dice, ask, [right, *wrong])


def _beats(places: Places, a: str, b: str, ask: str) -> bool:
    """True if one structure is larger (smaller) than another, certainly."""
    ratio = places.scene.structures[a].measure / places.scene.structures[b].measure
    return ratio >= LEAST_RATIO if ask == "largest" else ratio * LEAST_RATIO <= 1


def _extreme_elsewhere(places: Places, ask: str, options: Sequence[str]) -> dict[str, float]:
    """How often each option is the largest (smallest) in other patients."""
    found = []
    for peer in places.every(*options):
        sizes = {n: peer.scene.structures[n].measure for n in options}
        first, second = sorted(options, key=sizes.__getitem__, reverse=ask == "largest")[:2]
        ratio = sizes[first] / sizes[second] if ask == "largest" else sizes[second] / sizes[first]
        found.append(first if LEAST_RATIO <= ratio <= MOST_RATIO else "")
    return tally(found)


def _compare(places: Places, dice: Dice, ask: str, chosen: list[str]) -> Question:
    unit = unit_of(places.scene.kind, places.scene.unit)
    facts = [(n, f"it measures {amount(places.scene.structures[n].measure, unit)}") for n in chosen]
    return write(places, dice, Draft(FAMILY, ask, (), facts[0], facts[1:], chosen, {"size": quantity(places)}))


def largest(places: Places, dice: Dice) -> Iterator[Question]:
    """Which structure is the largest."""
    return _ordered(places, dice, "largest")


def smallest(places: Places, dice: Dice) -> Iterator[Question]:
    """Which structure is the smallest."""
    return _ordered(places, dice, "smallest")


def how_large(places: Places, dice: Dice) -> Iterator[Question]:
    """In which of four ranges the size of a structure lies; only where millimetres are known."""
    for name in dice.shuffled(places.all):
        choices = sizes(places, name, dice)
        if choices:
            values = {"x": the(name), "size": quantity(places)}
            yield write(places, dice, Draft(FAMILY, "how_large", (name,), *choices, needs=(name,), values=values))


def sizes(places: Places, name: str, dice: Dice) -> tuple[Choice, list[Choice]] | None:
    """Ranges of size, one of them right; the others hold the structure's sizes in other patients, or lie beside it without peers.

    Args:
        places: The scene.
        name: What is measured.
        dice: Draws.

    Returns:
        The right option and three others, or one; None if the unit is no millimetres, the structure is cut off at a border, or
        ranges would touch.
    """
    structure = places.scene.structures[name]
    if places.peers is None:
        return range_choices(structure, places.scene.unit, dice)
    if places.scene.unit == "pixels" or structure.borders:
        return None
    factor = dice.pick(FACTORS)
    (low, high), *wrong = exchanged(
        places, name, lambda peer: _range_around(peer.scene.structures[name].measure, factor, dice), _disjoint
    )
    if not wrong or not low * EDGE <= structure.measure <= high / EDGE:
        return None
    measured = f"it measures {amount(structure.measure, places.scene.unit)}"
    facts = [f"{measured}, which is {'more' if r[1] <= low else 'less'}" for r in wrong]
    large = max(r[1] for r in ((low, high), *wrong)) >= 5 * _SCALES[places.scene.unit][1]
    texts = [_range_text(r, places.scene.unit, large=large) for r in ((low, high), *wrong)]
    return (texts[0], measured), list(zip(texts[1:], facts, strict=True))


def _range_around(measure: float, factor: float, dice: Dice) -> tuple[float, float]:
    """A range that holds a size somewhere in its inner part, ends rounded to two digits."""
    inside = dice.uniform(*INNER)
    low, high = (float(f"{measure * factor ** (i - inside):.2g}") for i in (0, 1))
    return low, high


def _disjoint(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[1] <= b[0] or b[1] <= a[0]


def _range_text(ends: tuple[float, float], unit: str, *, large: bool) -> str:
    """A range in the large or the small unit."""
    name, scale = _SCALES[unit] if large else (unit, 1.0)
    low, high = (number_text(float(f"{end / scale:.2g}")) for end in ends)
    return f"{low} to {high} {name}"


def range_choices(structure: Structure, unit: str, dice: Dice) -> tuple[Choice, list[Choice]] | None:
    """Four ranges of size, each beginning where the one before ends, the true one at a random rank.

    Args:
        structure: What is measured.
        unit: The scene's unit.
        dice: Draws the factor between ranges, the rank, and where in its range the size lies.

    Returns:
        The right option and the others; None if the unit is no millimetres, the structure is cut off at a border, or rounding
        the edges brings one of them too near to the size.
    """
    if unit == "pixels" or structure.borders:
        return None
    large, scale = _SCALES[unit]
    size, shown = structure.measure, unit
    if size >= 5 * scale:
        size, shown = size / scale, large
    factor, rank, inside = dice.pick(FACTORS), dice.below(4), dice.uniform(*INNER)
    edges = [float(f"{size * factor ** (i - rank - inside):.2g}") for i in range(5)]
    if not edges[rank] * EDGE <= size <= edges[rank + 1] / EDGE:
        return None
    ranges = [f"{number_text(low)} to {number_text(high)} {shown}" for low, high in pairwise(edges)]
    measured = f"it measures {amount(structure.measure, unit)}"
    wrong = [(r, f"{measured}, which is {'more' if i < rank else 'less'}") for i, r in enumerate(ranges) if i != rank]
    return (ranges[rank], measured), wrong


ASKS = (largest, smallest, how_large)
