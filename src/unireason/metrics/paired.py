"""Two systems on the same questions: McNemar's test, the bootstrap interval of the difference; Holm's correction for several pairs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from scipy.special import bdtr

from unireason.errors import FormatError

from .intervals import Interval, bootstrap_difference


@dataclass(frozen=True, slots=True)
class Comparison:
    """One system against another over the same questions.

    Attributes:
        n: Questions.
        first: Share that the first system got right.
        second: Share that the second got right.
        only_first: Questions that only the first got right.
        only_second: Questions that only the second got right.
        p_exact: Two-sided exact McNemar test.
        p_mid: Its mid-p variant.
        difference: ``first - second``.
        interval: 95% bootstrap interval of the difference; whole clusters are drawn together where they are known.
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


def mcnemar(only_first: int, only_second: int) -> tuple[float, float]:
    """Two-sided McNemar test of equal accuracy, exact and mid-p. It takes questions as independent.

    Args:
        only_first: Questions that only the first system got right.
        only_second: Questions that only the second got right.

    Returns:
        (exact p, mid-p). Both 1 for no such question. The exact test errs on the side of no difference; mid-p keeps closer to its level.

    Raises:
        FormatError: If a count is negative.

    Source: Q. McNemar, Psychometrika 12 (1947) 153; mid-p: M. W. Fagerland et al., BMC Med. Res. Methodol. 13 (2013) 91.
    """
    if only_first < 0 or only_second < 0:
        raise FormatError(f"the counts {only_first} and {only_second}", "counts of at least 0")
    fewer, total = min(only_first, only_second), only_first + only_second
    tail = float(bdtr(fewer, total, 0.5))
    point = math.comb(total, fewer) / 2**total
    return min(1.0, 2 * tail), min(1.0, 2 * tail - point)


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
    first: Sequence[bool], second: Sequence[bool], *, seed: int, clusters: Sequence[Hashable] | None = None, resamples: int = 2000
) -> Comparison:
    """Compare two systems on the same questions, in the same order.

    Args:
        first: True where the first system was right.
        second: True where the second was right.
        seed: Of the bootstrap.
        clusters: One label a question, such as its patient.
        resamples: Draws of the bootstrap.

    Returns:
        The comparison. Where questions share patients trust its interval more than the tests.

    Raises:
        FormatError: If there are no questions, or the lengths differ.
    """
    if len(first) != len(second) or len(first) == 0:
        raise FormatError(f"{len(first)} and {len(second)} answers", "answers to the same questions, at least one")
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    right = [sum(side) for side in zip(*pairs, strict=True)]
    exact, mid = mcnemar(only_first, only_second)
    n = len(pairs)
    return Comparison(
        n=n,
        first=right[0] / n,
        second=right[1] / n,
        only_first=only_first,
        only_second=only_second,
        p_exact=exact,
        p_mid=mid,
        difference=(only_first - only_second) / n,
        interval=bootstrap_difference(first, second, seed=seed, clusters=clusters, resamples=resamples),
    )
