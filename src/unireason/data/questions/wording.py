"""A question out of its parts: wording, options in random order, facts and what to look at."""

from __future__ import annotations

from collections.abc import Sequence

from unireason.data.rationale import seen
from unireason.data.rationale.wording import a, capital, is_plural, listed, number_word, of_kind, the, wordings
from unireason.data.scene import FAMILIES, DataQuestion

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
    scene = places.scene
    plural = any(is_plural(name) for name in about if values.get("x") in (the(name), a(name)))
    verbs = {one: many if plural else one for one, many in _AGREEING.items()}
    line = "the macula" if scene.midline.found == "macula" else "the midline of the body"
    text = dice.pick(of_kind(PHRASES.get(f"{ask}/{len(options)}") or PHRASES[ask], scene.kind)).format(
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


def rivals(dice: Dice, pool: Sequence[str]) -> list[str]:
    """Three wrong options, or as many as there are, out of a pool that has the hardest first."""
    return dice.shuffled(pool[: WRONG + 2])[:WRONG]


def few(dice: Dice, wrong: Sequence[Choice]) -> list[Choice]:
    """Three of the wrong options, or as many as there are."""
    return dice.shuffled(wrong)[:WRONG]
