"""Candidate questions of all six families about one scene."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial

import numpy as np

from unireason.data import names
from unireason.data.rationale import seen
from unireason.data.rationale.wording import instance, the, wordings
from unireason.data.scene import DataQuestion, Scene, Structure

from . import lesions as measured
from . import looks
from . import places as about_places
from .distractors import Dice, Peers, Places, compact, evened, group_of, is_lesion, kin, tally, words_of
from .expected import expected_place
from .places import even_parts, exchanged, part_choices
from .ranges import adjacent_ranges, apart, exchanged_ranges
from .wording import Choice, few, rivals, write

_THERE = "it is there"


def present(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Is a structure there? Yes and no take turns, beginning with either."""
    there, missing = dice.shuffled(places.all), dice.shuffled(certainly_absent(places))
    turns = [there, missing] if dice.below(2) else [missing, there]
    for i in range(max(len(there), len(missing))):
        for names_left in turns:
            if i < len(names_left) and there:
                name, yes = names_left[i], names_left is there
                gone = None if yes else absence_of(places, name)
                fact = gone.fact if gone else _THERE
                needs = [n for n in gone.instead if n in places.boxes] or helpful(places, dice, name) if gone else [name]
                right, wrong = ("yes", "no") if yes else ("no", "yes")
                x = the(name)
                if is_lesion(name):  # an article that does not take for granted that it is there
                    x = names.a(name)
                yield write(places, dice, "present", (name,), (right, fact), [(wrong, fact)], needs, x=x)


def certainly_absent(places: Places) -> list[str]:
    """Absent structures that nothing there could be taken for: neither they by another name, nor a kind or a part of them."""
    shown = [*places.scene.structures, *places.scene.unclear]
    taken = [words_of(n) for n in shown]
    plain = {n for n in shown if not names.side_of(n)}
    found = []
    for name in places.scene.absent:
        words = words_of(name)
        if (
            "union" not in name
            and names.base(name) not in plain
            and not any(words <= other for other in taken)
            and not any(names.related(n, name) for n in shown)
        ):
            found.append(name)
    return found


@lru_cache(maxsize=256)
def absence_of(places: Places, name: str) -> seen.Absence:
    """Where an absent structure would lie, and what lies there."""
    found = expected_place(places.scene, name, places.peers)
    if places.scene.kind == "image" and _other_region(name, found.instead):
        return seen.Absence(outside="level")
    if found.box is not None and seen.clear(found.box.coords):
        return seen.Absence(tuple(map(int, found.box.coords)), found.instead)
    if found.shown == "no":
        return seen.Absence(outside="level" if found.by == "level" or found.beyond else "place")
    return seen.Absence()


_REGIONS = {"thorax": "thorax", "abdomen": "belly", "pelvis and urinary tract": "belly"}


def _other_region(name: str, instead: Sequence[str]) -> bool:
    """True if a slice shows organs of another part of the body where something would lie: no kidney has a place among the lungs."""
    mine = _REGIONS.get(names.group(name))
    theirs = {_REGIONS.get(names.group(n)) for n in instead} - {None}
    return mine is not None and bool(theirs) and mine not in theirs


def helpful(places: Places, dice: Dice, name: str) -> list[str]:
    """Structures by which one sees that another is missing: its counterpart, then those of its group, then any."""
    other, group = names.counterpart(name), group_of(name)

    def rank(candidate: str) -> int:
        return 0 if candidate == other else 1 if group_of(candidate) == group else 2

    return sorted(dice.shuffled(places.all), key=rank)[: 1 + dice.below(3)]


