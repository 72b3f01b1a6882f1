"""Kinds of question about what structures look like: brightness, attenuation in a told window, evenness, shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from unireason.data.rationale import seen
from unireason.data.rationale.wording import the, wordings
from unireason.data.scene import DataQuestion, Scene, Structure

from .distractors import Dice, Places, compact, evened, is_lesion, tally
from .places import exchanged
from .ranges import SPANS_APART, adjacent_spans, spans
from .wording import Choice, write

SLIGHT, CLEAR, ALIKE = (12.0, 34.0), 46.0, 5.0
"""Contrast in grey levels: slightly brighter or darker between the first two, clearly from the next on, about as bright up to the last."""
LEAST_APART = 20.0
"""Mean grey levels of structures whose brightness is compared differ by so much."""
MOST_CUT = 0.005
"""Share of a structure that may be shown black or white where its attenuation is read off its grey."""
LEAST_HU = 15.0
"""Difference in attenuation from which one is asked for."""
UNEVEN, EVEN = 1.6, 1.15
"""Grey levels spread wider from the first ratio of standard deviations on, and about as wide up to the second."""
LEAST_SIDE = 10
"""Sides of the model box of a lesion whose shape can be told."""


def brightness(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """How bright a lesion is against what surrounds it."""
    for lesion in _lesions(places, dice):
        structure = places.scene.structures[lesion]
        right = degree(structure)
        order = list(seen.DEGREES)
        near = sorted((d for d in order if d != right), key=lambda d: abs(order.index(d) - order.index(right)) if right else 0)
        votes = partial(_among, [degree(peer.scene.structures[lesion]) for peer in places.every(lesion)])
        wrong = evened(places, dice, right, near, votes) if right else []
        if wrong:
            fact = f"inside, it is {right} than around" if right != seen.DEGREES[2] else "inside, it is about as bright as around"
            choices = [(option, fact) for option in (right, *wrong)]
            yield write(places, dice, "brightness", (lesion,), choices[0], choices[1:], (lesion,), x=the(lesion))


def degree(structure: Structure) -> str:
    """Of ``seen.DEGREES`` the one that certainly holds; "" if none does."""
    size = abs(structure.contrast)
    step = 2 if size >= CLEAR else 1 if SLIGHT[0] <= size <= SLIGHT[1] else 0 if size <= ALIKE else None
    return "" if step is None else seen.DEGREES[2 - step if structure.contrast > 0 else 2 + step]


def _lesions(places: Places, dice: Dice) -> list[str]:
    return dice.shuffled([n for n in places.all if is_lesion(n)])


def _among(found: Sequence[str], options: Sequence[str]) -> dict[str, float]:
    """How often each option was found."""
    return tally(one if one in options else "" for one in found)


def brightest(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which structure is the brightest as shown, by its mean grey level."""
    yield from _by_grey(places, dice, "brightest", 1)


