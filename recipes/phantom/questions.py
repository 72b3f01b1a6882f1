"""The six question families of UniMed-CoT, asked about a scene.

Every question can be answered from masks alone, has exactly one right option, and comes with the facts that the reasoning
needs. Directions are patient directions (left = patient left); sizes are compared in mm2 or mm3.

Source: UniReason-Med (arXiv 2606.11740), question-answer generation; the wording and the rules are ours.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from unireason.core.types import Box, Look
from unireason.data.records import SampleRecord
from unireason.data.scene import FAMILIES, DataQuestion

from .scene import LessonRegion, LessonScene

QUADRANTS = ("right anterior", "left anterior", "right posterior", "left posterior")
RELATIONS = ("to the left", "to the right", "in front", "behind", "above", "below")
LESION = "lesion"
PHRASES: dict[str, tuple[str, ...]] = {
    "structure_localisation": ("Where does the {0} lie?", "Where is the {0}?", "In which part does the {0} lie?"),
    "spatial_localisation": ("Which structure lies in the {0} part?", "Which of these structures lies {0}?"),
    "existence_verification": ("Is the {0} present?", "Can the {0} be seen?", "Is there a {0}?"),
    "size_comparison": ("Which is larger, the {0} or the {1}?", "Is the {0} or the {1} larger?"),
    "spatial_relation": ("Where does the {0} lie relative to the {1}?", "Where is the {0} relative to the {1}?"),
    "lesion_host": ("Which organ holds the lesion?", "In which organ is the lesion?"),
    "lesion_look": ("How does the lesion look against its organ?", "Is the lesion brighter or darker than its organ?"),
}
MIN_RATIO = 1.4  # sizes closer than this are not compared
MIN_OFFSET = 0.035  # of the picture's width: centres nearer to a border between quadrants are not asked about


def _organs(scene: LessonScene) -> list[LessonRegion]:
    return [r for r in scene.regions.values() if r.name != LESION]


def quadrant(region: LessonRegion, scene: LessonScene) -> str | None:
    """The patient quadrant in which a structure's centre lies; None if too near to a border between two."""
    dx, dy = region.centre_mm[0] / scene.extent_mm[0], region.centre_mm[1] / scene.extent_mm[1]
    if abs(dx) < MIN_OFFSET or abs(dy) < MIN_OFFSET:
        return None
    return f"{'left' if dx > 0 else 'right'} {'posterior' if dy > 0 else 'anterior'}"


def _phrase(rng: np.random.Generator, kind: str, *names: str) -> str:
    """One of the wordings of a kind of question."""
    wordings = PHRASES[kind]
    return wordings[int(rng.integers(len(wordings)))].format(*names)


def _shuffled(rng: np.random.Generator, right: str, wrong: list[str]) -> tuple[tuple[str, ...], int]:
    """Right and wrong options in random order, and the index of the right one."""
    options = [right, *wrong]
    order = rng.permutation(len(options))
    return tuple(options[i] for i in order), int(np.flatnonzero(order == 0)[0])


def structure_localisation(scene: LessonScene, rng: np.random.Generator) -> DataQuestion | None:
    """Where does a structure lie? Four quadrants. Never about structures whose name tells the side."""
    known = [(r, q) for r in _organs(scene) if not r.name.startswith(("left", "right")) and (q := quadrant(r, scene))]
    if not known:
        return None
    region, right = known[int(rng.integers(len(known)))]
    options, answer = _shuffled(rng, right, [q for q in QUADRANTS if q != right])
    name = (region.name,)
    return DataQuestion(FAMILIES[0], "quadrant", name, _phrase(rng, FAMILIES[0], *name), options, answer, (right,), name)


def spatial_localisation(scene: LessonScene, rng: np.random.Generator) -> DataQuestion | None:
    """Which of four structures lies in a given quadrant? The other three lie elsewhere or are absent."""
    known = {r.name: quadrant(r, scene) for r in _organs(scene)}
    placed = [(n, q) for n, q in known.items() if q]
    if not placed:
        return None
    right, where = placed[int(rng.integers(len(placed)))]
    elsewhere = [n for n, q in known.items() if q and q != where] + [n for n in scene.absent if n != LESION]
    if len(elsewhere) < 3:
        return None
    # Structures that are there are the harder distractors; absent ones fill up.
    present = [n for n in elsewhere if n in known]
    wrong = list(rng.permutation(present)[:3])
    wrong += list(rng.permutation([n for n in elsewhere if n not in known])[: 3 - len(wrong)])
    options, answer = _shuffled(rng, right, [str(w) for w in wrong])
    facts = tuple(str(known.get(o) or "absent") for o in options)
    return DataQuestion(FAMILIES[1], "in_quadrant", (where,), _phrase(rng, FAMILIES[1], where), options, answer, facts, (right,))