def which_present(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which of four structures is there; the others are absent, of the same group if possible."""
    missing = certainly_absent(places)
    if len(missing) < 3:
        return
    for name in dice.shuffled(places.all):
        wrong = evened(places, dice, name, _alike(dice, missing, name), partial(_only_elsewhere, places, True))
        if len(wrong) >= 2:
            rest = [(n, absence_of(places, n).fact) for n in wrong]
            yield write(places, dice, "which_present", (), (name, _THERE), rest, (name,))


def which_absent(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which of four structures is absent; the others are there, of the same group if possible."""
    if len(places.all) < 3:
        return
    for name in dice.shuffled(certainly_absent(places)):
        there = evened(places, dice, name, _alike(dice, places.all, name), partial(_only_elsewhere, places, False))
        if len(there) >= 2:
            yield write(
                places, dice, "which_absent", (), (name, absence_of(places, name).fact), [(n, _THERE) for n in there], there
            )


def _only_elsewhere(places: Places, there: bool, options: Sequence[str]) -> dict[str, float]:
    """How often each option is the only one there (missing) in other patients."""
    peers = [] if places.peers is None else places.peers.any_of(places.scene)
    found = []
    for peer in peers:
        alone = [n for n in options if (n in peer.scene.structures) == there]
        found.append(alone[0] if len(alone) == 1 else "")
    return tally(found)


def _alike(dice: Dice, pool: list[str], name: str) -> list[str]:
    """A pool of names; those of the same group go first, so that the group tells nothing."""
    group = group_of(name)
    return sorted(dice.shuffled(pool), key=lambda n: group_of(n) != group)


# --- size_comparison: which structure is larger or smaller, and how large one is, by area or volume.

LEAST_RATIO, MOST_RATIO = 1.25, 4.0


def quantity(places: Places) -> str:
    """What sizes are called."""
    return "area" if places.scene.kind == "image" else "volume"


def _ordered(places: Places, dice: Dice, *, ask: str) -> Iterator[DataQuestion]:
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
            and names.known(n).kind == names.known(right).kind  # nobody asks whether a kidney is larger than a vertebra
            and (places.alone or any(_beats(peer, n, right, ask) for peer in places.others(n, right)))
        ]
        pool.sort(key=ratios.__getitem__)
        close = [n for n in pool if ratios[n] <= MOST_RATIO]
        if not close:
            continue
        next_one = dice.pick(close[:4])
        beyond = [n for n in pool if ratios[n] >= ratios[next_one] and n != next_one]
        wrong = evened(places, dice, right, [next_one, *beyond], partial(_extreme_elsewhere, places, ask))
        if wrong:
            needs = [right, *wrong]
            measured = [seen.size(scene.structures[n], scene) for n in needs]
            unit, scale = seen.one_unit(measured, scene)
            facts = [(n, f"it measures {seen.number(m / scale)} {unit}") for n, m in zip(needs, measured, strict=True)]
            yield write(places, dice, ask, (), facts[0], facts[1:], needs, size=quantity(places))


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


