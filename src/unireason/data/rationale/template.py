"""Grounded reasoning by template: offline, deterministic, varied; evidence first.

A text looks at every structure on offer in the order of the options, says of each what the picture shows, sets the findings against each
other in one form of words ("74 is more than 56, so ..."), and only then names the answer. Its last words are the right option's text
with the letter directly behind, so that even a small model can bind the two. Everything said is read off the scene, in numbers that the
reader can check (``seen``): places are those of boxes, and millimetres are spoken of only where the prompt states a scale.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, TypeVar

from unireason.core.types import Look
from unireason.data.records import box_of
from unireason.data.scene import (
    DIRECTIONS,
    GATES,
    HALVES,
    IMPLICIT,
    LETTERS,
    TOWARDS,
    DataQuestion,
    Part,
    Scene,
    Structure,
    is_lesion,
)

from . import implicit, measured, seen
from .wording import (
    OPENINGS,
    Said,
    a,
    claim,
    counted,
    instance,
    instances,
    is_plural,
    listed,
    number_word,
    of_kind,
    the,
    wordings,
)

NEAR_MIDDLE = 0.02  # of the picture: a smaller offset is not worth a word

_TEXTS = wordings("reasoning")
_LEAD: dict[str, tuple[str, ...]] = _TEXTS["lead"]
_MEASURED = wordings("measuring")
_OPEN = wordings("open")
_FINDING: dict[str, tuple[str, ...]] = {**_TEXTS["finding"], **_MEASURED["finding"]}
_RELATION: dict[str, tuple[str, ...]] = _TEXTS["relation"]
_THEN: dict[str, tuple[str, ...]] = {**_TEXTS["then"], **_MEASURED["then"]}
_VERDICT: dict[str, tuple[str, ...]] = {**_TEXTS["verdict"], **_MEASURED["verdict"], "all_there": _OPEN["all_there"]}
_CONCLUSIONS: tuple[str, ...] = _TEXTS["conclusions"]

_EDGES = (("left edge", "right edge"), ("upper edge", "lower edge"), ("first slice", "last slice"))
_ORDER = ("first", "second", "third", "fourth", "fifth", "sixth")


def notable(offset: tuple[float, ...], scene: Scene) -> list[int]:
    """Axes along which an offset is worth a word, in the order x, y, z."""
    found = [i for i, (o, e) in enumerate(zip(offset, scene.extent, strict=True)) if abs(o) >= max(1.0, NEAR_MIDDLE * e)]
    return [i for i in found if i or GATES.get(scene.modality) != "none"]


def offsets(offset: tuple[float, ...], axes: list[int], scene: Scene, *, metric: bool = True) -> str:
    """An offset along the scene's directions in words: "52 mm to the left and 31 mm to the back"; pixels and slices without a scale."""
    every, metric = seen.steps(scene), metric and bool(scene.scale)
    found = []
    for axis in axes:
        whole = round(abs(offset[axis]) / (1.0 if metric else every[axis]))
        said = f"{whole} mm" if metric else counted(whole, "slice" if axis == 2 else "pixel")
        found.append(f"{said} {TOWARDS[scene.terms][axis][offset[axis] > 0]}")
    return listed(found)


# --- What an annotator gets and gives.


@dataclass(frozen=True, slots=True)
class Task:
    """One question to be reasoned about; ``picture`` is a PNG file for annotators that look at it, b"" for all others.

    ``looks`` tells whether the text of an implicit question may look; those of all other questions do.
    """

    id: str
    question: DataQuestion
    scene: Scene
    picture: bytes = field(default=b"", repr=False)
    looks: bool = False


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

