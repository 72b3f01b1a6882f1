"""Check "answers": what a question asks, in machine terms, is worked out again, and the right option must be right and all others wrong.

An open question is judged by the rule of its kind as well: with what its text names for options, or with its answer as the only one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from unireason.data import names
from unireason.data.rationale.wording import instance
from unireason.data.records import CaseRecord, SampleRecord
from unireason.data.scene import IMPLICIT, LETTERS, OFFERED, DataQuestion

from .answers import DEGREES, CannotTellError, judge, named, side, there
from .facts import CheckFindings, Facts

CHECK = "answers"


def check_answer(case: CaseRecord, sample: SampleRecord, facts: Facts, found: CheckFindings) -> None:
    """Judge the answer of one sample."""
    found.count(CHECK, "answers")
    question = sample.question
    try:
        if case.scene.described:
            rule = _implicit if question.family == IMPLICIT else _open if question.gold else _options
            details = rule(sample, facts)
        else:
            details = _form(question)
    except CannotTellError as reason:
        details = [f"'{question.ask}' about {list(question.about)}: {reason}"]
    for detail in details:
        found.add(CHECK, detail, sample=sample.id)


def _options(sample: SampleRecord, facts: Facts) -> list[str]:
    """What is wrong with a question with options."""
    question = sample.question
    details = _form(question)
    if details:
        return details
    verdicts = judge(question, facts)
    for place, (option, verdict) in enumerate(zip(question.options, verdicts, strict=True)):
        said = place == question.answer
        if verdict is None:
            details.append(f"{LETTERS[place]} '{option}' is neither right nor certainly wrong")
        elif verdict != said:
            is_, should = ("right", "wrong") if said else ("wrong", "right")
            details.append(f"{LETTERS[place]} '{option}' is called {is_}, the recomputed facts say {should}")
    return details + _unnamed(question, facts)


def _unnamed(question: DataQuestion, facts: Facts) -> list[str]:
    """Arguments that the text does not name."""
    return [
        f"the question is about '{name}' and does not name it: {question.text!r}"
        for name in question.about
        if named(name, facts) and not any(n.lower() in question.text.lower() for n in _spoken(name))
    ]


def _spoken(name: str) -> tuple[str, ...]:
    """What a question may call it; of several lesions it may mean one: "the largest hard exudate", "metastasis"."""
    shown = names.display(name)
    return name, shown, names.plural(name), instance(name)[0], shown.removesuffix("s"), shown.removesuffix("es")


def _open(sample: SampleRecord, facts: Facts) -> list[str]:
    """What is wrong with a question without options."""
    question = sample.question
    details = _form(question)
    if details:
        return details
    keys = tuple(_key(texts[0], facts) for texts in question.gold)
    if question.ask in OFFERED:
        offered = question.about[OFFERED[question.ask] :]
        twin = replace(question, about=question.about[: OFFERED[question.ask]], options=offered)
        right = {name for name, verdict in zip(offered, judge(twin, facts), strict=True) if verdict}
        if right != set(keys) or (len(right) != 1 and question.ask != "which_present"):
            details.append(f"{list(keys)} are called right, the recomputed facts say {sorted(right)}")
    else:
        options: tuple[str, ...] = keys if len(keys) == 1 else ()
        if question.ask in ("pair", "brightness"):
            options = (*question.about, "about equal") if question.ask == "pair" else tuple(DEGREES)
        if question.ask in _AMOUNTS:
            options = (_near(question),)
        verdicts = judge(replace(question, options=options), facts)
        if [o for o, verdict in zip(options, verdicts, strict=True) if verdict] != [
            o for o in options if o in keys or len(options) == 1
        ]:
            details.append(f"'{question.right}' is called right, the recomputed facts say otherwise")
    details += _other_texts(question, keys, facts)
    return details + _unnamed(question, facts)


_AMOUNTS = ("how_large", "lesion_extent", "long_diameter", "short_diameter", "burden", "gap")
_ROUNDED = 0.02
"""So far an amount may lie from the one that the masks give."""
_MOST_OFF = 0.25
"""And so much of it, or so many units, may an answer be off at most."""
_LEAST_OFF = 2.0


def _key(text: str, facts: Facts) -> str:
    """The structure that a text names, else the text."""
    scene = facts.scene
    return names.key_of(text, (*scene.structures, *scene.absent, *scene.unclear)) or text


def _near(question: DataQuestion) -> str:
    """A narrow range about the amount that an open question calls right."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(\w+|%)", question.right)
    if not match:
        raise CannotTellError(f"'{question.right}' is no amount")
    value = float(match[1])
    if not 0 < question.tolerance <= max(_MOST_OFF * value, _LEAST_OFF):
        raise CannotTellError(f"an amount of {question.right} may be {question.tolerance:g} off")
    return f"{value * (1 - _ROUNDED):.6f} to {value * (1 + _ROUNDED):.6f} {match[2]}"


