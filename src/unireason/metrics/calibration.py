"""Does a number that comes with an answer tell whether it is right? Reliability bins, calibration error, ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError

from .intervals import Interval, wilson


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers with similar values of a predictor.

    Attributes:
        low: Least value.
        high: Greatest value.
        n: Answers.
        mean: Mean value.
        accuracy: Share of right answers.
        interval: Its 95% Wilson interval.
    """

    low: float
    high: float
    n: int
    mean: float
    accuracy: float
    interval: Interval


def reliability_bins(values: Sequence[float], right: Sequence[bool], *, count: int = 10) -> tuple[Bin, ...]:
    """Sort answers by a predictor and cut them into bins of equal mass.

    Args:
        values: The predictor, one number in [0, 1] an answer.
        right: True where the answer is right.
        count: Bins to aim at. Equal values are never parted, so that many of them make fewer bins, of unequal mass; where there are no
            more than ``count`` different values each is a bin.

    Returns:
        The bins by rising value; none for no answers.

    Raises:
        FormatError: If the lengths differ, a value is outside [0, 1] or not finite, or ``count`` is below 1.

    Source: equal-mass bins: K. Nguyen and B. O'Connor, arXiv 1508.05154.
    """
    numbers, hits = _checked(values, right)
    if count < 1:
        raise FormatError(f"{count} bins", "at least 1")
    if numbers.size and (numbers.min() < 0 or numbers.max() > 1):
        raise FormatError(f"a predictor from {numbers.min():g} to {numbers.max():g}", "values in [0, 1]")
    order = np.argsort(numbers, kind="stable")
    numbers, hits = numbers[order], hits[order]
    starts = np.unique(numbers, return_index=True)[1]  # of every run of equal values
    if len(starts) > count:
        wanted = numbers[[round(i * len(numbers) / count) for i in range(count)]]
        starts = np.unique(np.searchsorted(numbers, wanted, side="left"))
    edges = [*starts.tolist(), len(numbers)]
    return tuple(_bin(numbers[a:b], hits[a:b]) for a, b in pairwise(edges))


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: mean distance of accuracy from the predictor over the bins, weighted by their answers.

    It takes the predictor for a probability of being right. For a predictor that is none, such as an overlap, only its ranking
    (:func:`auroc`) and the bins themselves mean something.

    Returns:
        A number in [0, 1]; None for no bins. It cannot fall below the chance differences of small bins.

    Source: M. P. Naeini et al., AAAI 2015; C. Guo et al., arXiv 1706.04599, equation 3.
    """
    total = sum(own.n for own in bins)
    return sum(own.n * abs(own.accuracy - own.mean) for own in bins) / total if total else None


def auroc(values: Sequence[float], right: Sequence[bool]) -> float | None:
    """Chance that a right answer has a greater value than a wrong one; equal values count half.

    Args:
        values: The predictor, one finite number an answer.
        right: True where the answer is right.

    Returns:
        0.5 for a predictor that knows nothing, 1 for one that ranks all right answers above all wrong ones; None if all are right, all
        are wrong, or there are none.

    Raises:
        FormatError: If the lengths differ or a value is not finite.

    Source: J. A. Hanley and B. J. McNeil, Radiology 143 (1982) 29.
    """
    from scipy.stats import rankdata

    numbers, hits = _checked(values, right)
    positive, negative = int(hits.sum()), int((~hits).sum())
    if not positive or not negative:
        return None
    ranks = float(rankdata(numbers)[hits].sum())
    return (ranks - positive * (positive + 1) / 2) / (positive * negative)


def _checked(values: Sequence[float], right: Sequence[bool]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    numbers, hits = np.asarray(values, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    if numbers.ndim != 1 or numbers.shape != hits.shape or not np.isfinite(numbers).all():
        raise FormatError(f"{numbers.size} values and {hits.size} answers", "one finite value an answer")
    return numbers, hits


def _bin(values: NDArray[np.float64], hits: NDArray[np.bool_]) -> Bin:
    count, good = len(values), int(hits.sum())
    return Bin(float(values[0]), float(values[-1]), count, float(values.mean()), good / count, wilson(good, count))