VERSION = "template/3"
MAX_LOOKS = 6
"""Looks of a text at most: a landmark and four options, or that many parts. Every built-in profile allows as many rounds."""
MOST_PARTS = 3
"""So many parts of a scattered structure are looked at where there is more than it to look at."""
FALSE_LEAD = 1 / 5  # of the texts that have room for one
OPENS, EXTRA = 0.35, 0.35  # how often a text begins with a remark, and how often a look gets a second finding
EXPECTED = 0.7
"""How often a look at what is there begins in the words for what is not: what is seen then decides, not the words."""
HELD = 0.5
"""A false lead whose box holds so much of a box that is asked for would not be false."""

T = TypeVar("T")
Finding = Callable[[Structure, Scene], Said | None]


class TemplateAnnotator:
    """Writes reasoning from sentence templates; see the module text.

    Attributes:
        name: "template/3"; the number grows whenever the same task gives another text.
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
        self.question, self.scene, self.named = task.question, task.scene, named
        seed = hashlib.sha256(f"{VERSION}:{task.id}".encode()).digest()
        self.draw = random.Random(int.from_bytes(seed[:8], "big")).random
        self.steps: list[str | Look] = []
        self.openings: set[str] = set()
        self.looks, self.looking = 0, task.looks
        self.more = self.draw() < EXTRA
        self.signs = self.draw() < 0.5  # "74 > 56" or "74 is more than 56"

    def reasoning(self) -> tuple[str | Look, ...]:
        """Reasoning with looks for a question with options."""
        if self.draw() < OPENS and self.question.family in OPENINGS and self.question.ask not in _GREY:  # theirs speak of sizes
            self._say(OPENINGS[self.question.family], kind=self.scene.kind)
        script = _SCRIPTS.get(self.question.ask)
        if script is None or not self._fits():
            script = _Writer._plain
        if script in _ABOUT_ONE:
            self._false_lead()
        script(self)
        texts = _OPEN["conclusions"] if self.question.gold else _CONCLUSIONS
        self._say(texts, right=self.scene.said(self.question.right).rstrip("."), letter=self.question.letter)
        return tuple(self.steps)

    def implicit(self) -> tuple[str | Look, ...]:
        """Reasoning for an implicit question, with looks if they are allowed."""
        implicit.write(self)
        return tuple(self.steps)

    # --- Words.

    def _among(self, items: Sequence[T]) -> T:
        return items[int(self.draw() * len(items))]

    def _say(self, texts: Sequence[str], name: str = "", **values: str) -> None:
        """Add a sentence in one wording, not one that begins like another of this text if that can be had."""
        texts = of_kind(tuple(texts), self.scene.kind)
        chosen = self._among([w for w in texts if _opening(w) not in self.openings] or texts)
        self.openings.add(_opening(chosen))
        text = Said(texts, name, values, self._many(name)).written(chosen)
        if self.steps and isinstance(self.steps[-1], str):
            self.steps[-1] = f"{self.steps[-1]} {text}"
        else:
            self.steps.append(f". {text}" if self.steps else text)

    def _many(self, name: str) -> bool:
        """True of a lesion of which there are several: it is spoken of in the plural."""
        structure = self.scene.structures.get(name)
        return structure is not None and structure.scattered and is_lesion(name)

    def _than(self, a: str, b: str, sign: int) -> str:
        """One amount set against another: the form of words in which all comparisons of a text are written."""
        words = (("is less than", "<"), ("is the same as", "="), ("is more than", ">"))[sign + 1]
        return f"{a} {words[self.signs]} {b}"

    def _relate(self, relation: str, then: str, name: str = "", **values: str) -> None:
        """A relation and what follows from it, in one sentence."""
        follows = self._among(_THEN[then])
        clause = Said((follows,), name, values, self._many(name)).written(follows)
        texts = _RELATION["so"]
        if relation[1] == " ":  # no sentence begins with the x of a place
            texts = tuple(t for t in texts if not t.startswith("{relation}"))
        self._say(texts, relation=relation, then=clause[:1].lower() + clause[1:])

    def texts(self, key: str) -> tuple[str, ...]:
        """Wordings of a finding."""
        return _FINDING[key]

    def leads(self, key: str) -> tuple[str, ...]:
        """Wordings in front of a look."""
        return _LEAD[key]

    def verdicts(self, key: str) -> tuple[str, ...]:
        """Wordings of what findings come to."""
        return _VERDICT[key]

    # --- Looks.

    def _look(self, lead: Sequence[str], name: str, look: Look, **values: str) -> None:
        self._say(lead, name, **values)
        self.steps.append(look)
        self.looks += 1

    def _show(self, name: str, *, most: int = MOST_PARTS, lead: str = "") -> None:
        """Look at a structure, part by part if it is scattered: the largest parts, as many as the bound allows."""
        structure = self.scene.structures[name]
        parts = seen.clear_parts(structure)[: max(1, most)]
        if not parts:
            texts = _LEAD[lead or ("next" if self.looks else "first")]
            self._look(texts, name, Look(name, structure.box_model), some=_some(name))
            self._extra(structure)
            return
        words = _which(parts, structure, self.scene)
        for index, (word, part) in enumerate(zip(words, parts, strict=True)):
            search = lead == "search" and index == 0  # whether it is there is the question: no part is named yet
            texts = _LEAD["search" if search else "next_part" if self.looks else "first_part"]
            self._look(texts, name, Look(name, part.box_model), part=word, some=_some(name))
        left = structure.part_count - len(parts)
        if left > 0:
            self._say(_FINDING["rest"], name, left=counted(left, "smaller part"))

    def _rooms(self, names: Sequence[str]) -> dict[str, int]:
        """How many parts of each structure may be looked at: one, and what the bound leaves in turn."""
        parts = {n: min(MOST_PARTS, len(seen.clear_parts(self.scene.structures[n]))) for n in names if n in self.scene.structures}
        rooms = dict.fromkeys(names, 1)
        left = MAX_LOOKS - len(names)
        while left > 0 and (more := [n for n in parts if rooms[n] < parts[n]]):
            for name in more[:left]:
                rooms[name] += 1
            left -= len(more)
        return rooms

    def _extra(self, structure: Structure) -> None:
        """Now and then something more that the first look shows, which the answer does not rest on."""
        if not self.more or self.looks > 1:
            return
        options = set(self.question.offered)
        spoken = _SPOKEN_OF.get(self.question.ask)
        for finding in sorted((f for f in _EXTRAS if f is not spoken), key=lambda _: self.draw()):
            said = finding(structure, self.scene)
            if said and not any(the(option) in said.values.values() for option in options):
                self._say(said.wordings, said.name, **said.values)
                return

    def _false_lead(self) -> None:
        """Now and then a look at something else first, that cannot be taken for what is asked for."""
        if self.draw() >= FALSE_LEAD or not self.named or self.looks:
            return
        structures, question = self.scene.structures, self.question
        asked = [structures[n] for n in {*question.needs, *question.about, *question.options} if n in structures]
        names = {s.name for s in asked}
        others = [s for n, s in structures.items() if n not in names and not s.scattered]
        others = [s for s in others if all(seen.share(a.box_model.coords, s.box_model.coords) < HELD for a in asked)]
        if others:
            near = [s for s in others if s.name in structures[self.named[0]].neighbours]
            wrong = self._among(near or others)
            self._look(_LEAD["wrong"], "", Look(wrong.name, wrong.box_model))
            self._say(_VERDICT["wrong"], self.named[0], other=the(wrong.name))

    # --- Findings that several kinds of question rest on.

    def _middle(self, name: str, axes: Sequence[int]) -> None:
        """Where the middle of a box lies along some axes."""
        self._say(_FINDING["middle"], name, where=seen.where(seen.middle_of(self.scene.structures[name]), axes))

    def _placed(self, name: str, axes: Sequence[int], than: Sequence[int]) -> None:
        """The middle of a box against a place, axis by axis, and the sides on which it lies."""
        place = seen.middle_of(self.scene.structures[name])
        signs = {i: (place[i] > than[i]) - (place[i] < than[i]) for i in axes}
        relations = [self._than(f"{seen.AXES[i]} {place[i]}", str(than[i]), signs[i]) for i in axes]
        sides = [HALVES[self.scene.terms][i][s > 0] for i, s in signs.items() if s]
        half = " ".join(sides if self.scene.space == "patient" else reversed(sides))
        piece = "half" if len(sides) == 1 else "part"
        where = f"in the {half} {piece}" if sides else "in the middle"
        self._say(_FINDING["placed"], name, relations=listed(relations), half=where, kind=self.scene.kind)

    def _sizes(self, names: Sequence[str], digits: int = seen.DIGITS) -> tuple[list[float], list[str]]:
        """Sizes of structures, and how they are said: all in one unit."""
        sizes = [seen.size(self.scene.structures[n], self.scene) for n in names]
        unit, scale = seen.one_unit(sizes, self.scene)
        return sizes, [f"{seen.number(s / scale, digits)} {unit}" for s in sizes]

    def _size(self, name: str, said: str) -> None:
        texts = _FINDING["size_together" if self.scene.structures[name].scattered else "size"]
        self._say(texts, name, value=said, quantity="area" if self.scene.kind == "image" else "volume")

    def _rank(
        self, names: Sequence[str], said: Sequence[str], values: Sequence[float], *, most: bool, words: tuple[str, str]
    ) -> None:
        """Amounts one after the other against the best so far, to the one that is left."""
        best = 0
        for index in range(1, len(names)):
            equal = said[index] == said[best]
            sign = 0 if equal else 1 if values[index] > values[best] else -1
            relation = self._than(said[index], said[best], sign)
            best = index if (sign > 0) == most and sign else best
            last = index == len(names) - 1
            then = ("best_of_two" if len(names) == 2 else "best") if last else "best_so_far"
            self._relate(relation, then, names[best], more=words[0], most=words[1])

    # --- One script a kind of question.

    def _fits(self) -> bool:
        """Whether the question has the arguments that its kind speaks of."""
        question, there = self.question, self.scene.structures
        names = question.offered if question.ask in _OFFERED else ()
        about = question.about[_SUBJECT.get(question.ask, 0) :][:1] if question.ask not in _NO_SUBJECT else ()
        known = all(n in there for n in (*names, *about)) and (bool(about) or question.ask in _NO_SUBJECT)
        if question.ask in ("present", "which_in_quadrant", "which_at_box"):
            known = known and bool(question.about)
        if question.ask == "direction":
            known = known and len(question.about) > 1 and question.about[1] in there
        if question.ask in ("which_present", "which_absent"):
            known = all(n in there or n in self.scene.absent for n in question.offered)
        return known and all(pattern.fullmatch(o) for o in question.options for pattern in _FORMS.get(question.ask, ()))

    def _plain(self) -> None:
        """What is needed, then the facts in the order of the options, for a kind that has no script."""
        question = self.question
        for name in self.named[:MAX_LOOKS]:
            self._show(name, most=1)
            self._middle(name, range(len(seen.sides(self.scene))))
        for option, fact in zip(question.offered, question.facts, strict=False):
            if fact and (option in self.scene.structures or option in self.scene.absent):
                self._say(_RELATION["fact"], clause=claim(fact, option))

    def _extreme(self) -> None:
        names, most = self.question.offered, self.question.ask == "largest"
        values, said = self._sizes(names)
        rooms = self._rooms(names)
        for name, value in zip(names, said, strict=True):
            self._show(name, most=rooms[name])
            self._size(name, value)
        self._rank(names, said, values, most=most, words=("larger", "largest") if most else ("smaller", "smallest"))

    def _how_large(self) -> None:
        name = self.question.about[0]
        self._show(name)
        unit = (self.question.options or (self.question.right,))[0].rpartition(" ")[2]
        value = seen.size(self.scene.structures[name], self.scene) / {"cm2": 100.0, "ml": 1000.0}.get(unit, 1.0)
        said = seen.number(value, 3)
        self._size(name, f"{said} {unit}")
        measured.ranges(self, value, said)

    def _box(self) -> None:
        name = self.question.about[0]
        self._show(name, most=1)
        mine = seen.edges(self.scene.structures[name])
        for letter, option in zip(LETTERS, self.question.options, strict=False):
            theirs = seen.numbers(option)
            edge = seen.worst_edge(theirs, mine)
            if edge is None:
                self._say(_FINDING["edges_agree"], name, option=f"box {letter}")
                continue
            axis, end = edge % (len(mine) // 2), edge >= len(mine) // 2
            values = {"option": f"box {letter}", "edge": _EDGES[axis][end], "way": _past(axis, theirs[edge] > mine[edge])}
            off = counted(abs(theirs[edge] - mine[edge]), "slice" if axis == 2 else "pixel")
            sign = 1 if theirs[edge] > mine[edge] else -1
            self._relate(self._than(_edge(axis, theirs[edge]), str(mine[edge]), sign), "box_off", name, off=off, **values)

    def _slices(self) -> None:
        name = self.question.about[0]
        first, last = self.scene.structures[name].slices[0], self.scene.structures[name].slices[1] - 1
        self._show(name)
        self._say(_FINDING["ends"], name, first=str(first), last=str(last))
        for option in self.question.options:
            begin, end = seen.numbers(option)
            if begin != first and abs(begin - first) >= abs(end - last):
                relation = self._than(str(begin), str(first), 1 if begin > first else -1)
                self._relate(relation, "begins_off", option=option, off="late" if begin > first else "early")
            elif end != last:
                relation = self._than(str(end), str(last), 1 if end > last else -1)
                self._relate(relation, "ends_off", option=option, off="late" if end > last else "early")
            else:
                self._say(_FINDING["ends_agree"], name, option=option)

    def _quadrant(self) -> None:
        name = self.question.about[0]
        axes = ["xyz".index(a) for a in (self.question.about[1] if len(self.question.about) > 1 else "x")]
        centre = seen.centre_of(self.scene)
        self._show(name)
        self._say(_FINDING["centre"], reference=seen.reference(self.scene, axes), kind=self.scene.kind)
        self._placed(name, axes, centre)

    def _which_in_quadrant(self) -> None:
        words = self.question.about[0].split()
        axes = sorted(i for i, both in enumerate(HALVES[self.scene.terms]) for w in both if w in words)
        centre = seen.centre_of(self.scene)
        self._say(_FINDING["centre"], reference=seen.reference(self.scene, axes), kind=self.scene.kind)
        for name in self.question.offered:
            self._show(name, most=1)
            self._placed(name, axes, centre)
        self._say(_VERDICT["only_in_part"], self.question.right, part=self.question.about[0])

    def _which_at_box(self) -> None:
        asked = seen.numbers(self.question.about[0])
        for name in self.question.options:
            self._show(name, most=1)
            mine = seen.edges(self.scene.structures[name])
            edge = seen.worst_edge(mine, asked)
            if edge is None:
                self._say(_FINDING["fits_box"], name)
                continue
            axis, end = edge % (len(mine) // 2), edge >= len(mine) // 2
            relation = self._than(_edge(axis, mine[edge]), str(asked[edge]), 1 if mine[edge] > asked[edge] else -1)
            self._relate(relation, "off_box", name, edge=_EDGES[axis][end])

    def _direction(self) -> None:
        first, second = self.question.about[:2]
        scene = self.scene
        every = range(len(seen.sides(scene)))
        words = [w for both in DIRECTIONS[scene.terms] for w in both]
        axes = sorted({words.index(o) // 2 for o in self.question.options})
        comparing = len(axes) != 1  # an open question asks for the main direction
        if comparing:
            axes = [i for i in every if i < len(DIRECTIONS[scene.terms])]
        for name in (second, first):
            self._show(name, most=1)
            self._middle(name, axes)
        shift = seen.offset(scene.structures[first], scene.structures[second], scene)
        places = [seen.middle_of(scene.structures[n]) for n in (first, second)]
        for axis in axes:
            sign = (places[0][axis] > places[1][axis]) - (places[0][axis] < places[1][axis])
            relation = self._than(seen.at(axis, places[0][axis]), str(places[1][axis]), sign)
            if not sign:
                self._relate(relation, "level", first, axis=seen.AXES[axis])
                continue
            off = f"{abs(shift[axis])} mm" if scene.scale else counted(abs(shift[axis]), "slice" if axis == 2 else "pixel")
            self._relate(
                relation, "lies_towards", first, off=off, second=the(second), towards=TOWARDS[scene.terms][axis][sign > 0]
            )
        if comparing:
            unit = "mm" if scene.scale else "pixels"
            order = sorted(axes, key=lambda i: -abs(shift[i]))
            relation = self._than(f"{abs(shift[order[0]])} {unit}", f"{abs(shift[order[1]])} {unit}", 1)
            self._relate(relation, "mainly", towards=TOWARDS[scene.terms][order[0]][shift[order[0]] > 0])

    def _which_direction(self) -> None:
        word, landmark = self.question.about[:2]
        axis = next(i for i, both in enumerate(DIRECTIONS[self.scene.terms]) if word in both)
        towards = TOWARDS[self.scene.terms][axis][DIRECTIONS[self.scene.terms][axis].index(word)]
        self._show(landmark, most=1)
        self._middle(landmark, [axis])
        than = seen.middle_of(self.scene.structures[landmark])
        for name in self.question.options:
            self._show(name, most=1)
            place = seen.middle_of(self.scene.structures[name])
            sign = (place[axis] > than[axis]) - (place[axis] < than[axis])
            way = TOWARDS[self.scene.terms][axis][sign > 0]
            relation = self._than(seen.at(axis, place[axis]), str(than[axis]), sign)
            self._relate(relation, "further", name, way=way, other=the(landmark))
        self._say(_VERDICT["only_towards"], self.question.right, towards=towards)

    def _nearest(self) -> None:
        landmark, names = self.question.about[0], self.question.offered
        self._show(landmark, most=1)
        here, scene = self.scene.structures[landmark], self.scene
        values = [seen.distance(scene.structures[n], here, scene) for n in names]
        said = [f"{seen.number(v)} {seen.unit_of_distance(scene)}" for v in values]
        for name, way in zip(names, said, strict=True):
            self._show(name, most=1)
            self._say(_FINDING["distance"], name, way=way, other=the(landmark))
        self._rank(names, said, values, most=False, words=("nearer", "nearest"))

    def _host(self) -> None:
        lesion = self.question.about[0]
        self._show(lesion, most=1)
        mine = seen.edges(self.scene.structures[lesion])
        half = len(mine) // 2
        spans = [seen.span(i, mine) for i in range(half)]
        self._say(_FINDING["spans"], lesion, spans=listed(spans))
        middle = seen.middle(tuple(mine))
        organs = self.question.options or [n for n in self.question.needs if n != lesion]
        for name in organs:
            self._show(name, most=1)
            box = seen.edges(self.scene.structures[name])
            off = [i for i in range(half) if not box[i] <= middle[i] < box[half + i]]
            if not off:
                self._say(_FINDING["around"], name, spans=listed([seen.span(i, box) for i in range(half)]), lesion=the(lesion))
                continue
            axis = off[0]
            below = middle[axis] < box[axis]
            bound = box[axis] if below else box[half + axis] - 1
            relation = self._than(seen.at(axis, middle[axis]), str(bound), -1 if below else 1)
            self._relate(relation, "not_inside", name, lesion=the(lesion), span=seen.span(axis, box))
        self._say(_VERDICT["held_by"], self.question.right, lesion=the(lesion))

    def _count(self) -> None:
        name = self.question.about[0]
        structure = self.scene.structures[name]
        total = structure.part_count
        boxes = [p.box_model for p in structure.parts[:total]] or [structure.box_model]
        clear = [b for b in boxes if seen.clear(b.coords)][:MAX_LOOKS] or [structure.box_model]
        noun = instance(name)[0]
        for index, box in enumerate(clear):
            lead = _LEAD["instance_next" if index else "instance_first"]
            self._look(lead, name, Look(name, box), nth=_ORDER[index], one=noun, kind=self.scene.kind)
            if total > 1:
                texts = _FINDING["counted" if index else "counted_one"]
                self._say(texts, name, number=instances(index + 1, name), count=number_word(index + 1))
        left = total - len(clear)
        if left > 0:
            sum_ = f"{len(clear)} + {left} = {total}"
            self._say(_FINDING["counted_rest"], name, left=f"{number_word(left)} more", sum=sum_)
        self._say(_VERDICT["count"], name, number=instances(total, name), kind=self.scene.kind)

    def _present(self) -> None:
        name = self.question.about[0]
        if name in self.scene.structures:
            self._found(name)
            self._say(_VERDICT["there"], name)
        else:
            self._missing(name, self.question.facts[0] if self.question.facts else "")
            self._say(_VERDICT["missing"], name, missing=the(name), kind=self.scene.kind)

    def _found(self, name: str, most: int = MOST_PARTS) -> None:
        """Look at what is there; mostly in the words in which one looks for what is not."""
        searching = self.draw() < EXPECTED or self._many(name)  # "the largest polyp" would tell that there are some
        self._show(name, most=most, lead=_search(name) if searching else "")
        said = seen.brightness(self.scene.structures[name], self.scene)
        self._say(said.wordings, said.name, **said.values)

    def _missing(self, name: str, fact: str) -> None:
        """Look where something that is not there would be, and say what lies there."""
        gone = seen.absence(fact)
        if gone.box:
            self._look(_LEAD[_search(name)], name, Look(name, box_of(gone.box), seen=False), some=_some(name))
            others = [n for n in gone.instead if n in self.scene.structures]
            texts = _FINDING["instead" if others else "nothing"]
            self._say(texts, name, other=listed([the(n) for n in others]), kind=self.scene.kind)
            return
        if self.question.ask == "present":
            for other in self.named[:2]:
                self._show(other, most=2)
                self._say(_FINDING["not_it"], other, missing=the(name))
        if gone.outside:
            self._say(_FINDING["beyond"], name, what=gone.outside, kind=self.scene.kind)
        elif self.question.ask != "present":
            self._say(_FINDING["no_sign"], name, kind=self.scene.kind)

    def _which_there(self) -> None:
        facts = dict(zip(self.question.offered, self.question.facts, strict=False))
        rooms = self._rooms(self.question.offered)
        for name in self.question.offered:
            if name in self.scene.structures:
                self._found(name, rooms[name])
            else:
                self._missing(name, facts.get(name, ""))
        only = "only_there" if self.question.ask == "which_present" else "only_missing"
        these = listed([the(n) for n in self.question.offered if n in self.scene.structures])
        self._say(_VERDICT["all_there" if self.question.gold else only], self.question.right, these=these, kind=self.scene.kind)


# --- What a look may find besides, and what is spoken of anyway.

_EXTRAS: tuple[Finding, ...] = (seen.brightness, seen.slices, seen.border, seen.neighbours, seen.shape)
_GREY = ("brightest", "darkest", "attenuation")
_SPOKEN_OF: Mapping[str, Finding] = {
    **dict.fromkeys(("slices", "which_on_slice", "level"), seen.slices),
    **dict.fromkeys(
        ("brightness", "present", "which_present", "which_absent", *_GREY, "attenuation_difference"), seen.brightness
    ),
    "shape": seen.shape,
}


# --- Places and parts in words.


def _search(name: str) -> str:
    """In which words one looks for something: a lesion has no usual place."""
    return "search" if is_lesion(name) else "expected"


def _some(name: str) -> str:
    """What one looks for, with an article that does not take for granted that it is there."""
    return a(name) if is_lesion(name) else the(name)


def _edge(axis: int, value: int) -> str:
    """One number of a box."""
    return f"{'xyz'[axis]} {value}"


def _which(parts: Sequence[Part], structure: Structure, scene: Scene) -> list[str]:
    """What the parts of a scattered structure are called: "the left one of the kidneys", "the second largest polyp"."""
    name = structure.name
    if is_lesion(name):
        return [f"the {'' if i == 0 else _ORDER[i] + ' '}largest {instance(name)[0]}" for i in range(len(parts))]
    piece = "one" if is_plural(name) else "part"
    if len(parts) == structure.part_count == 2:
        a, b = (seen.middle(p.box_model.coords) for p in parts)
        apart = [abs(p - q) / n for p, q, n in zip(a, b, seen.sides(scene), strict=True)]
        axis = apart.index(max(apart))
        words = [HALVES[scene.terms][axis][a[axis] > b[axis]], HALVES[scene.terms][axis][b[axis] > a[axis]]]
        if words[0] != words[1]:
            return [f"the {word} {piece} of {the(name)}" for word in words]
    return [f"the {'' if i == 0 else _ORDER[i] + ' '}largest {piece} of {the(name)}" for i in range(len(parts))]


def _past(axis: int, far: bool) -> str:
    """Towards which side of the picture an edge is off."""
    return (("left", "right"), ("up", "down"), ("early", "late"))[axis][far]


@lru_cache(maxsize=4096)
def _opening(text: str) -> str:
    """The first two words, or the first alone if it is one that nobody repeats."""
    words = text.split(maxsplit=2)[:2]
    return words[0] if words[0] in ("So", "This", "That") else " ".join(words)


# --- Which script belongs to which kind of question, and what it needs.

_RANGE = re.compile(r"([\d.,]+) to ([\d.,]+) (\w+)")
_BOX, _SLICES = re.compile(r"\[\d+(?:,\d+){3,5}\]"), re.compile(r"\d+ to \d+")
_SCRIPTS: dict[str, Callable[[_Writer], None]] = {
    "quadrant": _Writer._quadrant,
    "lesion_quadrant": _Writer._quadrant,
    "lesion_side": _Writer._quadrant,
    "box": _Writer._box,
    "slices": _Writer._slices,
    "which_in_quadrant": _Writer._which_in_quadrant,
    "which_at_box": _Writer._which_at_box,
    "present": _Writer._present,
    "which_present": _Writer._which_there,
    "which_absent": _Writer._which_there,
    "largest": _Writer._extreme,
    "smallest": _Writer._extreme,
    "how_large": _Writer._how_large,
    "lesion_extent": _Writer._how_large,
    "direction": _Writer._direction,
    "which_direction": _Writer._which_direction,
    "nearest": _Writer._nearest,
    "host": _Writer._host,
    "count": _Writer._count,
    **measured.SCRIPTS,
}
_ABOUT_ONE = (_Writer._quadrant, _Writer._box, _Writer._slices, _Writer._how_large, measured.brightness)
"""Scripts that look at one structure, so that a false lead may stand before it."""
_AMONG = ("which_in_quadrant", "which_at_box", "which_on_slice", "largest", "smallest", "brightest", "darkest")
_OFFERED = (*_AMONG, "which_direction", "nearest", "host", "closest", "level")
"""Kinds whose options are structures that are there."""
_NO_SUBJECT = (*_AMONG, "present", "which_present", "which_absent")
"""Kinds whose arguments need not be structures that are there."""
_SUBJECT = {"which_direction": 1}
"""Which argument is a structure, where it is not the first."""
_FORMS = {"box": (_BOX,), "slices": (_SLICES,), "how_large": (_RANGE,), "lesion_extent": (_RANGE,)}
"""Form of the options of some kinds."""
