"""A question out of its parts: wording, options in random order, facts and what to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unireason.data.rationale.wording import capital, is_plural, listed, the, wordings
from unireason.data.scene import FAMILIES, DataQuestion

from .distractors import Dice, Places

_SHARED = wordings("shared")
KINDS: dict[str, tuple[str, ...]] = _SHARED["kinds"]
TERMS: dict[str, tuple[str, ...]] = _SHARED["terms"]
PHRASES: dict[str, tuple[str, ...]] = {ask: texts for family in FAMILIES for ask, texts in wordings(family)["questions"].items()}
"""Texts of a question by its kind; those behind "kind/2" are for two options."""

Choice = tuple[str, str]
"""An option and its fact."""

MOST_NEEDS = 3
_AGREEING = {"is": "are", "does": "do", "has": "have", "it": "them"}


@dataclass(frozen=True, slots=True)
class QuestionDraft:
    """A question before it is worded."""

    family: str
    ask: str
    about: tuple[str, ...]
    right: Choice
    wrong: Sequence[Choice]
    needs: Sequence[str]
    values: Mapping[str, str] = field(default_factory=dict)


def write(places: Places, dice: Dice, draft: QuestionDraft) -> DataQuestion:
    """Word a draft."""
    choices = dice.shuffled([draft.right, *draft.wrong])
    options = tuple(option for option, _ in choices)
    phrases = PHRASES.get(f"{draft.ask}/{len(options)}") or PHRASES[draft.ask]
    scene = places.scene
    text = dice.pick(phrases).format(
        # "The volume of the liver in this volume" would mean two things by one word.
        kind=dice.pick([k for k in KINDS[scene.kind] if k != draft.values.get("size")]),
        terms=dice.pick(TERMS[scene.space]),
        pair=listed([the(o) for o in options], "or"),
        both=listed([the(o) for o in options]),
        either=listed(options, "or"),
        **_agreeing(draft.values.get("x", "")),
        **draft.values,
    )
    order = {option: i for i, option in enumerate(options)}
    needs = sorted(draft.needs[:MOST_NEEDS], key=lambda name: order.get(name, -1))
    return DataQuestion(
        family=draft.family,
        ask=draft.ask,
        about=draft.about,
        text=text,
        options=options,
        answer=order[draft.right[0]],
        facts=tuple(fact for _, fact in choices),
        needs=tuple(needs),
    )


def _agreeing(name: str) -> dict[str, str]:
    """Verbs and a pronoun, as an object, that agree with a structure; also with a large first letter."""
    found = {one: many if is_plural(name) else one for one, many in _AGREEING.items()}
    return found | {capital(one): capital(word) for one, word in found.items()}


def some(dice: Dice, pool: Sequence[str], count: int) -> list[str]:
    """Draw among the first of a pool that has the hardest first."""
    return dice.shuffled(pool[: count + 2])[:count] if len(pool) >= count else []


def rivals(dice: Dice, pool: Sequence[str]) -> list[str]:
    """Three wrong options out of a pool that has the hardest first; one if there are not three; none if there is none."""
    return some(dice, pool, 3) or some(dice, pool, 1)


def few(dice: Dice, wrong: Sequence[Choice]) -> list[Choice]:
    """Three of the wrong options; one if there are not three; none if there is none."""
    return dice.shuffled(wrong)[: 3 if len(wrong) >= 3 else 1]
