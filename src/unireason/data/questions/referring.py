"""Implicit questions: the target is described by place, look and context, and never named."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from unireason.data import names
from unireason.data.rationale import seen
from unireason.data.rationale.implicit import differs, gives_away_whole
from unireason.data.rationale.wording import listed, the, wordings
from unireason.data.scene import IMPLICIT, DataQuestion, Scene

from .distractors import Dice, Places, compact, is_lesion, kin, part_text
from .families import FUNCTIONS, function_of, gives_away
from .wording import KINDS, MOST_NEEDS, TERMS

SLACK = 0.02
"""Of the picture's size: so far beyond the middle a structure might still be taken for lying on a side."""
CONTRAST, ANY_CONTRAST = 12.0, 4.0
ELONGATED, COMPACT = 2.0, 1.5
MAYBE_ELONGATED, MAYBE_COMPACT = 1.6, 1.9
LEAST_RADIUS, NO_RADIUS = 0.12, 0.08
HOUR_OFF, HOUR_SLACK = 12.0, 45.0
MOST_LANDMARKS = 12
"""So many other structures are tried as landmarks."""

_TEXTS = wordings("implicit_grounding")
_SAY: dict[str, tuple[str, ...]] = _TEXTS["clauses"]
_SEEN_FROM = {
    "patient": {"left": "to the patient's left of", "right": "to the patient's right of"},
    "picture": {"left": "to the left of", "right": "to the right of"},
    "": {
        "anterior": "in front of",
        "posterior": "behind",
        "above": "above",
        "below": "below",
        "superior": "above",
        "inferior": "below",
    }
    | {"superficial": "superficial to", "deep": "deep to", "nasal": "nasal to", "temporal": "temporal to"},
}


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that is true of a target."""

    kind: str
    text: str
    fits: Callable[[str], bool]
    landmark: str = ""
    by: str = "place"
    """What of a structure does not fit where the clause does not, see ``implicit.DIFFERS``."""


def clauses(places: Places, dice: Dice, name: str) -> list[Clause]:
    """Everything that can be said about a structure, each in one wording, in random order."""
    found = [
        *_halves(places, dice, name),
        *_clock(places, dice, name),
        *_look(places, dice, name),
        *_size(places, dice, name),
        *_context(places, dice, name),
        *_class(places, dice, name),
    ]
    return dice.shuffled(found)


def _halves(places: Places, dice: Dice, name: str) -> Iterator[Clause]:
    """The quarter, as seen along the slices, and the halves of the picture in which the target lies."""
    scene, signs = places.scene, places.signs[name]
    kind, terms = dice.pick(KINDS[scene.kind]), dice.pick(TERMS[scene.terms.split()[0]])
    if all(signs[:2]):
        part = part_text(scene.terms, ((0, signs[0]), (1, signs[1])))
        text = dice.pick(_SAY["quarter"])
        yield Clause("place", text.format(p=part, k=kind, t=terms), partial(_towards, places, {0: signs[0], 1: signs[1]}))
    for axis, sign in enumerate(signs):
        if sign:
            half = part_text(scene.terms, ((axis, sign),))
            text = dice.pick(_SAY["half"])
            yield Clause("place", text.format(p=half, k=kind, t=terms), partial(_towards, places, {axis: sign}))


def _towards(places: Places, signs: dict[int, int], other: str) -> bool:
    extent = places.scene.extent
    return all(places.places[other][axis] * sign >= -SLACK * extent[axis] for axis, sign in signs.items())


def _clock(places: Places, dice: Dice, name: str) -> Iterator[Clause]:
    """The hour towards which the target lies as seen from the middle of the picture; of a volume nobody says so."""
    if places.scene.kind == "volume":
        return
    angle, radius = _polar(places, name)
    hour = round(angle / 30)
    if radius >= LEAST_RADIUS and abs(angle - 30 * hour) <= HOUR_OFF:
        text = dice.pick(_SAY["hour"])
        yield Clause("place", text.format(h=hour or 12, k=dice.pick(KINDS["image"])), partial(_near_hour, places, 30.0 * hour))


def _polar(places: Places, name: str) -> tuple[float, float]:
    """Clockwise angle from twelve o'clock in degrees, in [-15, 345), and distance from the middle over the frame's shorter side."""
    frame = places.scene.frame
    x1, y1, x2, y2 = places.scene.structures[name].box_model.coords
    dx, dy = (x1 + x2 - frame.width) / 2, (y1 + y2 - frame.height) / 2
    angle = (math.degrees(math.atan2(dx, -dy)) + 15) % 360 - 15
    return angle, math.hypot(dx, dy) / min(frame.width, frame.height)


def _near_hour(places: Places, hour: float, other: str) -> bool:
    angle, radius = _polar(places, other)
    return radius < NO_RADIUS or abs((angle - hour + 180) % 360 - 180) <= HOUR_SLACK


def _look(places: Places, dice: Dice, name: str) -> Iterator[Clause]:
    """Brightness against the surroundings, and shape."""
    structures = places.scene.structures
    me = structures[name]
    if me.contrast >= CONTRAST:
        yield Clause("look", dice.pick(_SAY["brighter"]), by="brightness", fits=lambda n: structures[n].contrast >= ANY_CONTRAST)
    if me.contrast <= -CONTRAST:
        yield Clause("look", dice.pick(_SAY["darker"]), by="brightness", fits=lambda n: structures[n].contrast <= -ANY_CONTRAST)
    if me.elongation >= ELONGATED and not me.borders:
        yield Clause("shape", dice.pick(_SAY["long"]), by="shape", fits=lambda n: structures[n].elongation >= MAYBE_ELONGATED)
    if me.elongation <= COMPACT and not me.borders:
        yield Clause("shape", dice.pick(_SAY["round"]), by="shape", fits=lambda n: structures[n].elongation <= MAYBE_COMPACT)


def _size(places: Places, dice: Dice, name: str) -> Iterator[Clause]:
    """Share of the picture that the target covers, of a volume as much of its space."""
    scene = places.scene
    whole = math.prod(scene.extent) / 100
    percent = float(f"{scene.structures[name].measure / whole:.1g}")
    text = dice.pick(_SAY["size"]).format(p=percent, k=dice.pick(KINDS[scene.kind]))
    if percent >= 0.1:
        yield Clause("size", text, by="size", fits=lambda n: percent / 2 <= scene.structures[n].measure / whole <= 2 * percent)


def _context(places: Places, dice: Dice, name: str) -> Iterator[Clause]:
    """Neighbours, directions of other structures, and the side shared with others."""
    scene = places.scene
    near = scene.structures[name].neighbours
    for other in dice.shuffled([n for n in places.all if n != name])[:MOST_LANDMARKS]:
        if other in near:
            fits = partial(_touches, places, other)
            yield Clause("context", dice.pick(_SAY["next"]).format(n=the(other)), fits, other, "neighbours")
        direction = places.direction(name, other) if other in places.placed and not places.related(name, other) else ""
        if direction:
            text = f"{dice.pick(_SAY['direction'])} {(_SEEN_FROM[scene.space] | _SEEN_FROM[''])[direction]} {the(other)}"
            yield Clause("context", text, partial(_beyond, places, direction, other), other)
        sign = places.signs[name][0]
        if scene.space == "patient" and sign and places.signs[other][0] == sign and other in places.placed:
            yield Clause(
                "context", dice.pick(_SAY["same_side"]).format(n=the(other)), partial(_beside, places, sign, other), other
            )


def _touches(places: Places, landmark: str, other: str) -> bool:
    structures = places.scene.structures
    return landmark in structures[other].neighbours or other in structures[landmark].neighbours


def _beyond(places: Places, direction: str, landmark: str, other: str) -> bool:
    axis = next(i for i, both in enumerate(places.words) if direction in both)
    ahead = places.centres[other][axis] - places.centres[landmark][axis]
    return other != landmark and (ahead > 0 if direction == places.words[axis][1] else ahead < 0)


def _beside(places: Places, sign: int, landmark: str, other: str) -> bool:
    return other != landmark and _towards(places, {0: sign}, other)


def _class(places: Places, dice: Dice, name: str) -> Iterator[Clause]:
    """What the organ does; that a lesion is none."""
    if is_lesion(name):
        yield Clause("class", dice.pick(_SAY["abnormal"]), is_lesion, by="kind")
    row = function_of(name)
    if row >= 0:
        yield Clause("class", dice.pick(FUNCTIONS[row][1]), lambda n: function_of(n) == row, by="kind")


# --- Implicit questions: the target is described by place, look and context, and never named.

ASK = "segment"
OPENINGS: tuple[str, ...] = tuple(q for row in _TEXTS["intents"].values() for q in row["questions"])
VARIANTS = 2
"""Questions a structure at most."""
TRIES, CLOCK = 7, 3
"""Descriptions that are tried, the last ones with the clock."""
MOST_TARGETS = 24
"""Of scenes of a hundred structures so many are described."""
LEAST, MOST = 2, 4
"""Clauses a question."""
_LIMITS = {"context": 2}


def implicit(scene: Scene, rng: np.random.Generator) -> tuple[DataQuestion, ...]:
    """Questions that describe a structure so that no other structure of the scene is meant, without its name."""
    places, dice = Places(scene), Dice(rng)
    targets = dice.shuffled([n for n in places.all if compact(scene.structures[n]) and not _mistakable(n, scene)])[:MOST_TARGETS]
    found: list[DataQuestion] = []
    for _ in range(VARIANTS):
        for name in targets:
            question = _question(places, dice, name)
            if question and all(question.text != q.text for q in found):
                found.append(question)
    return tuple(found)


def _mistakable(name: str, scene: Scene) -> bool:
    """True if something too small to be described has nearly the same name, so that a description might fit it too."""
    return any(kin(names.base(name), names.base(n)) for n in scene.unclear)


def _question(places: Places, dice: Dice, name: str) -> DataQuestion | None:
    """One question about a structure; None if it cannot be described alone or without giving its name away."""
    others = [n for n in places.scene.structures if n != name]
    for attempt in range(TRIES):
        found = [c for c in clauses(places, dice, name) if not gives_away(name, c.text)]
        # Hardly anybody reports by the clock: only where nothing else tells the target apart.
        pool = found if attempt >= TRIES - CLOCK else [c for c in found if "o'clock" not in c.text]
        chosen = _enough(pool, others, dice)
        openings = [o for o in OPENINGS if not gives_away(name, o)]
        if chosen and openings:
            texts = [c.text for c in chosen]
            rival, by = _rival(places, dice, name, chosen)
            marks = dict.fromkeys([*(c.landmark for c in chosen if c.landmark), *([rival] if rival else [])])
            return DataQuestion(
                family=IMPLICIT,
                ask=ASK,
                about=(name,),
                text=dice.pick(openings).format(c=_joined(texts)),
                options=(),
                answer=-1,
                facts=(*(f"it {t}" for t in texts), *([differs(rival, by)] if rival else [])),
                needs=(name, *marks)[:MOST_NEEDS],
            )
    return None


def _enough(pool: Sequence[Clause], others: Sequence[str], dice: Dice) -> list[Clause]:
    """Clauses that no other structure satisfies together, a place or a context among them; empty if there are none."""
    wanted = LEAST + dice.below(MOST - LEAST + 1)
    first = next((c for c in pool if c.kind in ("place", "context")), None)
    if first is None:
        return []
    chosen, left = [first], [n for n in others if first.fits(n)]
    for clause in pool:
        if len(chosen) >= wanted and not left:
            break
        full = sum(c.kind == clause.kind for c in chosen) >= _LIMITS.get(clause.kind, 1)
        known = clause.landmark and any(c.landmark == clause.landmark for c in chosen)
        if full or known or len(chosen) == MOST:
            continue
        still = [n for n in left if clause.fits(n)]
        # Once as many are said as were wanted, only what sets the target apart is added.
        if len(chosen) < wanted or len(still) < len(left):
            chosen.append(clause)
            left = still
    return dice.shuffled(chosen) if not left and len(chosen) >= LEAST else []


def _rival(places: Places, dice: Dice, name: str, chosen: Sequence[Clause]) -> tuple[str, str]:
    """The structure that most of the clues fit as well, and by what it differs; ("", "") if none of them fits another one."""
    scene, best = places.scene, (0, "", "")
    marks = [c.landmark for c in chosen]
    for other in dice.shuffled([n for n in places.boxed if n != name and n not in marks]):
        misses = [c for c in chosen if not c.fits(other)]
        told = gives_away_whole(name, other) or not seen.clear(scene.structures[other].box_model.coords)
        if len(chosen) - len(misses) > best[0] and misses and not told:
            best = (len(chosen) - len(misses), other, misses[0].by)
    return best[1], best[2]


def _joined(texts: Sequence[str]) -> str:
    """Verb phrases in a row, with a comma before the last "and" if one has a comma or an "and" of its own."""
    if any("," in t or " and " in t for t in texts):
        return ", ".join(texts[:-1]) + f", and {texts[-1]}"
    return listed(texts)
