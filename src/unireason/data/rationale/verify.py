"""Holds reasoning against its task: boxes against structures, the conclusion against the right option, the text against the rules.

What a language model wrote is data: faults are listed, never raised. Boxes that match a structure are snapped to its exact box, so that
training data are exact even where the writer was off by a pixel.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from unireason.core.types import Box, Look
from unireason.data.claims import Fault, answered_early, false_claims, find_names
from unireason.data.names import SIDES, display, the
from unireason.data.records import box_of
from unireason.data.scene import IMPLICIT, LETTERS, DataQuestion, Scene, Structure
from unireason.grounding import grammar
from unireason.metrics.answers import answer_choice
from unireason.metrics.boxes import box_iou
from unireason.metrics.open_answers import right_answer

from .seen import absence
from .template import Annotation, Dropped, Task
from .wording import a, wordings

_SLIPS = wordings("slips")


def _any_of(slip: str) -> re.Pattern[str]:
    pattern = "|".join(_SLIPS[slip])
    for name, part in reversed(_SLIPS["parts"].items()):
        pattern = pattern.replace(f"<{name}>", part)
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


_REFUSAL, _TOLD, _DESCRIBED = map(_any_of, ("refusal", "told", "described"))
_ENGLISH = frozenset(_SLIPS["words"]["english"].split())
_FOREIGN = frozenset(_SLIPS["words"]["foreign"].split()) - _ENGLISH
_HALF = frozenset(_SLIPS["words"]["half"].split()) & _FOREIGN
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?;:。！？।])\s*|\n+")


def refusal(text: str) -> str:
    """The words by which a writer says that it cannot look or will not answer; "" if there are none."""
    found = _REFUSAL.search(text)
    return found[0].strip() if found else ""


def told_reason(text: str, allowed: str, *, described: bool) -> str:
    """The words that tell that a writer had been handed the truth instead of looking; "" if there are none."""
    known = allowed.lower()
    patterns = (_TOLD,) if described else (_TOLD, _DESCRIBED)
    slips = (match.group() for pattern in patterns for match in pattern.finditer(text))
    return next((words for words in slips if words.lower() not in known), "")


def not_english(text: str, allowed: Collection[str]) -> str:
    """A piece of a text that is not English; "" if all of it is."""
    sentences = [s for s in _SENTENCE.split(text) if s.strip()]
    for piece in (*sentences, text):
        words = [str(w).lower() for w in _WORD.findall(piece)]
        words = [w for w in words if w not in allowed]
        for word in words:
            if _other_script(word):
                return word[:40]
        long = sum(len(w) > 2 for w in words)
        english = sum(w in _ENGLISH for w in words)
        foreign = sum(w in _FOREIGN or (len(w) > 3 and not w.isascii()) for w in words) - 0.5 * sum(w in _HALF for w in words)
        if foreign > english or (long >= 10 and english < 0.1 * long):
            return " ".join(piece.split())[:40]
    return ""


def _other_script(word: str) -> bool:
    """True of a word in letters other than Latin; one or two Greek ones are symbols."""
    other = [n for c in word if c.isalpha() and not (n := unicodedata.name(c, "")).startswith(("LATIN", "MICRO", "MODIFIER"))]
    return len(other) > 2 or any(not n.startswith("GREEK") for n in other)


LEAST_RUN = 5
"""So many words of a question in a row, or a whole clue, are the question again."""


def repeated(question: DataQuestion, text: str) -> str:
    """What a text says in the words of the question that describes its target: a clue or a run of five words; "" for nothing.

    Names of structures count as one word each, whichever they are, for to name a landmark is not to repeat the clue.
    """
    spoken = " ".join(_tokens(text, question.needs))
    runs = [_tokens(fact.removeprefix("it "), question.needs) for fact in question.facts]
    asked = _tokens(question.text, question.needs)
    runs += [asked[i : i + LEAST_RUN] for i in range(len(asked) - LEAST_RUN + 1)]
    return next((" ".join(run) for run in runs if f" {' '.join(run)} " in f" {spoken} "), "")


def _tokens(text: str, names: Sequence[str]) -> list[str]:
    text = text.lower()
    for said in sorted({n.lower() for name in names for n in (name, display(name))}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(said)}(?!\w)", "it", text)
    return re.findall(r"[\w%']+", text)


# --- Holds reasoning against its task: boxes against structures, the conclusion against the right option, the text against the
# rules.

_MARKUP = re.compile(r"<\|[^<>]{0,40}\|>|</?[A-Za-z_][^<>]{0,40}>|\*\*|__|```|^\s{0,3}#{1,6}\s|\\boxed|\\\(|\$\$", re.MULTILINE)
_NUMBERS = re.compile(r"[\[(]\s*-?\d+(?:\.\d+)?(?:\s*,\s*-?\d+(?:\.\d+)?){3,5}\s*[\])]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")


@dataclass(frozen=True, slots=True)
class Rules:
    """What reasoning has to keep to."""

    min_iou: float = 0.75
    max_looks: int = 6
    min_chars: int = 40
    max_chars: int = 4000


@dataclass(frozen=True, slots=True)
class TextReading:
    """A reply, read."""

    reasoning: tuple[str | Look, ...]
    faults: tuple[Fault, ...]


def verify(task: Task, annotation: Annotation, rules: Rules | None = None) -> Annotation | Dropped:
    """Check an annotation."""
    rules = rules or Rules()
    reading = _checked(task, annotation.reasoning, rules)
    if reading.faults:
        first = reading.faults[0]
        return Dropped(task.id, first.code, first.detail[:200])
    return Annotation(reading.reasoning, annotation.annotator)


def read(task: Task, reply: str, rules: Rules) -> TextReading:
    """Read a language model's reply: reasoning with boxes in grammar form, ``</think>``, the answer."""
    before, closed, answer = reply.rpartition(grammar.THINK_END)
    body = (before if closed else reply).rpartition(grammar.THINK_END)[2]
    body = body.strip().removeprefix(grammar.THINK_START).strip()
    faults = [] if closed else [Fault("no_answer", f"There is no {grammar.THINK_END} with the answer behind it.")]
    if closed:
        faults += _answer_faults(_posed(task), answer)
    parsed = grammar.parse(body)
    faults += [Fault("box_unreadable", f"A box cannot be read ({p.code}): {p.text[:60]}") for p in parsed.problems]
    steps: list[str | Look] = []
    position = 0
    for found in parsed.boxes:
        steps += [body[position : found.start], Look("", found.box)]
        position = found.end
    steps.append(body[position:])
    reading = _checked(task, [s for s in steps if s != ""], rules)
    return TextReading(reading.reasoning, (*faults, *reading.faults))