def _other_texts(question: DataQuestion, keys: Sequence[str], facts: Facts) -> Iterator[str]:
    """Texts that count as right and say something else than the first one does."""
    known = (*facts.scene.structures, *facts.scene.absent, *facts.scene.unclear)
    if question.ask in _AMOUNTS or question.tolerance:
        numbers = {
            re.findall(r"\d+(?:\.\d+)?", text)[:1][0] for texts in question.gold for text in texts if re.search(r"\d", text)
        }
        first, end = facts.slices(question.about[0]) if question.ask == "widest" else (0, 0)
        most = (end - first) / 2 if question.ask == "widest" else math.inf if question.ask in _AMOUNTS else 0.0
        if len(numbers) != 1 or question.tolerance > most:
            yield f"{question.gold} are called right, at most {question.tolerance:g} off"
        return
    for key, texts in zip(keys, question.gold, strict=True):
        for text in texts[1:]:
            other = names.key_of(text, known)
            if key in known and other and other != key and question.ask not in ("count", "count_side"):
                yield f"'{text}' counts for '{key}' and names '{other}'"
            sides = [_place_of(t, facts) for t in (texts[0], text)]
            if key not in known and all(sides) and sides[0] != sides[1]:
                yield f"'{text}' counts for '{texts[0]}' and is another place"


def _place_of(text: str, facts: Facts) -> list[tuple[int, int]]:
    """Axes and signs of a text of directions; none if a word is no direction."""
    try:
        return sorted(side(word, facts) for word in text.split())
    except CannotTellError:
        return []


def _form(question: DataQuestion) -> list[str]:
    """What is wrong with the options and the place of the right one; it can be told of any question."""
    size = len(question.options)
    if question.gold:
        fine = (
            all(question.gold) and not size and question.answer == -1 and question.family != IMPLICIT and question.tolerance >= 0
        )
        return [] if fine else [f"an open question with {size} options and the answers {question.gold}"]
    if question.family == IMPLICIT:
        return [] if not size and question.answer == -1 else ["a question that describes its target has no options"]
    if not 2 <= size <= len(LETTERS) or not 0 <= question.answer < size or len(set(question.options)) != size:
        return [f"{size} options {list(question.options)} with answer {question.answer}"]
    return []


def _implicit(sample: SampleRecord, facts: Facts) -> list[str]:
    """What is wrong with a question that describes its target."""
    question = sample.question
    if question.ask != "segment" or not question.about:
        raise CannotTellError(f"no such kind of question in {IMPLICIT}")
    target = there(question.about[0], facts)
    details = []
    # Data sets of older versions have the groups of their day.
    told = sample.supercategory if facts.scene.midline.found == "picture" else names.group(target)
    if (sample.category, sample.supercategory) != (target, told):
        details.append(f"the target is '{target}', the record says '{sample.category}' of '{sample.supercategory}'")
    details += _form(question)
    if re.search(rf"\b{re.escape(target)}\b", question.text.lower()):
        details.append(f"the question names its target '{target}'")
    return details
