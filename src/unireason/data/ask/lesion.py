"""Family lesion_analysis: host, brightness, number of parts, place and size of lesions."""

from __future__ import annotations

from collections.abc import Iterator

from unireason.data import names
from unireason.data.annotate.wording import the
from unireason.data.question import Question
from unireason.data.scene import Structure

from .dice import Dice
from .localise import part_choices
from .place import Places, is_lesion, kin, words_of
from .size import quantity, sizes
from .writing import Draft, few, rivals, write

FAMILY = "lesion_analysis"
LEAST_CONTRAST = 12.0
MOST_PARTS = 12
SPECKS = (0.005, 0.02)
"""Parts of such a share of the structure are neither specks nor parts; 1% is the border."""


def _lesions(places: Places, dice: Dice) -> list[str]:
    return dice.shuffled([n for n in places.all if is_lesion(n)])


def host(places: Places, dice: Dice) -> Iterator[Question]:
    """Which organ holds a lesion: the one whose box goes all round the lesion's; never told by a shared word."""
    for lesion in _lesions(places, dice):
        right = _host(places, lesion)
        if not right:
            continue
        pool = [
            n
            for n in places.all
            if n != right
            and not is_lesion(n)
            and not kin(n, right)
            and words_of(n).isdisjoint(words_of(lesion))
            and not _holds(places.scene.structures[n], places.scene.structures[lesion])
            and (places.alone or any(_host(peer, lesion) == n for peer in places.others(lesion)))
        ]
        neighbours = places.scene.structures[lesion].neighbours
        wrong = rivals(dice, sorted(pool, key=lambda n: (n not in neighbours, places.distance(n, lesion))))
        if wrong:
            facts = [(n, "it does not reach round the lesion") for n in wrong]
            draft = Draft(
                FAMILY, "host", (lesion,), (right, "it lies all round the lesion"), facts, (lesion, right), {"x": the(lesion)}
            )
            yield write(places, dice, draft)


def _host(places: Places, lesion: str) -> str:
    """The organ that certainly holds a lesion; "" if there is none."""
    mine = places.scene.structures[lesion]
    organs = [s for s in places.scene.structures.values() if not is_lesion(s.name) and _holds(s, mine)]
    if len(organs) != 1 or organs[0].name not in mine.neighbours or not words_of(organs[0].name).isdisjoint(words_of(lesion)):
        return ""
    inner, outer = mine.box_canonical, organs[0].box_canonical
    half = len(inner) // 2
    around = all(outer[i] < inner[i] and inner[half + i] < outer[half + i] for i in range(half))
    return organs[0].name if around else ""


def _holds(organ: Structure, lesion: Structure) -> bool:
    """True if the middle of the lesion's box lies in the organ's box."""
    box, mine = organ.box_canonical, lesion.box_canonical
    half = len(box) // 2
    return all(2 * box[i] <= mine[i] + mine[half + i] <= 2 * box[half + i] for i in range(half))


def brightness(places: Places, dice: Dice) -> Iterator[Question]:
    """Whether a lesion is brighter or darker than its surroundings."""
    for lesion in _lesions(places, dice):
        contrast = places.scene.structures[lesion].contrast
        if abs(contrast) < LEAST_CONTRAST:
            continue
        right, wrong = ("brighter", "darker") if contrast > 0 else ("darker", "brighter")
        if not (places.alone or any(peer.scene.structures[lesion].contrast * contrast < 0 for peer in places.others(lesion))):
            continue
        fact = f"the grey levels inside are {'higher' if contrast > 0 else 'lower'} than around"
        yield write(
            places, dice, Draft(FAMILY, "brightness", (lesion,), (right, fact), [(wrong, fact)], (lesion,), {"x": the(lesion)})
        )


def count(places: Places, dice: Dice) -> Iterator[Question]:
    """Into how many parts a lesion falls: four consecutive numbers, the true one at a random rank."""
    for lesion in _lesions(places, dice):
        structure = places.scene.structures[lesion]
        unsure = any(SPECKS[0] <= p.voxels / structure.voxels <= SPECKS[1] for p in structure.parts)
        parts = structure.part_count
        least = parts - dice.below(4)
        if unsure or structure.borders or not 1 <= parts <= MOST_PARTS or least < 1:
            continue
        fact = "one part stands alone" if parts == 1 else f"{parts} parts stand apart"
        wrong = [(str(n), fact) for n in range(least, least + 4) if n != parts]
        if places.peers is not None:
            counts = sorted({p.scene.structures[lesion].part_count for p in places.peers.of(places.scene, lesion)} - {parts, 0})
            wrong = few(dice, [(str(n), fact) for n in counts])
        if not wrong:
            continue
        yield write(places, dice, Draft(FAMILY, "count", (lesion,), (str(parts), fact), wrong, (lesion,), {"x": the(lesion)}))


def lesion_side(places: Places, dice: Dice) -> Iterator[Question]:
    """On which side of the picture's middle a lesion lies."""
    for lesion in _free(places, dice):
        sign = places.signs[lesion][0]
        if sign and (places.alone or any(peer.signs[lesion][0] == -sign for peer in places.others(lesion))):
            both = places.words[0]
            right, wrong = both[sign > 0], both[sign < 0]
            fact = f"the centre lies {right} of the middle"
            draft = Draft(FAMILY, "lesion_side", (lesion,), (right, fact), [(wrong, fact)], (lesion,), {"x": the(lesion)})
            yield write(places, dice, draft)


def _free(places: Places, dice: Dice) -> list[str]:
    """Lesions with one place whose names tell nothing of it."""
    return [n for n in _lesions(places, dice) if n in places.placed and not names.side_of(n)]


def lesion_quadrant(places: Places, dice: Dice) -> Iterator[Question]:
    """In which of four parts a lesion lies."""
    for lesion in _free(places, dice):
        for axes in dice.shuffled(places.axes):
            choices = part_choices(places, lesion, axes)
            if choices and choices[1]:
                choices = (choices[0], few(dice, choices[1]))
                values = {"x": the(lesion)}
                yield write(
                    places, dice, Draft(FAMILY, "lesion_quadrant", (lesion, axes), *choices, needs=(lesion,), values=values)
                )


def lesion_extent(places: Places, dice: Dice) -> Iterator[Question]:
    """In which of four ranges the size of a lesion lies."""
    for lesion in _lesions(places, dice):
        choices = sizes(places, lesion, dice)
        if choices:
            values = {"x": the(lesion), "size": quantity(places)}
            yield write(places, dice, Draft(FAMILY, "lesion_extent", (lesion,), *choices, needs=(lesion,), values=values))


ASKS = (host, brightness, count, lesion_side, lesion_quadrant, lesion_extent)