def largest(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which structure is the largest."""
    return _ordered(places, dice, ask="largest")


def smallest(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which structure is the smallest."""
    return _ordered(places, dice, ask="smallest")


def how_large(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """In which of four ranges the size of a structure lies."""
    for name in dice.shuffled(places.all):
        choices = sizes(places, name, dice)
        if choices:
            yield write(places, dice, "how_large", (name,), *choices, (name,), x=the(name), size=quantity(places))


def sizes(places: Places, name: str, dice: Dice) -> tuple[Choice, list[Choice]] | None:
    """Ranges of size, one of them right; the others hold the structure's sizes in other patients, or lie beside it without peers."""
    structure = places.scene.structures[name]
    if places.peers is None:
        if structure.borders:
            return None
        size = seen.size(structure, places.scene)
        return adjacent_ranges(size, dice, lambda least: seen.one_unit([least], places.scene, 2.0))
    if structure.borders:
        return None
    every = exchanged(places, name, "size", _size_of, apart)
    return exchanged_ranges(every, dice, lambda least: seen.one_unit([least], places.scene, 2.0))


def _size_of(_: Places, name: str, peer: Places) -> float:
    return seen.size(peer.scene.structures[name], peer.scene)


# --- lesion_analysis: host, brightness, number of parts, place and size of lesions.

MOST_PARTS = 12
SPECKS = (0.005, 0.02)
"""Parts of such a share of the structure are neither specks nor parts; 1% is the border."""


def _lesions(places: Places, dice: Dice) -> list[str]:
    return dice.shuffled([n for n in places.all if is_lesion(n)])


def host(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which organ holds a lesion: the one whose box goes all round the lesion's; never told by a shared word."""
    for lesion in _lesions(places, dice):
        right = _host(places, lesion) if compact(places.scene.structures[lesion]) else ""
        if not right:
            continue
        pool = [
            n
            for n in places.all
            if n != right
            and not is_lesion(n)
            and not kin(n, right)
            and words_of(n).isdisjoint(words_of(lesion))
            and _apart(places, n, lesion)
            and (places.alone or any(_host(peer, lesion) == n for peer in places.others(lesion)))
        ]
        neighbours = places.scene.structures[lesion].neighbours
        wrong = rivals(dice, sorted(pool, key=lambda n: (n not in neighbours, places.distance(n, lesion))))
        if wrong:
            facts = [(n, "it does not reach round the lesion") for n in wrong]
            yield write(
                places,
                dice,
                "host",
                (lesion,),
                (right, "it lies all round the lesion"),
                facts,
                (lesion, right, *wrong),
                x=the(lesion),
            )


def _host(places: Places, lesion: str) -> str:
    """The organ that certainly holds a lesion; "" if there is none."""
    mine = places.scene.structures[lesion]
    organs = [s for s in places.scene.structures.values() if not is_lesion(s.name) and _holds(s, mine)]
    if len(organs) != 1 or organs[0].name not in mine.neighbours or names.known(lesion).site:  # a name may tell where it lies
        return ""
    if not words_of(organs[0].name).isdisjoint(words_of(lesion)):
        return ""
    inner, outer = mine.box_canonical, organs[0].box_canonical
    half = len(inner) // 2
    around = all(outer[i] < inner[i] and inner[half + i] < outer[half + i] for i in range(half))
    return organs[0].name if around else ""


def _apart(places: Places, organ: str, lesion: str) -> bool:
    """True if the middle of the lesion's box certainly lies outside the organ's, also as boxes of the model frame tell."""
    mine, box = places.scene.structures[lesion], places.scene.structures[organ].box_model.coords
    middle = seen.middle_of(mine)
    seen_inside = all(box[i] <= m < box[len(middle) + i] for i, m in enumerate(middle))
    return not seen_inside and not _holds(places.scene.structures[organ], mine)


def _holds(organ: Structure, lesion: Structure) -> bool:
    """True if the middle of the lesion's box lies in the organ's box."""
    box, mine = organ.box_canonical, lesion.box_canonical
    half = len(box) // 2
    return all(2 * box[i] <= mine[i] + mine[half + i] <= 2 * box[half + i] for i in range(half))


def count(places: Places, dice: Dice) -> Iterator[DataQuestion]:
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
        yield write(
            places, dice, "count", (lesion,), (str(parts), fact), wrong, (lesion,), x=the(lesion), many=instance(lesion)[1]
        )


def lesion_side(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """On which side of the picture's middle a lesion lies."""
    for lesion in _free(places, dice):
        sign = places.signs[lesion][0]
        if sign and (places.alone or any(peer.signs[lesion][0] == -sign for peer in places.others(lesion))):
            both = places.words[0]
            right, wrong = both[sign > 0], both[sign < 0]
            fact = about_places.middles(places, lesion, "x")
            yield write(places, dice, "lesion_side", (lesion,), (right, fact), [(wrong, fact)], (lesion,), x=the(lesion))


def _free(places: Places, dice: Dice) -> list[str]:
    """Lesions with one place whose names tell nothing of it."""
    return [n for n in _lesions(places, dice) if n in places.placed and not names.side_of(n)]


def lesion_quadrant(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """In which of four parts a lesion lies."""
    for lesion in _free(places, dice):
        for axes in dice.shuffled(places.axes):
            choices = part_choices(places, lesion, axes)
            if choices and choices[1]:
                wrong = even_parts(places, dice, lesion, axes, *choices)
                if wrong:
                    yield write(places, dice, "lesion_quadrant", (lesion, axes), choices[0], wrong, (lesion,), x=the(lesion))


def lesion_extent(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """In which of four ranges the size of a lesion lies."""
    for lesion in _lesions(places, dice):
        choices = sizes(places, lesion, dice)
        if choices:
            yield write(places, dice, "lesion_extent", (lesion,), *choices, (lesion,), x=the(lesion), size=quantity(places))


# --- All six families.

Ask = Callable[[Places, Dice], Iterator[DataQuestion]]

ASKS: dict[str, tuple[Ask, ...]] = {
    "structure_localisation": (about_places.quadrant, about_places.box, about_places.slices, measured.widest, about_places.level),
    "spatial_localisation": (about_places.which_in_quadrant, about_places.which_at_box, about_places.which_on_slice),
    "existence_verification": (present, which_present, which_absent),
    "size_comparison": (
        *(largest, smallest, how_large, measured.pair, measured.pair_share, measured.grade),
        *(looks.brightest, looks.darkest, looks.attenuation),
    ),
    "spatial_relation": (about_places.direction, about_places.nearest, about_places.which_direction),
    "lesion_analysis": (
        *(host, looks.brightness, count, lesion_side, lesion_quadrant, lesion_extent),
        *(measured.long_diameter, measured.short_diameter, measured.burden, measured.gap, measured.closest),
        *(measured.contact, measured.count_side, measured.largest_place),
        *(looks.attenuation_difference, looks.evenness, looks.shape),
    ),
}
"""Kinds of question by family, in the order of ``question.FAMILIES``."""


def candidates(scene: Scene, rng: np.random.Generator, *, each: int = 6, peers: Peers | None = None) -> list[DataQuestion]:
    """Varied questions about a scene, each with exactly one right option."""
    if not scene.structures:
        return []
    places, dice = Places(scene, peers), Dice(rng)
    return [question for asks in ASKS.values() for question in _turns(asks, places, dice, each)]


def _turns(asks: tuple[Ask, ...], places: Places, dice: Dice, each: int) -> list[DataQuestion]:
    """Up to ``each`` questions, one kind after the other until all have no more."""
    found: list[DataQuestion] = []
    going = [ask(places, dice) for ask in dice.shuffled(asks)]
    while going and len(found) < each:
        for questions in list(going):
            question = next(questions, None)
            if question is None:
                going.remove(questions)
            elif question not in found and len(found) < each:
                found.append(question)
    return found


# --- What organs do, and words that give a name away.

_ANATOMY = wordings("implicit_grounding")
FUNCTIONS: tuple[tuple[str, tuple[str, ...]], ...] = tuple(_ANATOMY["functions"].items())
"""Pattern of the name without its side, and what it does."""
SYNONYMS: dict[str, tuple[str, ...]] = _ANATOMY["synonyms"]
"""Beginnings of words that say the same, by word of a name with a plural's s cut."""
_IDLE = frozenset(("of", "the", "and", "in", "with", "to", "for", "a", "or", "on", "at"))
_WORD = re.compile(r"[a-z0-9]+")
_LEAST_STEM = 4


@names.kept
def function_of(name: str) -> int:
    """Row of FUNCTIONS that is true of a structure; -1 if there is none. Lesions have no function."""
    plain = names.base(name)
    if is_lesion(name):
        return -1
    return next((i for i, (pattern, _) in enumerate(FUNCTIONS) if re.fullmatch(pattern, plain)), -1)


@names.kept
def gives_away(name: str, text: str) -> bool:
    """True if a text holds a word of a structure's name, of its counterpart's, or a word that says the same."""
    said = (name, names.counterpart(name), names.display(name).lower())
    mine = {w for one in said for w in words_of(one) if w not in _IDLE}
    stems = [s for w in mine for s in SYNONYMS.get(w, ())]
    spoken = {w[:-1] if w.endswith("s") else w for w in _WORD.findall(text.lower())}
    if is_lesion(name) and any(is_lesion(w) for w in spoken):
        return True
    # A word of four letters at least may also be part of another one ("bladder", "gallbladder").
    pairs = [sorted((a, b), key=len) for a in mine for b in spoken]
    same = any(short == long or (len(short) >= _LEAST_STEM and short in long) for short, long in pairs)
    return same or any(s.startswith(stem) for stem in stems for s in spoken)