def darkest(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Which structure is the darkest as shown."""
    yield from _by_grey(places, dice, "darkest", -1)


def _by_grey(places: Places, dice: Dice, ask: str, sign: int) -> Iterator[DataQuestion]:
    structures = places.scene.structures
    known = [n for n in places.all if structures[n].grey]
    for right in dice.shuffled(known):
        mine = sign * structures[right].grey[0]
        pool = [n for n in known if mine - sign * structures[n].grey[0] >= LEAST_APART and not places.related(n, right)]
        pool.sort(key=lambda n: mine - sign * structures[n].grey[0])
        wrong = evened(places, dice, right, pool, partial(_most_elsewhere, places, sign))
        if wrong:
            facts = [(n, f"its mean grey level is {structures[n].grey[0]:.0f} of 255") for n in (right, *wrong)]
            yield write(places, dice, ask, (), facts[0], facts[1:], [right, *wrong])


def _most_elsewhere(places: Places, sign: int, options: Sequence[str]) -> dict[str, float]:
    """How often each option is certainly the brightest (darkest) in other patients."""
    found = []
    for peer in places.every(*options):
        known = {n: sign * s.grey[0] for n in options if (s := peer.scene.structures[n]).grey}
        order = sorted(known, key=lambda n: -known[n])
        sure = len(known) == len(options) and known[order[0]] - known[order[1]] >= LEAST_APART
        found.append(order[0] if sure else "")
    return tally(found)


# --- Attenuation: where the question tells the window, grey is read as Hounsfield units.


def attenuation_of(name: str, scene: Scene) -> float | None:
    """Mean Hounsfield units of a structure, read off its grey; None where that cannot be told."""
    structure = scene.structures.get(name)
    if structure is None or not scene.hounsfield or not structure.grey or structure.grey[2] > MOST_CUT:
        return None
    return seen.hounsfield(structure, scene)


def attenuation(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """In which range the mean attenuation of a structure lies; only in a CT in Hounsfield units, with the window told."""
    for name in dice.shuffled(places.all):
        found = _spans(places, dice, name, "attenuation", partial(attenuation_of, name))
        if found:
            true, every = found
            texts = [f"{low} to {high} HU" for low, high in every]
            facts = [(t, f"its mean is {true:.0f} HU{_beside(true, one)}") for t, one in zip(texts, every, strict=True)]
            values = {"x": the(name), "window": seen.window(places.scene)}
            yield write(places, dice, "attenuation", (name,), facts[0], facts[1:], (name,), **values)


def difference_of(lesion: str, organ: str, scene: Scene) -> float | None:
    """Mean attenuation of a lesion minus that of an organ; None where it cannot be told, or is small."""
    one, other = attenuation_of(lesion, scene), attenuation_of(organ, scene)
    return one - other if one is not None and other is not None and abs(one - other) >= LEAST_HU else None


def attenuation_difference(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """By how much the attenuation of a lesion differs from that of an organ beside it."""
    for lesion in _lesions(places, dice):
        near = [n for n in places.scene.structures[lesion].neighbours if n in places.boxes and not is_lesion(n)]
        for organ in near[:2]:
            of = partial(difference_of, lesion, organ)
            found = _spans(places, dice, lesion, f"attenuation {organ}", of)
            if not found:
                continue
            true, every = found
            texts = [f"{low} to {high} HU higher" if low >= 0 else f"{-high} to {-low} HU lower" for low, high in every]
            apart = [round(attenuation_of(n, places.scene) or 0.0) for n in (lesion, organ)]  # as they are told
            said = f"it differs by {abs(apart[0] - apart[1])} HU, {'higher' if true > 0 else 'lower'}"
            facts = [(t, said) for t in texts]
            values = {"x": the(lesion), "y": the(organ), "window": seen.window(places.scene)}
            yield write(places, dice, "attenuation_difference", (lesion, organ), facts[0], facts[1:], (organ, lesion), **values)


def _beside(true: float, span: tuple[int, int]) -> str:
    return "" if span[0] <= true < span[1] else f", which is {'more' if true >= span[1] else 'less'}"


def _spans(
    places: Places, dice: Dice, name: str, sort: str, of: Callable[[Scene], float | None]
) -> tuple[float, list[tuple[int, int]]] | None:
    """An attenuation, and spans of which the first holds it: those of other patients beside it, or of values next to it without peers."""
    true = of(places.scene)
    if true is None:
        return None
    if places.peers is None:
        found = adjacent_spans(true, dice)
        return (true, found) if found else None

    def value(_: Places, __: str, peer: Places) -> float | None:
        return of(peer.scene)

    every = [v for v in exchanged(places, name, sort, value, _apart) if v is not None]
    found = spans(every, dice) if len(every) > 1 else []
    return (true, found) if found else None


def _apart(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and abs(a - b) >= SPANS_APART


# --- Evenness and shape.


def evenness(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Whether the grey of a lesion is more even than that of an organ beside it, less, or about as even."""
    for lesion in _lesions(places, dice):
        near = [n for n in places.scene.structures[lesion].neighbours if n in places.boxes and not is_lesion(n)]
        for organ in near[:2]:
            right = evener(lesion, organ, places.scene)
            votes = partial(_among, [evener(lesion, organ, peer.scene) for peer in places.every(lesion, organ)])
            wrong = evened(places, dice, right, [e for e in seen.EVENNESS if e != right], votes) if right else []
            if wrong:
                spread = [places.scene.structures[n].grey[1] for n in (lesion, organ)]
                fact = f"the grey levels vary by {spread[0]:.0f}, those of the other by {spread[1]:.0f}"
                choices = [(option, fact) for option in (right, *wrong)]
                values = {"x": the(lesion), "y": the(organ)}
                yield write(places, dice, "evenness", (lesion, organ), choices[0], choices[1:], (organ, lesion), **values)


def evener(lesion: str, organ: str, scene: Scene) -> str:
    """Of ``seen.EVENNESS`` the one that certainly holds; "" if none does."""
    one, other = (scene.structures[n].grey for n in (lesion, organ))
    if not one or not other or min(one[1], other[1]) <= 0 or max(one[2], other[2]) > 2 * MOST_CUT:
        return ""
    ratio = one[1] / other[1]
    more, alike, less = seen.EVENNESS
    if 1 / EVEN <= ratio <= EVEN:
        return alike
    return less if ratio >= UNEVEN else more if ratio <= 1 / UNEVEN else ""


def shape(places: Places, dice: Dice) -> Iterator[DataQuestion]:
    """Whether a lesion is round, oval, elongated or irregular on the slice where it is largest."""
    for lesion in _lesions(places, dice):
        right = shape_of(places.scene.structures[lesion])
        votes = partial(_among, [shape_of(peer.scene.structures[lesion]) for peer in places.every(lesion)])
        labels = [one["label"] for one in wordings("thresholds")["shape"]]
        wrong = evened(places, dice, right, [s for s in labels if s != right], votes) if right else []
        if wrong:
            long, filled = places.scene.structures[lesion].outline
            fact = f"it is {seen.number(long, 3)} times as long as wide and fills {filled:.2f} of its convex outline"
            choices: list[Choice] = [(option, fact) for option in (right, *wrong)]
            yield write(places, dice, "shape", (lesion,), choices[0], choices[1:], (lesion,), x=the(lesion))


def shape_of(lesion: Structure) -> str:
    """The shape that certainly holds for a lesion of one piece; "" if none does."""
    box = lesion.box_model.coords
    half = len(box) // 2
    if not lesion.outline or lesion.borders or not compact(lesion) or min(box[half + i] - box[i] for i in (0, 1)) < LEAST_SIDE:
        return ""
    long, filled = lesion.outline
    for one in wordings("thresholds")["shape"]:
        solid, ratio = one["solidity"], one["length"]
        if solid[0] <= filled <= solid[1] and ratio[0] <= long <= ratio[1]:
            label: str = one["label"]
            return label
    return ""
