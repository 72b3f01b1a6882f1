"""Grounded reasoning by template: offline, deterministic, varied.

The text looks at the structures that the answer needs, says what is seen there, compares and concludes. Its last words are the right
option's text with the letter directly behind, so that even a small model can bind the two. Everything said is read off the scene.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from unireason.data.question import IMPLICIT
from unireason.data.scene import Structure
from unireason.types import Look

from . import findings, phrases
from .protocol import Annotation, Dropped, Task
from .wording import amount, fill, rounded, the

VERSION = "template/1"
MAX_LOOKS = 3
FALSE_LEAD = 1 / 8
OPENING, EXTRA = 0.4, 0.6  # how often a text begins with a remark, and how often a look gets a second finding

# What an answer rests on, by kind of question; the first word of an unknown kind that is listed here decides, else the place.
_RESTS_ON = {
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
_EXTRAS = (
    findings.size,
    findings.place,
    findings.slices,
    findings.brightness,
    findings.border,
    findings.neighbours,
    findings.shape,
)
_COMPARES_SIZE = ("largest", "smallest")
_COMPARES_PLACE = ("direction", "which_direction", "nearest")


class TemplateAnnotator:
    """Writes reasoning from sentence templates; see the module text.

    Attributes:
        name: "template/1"; the number grows whenever the same task gives another text.
    """

    name = VERSION

    def annotate(self, tasks: Sequence[Task]) -> list[Annotation | Dropped]:
        """One annotation a task, in order; Dropped("no_structure") if none of the needed structures is in the scene."""
        return [self._one(task) for task in tasks]

    def _one(self, task: Task) -> Annotation | Dropped:
        named = [n for n in dict.fromkeys(task.question.needs) if n in task.scene.structures]
        if not named:
            return Dropped(task.id, "no_structure", f"needs {', '.join(task.question.needs)}"[:200])
        writer = _Writer(task, named)
        reasoning = writer.implicit() if task.question.family == IMPLICIT else writer.reasoning()
        return Annotation(reasoning, self.name)


class _Writer:
    """Writes one text, piece by piece."""

    def __init__(self, task: Task, named: list[str]) -> None:
        self.task, self.question, self.scene = task, task.question, task.scene
        self.named = named[:MAX_LOOKS]
        seed = hashlib.sha256(f"{VERSION}:{task.id}".encode()).digest()
        self.rng = np.random.default_rng(int.from_bytes(seed[:8], "big"))
        self.steps: list[str | Look] = []

    def reasoning(self) -> tuple[str | Look, ...]:
        """Reasoning with looks for a question with options."""
        if self._chance(OPENING) and self.question.family in phrases.OPENINGS:
            self._say(fill(self._pick(phrases.OPENINGS[self.question.family]), kind=self.scene.kind))
        wrong = self._wrong_structure()
        if wrong:
            self._false_lead(wrong)
        for index, name in enumerate(self.named):
            leads = phrases.NEXT_LOOK if index or wrong else phrases.FIRST_LOOK
            self._look(fill(self._pick(leads), name), name)
            self._describe(self.scene.structures[name])
        self._compare()
        self._weigh()
        self._say(fill(self._pick(phrases.CONCLUSIONS), right=self.question.right, letter=self.question.letter))
        return tuple(self.steps)

    def implicit(self) -> tuple[str | Look, ...]:
        """Reasoning without looks for an implicit question: from the description to the target."""
        target = self.scene.structures[self.named[0]]
        self._say(fill(self._pick(phrases.IMPLICIT_OPENINGS), kind=self.scene.kind))
        for fact in self._some(self.question.facts, 3):
            self._say(fill(self._pick(phrases.IMPLICIT_CLUES), fact=fact))
        self._say(fill(self._pick(phrases.IMPLICIT_CONCLUSIONS), target.name))
        return tuple(self.steps)

    def _pick(self, wordings: Sequence[str]) -> str:
        return wordings[int(self.rng.integers(len(wordings)))]

    def _chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def _some(self, items: Sequence[str], most: int) -> list[str]:
        """A few items in their own order."""
        count = min(len(items), most)
        chosen = sorted(self.rng.permutation(len(items))[:count].tolist())
        return [items[i] for i in chosen]

    def _say(self, text: str) -> None:
        """Add a sentence; behind a look it is joined by the full stop that ends the look's own sentence."""
        if self.steps and isinstance(self.steps[-1], str):
            self.steps[-1] = f"{self.steps[-1]} {text}"
        else:
            self.steps.append(f". {text}" if self.steps else text)

    def _look(self, lead: str, name: str) -> None:
        self._say(lead)
        self.steps.append(Look(name, self.scene.structures[name].box_model))

    def _describe(self, structure: Structure) -> None:
        """What a look shows: what the answer rests on, and now and then something more."""
        main = _RESTS_ON.get(self.question.ask, findings.place)
        said = main(structure, self.scene)
        if said:
            self._say(self._pick(said))
        others = [w for f in _EXTRAS if f is not main and (w := f(structure, self.scene))]
        if others and (not said or self._chance(EXTRA)):
            self._say(self._pick(others[int(self.rng.integers(len(others)))]))

    def _wrong_structure(self) -> str:
        """A structure for a false lead: there, but not asked for; "" for none. Neighbours are the likeliest to be mistaken."""
        options = set(self.question.options)
        asked = {*self.question.needs, *self.question.about}
        others = [n for n in self.scene.structures if n not in asked and n not in options]
        if not self._chance(FALSE_LEAD) or not others or len(self.named) >= MAX_LOOKS:
            return ""
        near = [n for n in self.scene.structures[self.named[0]].neighbours if n in others]
        return self._pick(near or others)

    def _false_lead(self, wrong: str) -> None:
        self._look(self._pick(phrases.WRONG_LOOK), wrong)
        self._say(fill(self._pick(phrases.CORRECTION), self.named[0], other=the(wrong)))

    def _compare(self) -> None:
        """One sentence that sets two of the structures against each other, where the question compares."""
        if len(self.named) < 2:
            return
        first, second = (self.scene.structures[n] for n in self.named[:2])
        if self.question.ask in _COMPARES_SIZE:
            small, large = sorted((first, second), key=lambda s: s.measure)
            self._say(self._larger(small, large))
        elif self.question.ask in _COMPARES_PLACE:
            shift = tuple(a - b for a, b in zip(first.centre, second.centre, strict=True))
            axes = findings.notable(shift, self.scene)
            if axes:
                text = findings.offsets(shift, axes, self.scene)
                self._say(fill(self._pick(phrases.OFFSET), first=the(first.name), second=the(second.name), offsets=text))

    def _larger(self, small: Structure, large: Structure) -> str:
        return fill(
            self._pick(phrases.LARGER),
            large.name,
            large=the(large.name),
            small=the(small.name),
            times=rounded(large.measure / small.measure, 2),
            more=amount(large.measure, self.scene.unit),
            less=amount(small.measure, self.scene.unit),
        )

    def _weigh(self) -> None:
        """What speaks for the right option, and now and then what speaks against another."""
        question = self.question
        if len(question.facts) != len(question.options):
            return
        wrong = [i for i in range(len(question.options)) if i != question.answer and question.facts[i]]
        for index in wrong[: int(self.rng.integers(0, 3))]:
            self._option(phrases.FITS_NOT, index)
        if question.facts[question.answer]:
            self._option(phrases.FITS, question.answer)

    def _option(self, wordings: Sequence[str], index: int) -> None:
        text = self.question.options[index]
        named = the(text) if text in self.scene.structures or text in self.scene.absent else f'"{text}"'
        self._say(fill(self._pick(wordings), option=named, fact=self.question.facts[index]))
