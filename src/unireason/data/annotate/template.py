"""Grounded reasoning by template: offline, deterministic, varied.

The text looks at the structures that the answer needs, says what is seen there, compares and concludes. Its last words are the right
option's text with the letter directly behind, so that even a small model can bind the two. Everything said is read off the scene.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from unireason.data.question import IMPLICIT
from unireason.data.scene import Scene, Structure
from unireason.types import Look

from . import findings, phrases, verdict
from .protocol import Annotation, Dropped, Task
from .wording import Said, the

VERSION = "template/2"
MAX_LOOKS = 3
FALSE_LEAD = 1 / 6  # of the texts that have room for one, which gives about one in eight of all
OPENING, EXTRA = 0.4, 0.6  # how often a text begins with a remark, and how often a look gets a second finding

T = TypeVar("T")
Finding = Callable[[Structure, Scene], Said | None]

# What a look has to tell, by kind of question; the place for all others.
_RESTS_ON: dict[str, Finding] = {
    "slices": findings.slices,
    "largest": findings.size,
    "smallest": findings.size,
    "how_large": findings.size,
    "lesion_extent": findings.size,
    "brightness": findings.brightness,
    "count": findings.parts,
    "host": findings.neighbours,
    "present": findings.brightness,
    "which_present": findings.brightness,
}
_EXTRAS: tuple[Finding, ...] = (
    findings.size,
    findings.place,
    findings.slices,
    findings.brightness,
    findings.border,
    findings.neighbours,
    findings.shape,
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
        if self.draw() < OPENING and self.question.family in phrases.OPENINGS:
            self._say(Said(phrases.OPENINGS[self.question.family], values={"kind": self.scene.kind}))
        wrong = self._wrong_structure()
        if wrong:
            self._false_lead(wrong)
        for index, name in enumerate(self.named):
            self._look(Said(phrases.NEXT_LOOK if index or wrong else phrases.FIRST_LOOK, name), name)
            self._describe(self.scene.structures[name], first=index == 0)
        for said in verdict.sentences(self.question, self.scene, self.named, self.draw):
            self._say(said)
        self._say(Said(phrases.CONCLUSIONS, values={"right": self.question.right.rstrip("."), "letter": self.question.letter}))
        return tuple(self.steps)

    def implicit(self) -> tuple[str | Look, ...]:
        """Reasoning without looks for an implicit question: from the description to the target."""
        self._say(Said(phrases.IMPLICIT_OPENINGS, values={"kind": self.scene.kind}))
        for said in verdict.clues(self.question, self.scene, self.draw):
            self._say(said)
        self._say(Said(phrases.IMPLICIT_CONCLUSIONS, self.named[0]))
        return tuple(self.steps)

    def _among(self, items: Sequence[T]) -> T:
        return items[int(self.draw() * len(items))]

    def _say(self, said: Said) -> None:
        """Add a sentence in one wording, not one that begins like another of this text if that can be had.

        Behind a look it comes after the full stop that ends the look's own sentence.
        """
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
        main = _RESTS_ON.get(self.question.ask, findings.place)
        if main is findings.neighbours and not first:
            main = findings.size
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
        self._look(Said(phrases.WRONG_LOOK), wrong)
        known = self.named[0] in self.question.about
        wordings = phrases.CORRECTION if known else phrases.CORRECTION_OPTION
        self._say(Said(wordings, self.named[0], {"other": the(wrong)}))


@lru_cache(maxsize=1024)
def _opening(text: str) -> str:
    """The first two words, or the first alone if it is one that nobody repeats."""
    words = text.split(maxsplit=2)[:2]
    return words[0] if words[0] in ("So", "This", "That") else " ".join(words)