def existence_verification(scene: LessonScene, rng: np.random.Generator) -> DataQuestion | None:
    """Is a structure there? Present and absent ones are asked about equally often; absent only if annotated by the source."""
    there = bool(rng.random() < 0.5)
    names = [r.name for r in _organs(scene)] if there else [n for n in scene.absent if n != LESION]
    if not names:
        return None
    name = names[int(rng.integers(len(names)))]
    options, answer = _shuffled(rng, "yes" if there else "no", ["no" if there else "yes"])
    facts = ("present" if there else "absent",)
    return DataQuestion(FAMILIES[2], "present", (name,), _phrase(rng, FAMILIES[2], name), options, answer, facts, (name,))


def size_comparison(scene: LessonScene, rng: np.random.Generator) -> DataQuestion | None:
    """Which of two structures is larger, by area or volume? The ratio is at least MIN_RATIO and at most 4."""
    organs = _organs(scene)
    pairs = [
        (a, b)
        for i, a in enumerate(organs)
        for b in organs[i + 1 :]
        if MIN_RATIO <= max(a.measure_mm, b.measure_mm) / min(a.measure_mm, b.measure_mm) <= 4.0
    ]
    if not pairs:
        return None
    a, b = pairs[int(rng.integers(len(pairs)))]
    large, small = (a, b) if a.measure_mm > b.measure_mm else (b, a)
    options, answer = _shuffled(rng, large.name, [small.name])
    facts = tuple(str(scene.regions[o].size) for o in options)
    return DataQuestion(FAMILIES[3], "largest", options, _phrase(rng, FAMILIES[3], *options), options, answer, facts, options)


def _relation(a: LessonRegion, b: LessonRegion) -> str | None:
    """Direction from b to a along the axis on which they differ most; None if no axis dominates by half or by 20 mm."""
    delta = np.array(a.centre_mm) - np.array(b.centre_mm)
    order = np.argsort(-np.abs(delta))
    if abs(delta[order[0]]) < 20.0 or abs(delta[order[0]]) < 1.5 * abs(delta[order[1]]):
        return None
    axis = int(order[0])
    return (("to the right", "to the left"), ("in front", "behind"), ("below", "above"))[axis][int(delta[axis] > 0)]


def spatial_relation(scene: LessonScene, rng: np.random.Generator) -> DataQuestion | None:
    """Where does one structure lie relative to another? Four directions, the right one dominating."""
    organs = _organs(scene)
    pairs = [(a, b, d) for a in organs for b in organs if a is not b and (d := _relation(a, b))]
    if not pairs:
        return None
    # A direction is drawn first, so that rare ones are asked as often as common ones.
    wanted = sorted({d for _, _, d in pairs})
    direction = wanted[int(rng.integers(len(wanted)))]
    pairs = [p for p in pairs if p[2] == direction]
    a, b, _ = pairs[int(rng.integers(len(pairs)))]
    opposite = RELATIONS[RELATIONS.index(direction) ^ 1]
    others = [r for r in RELATIONS[: 4 if len(a.centre_mm) == 2 else 6] if r not in (direction, opposite)]
    options, answer = _shuffled(rng, direction, [opposite, *(str(o) for o in rng.permutation(others)[:2])])
    names = (a.name, b.name)
    return DataQuestion(FAMILIES[4], "direction", names, _phrase(rng, FAMILIES[4], *names), options, answer, (direction,), names)


def lesion_analysis(scene: LessonScene, rng: np.random.Generator) -> DataQuestion | None:
    """Which organ holds the lesion, or is it brighter or darker than that organ?"""
    if LESION not in scene.regions or not scene.lesion_organ:
        return None
    if rng.random() < 0.35 and "lung" not in scene.lesion_organ:
        right, wrong = ("brighter", "darker") if scene.lesion_brighter else ("darker", "brighter")
        options, answer = _shuffled(rng, right, [wrong])
        text = _phrase(rng, "lesion_look")
        return DataQuestion(FAMILIES[5], "lesion_look", (), text, options, answer, (right,), (LESION,))
    hosts = ["liver", "spleen", "left kidney", "right kidney", "left lung", "right lung"]
    wrong_hosts = [str(h) for h in rng.permutation([h for h in hosts if h != scene.lesion_organ])[:3]]
    options, answer = _shuffled(rng, scene.lesion_organ, wrong_hosts)
    text = _phrase(rng, "lesion_host")
    return DataQuestion(FAMILIES[5], "lesion_host", (), text, options, answer, (scene.lesion_organ,), (LESION,))


