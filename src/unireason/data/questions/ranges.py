"""Options that are ranges of an amount: those of other patients beside the true one, or ranges next to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from unireason.data.rationale import seen
from unireason.grounding.grammar import number_text

from .distractors import Dice
from .wording import Choice

FACTORS = (1.25, 1.35, 1.5, 1.75, 2.0)
LEAST_APART = 1.35
"""Amounts of other patients that differ by so much may stand beside each other as ranges."""
INNER = (0.2, 0.8)
"""Where in its range an amount may lie, on a logarithmic scale."""
EDGE = 1.05
"""An amount is so many times away from both ends of its range."""

WIDTHS, STEP, INSIDE = (20, 25), 5, 5.0
"""Width of a span of Hounsfield units, what its ends are multiples of, and how far from both ends a value lies."""
SPANS_APART = 30.0
"""Values that differ by so much may stand beside each other as spans."""

Unit = Callable[[float], tuple[str, float]]
"""The unit for a least amount, and how much of the given one it is."""


def apart(a: float, b: float) -> bool:
    """True if ranges about two amounts can stand beside each other."""
    return min(a, b) > 0 and max(a, b) >= LEAST_APART * min(a, b)


def exchanged_ranges(
    values: Sequence[float], dice: Dice, unit: Unit, said: str = "it measures"
) -> tuple[Choice, list[Choice]] | None:
    """A range about each of some values, the first of which is the true one; None if they cannot be told apart or there is but one.

    All ranges have the same factor between their ends, and hold their value at the same place, so that their form tells nothing.
    """
    if len(values) < 2:
        return None
    ordered = sorted(values)
    nearest = min(b / a for a, b in pairwise(ordered))
    fitting = [f for f in FACTORS if f * EDGE <= nearest]
    if not fitting:
        return None
    factor, inside = dice.pick(fitting), dice.uniform(*INNER)
    word, scale = unit(ordered[0] * factor**-inside)
    ranges = [tuple(float(f"{v / scale * factor ** (i - inside):.2g}") for i in (0, 1)) for v in values]
    true = values[0] / scale
    if not ranges[0][0] * EDGE <= true <= ranges[0][1] / EDGE or any(a[1] > b[0] for a, b in pairwise(sorted(ranges))):
        return None
    measured = f"{said} {seen.number(true, 3)} {word}"
    texts = [f"{_end(low)} to {_end(high)} {word}" for low, high in ranges]
    wrong = [
        (t, f"{measured}, which is {'more' if r[1] <= true else 'less'}") for t, r in zip(texts[1:], ranges[1:], strict=True)
    ]
    return (texts[0], measured), wrong


def _end(value: float) -> str:
    """One end of a range."""
    return number_text(float(f"{value:.2g}"))


def adjacent_ranges(
    value: float, dice: Dice, unit: Unit, said: str = "it measures", least: float = 0.0
) -> tuple[Choice, list[Choice]] | None:
    """Four ranges of an amount, each beginning where the one before ends, the true one at a random rank; none begins below ``least``."""
    factor, rank, inside = dice.pick(FACTORS[1:]), dice.below(4), dice.uniform(*INNER)
    while rank and value * factor ** (-rank - inside) < least:
        rank -= 1
    word, scale = unit(value * factor ** (-rank - inside))
    value /= scale
    edges = [float(f"{value * factor ** (i - rank - inside):.2g}") for i in range(5)]
    if not edges[rank] * EDGE <= value <= edges[rank + 1] / EDGE:
        return None
    ranges = [f"{number_text(low)} to {number_text(high)} {word}" for low, high in pairwise(edges)]
    measured = f"{said} {seen.number(value, 3)} {word}"
    wrong = [(r, f"{measured}, which is {'more' if i < rank else 'less'}") for i, r in enumerate(ranges) if i != rank]
    return (ranges[rank], measured), wrong


def spans(values: Sequence[float], dice: Dice) -> list[tuple[int, int]]:
    """A span about each of some values that are ``SPANS_APART``; all are equally wide and hold their value at about the same place.

    [] if the first value cannot be held away from the ends of its span, or a span would reach over 0.
    """
    width = dice.pick(WIDTHS)
    inside = dice.uniform(0.3, 0.7) * width
    low = [STEP * round((v - inside) / STEP) for v in values]
    fits = low[0] + INSIDE <= values[0] <= low[0] + width - INSIDE and not any(a < 0 < a + width for a in low)
    return [(a, a + width) for a in low] if fits else []


def adjacent_spans(value: float, dice: Dice) -> list[tuple[int, int]]:
    """Four spans, each beginning where the one before ends, the first of them that of the value; [] as above."""
    found = spans([value], dice)
    rank = dice.below(4)
    width = found[0][1] - found[0][0] if found else 0
    every = [(a + (i - rank) * width, b + (i - rank) * width) for a, b in found for i in range(4)]
    return [] if any(a < 0 < b for a, b in every) else found + [one for one in every if one not in found]
