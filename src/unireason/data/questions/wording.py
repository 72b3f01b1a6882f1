"""A question out of its parts: wording, options in random order, facts and what to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations, product

from unireason.data import names
from unireason.data.rationale import seen
from unireason.data.rationale.wording import a, capital, instance, is_plural, listed, number_word, of_kind, the, wordings
from unireason.data.scene import FAMILIES, HALVES, OFFERED, DataQuestion, Scene

from .distractors import WRONG, Dice, Places

_SHARED = wordings("shared")
KINDS: dict[str, tuple[str, ...]] = _SHARED["kinds"]
TERMS: dict[str, tuple[str, ...]] = _SHARED["terms"]
PHRASES: dict[str, tuple[str, ...]] = {ask: texts for family in FAMILIES for ask, texts in wordings(family)["questions"].items()}
"""Texts of a question by its kind; those behind "kind/2" are for two options."""
_FAMILY_OF = {ask: family for family in FAMILIES for ask in wordings(family)["questions"]}

Choice = tuple[str, str]
"""An option and its fact."""

MOST_NEEDS = 5
"""Structures that an answer may need: a landmark and four options."""
_AGREEING = {"is": "are", "does": "do", "has": "have", "it": "them", "its": "their"}


def write(
    places: Places,
    dice: Dice,
    ask: str,
    about: tuple[str, ...],
    right: Choice,
    wrong: Sequence[Choice],
    needs: Sequence[str],
    **values: str,
) -> DataQuestion:
    """Word a question: options in random order, one of the texts of its kind, ``values`` in the places that the text has."""
    choices = dice.shuffled([right, *wrong])
    options = tuple(option for option, _ in choices)
    text = _worded(PHRASES.get(f"{ask}/{len(options)}") or PHRASES[ask], options, places.scene, dice, about, values)
    order = {option: i for i, option in enumerate(options)}
    return DataQuestion(
        family=_FAMILY_OF[ask],
        ask=ask,
        about=about,
        text=text,
        options=options,
        answer=order[right[0]],
        facts=tuple(fact for _, fact in choices),
        needs=tuple(sorted(needs[:MOST_NEEDS], key=lambda name: order.get(name, -1))),
    )


def _worded(
    texts: Sequence[str], options: Sequence[str], scene: Scene, dice: Dice, about: Sequence[str], values: Mapping[str, str]
) -> str:
    """One of some texts, filled in."""
    plural = any(is_plural(name) for name in about if values.get("x") in (the(name), a(name)))
    verbs = {one: many if plural else one for one, many in _AGREEING.items()}
    line = "the macula" if scene.midline.found == "macula" else "the midline of the body"
    return dice.pick(of_kind(texts, scene.kind)).format(
        Others=capital(number_word(len(options) - 1)),
        middle=line if seen.own_midline(scene) else f"the middle of the {scene.kind}",
        # "The volume of the liver in this volume" would mean two things by one word.
        kind=dice.pick([k for k in KINDS[scene.kind] if k != values.get("size")]),
        terms=dice.pick(TERMS[scene.terms.split()[0]]),
        pair=listed([the(o) for o in options], "or"),
        both=listed([the(o) for o in options]),
        either=listed(options, "or"),
        **verbs,
        **{capital(one): capital(word) for one, word in verbs.items()},
        **values,
    )


def rivals(dice: Dice, pool: Sequence[str]) -> list[str]:
    """Three wrong options, or as many as there are, out of a pool that has the hardest first."""
    return dice.shuffled(pool[: WRONG + 2])[:WRONG]


def few(dice: Dice, wrong: Sequence[Choice]) -> list[Choice]:
    """Three of the wrong options, or as many as there are."""
    return dice.shuffled(wrong)[:WRONG]


# --- The same question without options: answered by a name, an amount with its unit, a place, or a set of names.

_OPEN = wordings("open")
_OPEN_TEXTS: dict[str, tuple[str, ...]] = _OPEN["questions"]
_OTHER_WORDS: dict[str, tuple[str, ...]] = _OPEN["words"]
_PLACES = ("quadrant", "lesion_quadrant", "largest_place", "lesion_side", "direction")
"""Kinds that are answered by a place, a direction or a grade."""
_OFF = {
    **dict.fromkeys(("how_large", "lesion_extent", "burden"), (0.2, 0.0)),
    **dict.fromkeys(("long_diameter", "short_diameter", "gap"), (0.15, 2.0)),
}
"""By how much an amount may be off: a share of it, and so much in any case."""


def freely(question: DataQuestion, scene: Scene, dice: Dice) -> DataQuestion | None:
    """A question asked without its options; None for a kind that needs them."""
    ask = "which_present" if question.ask == "which_absent" else question.ask
    texts = _OPEN_TEXTS.get("quadrant" if ask == "lesion_quadrant" else ask)
    if texts is None or (ask == "direction" and not seen.unit_of_distance(scene)):
        return None  # without a scale no direction can be called the main one
    right, offered, tolerance = question.right, question.options if ask in OFFERED else (), 0.0
    if ask == "which_present":
        gold = tuple(_called(name, offered) for name in offered if name in scene.structures)
    elif ask in ("host", *OFFERED):
        gold = (_called(right, (*offered, *question.needs)),)
    elif ask == "pair":
        gold = (
            (right, *_OTHER_WORDS[right]) if right in _OTHER_WORDS else (*_called(right, question.about), names.side_of(right)),
        )
    elif ask == "brightness":
        gold = ((right, *_OTHER_WORDS.get(right, ())),)
    elif ask in _PLACES:
        every = [(word, *_OTHER_WORDS.get(word, ())) for word in right.split()]
        gold = (tuple(" ".join(order) for words in product(*every) for order in permutations(words)),)
    elif ask == "widest":
        true, low, high = scene.structures[question.about[0]].widest
        gold, tolerance = ((str(true),),), float(min(true - low, high - true))
    elif ask in _OFF:
        value, unit = _amount(question, scene), right.rsplit(" ", 1)[1]
        said, (share, least) = seen.number(value, 3), _OFF[ask]
        gold = ((f"{said}{'' if unit == '%' else ' '}{unit}", said),)
        tolerance = float(f"{max(share * value, least):.2g}")
    else:  # a count
        gold = ((right,),)
    about = (*question.about, *offered)
    facts = question.facts if offered else question.facts[question.answer :][:1]
    needs = (*question.about, right) if ask == "host" else question.needs
    found = replace(
        question, ask=ask, about=about, options=(), answer=-1, facts=facts, needs=needs, gold=gold, tolerance=tolerance
    )
    if len(offered) == 2:
        texts = PHRASES.get(f"{ask}/2", texts)  # those name both
    return replace(found, text=_worded(texts, offered, scene, dice, about, _values(found, scene)))


def _called(name: str, others: Sequence[str]) -> tuple[str, ...]:
    """What a structure may be called, beside others whose names those are not."""
    return tuple(text for text in names.called(name) if not names.key_of(text, [other for other in others if other != name]))


def _amount(question: DataQuestion, scene: Scene) -> float:
    """What is measured, in the unit of the options."""
    about, unit = question.about, question.right.rsplit(" ", 1)[1]
    structure = scene.structures[about[0]]
    if question.ask == "burden":
        return 100 * structure.measure / scene.structures[about[1]].measure
    if question.ask == "gap":
        return structure.gaps[about[1]]
    if question.ask in ("long_diameter", "short_diameter"):
        return structure.diameters[question.ask == "short_diameter"]
    return seen.size(structure, scene) / {"cm2": 100.0, "ml": 1000.0}.get(unit, 1.0)


def _values(question: DataQuestion, scene: Scene) -> dict[str, str]:
    """What the texts of open questions have places for."""
    about, first, axes = question.about, question.about[0], "xy"
    one, many = instance(first)
    values = {"size": "area" if scene.kind == "image" else "volume", "x": the(first), "one": one, "many": many, "part": first}
    if len(about) > 1:
        values |= {"y": the(about[1]), "side": about[1]}
        axes = about[1] if question.ask in ("quadrant", "lesion_quadrant") else axes
    if question.ask in _PLACES:
        values["halves"] = ", and ".join(listed(HALVES[scene.terms]["xyz".index(axis)], "or") for axis in axes)
    if question.ask == "brightness":
        values["grades"] = listed(seen.DEGREES, "or")
    if question.ask in _OFF:
        values["unit"] = question.gold[0][0].rpartition(" ")[2]
    if question.ask == "which_present":
        values["bare"] = listed([names.display(name) for name in about])
    return values
