"""From what was seen to the answer: comparisons, what speaks for the right option and against others.

Each function gives the sentences of one part of the text in order, every sentence in several wordings that say the same.
"""

from __future__ import annotations

from collections.abc import Callable

from unireason.data.question import LETTERS, Question
from unireason.data.scene import Scene, Structure

from . import findings, phrases
from .wording import Said, amount, claim, listed, rounded, the, unit_of

MOST_AGAINST = 2
_SAID_BY_LOOK = ("brightness", "count", "slices")  # the finding of the look is the answer already
_SAID_BY_OFFSET = ("direction", "which_direction")
_RANGES = ("how_large", "lesion_extent")

Draw = Callable[[], float]


def sentences(question: Question, scene: Scene, looked: list[str], draw: Draw) -> list[Said]:
    """What follows the looks and leads to the conclusion.

    Args:
        question: With its facts, if there are any.
        scene: What it was asked about.
        looked: Structures looked at.
        draw: A number in [0, 1) a call; decides how much is said of the wrong options.

    Returns:
        Sentences in order; none if the looks have said everything.
    """
    ask = question.ask
    if ask in ("largest", "smallest"):
        unseen = [i for i, option in enumerate(question.options) if option not in looked]
        rest = _against(question, scene, unseen)
        return [*_sizes(scene, looked, draw), *rest, _superlative(question)]
    if ask in _RANGES and question.about and question.about[0] in scene.structures:
        value = amount(scene.structures[question.about[0]].measure, scene.unit)
        return [_filled(phrases.IN_RANGE, value=value, range=question.right)]
    if ask == "present" and question.about:
        return [_presence(question.about[0], scene)]
    if ask in ("which_present", "which_absent"):
        return _which_there(question)
    if ask in _SAID_BY_LOOK:
        return []
    return [*_offset(question, scene), *_weighed(question, scene, looked, draw)]


def clues(question: Question, scene: Scene, draw: Draw) -> list[Said]:
    """How an implicit question leads to its target, its name left out.

    Args:
        question: Its facts are the clauses of the description.
        scene: What it was asked about; gives a clue where the question has none.
        draw: A number in [0, 1) a call; decides which other structure is ruled out.
    """
    target = scene.structures[question.needs[0]]
    found = [_filled(phrases.IMPLICIT_CLUES if i else phrases.IMPLICIT_FIRST, fact=f) for i, f in enumerate(question.facts)]
    found = found or [findings.place(target, scene)]
    others = [s for n, s in scene.structures.items() if n not in question.needs]
    if others:
        other = others[int(draw() * len(others))]
        shift = _shift(other, target)
        axes = findings.notable(shift, scene)
        if axes:
            found.append(_filled(phrases.IMPLICIT_EXCLUDED, other=the(other.name), offsets=findings.offsets(shift, axes, scene)))
    return found


def _filled(wordings: phrases.Phrases, name: str = "", **values: str) -> Said:
    return Said(wordings, name, values)


def _shift(first: Structure, second: Structure) -> tuple[float, ...]:
    """From the centre of the second to that of the first."""
    return tuple(a - b for a, b in zip(first.centre, second.centre, strict=True))


def _sizes(scene: Scene, looked: list[str], draw: Draw) -> list[Said]:
    """Two of the structures looked at against each other, now and then."""
    if len(looked) < 2 or draw() < 0.4:
        return []
    small, large = sorted((scene.structures[n] for n in looked[:2]), key=lambda s: s.measure)
    more, less = (amount(s.measure, unit_of(scene.kind, scene.unit)) for s in (large, small))
    times = rounded(large.measure / small.measure, 2)
    return [_filled(phrases.LARGER, large.name, large=the(large.name), small=the(small.name), times=times, more=more, less=less)]


def _superlative(question: Question) -> Said:
    most, more = {"largest": ("largest", "larger"), "smallest": ("smallest", "smaller")}[question.ask]
    wordings = phrases.LARGER_OF_TWO if len(question.options) == 2 else phrases.LARGEST
    return _filled(wordings, question.right, right=the(question.right), most=most, more=more)


def _presence(name: str, scene: Scene) -> Said:
    if name in scene.structures:
        return _filled(phrases.THERE, name)
    return _filled(phrases.MISSING, missing=the(name), kind=scene.kind)


def _which_there(question: Question) -> list[Said]:
    """What is there and what is not: the right option against all the others."""
    others = [the(o) for o in question.options if o != question.right]
    if question.ask == "which_present":
        none = listed(others, "or")
        return [_filled(phrases.NONE_THERE, these=none), _filled(phrases.THERE, question.right)]
    right = the(question.right)
    return [_filled(phrases.BOTH_THERE, these=listed(others), are="are"), _filled(phrases.NONE_THERE, these=right)]


def _offset(question: Question, scene: Scene) -> list[Said]:
    """How the two structures of a question about relative places lie to each other."""
    if question.ask not in ("direction", "which_direction", "nearest") or not question.about:
        return []
    first, second = question.about[:2] if question.ask == "direction" else (question.right, question.about[-1])
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


def _weighed(question: Question, scene: Scene, looked: list[str], draw: Draw) -> list[Said]:
    """Some of the wrong options with what speaks against them, then the right one with what speaks for it."""
    if len(question.facts) != len(question.options):
        return []
    wrong = [i for i in range(len(question.options)) if i != question.answer]
    wrong = [i for i in wrong if question.options[i] not in looked] or wrong
    kept = sorted(wrong, key=lambda _: draw())[: int(draw() * (MOST_AGAINST + 1))]
    found = _against(question, scene, sorted(kept))
    fact = "" if question.ask in _SAID_BY_OFFSET else question.facts[question.answer]
    if fact and _is_structure(question.right, scene):
        found.append(_joined(phrases.FOR, claim(fact, question.right)))
    elif fact:
        found.append(_joined(phrases.IN_SHORT, _with_letter(fact, question, question.answer)))
    return found


def _against(question: Question, scene: Scene, indices: list[int]) -> list[Said]:
    """What speaks against some options; nothing where the fact only repeats what speaks for the right one."""
    found = []
    for index in indices:
        option, fact = question.options[index], question.facts[index] if index < len(question.facts) else ""
        if fact and _is_structure(option, scene):
            found.append(_joined(phrases.AGAINST, claim(fact, option)))
        elif fact and question.ask == "box":
            found.append(_joined(phrases.AGAINST, _with_letter(fact, question, index)))
    return found


def _is_structure(option: str, scene: Scene) -> bool:
    return option in scene.structures or option in scene.absent


def _with_letter(fact: str, question: Question, index: int) -> str:
    """A clause about "it" as one about an option: "the box of option C fits the outline"."""
    return f"the box of option {LETTERS[index]}{fact[2:]}" if question.ask == "box" and fact.startswith("it ") else fact


def _joined(openings: phrases.Phrases, clause: str) -> Said:
    """A clause behind one of several openings."""
    return Said(tuple(f"{opening}{{clause}}." for opening in openings), values={"clause": clause})
