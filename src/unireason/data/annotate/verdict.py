"""From what was seen to the answer: comparisons, what speaks for the right option and against others.

Each function gives the sentences of one part of the text in order, every sentence in several wordings that say the same.
"""

from __future__ import annotations

import numpy as np

from unireason.data.question import LETTERS, Question
from unireason.data.scene import Scene, Structure

from . import findings, phrases
from .findings import Wordings
from .wording import amount, capital, claim, fill, listed, rounded, the

MOST_AGAINST = 2
_SAID_BY_LOOK = ("brightness", "count", "slices")  # the finding of the look is the answer already
_SAID_BY_OFFSET = ("direction", "which_direction")
_RANGES = ("how_large", "lesion_extent")


def sentences(question: Question, scene: Scene, looked: list[str], rng: np.random.Generator) -> list[Wordings]:
    """What follows the looks and leads to the conclusion.

    Args:
        question: With its facts, if there are any.
        scene: What it was asked about.
        looked: Structures looked at.
        rng: Draws how many of the wrong options are spoken of.

    Returns:
        Sentences in order; none if the looks have said everything.
    """
    ask = question.ask
    if ask in ("largest", "smallest"):
        unseen = [i for i, option in enumerate(question.options) if option not in looked]
        rest = [_against(question, scene, i) for i in unseen if len(question.facts) > i]
        return [*_sizes(scene, looked, rng), *rest, _superlative(question)]
    if ask in _RANGES and question.about[0] in scene.structures:
        value = amount(scene.structures[question.about[0]].measure, scene.unit)
        return [_filled(phrases.IN_RANGE, value=value, range=question.right)]
    if ask == "present":
        return [_presence(question.about[0], scene)]
    if ask in ("which_present", "which_absent"):
        return _which_there(question)
    if ask in _SAID_BY_LOOK:
        return []
    return [*_offset(question, scene), *_weighed(question, scene, looked, rng)]


def clues(question: Question, scene: Scene, rng: np.random.Generator) -> list[Wordings]:
    """How an implicit question leads to its target, its name left out.

    Args:
        question: Its facts are the clauses of the description.
        scene: What it was asked about; gives a clue where the question has none.
        rng: Draws which other structure is ruled out.
    """
    target = scene.structures[question.needs[0]]
    found = [_filled(phrases.IMPLICIT_CLUES if i else phrases.IMPLICIT_FIRST, fact=f) for i, f in enumerate(question.facts)]
    found = found or [findings.place(target, scene)]
    others = [s for n, s in scene.structures.items() if n not in question.needs]
    if others:
        other = others[int(rng.integers(len(others)))]
        shift = _shift(other, target)
        axes = findings.notable(shift, scene)
        if axes:
            found.append(_filled(phrases.IMPLICIT_EXCLUDED, other=the(other.name), offsets=findings.offsets(shift, axes, scene)))
    return found


def _filled(templates: Wordings, name: str = "", **values: str) -> Wordings:
    return tuple(fill(template, name, **values) for template in templates)


def _shift(first: Structure, second: Structure) -> tuple[float, ...]:
    """From the centre of the second to that of the first."""
    return tuple(a - b for a, b in zip(first.centre, second.centre, strict=True))


def _sizes(scene: Scene, looked: list[str], rng: np.random.Generator) -> list[Wordings]:
    """Two of the structures looked at against each other, now and then."""
    if len(looked) < 2 or rng.random() < 0.4:
        return []
    small, large = sorted((scene.structures[n] for n in looked[:2]), key=lambda s: s.measure)
    more, less = amount(large.measure, scene.unit), amount(small.measure, scene.unit)
    times = rounded(large.measure / small.measure, 2)
    return [_filled(phrases.LARGER, large.name, large=the(large.name), small=the(small.name), times=times, more=more, less=less)]


def _superlative(question: Question) -> Wordings:
    most, more = {"largest": ("largest", "larger"), "smallest": ("smallest", "smaller")}[question.ask]
    wordings = phrases.LARGER_OF_TWO if len(question.options) == 2 else phrases.LARGEST
    return _filled(wordings, question.right, right=the(question.right), most=most, more=more)


def _presence(name: str, scene: Scene) -> Wordings:
    if name in scene.structures:
        return _filled(phrases.THERE, name)
    return _filled(phrases.MISSING, missing=the(name), kind=scene.kind)


def _which_there(question: Question) -> list[Wordings]:
    """What is there and what is not: the right option against all the others."""
    others = [the(o) for o in question.options if o != question.right]
    if question.ask == "which_present":
        none = listed(others, "or")
        return [_filled(phrases.NONE_THERE, these=none), _filled(phrases.THERE, question.right)]
    right = the(question.right)
    return [_filled(phrases.BOTH_THERE, these=listed(others), are="are"), _filled(phrases.NONE_THERE, these=right)]


def _offset(question: Question, scene: Scene) -> list[Wordings]:
    """How the two structures of a question about relative places lie to each other."""
    if question.ask not in ("direction", "which_direction", "nearest"):
        return []
    first, second = question.about if question.ask == "direction" else (question.right, question.about[-1])
    if first not in scene.structures or second not in scene.structures:
        return []
    shift = _shift(scene.structures[first], scene.structures[second])
    axes = findings.notable(shift, scene)
    if not axes:
        return []
    found = [_filled(phrases.OFFSET, first=the(first), second=the(second), offsets=findings.offsets(shift, axes, scene))]
    if question.ask == "direction":
        found.append(_filled(phrases.MAINLY, right=question.right))
    return found


def _weighed(question: Question, scene: Scene, looked: list[str], rng: np.random.Generator) -> list[Wordings]:
    """Some of the wrong options with what speaks against them, then the right one with what speaks for it."""
    if len(question.facts) != len(question.options):
        return []
    against = [i for i in range(len(question.options)) if i != question.answer and question.facts[i]]
    against = [i for i in against if question.options[i] not in looked] or against
    kept = sorted(rng.permutation(len(against))[: int(rng.integers(0, MOST_AGAINST + 1))].tolist())
    found = [_against(question, scene, against[i]) for i in kept]
    fact = "" if question.ask in _SAID_BY_OFFSET else question.facts[question.answer]
    if fact and question.right in {*scene.structures, *scene.absent}:
        found.append(_joined(phrases.FOR, claim(fact, question.right)))
    elif fact:
        found.append(_joined(phrases.IN_SHORT, _with_letter(fact, question, question.answer)))
    return [f for f in found if f]


def _against(question: Question, scene: Scene, index: int) -> Wordings:
    """What speaks against one option; nothing if the fact only repeats what speaks for the right one."""
    option, fact = question.options[index], question.facts[index]
    if option in {*scene.structures, *scene.absent}:
        return _joined(phrases.AGAINST, claim(fact, option))
    if question.ask == "box":
        return _joined(phrases.AGAINST, _with_letter(fact, question, index))
    return ()


def _with_letter(fact: str, question: Question, index: int) -> str:
    """A clause about "it" as one about an option: "the box of option C fits the outline"."""
    return f"the box of option {LETTERS[index]}{fact[2:]}" if question.ask == "box" and fact.startswith("it ") else fact


def _joined(openings: Wordings, clause: str) -> Wordings:
    return tuple(capital(f"{opening}{clause}.") for opening in openings)