def _posed(task: Task) -> DataQuestion:
    """The question with its options as they are put to a reader."""
    return replace(task.question, options=tuple(task.scene.said(o) for o in task.question.options))


def _answer_faults(question: DataQuestion, answer: str) -> list[Fault]:
    """Whether what stands behind the reasoning is the right answer."""
    if question.family == IMPLICIT:
        target = question.needs[0]
        if any(name.lower() in answer.lower() for name in (target, display(target))):
            return []
        return [Fault("wrong_answer", f"The name behind {grammar.THINK_END} is not that of the target.")]
    if question.gold:
        if right_answer(answer, question.gold, question.tolerance):
            return []
        return [Fault("wrong_answer", f"The text behind {grammar.THINK_END} is not the right answer.")]
    letters = LETTERS[: len(question.options)]
    choice = answer_choice(f"{grammar.THINK_END}{answer}", letters, question.options)
    if choice == question.letter:
        return []
    code = "no_answer" if choice is None else "wrong_answer"
    named = "no option" if choice is None else f"option {choice}"
    return [Fault(code, f"The text behind {grammar.THINK_END} names {named}, which is not right.")]


def _checked(task: Task, steps: Sequence[str | Look], rules: Rules) -> TextReading:
    """Everything that can be said of text and looks without the answer line."""
    faults: list[Fault] = []
    kept: list[str | Look] = []
    known = [*task.scene.structures, *task.scene.absent, *task.scene.unclear]
    for step in steps:
        if isinstance(step, str):
            kept.append(step)
            continue
        if not step.seen and step.label in task.scene.absent:  # where something would be that is not there
            kept.append(step)
            continue
        gone = _place_of_absent(task.question, step.box, rules.min_iou, _before(kept))
        if gone is not None:
            kept.append(gone)
            continue
        name, box = matched(task.scene, step.box, rules.min_iou, prefer=task.question.needs)
        if box is not None:
            faults += _naming_faults(known, task.scene, _before(kept), name, box)
            kept.append(Look(name, box))
        else:
            faults.append(Fault("box_without_structure", f"The box {grammar.write(step.box)} matches no structure."))
    texts = [s for s in kept if isinstance(s, str)]
    faults += _look_faults(task.question, kept, rules)
    faults += _text_faults(_posed(task), task.scene, texts, rules)
    if task.question.family != IMPLICIT:
        early = answered_early(task.scene, task.question, kept)
        if early:
            detail = f"'{early[:120]}' gives the answer before everything has been looked at; look and compare first."
            faults.append(Fault("answer_before_evidence", detail))
        faults += _conclusion_faults(_posed(task), "" if not kept or isinstance(kept[-1], Look) else str(kept[-1]))
    elif again := repeated(task.question, " ".join(texts)):
        faults.append(Fault("repeats_question", f"'{again}' says the question again; say what the picture shows beyond it."))
    faults += false_claims(task.scene, task.question, kept, scaled=bool(task.scene.scale))
    return TextReading(tuple(kept), tuple(faults))


