"""Grounded reasoning by template: offline, deterministic, varied.

The text looks at the structures that the answer needs, says what is seen there, compares and concludes. Its last words are the right
option's text with the letter directly behind, so that even a small model can bind the two. Everything said is read off the scene.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

from unireason.core.types import Look
from unireason.data.scene import DIRECTIONS, HALVES, IMPLICIT, LETTERS, TOWARDS, DataQuestion, Scene, Structure

from .wording import OPENINGS, SAY, Said, amount, claim, counted, is_plural, length, listed, rounded, the, unit_of, wordings

NEAR_MIDDLE = 0.02  # of the picture: a smaller offset is not worth a word
FLAT, CLEAR = 8.0, 40.0  # contrast in grey levels of 0-255: below the one it is none, above the other it is clear

_FINDINGS: dict[str, tuple[str, ...]] = wordings("reasoning")["findings"]
_IMPLICIT: dict[str, tuple[str, ...]] = wordings("implicit_grounding")["reasoning"]


def notable(offset: tuple[float, ...], scene: Scene) -> list[int]:
    """Axes along which an offset is worth a word, in the order x, y, z."""
    return [i for i, (o, e) in enumerate(zip(offset, scene.extent, strict=True)) if abs(o) >= max(1.0, NEAR_MIDDLE * e)]


def offsets(offset: tuple[float, ...], axes: list[int], scene: Scene) -> str:
    """An offset in words along some axes: "52 mm to the left and 31 mm to the back"."""
    return listed(
        [f"{length(offset[i], unit_of(scene.kind, scene.unit))} {TOWARDS[scene.terms][i][offset[i] > 0]}" for i in axes]
    )


def size(structure: Structure, scene: Scene) -> Said:
    """Area or volume."""
    quantity = "volume" if scene.unit == "mm3" or scene.kind == "volume" else "area"
    value = amount(structure.measure, unit_of(scene.kind, scene.unit))
    return _finding(f"size_{quantity}", structure, quantity=quantity, value=value)


def place(structure: Structure, scene: Scene) -> Said:
    """Where its centre lies, in words or measured from the middle of the picture."""
    axes = notable(structure.centre, scene)
    if not axes:
        return _finding("place_middle", structure, kind=scene.kind)
    words = [HALVES[scene.terms][i][structure.centre[i] > 0] for i in axes if i < len(DIRECTIONS[scene.terms])]
    part = " ".join(words if scene.space == "patient" else reversed(words))  # "left anterior", but "upper left"
    texts = (*(_FINDINGS["place_part"] if words else ()), *_FINDINGS["place_measured"])
    values = {"part": part, "kind": scene.kind, "offsets": offsets(structure.centre, axes, scene)}
    return Said(texts, structure.name, values)


def slices(structure: Structure, scene: Scene) -> Said | None:
    """Which model slices of a volume it touches, counted from 0 as in boxes; nothing for an image."""
    first, last = structure.slices[0], structure.slices[1] - 1
    if scene.kind == "image":
        return None
    count = counted(last - first + 1, "slice")
    return _finding("slices_one" if first == last else "slices_many", structure, first=str(first), last=str(last), count=count)


def brightness(structure: Structure, scene: Scene) -> Said:
    """Contrast against a ring around it."""
    texts = "brightness_none" if abs(structure.contrast) < FLAT else "brightness"
    word, opposite = ("brighter", "darker") if structure.contrast > 0 else ("darker", "brighter")
    degree = "clearly " if abs(structure.contrast) >= CLEAR else ""
    return _finding(texts, structure, degree=degree, word=word, opposite=opposite)


def border(structure: Structure, scene: Scene) -> Said | None:
    """Whether the picture may cut it off; nothing if it touches no border."""
    if not structure.borders:
        return None
    where = f"{listed(structure.borders)} {'border' if len(structure.borders) == 1 else 'borders'}"
    return _finding("border", structure, where=where, kind=scene.kind)


def parts(structure: Structure, scene: Scene) -> Said:
    """Into how many connected pieces it falls, specks not counted."""
    texts = "parts_one" if structure.part_count == 1 else "parts_many"
    return _finding(texts, structure, count=counted(structure.part_count, "separate part"))


def neighbours(structure: Structure, scene: Scene) -> Said | None:
    """What lies beside it, at most two names; nothing if nothing is near."""
    near = [name for name in structure.neighbours if name in scene.structures][:2]
    if not near:
        return None
    lie = "lie" if len(near) > 1 or is_plural(near[0]) else "lies"
    return _finding("neighbours", structure, near=listed([the(name) for name in near]), lie=lie)


def shape(structure: Structure, scene: Scene) -> Said | None:
    """Whether it is round or long; nothing in between."""
    if 1.35 < structure.elongation < 2.0:
        return None
    return _finding("shape", structure, word="elongated" if structure.elongation >= 2.0 else "compact")


def _finding(texts: str, structure: Structure, **values: str) -> Said:
    return Said(_FINDINGS[texts], structure.name, values)


# --- From what was seen to the answer: comparisons, what speaks for the right option and against others.

MOST_AGAINST = 2
_SAID_BY_LOOK = ("brightness", "count", "slices")  # the finding of the look is the answer already
_SAID_BY_OFFSET = ("direction", "which_direction")
_RANGES = ("how_large", "lesion_extent")

Draw = Callable[[], float]


def sentences(question: DataQuestion, scene: Scene, looked: list[str], draw: Draw) -> list[Said]:
    """What follows the looks and leads to the conclusion."""
    ask = question.ask
    if ask in ("largest", "smallest"):
        unseen = [i for i, option in enumerate(question.options) if option not in looked]
        rest = _against(question, scene, unseen)
        return [*_sizes(scene, looked, draw), *rest, _superlative(question)]
    if ask in _RANGES and question.about and question.about[0] in scene.structures:
        value = amount(scene.structures[question.about[0]].measure, scene.unit)
        return [_filled(SAY["in_range"], value=value, range=question.right)]
    if ask == "present" and question.about:
        return [_presence(question.about[0], scene)]
    if ask in ("which_present", "which_absent"):
        return _which_there(question)
    if ask in _SAID_BY_LOOK:
        return []
    return [*_offset(question, scene), *_weighed(question, scene, looked, draw)]


def clues(question: DataQuestion, scene: Scene, draw: Draw) -> list[Said]:
    """How an implicit question leads to its target, its name left out."""
    target = scene.structures[question.needs[0]]
    found = [_filled(_IMPLICIT["clues"] if i else _IMPLICIT["first"], fact=f) for i, f in enumerate(question.facts)]
    found = found or [place(target, scene)]
    others = [s for n, s in scene.structures.items() if n not in question.needs]
    if others:
        other = others[int(draw() * len(others))]
        shift = _shift(other, target)
        axes = notable(shift, scene)
        if axes:
            found.append(_filled(_IMPLICIT["excluded"], other=the(other.name), offsets=offsets(shift, axes, scene)))
    return found


def _filled(wordings: tuple[str, ...], name: str = "", **values: str) -> Said:
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
    return [_filled(SAY["larger"], large.name, large=the(large.name), small=the(small.name), times=times, more=more, less=less)]


def _superlative(question: DataQuestion) -> Said:
    most, more = {"largest": ("largest", "larger"), "smallest": ("smallest", "smaller")}[question.ask]
    wordings = SAY["larger_of_two"] if len(question.options) == 2 else SAY["largest"]
    return _filled(wordings, question.right, right=the(question.right), most=most, more=more)


def _presence(name: str, scene: Scene) -> Said:
    if name in scene.structures:
        return _filled(SAY["there"], name)
    return _filled(SAY["missing"], missing=the(name), kind=scene.kind)


def _which_there(question: DataQuestion) -> list[Said]:
    """What is there and what is not: the right option against all the others."""
    others = [the(o) for o in question.options if o != question.right]
    if question.ask == "which_present":
        none = listed(others, "or")
        return [_filled(SAY["none_there"], these=none), _filled(SAY["there"], question.right)]
    right = the(question.right)
    return [_filled(SAY["both_there"], these=listed(others), are="are"), _filled(SAY["none_there"], these=right)]


def _offset(question: DataQuestion, scene: Scene) -> list[Said]:
    """How the two structures of a question about relative places lie to each other."""
    if question.ask not in ("direction", "which_direction", "nearest") or not question.about:
        return []
    first, second = question.about[:2] if question.ask == "direction" else (question.right, question.about[-1])
    if first not in scene.structures or second not in scene.structures:
        return []
    shift = _shift(scene.structures[first], scene.structures[second])
    axes = notable(shift, scene)
    if not axes:
        return []
    found = [_filled(SAY["offset"], first=the(first), second=the(second), offsets=offsets(shift, axes, scene))]
    if question.ask == "direction":
        found.append(_filled(SAY["mainly"], right=question.right))
    return found


def _weighed(question: DataQuestion, scene: Scene, looked: list[str], draw: Draw) -> list[Said]:
    """Some of the wrong options with what speaks against them, then the right one with what speaks for it."""
    if len(question.facts) != len(question.options):
        return []
    wrong = [i for i in range(len(question.options)) if i != question.answer]
    wrong = [i for i in wrong if question.options[i] not in looked] or wrong
    kept = sorted(wrong, key=lambda _: draw())[: int(draw() * (MOST_AGAINST + 1))]
    found = _against(question, scene, sorted(kept))
    fact = "" if question.ask in _SAID_BY_OFFSET else question.facts[question.answer]
    if fact and _is_structure(question.right, scene):
        found.append(_joined(SAY["for"], claim(fact, question.right)))
    elif fact:
        found.append(_joined(SAY["in_short"], _with_letter(fact, question, question.answer)))
    return found


def _against(question: DataQuestion, scene: Scene, indices: list[int]) -> list[Said]:
    """What speaks against some options; nothing where the fact only repeats what speaks for the right one."""
    found = []
    for index in indices:
        option, fact = question.options[index], question.facts[index] if index < len(question.facts) else ""
        if fact and _is_structure(option, scene):
            found.append(_joined(SAY["against"], claim(fact, option)))
        elif fact and question.ask == "box":
            found.append(_joined(SAY["against"], _with_letter(fact, question, index)))
    return found


def _is_structure(option: str, scene: Scene) -> bool:
    return option in scene.structures or option in scene.absent


def _with_letter(fact: str, question: DataQuestion, index: int) -> str:
    """A clause about "it" as one about an option: "the box of option C fits the outline"."""
    return f"the box of option {LETTERS[index]}{fact[2:]}" if question.ask == "box" and fact.startswith("it ") else fact


def _joined(openings: tuple[str, ...], clause: str) -> Said:
    """A clause behind one of several openings."""
    return Said(tuple(f"{opening}{{clause}}." for opening in openings), values={"clause": clause})


# --- What an annotator gets and gives.


@dataclass(frozen=True, slots=True)
class Task:
    """One question to be reasoned about."""

    id: str
    question: DataQuestion
    scene: Scene


@dataclass(frozen=True, slots=True)
class Annotation:
    """Grounded reasoning."""

    reasoning: tuple[str | Look, ...]
    annotator: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A task that got no valid reasoning."""

    id: str
    reason: str
    detail: str = ""