ASK: dict[str, Callable[[LessonScene, np.random.Generator], DataQuestion | None]] = {
    "structure_localisation": structure_localisation,
    "spatial_localisation": spatial_localisation,
    "existence_verification": existence_verification,
    "size_comparison": size_comparison,
    "spatial_relation": spatial_relation,
    "lesion_analysis": lesion_analysis,
}


# --- Keeps answers from following from the wording: for each question text, all its answers are asked about equally often.

DRAWS = 10  # candidate questions a family and scene


class Balancer:
    """Chooses among candidate questions the one whose answer is rarest for its text so far."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def lead(self, question: DataQuestion) -> int:
        """How much more often this answer was given for this text than the most frequent other one; smaller is better."""
        counts = self._seen[question.text]
        right = question.right
        return counts[right] - max((n for answer, n in counts.items() if answer != right), default=0)

    def pick(self, candidates: Sequence[DataQuestion]) -> DataQuestion | None:
        """Takes the best candidate and remembers it; None if there is none, or if even the best would tilt its text."""
        if not candidates:
            return None
        best = min(candidates, key=self.lead)
        if self.lead(best) > 1 + 0.1 * sum(self._seen[best.text].values()):
            return None
        self._seen[best.text][best.right] += 1
        return best


def draw(scene: LessonScene, family: str, rng: np.random.Generator, balancer: Balancer) -> DataQuestion | None:
    """One balanced question of a family about a scene; None if the scene gives none."""
    candidates = [q for _ in range(DRAWS) if (q := ASK[family](scene, rng)) is not None]
    return balancer.pick(candidates)


def draw_all(scene: LessonScene, rng: np.random.Generator, balancer: Balancer, *, rounds: int = 1) -> list[DataQuestion]:
    """Up to ``rounds`` questions of every family, without repeating a text with the same options."""
    seen: set[tuple[str, frozenset[str]]] = set()
    questions = []
    for _ in range(rounds):
        for family in FAMILIES:
            question = draw(scene, family, rng, balancer)
            if question and (key := (question.text, frozenset(question.options))) not in seen:
                seen.add(key)
                questions.append(question)
    return questions


# --- Grounded reasoning by template: text with a look at every structure that the answer needs. Its last words are the chosen option's
# text with its letter right behind it, and the answer repeats both, so that even a very small model binds the two where that is easy.


def _look(scene: LessonScene, name: str) -> Look:
    if name in scene.regions:
        return Look(name, scene.regions[name].box)
    box: Box = scene.absent[name]
    return Look(name, box, seen=False)


def _joined(parts: list[str | Look]) -> list[str | Look]:
    """Neighbouring pieces of text become one, a blank between them."""
    merged: list[str | Look] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] = f"{merged[-1]} {part}"
        else:
            merged.append(part)
    return merged


def _body(question: DataQuestion, scene: LessonScene) -> list[str | Look]:
    """Everything between ``<think>`` and the conclusion."""
    looks = [_look(scene, t) for t in question.needs]
    first = question.needs[0]
    if question.family == "structure_localisation":
        return [f"The {first} lies at", looks[0], f". It is {question.facts[0]}."]
    if question.family == "spatial_localisation":
        listed = ",".join(f" {o} {f}" for o, f in zip(question.options, question.facts, strict=True))
        return [f"Compare{listed}. The {first} lies at", looks[0], "."]
    if question.family == "existence_verification":
        return [f"Look for the {first} at", looks[0], f". It is {question.facts[0]}."]
    if question.family == "size_comparison":
        parts: list[str | Look] = []
        for name, look, size in zip(question.needs, looks, question.facts, strict=True):
            parts += [f"The {name} lies at", look, f" size {size}."]
        return _joined(parts)
    if question.family == "spatial_relation":
        second = question.needs[1]
        return [f"The {first} lies at", looks[0], f". The {second} lies at", looks[1], f". The first lies {question.facts[0]}."]
    finding = f"in the {question.facts[0]}" if question.facts[0] not in ("brighter", "darker") else question.facts[0]
    return ["The lesion lies at", looks[0], f". It is {finding}."]


def write(question: DataQuestion, scene: LessonScene) -> SampleRecord:
    """Write the grounded reasoning of one question."""
    *body, last = _body(question, scene)
    reasoning = (*body, f"{last} So {question.right} {question.letter}.")
    name, kind = scene.patient, scene.frame.kind
    return SampleRecord(name, name, name, "train", kind, question, reasoning, annotator="base")
