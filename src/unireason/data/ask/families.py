"""Candidate questions of all six families about one scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from unireason.data.question import Question
from unireason.data.scene import Scene

from . import existence, lesion, localise, relation, size, spatial
from .dice import Dice
from .peers import Peers
from .place import Places

Ask = Callable[[Places, Dice], Iterator[Question]]

ASKS: dict[str, tuple[Ask, ...]] = {m.FAMILY: m.ASKS for m in (localise, spatial, existence, size, relation, lesion)}
"""Kinds of question by family, in the order of ``question.FAMILIES``."""


def candidates(scene: Scene, rng: np.random.Generator, *, each: int = 6, peers: Peers | None = None) -> list[Question]:
    """Varied questions about a scene, each with exactly one right option.

    Args:
        scene: The scene.
        rng: Gives one number; the same number gives the same questions.
        each: How many a family at most.
        peers: Scenes of other patients, by which wrong options become plausible; without them boxes, slices and sizes are shifted.

    Returns:
        Questions family by family, no two equal; kinds of a family take turns, in random order. Empty for a scene without
        structures.
    """
    if not scene.structures:
        return []
    places, dice = Places(scene, peers), Dice(rng)
    return [question for asks in ASKS.values() for question in _turns(asks, places, dice, each)]


def _turns(asks: tuple[Ask, ...], places: Places, dice: Dice, each: int) -> list[Question]:
    """Up to ``each`` questions, one kind after the other until all have no more."""
    found: list[Question] = []
    going = [ask(places, dice) for ask in dice.shuffled(asks)]
    while going and len(found) < each:
        for questions in list(going):
            question = next(questions, None)
            if question is None:
                going.remove(questions)
            elif question not in found and len(found) < each:
                found.append(question)
    return found