class Annotator(Protocol):
    """Writes grounded reasoning. Equal tasks always get equal annotations (an endpoint's replies are kept on disk)."""

    name: str

    def annotate(self, tasks: Sequence[Task]) -> list[Annotation | Dropped]:
        """One result a task, in order."""
        ...


# --- Grounded reasoning by template: offline, deterministic, varied.

VERSION = "template/2"
MAX_LOOKS = 3
FALSE_LEAD = 1 / 6  # of the texts that have room for one, which gives about one in eight of all
OPENS, EXTRA = 0.4, 0.6  # how often a text begins with a remark, and how often a look gets a second finding

T = TypeVar("T")
Finding = Callable[[Structure, Scene], Said | None]

# What a look has to tell, by kind of question; the place for all others.
_RESTS_ON: dict[str, Finding] = {
    "slices": slices,
    "largest": size,
    "smallest": size,
    "how_large": size,
    "lesion_extent": size,
    "brightness": brightness,
    "count": parts,
    "host": neighbours,
    "present": brightness,
    "which_present": brightness,
}
_EXTRAS: tuple[Finding, ...] = (
    size,
    place,
    slices,
    brightness,
    border,
    neighbours,
    shape,
)


class TemplateAnnotator:
    """Writes reasoning from sentence templates; see the module text.

    Attributes:
        name: "template/2"; the number grows whenever the same task gives another text.
    """

    name = VERSION

    def annotate(self, tasks: Sequence[Task]) -> list[Annotation | Dropped]:
        """One annotation a task, in order; Dropped("no_structure") if none of the needed structures is in the scene."""
        return [self._one(task) for task in tasks]

    def _one(self, task: Task) -> Annotation | Dropped:
        named = [n for n in dict.fromkeys(task.question.needs) if n in task.scene.structures]
        if not named:
            return Dropped(task.id, "no_structure", f"needs {', '.join(task.question.needs)}"[:200])
        writer = _Writer(task, named[:MAX_LOOKS])
        reasoning = writer.implicit() if task.question.family == IMPLICIT else writer.reasoning()
        return Annotation(reasoning, self.name)


