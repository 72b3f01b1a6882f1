"""Keeps answers from following from the wording: for each question text, all its answers are asked about equally often."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from unireason.data.scene import FAMILIES, DataQuestion

from .questions import ASK
from .scene import LessonScene

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
