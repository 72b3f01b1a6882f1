"""Family spatial_localisation: which structure lies in a given place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import log

from unireason.data import names
from unireason.data.question import Question
from unireason.grounding import grammar

from .dice import Dice
from .even import alike, evened, tally
from .localise import form, numbers_here, overlap
from .place import Places, kin, part_text
from .writing import Draft, rivals, write

FAMILY = "spatial_localisation"
MOST_IOU = 0.3
LEAST_ALIKE = 0.002
"""How alike, on average over other patients, the boxes of every option must be to the one that is asked about."""
WEIGHT = 2000.0
"""Brings that likeness to the scale of counts."""
ALIKE = 0.3
"""Boxes that overlap so much might be taken for each other."""


def which_in_quadrant(places: Places, dice: Dice) -> Iterator[Question]:
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
        wrong = rivals(dice, sorted(pool, key=partial(_told_apart, places, axes, right)))
        wrong = evened(places, dice, right, wrong, partial(_in_part_elsewhere, places, axes, part)) if wrong else []
        if wrong:
            rest = [(n, _elsewhere(places, n, axes, right)) for n in wrong]
            needs = [right, *wrong[: dice.below(3)]]
            yield write(
                places,
                dice,
                Draft(FAMILY, "which_in_quadrant", (part,), (right, f"it lies in the {part} part"), rest, needs, {"part": part}),
            )


def _told_apart(places: Places, axes: str, right: str, other: str) -> tuple[int, float]:
    """How easily anatomy tells a wrong structure: by the axes other than x that part it from the right one; then by distance."""
    mine, theirs = places.signs[other], places.signs[right]
    return sum(mine[i] == -theirs[i] for i in map("xyz".index, axes) if i), places.distance(other, right)


def _elsewhere(places: Places, name: str, axes: str, right: str) -> str:
    """The side on which a wrong structure lies: the fact against it."""
    whole = places.part(name, axes)
    if whole:
        return f"it lies in the {whole} part"
    axis = next(i for i in map("xyz".index, axes) if places.signs[name][i] == -places.signs[right][i])
    return f"it lies in the {part_text(places.scene.space, ((axis, places.signs[name][axis]),))} half"


def which_at_box(places: Places, dice: Dice) -> Iterator[Question]:
    """Which structure a box encloses; the others lie near, have nearly its size, and the same side in the name."""
    structures = places.scene.structures
    for right in dice.shuffled(places.all):
        box = structures[right].box_model
        side = names.side_of(right)
        pool = [
            n
            for n in places.all
            if n != right
            and names.side_of(n) == side
            and not kin(n, right)
            and overlap(places.boxes[n], places.boxes[right]) < MOST_IOU
            and (places.alone or any(_could_fill(places, peer, n, right) for peer in places.others(n)))
        ]
        wrong = rivals(dice, sorted(pool, key=lambda n: _unlike(places, n, right)))
        wrong = evened(places, dice, right, wrong, partial(_fill_elsewhere, places, right)) if wrong else []
        if wrong:
            written = grammar.write(box)
            plain = written.removeprefix(grammar.BOX_START).removesuffix(grammar.BOX_END)
            rest = [(n, "its outline lies elsewhere") for n in wrong]
            values = {"box": plain, "form": form(places)}
            needs = [right, *wrong[: dice.below(3)]]
            draft = Draft(FAMILY, "which_at_box", (written,), (right, "its outline fits the box"), rest, needs, values)
            yield write(places, dice, draft)


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
        near = [alike(numbers_here(places, peer, name), places.boxes[right], sizes) for peer in peers]
        found[name] = WEIGHT * sum(near) / max(len(near), 1)
    return found if min(found.values()) > LEAST_ALIKE * WEIGHT else {}


def _could_fill(places: Places, peer: Places, name: str, right: str) -> bool:
    """True if a structure lies in another patient about where another one lies here."""
    return overlap(numbers_here(places, peer, name), places.boxes[right]) >= ALIKE


def _unlike(places: Places, a: str, b: str) -> float:
    """How easily two structures are told apart: distance of the centres against the picture, and ratio of sizes."""
    sizes = places.scene.structures[a].measure / places.scene.structures[b].measure
    return places.distance(a, b) / max(places.scene.extent) + 0.3 * abs(log(sizes))


ASKS = (which_in_quadrant, which_at_box)
