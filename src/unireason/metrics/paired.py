"""Two systems on the same questions: one test over patients gives p and interval; Holm's correction for several pairs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from unireason.errors import FormatError

from .intervals import Interval, flip_interval

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """One system against another over the same questions.

    Attributes:
        n: Questions.
        first: Share that the first system got right.
        second: Share that the second got right.
        only_first: Questions that only the first got right.
        only_second: Questions that only the second got right.
        p_exact: Two-sided exact test by sign flips of whole clusters; with one question a cluster that is McNemar's.
        p_mid: Its mid-p variant, which keeps closer to its level.
        difference: ``first - second``.
        interval: 95% interval of the difference by the same flips: 0 lies outside where ``p_exact`` is below 0.05, and only there.
    """

    n: int
    first: float
    second: float
    only_first: int
    only_second: int
    p_exact: float
    p_mid: float
    difference: float
    interval: Interval


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust the p values of several tests, so that comparing each with a level bounds the chance of any false alarm by that level.

    Args:
        ps: One p value a test, in [0, 1].

    Returns:
        The adjusted values in the order given; none for none.

    Raises:
        FormatError: If a value is outside [0, 1].

    Source: S. Holm, Scand. J. Statist. 6 (1979) 65.
    """
    if not all(0 <= p <= 1 for p in ps):
        raise FormatError(f"the p values {list(ps)}", "numbers from 0 to 1")
    found, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda n: ps[n])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        found[place] = least
    return found


def compare(
    first: Sequence[bool], second: Sequence[bool], *, seed: int, clusters: Sequence[Hashable] | None = None, draws: int = 20_000
) -> Comparison:
    """Compare two systems on the same questions, in the same order.

    Args:
        first: True where the first system was right.
        second: True where the second was right.
        seed: Of the flips, where there are too many to try all.
        clusters: One label a question, such as its patient; None takes questions as independent.
        draws: Flips that are tried for the interval with 20 clusters or more.

    Returns:
        The comparison.

    Raises:
        FormatError: If there are no questions, or the lengths differ.

    Source: Q. McNemar, Psychometrika 12 (1947) 153; mid-p: M. W. Fagerland et al., BMC Med. Res. Methodol. 13 (2013) 91.
    """
    if len(first) != len(second) or len(first) == 0:
        raise FormatError(f"{len(first)} and {len(second)} answers", "answers to the same questions, at least one")
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    right = [sum(side) for side in zip(*pairs, strict=True)]
    ahead = [a - b for a, b in pairs]
    n = len(pairs)
    exact, mid = _flip_test(ahead, range(n) if clusters is None else clusters)
    low, high = flip_interval(ahead, seed=seed, clusters=clusters, draws=draws)
    difference = (only_first - only_second) / n
    if exact >= LEVEL:  # drawn flips may place an end that lies next to 0 on its other side
        low, high = min(low, 0.0), max(high, 0.0)
    elif low <= 0 <= high:
        low, high = (math.ulp(1), high) if difference > 0 else (low, -math.ulp(1))
    return Comparison(
        n=n,
        first=right[0] / n,
        second=right[1] / n,
        only_first=only_first,
        only_second=only_second,
        p_exact=exact,
        p_mid=mid,
        difference=difference,
        interval=(low, high),
    )


def _flip_test(ahead: Sequence[int], clusters: Sequence[Hashable]) -> tuple[float, float]:
    """Two-sided p, exact and mid-p, of the sum under all sign flips of whole clusters, by adding up clusters one by one."""
    sums: Counter[Hashable] = Counter()
    for value, label in zip(ahead, clusters, strict=True):
        sums[label] += value
    steps = [abs(value) for value in sums.values() if value]
    reach, found = sum(steps), abs(sum(sums.values()))
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1
    for step in steps:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2
    if not found:
        return 1.0, 1.0
    tail, point = float(chances[reach + found :].sum()), float(chances[reach + found])
    return min(1.0, 2 * tail), min(1.0, 2 * tail - point)