def _place_of_absent(question: DataQuestion, box: Box, min_iou: float, words: str) -> Look | None:
    """A look at the place of something that is not there, where the words in front of it name that."""
    names = question.offered if question.ask in ("which_present", "which_absent") else question.about
    for name, fact in zip(names, question.facts, strict=False):
        place = absence(fact).box
        if (
            len(place) == len(box.coords)
            and any(n.lower() in words for n in (the(name), a(name)))
            and box_iou(box, box_of(place)) >= min_iou
        ):
            return Look(name, box_of(place), seen=False)
    return None


def match(scene: Scene, box: Box, min_iou: float, prefer: Sequence[str] = ()) -> str:
    """The structure whose model box, or that of one of its parts, overlaps a box most; "" if none does enough."""
    return matched(scene, box, min_iou, prefer)[0]


def matched(scene: Scene, box: Box, min_iou: float, prefer: Sequence[str] = ()) -> tuple[str, Box | None]:
    """The structure that a box shows, and its exact box; of a scattered one a part may be looked at."""
    boxes = [
        (s.name, b) for s in scene.structures.values() for b in (s.box_model, *(p.box_model for p in s.parts if s.part_count > 1))
    ]
    fitting = [(box_iou(box, b), n in prefer, n, b) for n, b in boxes if len(b.coords) == len(box.coords)]
    best = max(fitting, key=lambda entry: entry[:3], default=(0.0, False, "", None))
    return (best[2], best[3]) if best[0] >= min_iou else ("", None)


def _before(kept: Sequence[str | Look]) -> str:
    """The unfinished sentence in front of a box."""
    text = kept[-1] if kept and isinstance(kept[-1], str) else ""
    return _SENTENCE_END.split(text)[-1].lower()


def _naming_faults(known: Sequence[str], scene: Scene, words: str, name: str, box: Box) -> list[Fault]:
    """A box right behind the name of another structure, or one box for both sides behind the name of one, says something false."""
    found = find_names(words, known)
    if not found:
        return []
    last = found[-1]
    if name not in {m.name for m in found}:
        return [Fault("box_of_another", f"The box behind '{display(last.name)}' is that of {the(name)}.")]
    side = words[: last.start].split()[-1:]
    if (
        last.name == name
        and side
        and side[0] in SIDES
        and box == scene.structures[name].box_model
        and _on_both_sides(scene.structures[name])
    ):
        return [Fault("box_of_both", f"The box behind '{side[0]} {display(name)}' holds parts on both sides; look at one part.")]
    return []


