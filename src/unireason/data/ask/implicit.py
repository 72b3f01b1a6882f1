"""Implicit questions: the target is described by place, look and context, and never named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unireason.data import names
from unireason.data.annotate.wording import listed
from unireason.data.question import IMPLICIT, Question
from unireason.data.scene import Scene

from .clauses import Clause, clauses
from .dice import Dice
from .functions import gives_away
from .place import Places, compact, kin
from .writing import MOST_NEEDS

ASK = "segment"
OPENINGS = (
    "Which structure {c}? Mark it.",
    "Outline the structure that {c}.",
    "Find the region that {c}, and mark it with a box and two points.",
    "Something in this image {c}. Show where it is.",
    "Point out what {c}.",
    "One structure here {c}. Where is it?",
    "Give box and key points of the area that {c}.",
    "A clinician asks about what {c}. Localise it.",
)
VARIANTS = 2
"""Questions a structure at most."""
TRIES = 4
MOST_TARGETS = 24
"""Of scenes of a hundred structures so many are described."""
LEAST, MOST = 2, 4
"""Clauses a question."""
_LIMITS = {"context": 2}


def implicit(scene: Scene, rng: np.random.Generator) -> tuple[Question, ...]:
    """Questions that describe a structure of an image so that no other structure of the scene is meant, without its name.

    Args:
        scene: The scene.
        rng: Gives one number; the same number gives the same questions.

    Returns:
        Up to two questions a structure, all structures once in random order before any comes twice. Structures in several
        parts, those of which a like one is unclear (the other kidney, say), and those that nothing sets apart from the others are
        left out. Empty for volumes and for scenes without structures.
    """
    if scene.kind != "image":
        return ()
    places, dice = Places(scene), Dice(rng)
    targets = dice.shuffled([n for n in places.all if compact(scene.structures[n]) and not _mistakable(n, scene)])[:MOST_TARGETS]
    found: list[Question] = []
    for _ in range(VARIANTS):
        for name in targets:
            question = _question(places, dice, name)
            if question and all(question.text != q.text for q in found):
                found.append(question)
    return tuple(found)


def _mistakable(name: str, scene: Scene) -> bool:
    """True if something too small to be described has nearly the same name, so that a description might fit it too."""
    return any(kin(names.base(name), names.base(n)) for n in scene.unclear)


def _question(places: Places, dice: Dice, name: str) -> Question | None:
    """One question about a structure; None if it cannot be described alone or without giving its name away."""
    others = [n for n in places.scene.structures if n != name]
    for _ in range(TRIES):
        pool = [c for c in clauses(places, dice, name) if not gives_away(name, c.text)]
        chosen = _enough(pool, others, dice)
        openings = [o for o in OPENINGS if not gives_away(name, o)]
        if chosen and openings:
            texts = [c.text for c in chosen]
            marks = dict.fromkeys(c.landmark for c in chosen if c.landmark)
            return Question(
                family=IMPLICIT,
                ask=ASK,
                about=(name,),
                text=dice.pick(openings).format(c=_joined(texts)),
                options=(),
                answer=-1,
                facts=tuple(f"it {t}" for t in texts),
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


def _joined(texts: Sequence[str]) -> str:
    """Verb phrases in a row, with a comma before the last "and" if one has a comma or an "and" of its own."""
    if any("," in t or " and " in t for t in texts):
        return ", ".join(texts[:-1]) + f", and {texts[-1]}"
    return listed(texts)