class _Writer:
    """Writes one text, piece by piece."""

    def __init__(self, task: Task, named: list[str]) -> None:
        self.question, self.scene, self.named = task.question, task.scene, named
        seed = hashlib.sha256(f"{VERSION}:{task.id}".encode()).digest()
        self.draw = random.Random(int.from_bytes(seed[:8], "big")).random
        self.steps: list[str | Look] = []
        self.openings: set[str] = set()

    def reasoning(self) -> tuple[str | Look, ...]:
        """Reasoning with looks for a question with options."""
        if self.draw() < OPENS and self.question.family in OPENINGS:
            self._say(Said(OPENINGS[self.question.family], values={"kind": self.scene.kind}))
        wrong = self._wrong_structure()
        if wrong:
            self._false_lead(wrong)
        for index, name in enumerate(self.named):
            self._look(Said(SAY["next_look"] if index or wrong else SAY["first_look"], name), name)
            self._describe(self.scene.structures[name], first=index == 0)
        for said in sentences(self.question, self.scene, self.named, self.draw):
            self._say(said)
        self._say(
            Said(
                SAY["conclusions"],
                values={"right": self.scene.said(self.question.right).rstrip("."), "letter": self.question.letter},
            )
        )
        return tuple(self.steps)

    def implicit(self) -> tuple[str | Look, ...]:
        """Reasoning without looks for an implicit question: from the description to the target."""
        self._say(Said(_IMPLICIT["openings"], values={"kind": self.scene.kind}))
        for said in clues(self.question, self.scene, self.draw):
            self._say(said)
        self._say(Said(_IMPLICIT["conclusions"], self.named[0]))
        return tuple(self.steps)

    def _among(self, items: Sequence[T]) -> T:
        return items[int(self.draw() * len(items))]

    def _say(self, said: Said) -> None:
        """Add a sentence in one wording, not one that begins like another of this text if that can be had."""
        chosen = self._among([w for w in said.wordings if _opening(w) not in self.openings] or said.wordings)
        self.openings.add(_opening(chosen))
        text = said.written(chosen)
        if self.steps and isinstance(self.steps[-1], str):
            self.steps[-1] = f"{self.steps[-1]} {text}"
        else:
            self.steps.append(f". {text}" if self.steps else text)

    def _look(self, lead: Said, name: str) -> None:
        self._say(lead)
        self.steps.append(Look(name, self.scene.structures[name].box_model))

    def _describe(self, structure: Structure, *, first: bool) -> None:
        """What a look shows: what the answer rests on, and now and then something more."""
        main = _RESTS_ON.get(self.question.ask, place)
        if main is neighbours and not first:
            main = size
        said = main(structure, self.scene)
        if said:
            self._say(said)
        if said and self.draw() >= EXTRA:
            return
        others = [f for f in _EXTRAS if f is not main]
        more = sorted(others, key=lambda _: self.draw())
        extra = next((found for f in more if (found := f(structure, self.scene))), None)
        if extra:
            self._say(extra)

    def _wrong_structure(self) -> str:
        """A structure for a false lead: there, but not asked for; "" for none. Neighbours are the likeliest to be mistaken."""
        question = self.question
        if self.draw() >= FALSE_LEAD or len(self.named) >= MAX_LOOKS:
            return ""
        asked = {*question.needs, *question.about, *question.options}
        others = [n for n in self.scene.structures if n not in asked]
        missing = question.ask == "present" and not set(question.about) & set(self.scene.structures)
        if not others or missing:
            return ""
        near = [n for n in self.scene.structures[self.named[0]].neighbours if n in others]
        return self._among(near or others)

    def _false_lead(self, wrong: str) -> None:
        self._look(Said(SAY["wrong_look"]), wrong)
        known = self.named[0] in self.question.about
        wordings = SAY["correction"] if known else SAY["correction_option"]
        self._say(Said(wordings, self.named[0], {"other": the(wrong)}))


@lru_cache(maxsize=1024)
def _opening(text: str) -> str:
    """The first two words, or the first alone if it is one that nobody repeats."""
    words = text.split(maxsplit=2)[:2]
    return words[0] if words[0] in ("So", "This", "That") else " ".join(words)