def _on_both_sides(structure: Structure) -> bool:
    """Whether a structure falls into parts side by side."""
    half = len(structure.box_canonical) // 2
    spans = sorted((p.box_canonical[0], p.box_canonical[half]) for p in structure.parts)
    return structure.part_count > 1 and (len(spans) < 2 or any(b[0] >= a[1] for a, b in pairwise(spans)))


def _look_faults(question: DataQuestion, steps: Sequence[str | Look], rules: Rules) -> list[Fault]:
    looks = [s.label for s in steps if isinstance(s, Look)]
    if question.family == IMPLICIT:
        return [Fault("look_not_allowed", "This text is written without any box.")] if looks else []
    if not looks:
        return [Fault("no_look", f"There is no box of a structure; write one to {rules.max_looks}.")]
    faults = []
    if len(looks) > rules.max_looks:
        faults.append(Fault("too_many_looks", f"There are {len(looks)} boxes; write at most {rules.max_looks}."))
    if not set(looks) & set(question.needs) and all(s.seen for s in steps if isinstance(s, Look)):
        faults.append(Fault("needless_looks", "None of the boxes is needed; look at what question and options name."))
    return faults


def _text_faults(question: DataQuestion, scene: Scene, texts: Sequence[str], rules: Rules) -> list[Fault]:
    """Length, markup, bare coordinates and slips of the tongue."""
    whole = "\n".join(texts)
    faults = []
    if len(whole.strip()) < rules.min_chars:
        faults.append(Fault("too_short", f"The reasoning has {len(whole.strip())} characters; write at least {rules.min_chars}."))
    if len(whole) > rules.max_chars:
        faults.append(Fault("too_long", f"The reasoning has {len(whole)} characters; write at most {rules.max_chars}."))
    markup = _MARKUP.search(whole) or _CONTROL.search(whole)
    if markup:
        faults.append(Fault("markup", f"The text holds {markup[0].strip()!r}; write plain sentences."))
    allowed = {o.replace(" ", "") for o in question.options}
    bare = [n for n in _NUMBERS.findall(whole) if n.replace(" ", "") not in allowed]
    if bare:
        faults.append(Fault("box_in_text", f"The coordinates {bare[0]} stand in the text; write a box with its tags, or words."))
    keys = {*scene.structures, *scene.absent, *question.about, *question.needs}
    names = {*keys, *map(display, keys), *question.options}
    known = " ".join((question.text, *question.facts, *sorted(names), "x y z"))  # the axes of places are no foreign words
    declined = refusal(whole)
    if declined:
        faults.append(Fault("refusal", f"The text says {declined!r}; write as somebody who looks at the picture."))
    told = told_reason(whole, known, described=question.family == IMPLICIT)
    if told:
        faults.append(Fault("says_it_was_told", f"The text says {told!r}; write as somebody who looks at the picture."))
    foreign = not_english(whole, frozenset(re.findall(r"[^\W\d_]+", known.lower())))
    if foreign:
        faults.append(Fault("other_language", f"The piece {foreign!r} is not English; write all of the text in English."))
    return faults


def _conclusion_faults(question: DataQuestion, last: str) -> list[Fault]:
    """The last sentences have to name the right option, by its text or its letter, and no other letter at the end."""
    sentences = [s for s in _SENTENCE_END.split(last) if re.search(r"\w", s)]
    end = " ".join(sentences[-2:]).lower()
    if question.gold:
        named = all(any(re.search(rf"(?<!\w){re.escape(t.lower())}(?!\w)", end) for t in texts) for texts in question.gold)
        if named or any(right_answer(s, question.gold, question.tolerance) for s in sentences[-1:]):
            return []
        return [Fault("no_conclusion", "The last sentence has to say the right answer.")]
    by_text = re.search(rf"(?<!\w){re.escape(question.right.lower().rstrip('.'))}(?!\w)", end)
    closing = re.search(rf"\b([{LETTERS[: len(question.options)]}])\W*$", last)
    if closing[1] == question.letter if closing else by_text:
        return []
    return [Fault("no_conclusion", "The last sentence has to end with the right option's text and its letter.")]
