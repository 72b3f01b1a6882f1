"""Confidence intervals: Wilson for counts, percentile bootstrap for means, whole patients resampled where they are known."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError

Interval = tuple[float, float]

_CHUNK = 1 << 20


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion.

    Args:
        successes: Right answers, 0 to ``trials``.
        trials: Answers.
        confidence: Between 0 and 1, both excluded.

    Returns:
        (low, high) inside [0, 1]; (0, 1) for no trials: nothing is known.

    Raises:
        FormatError: If the counts or the confidence are out of range.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    _check_confidence(confidence)
    if not 0 <= successes <= trials:
        raise FormatError(f"{successes} successes in {trials} trials", "0 <= successes <= trials")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, weight = successes / trials, z * z / trials
    middle = (rate + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    return max(0.0, middle - reach) if successes else 0.0, min(1.0, middle + reach) if successes < trials else 1.0


def bootstrap_mean(
    values: Sequence[float],
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a mean.

    Args:
        values: One number an item, finite.
        seed: Of the resampling; the same seed gives the same interval.
        clusters: One label an item, such as its patient; whole clusters are then drawn together. None draws single items.
        resamples: Draws.
        confidence: Between 0 and 1, both excluded.

    Returns:
        (low, high). One value, or one cluster, gives an interval of no width.

    Raises:
        FormatError: If there are no values, a value is not finite, or the number of labels differs.
    """
    numbers = _checked(values, resamples, confidence)
    sums, sizes = _cluster_sums(numbers, clusters)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(sums))
    means = []
    for begin in range(0, resamples, step):
        drawn = rng.integers(0, len(sums), size=(min(step, resamples - begin), len(sums)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_difference(
    values: Sequence[float],
    others: Sequence[float],
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Paired bootstrap interval of mean(values) - mean(others) over the same items.

    Args:
        values: One number an item, from one system.
        others: One number for the same item, from the other system.
        seed: Of the resampling.
        clusters: One label an item; whole clusters are drawn together.
        resamples: Draws.
        confidence: Between 0 and 1, both excluded.

    Returns:
        (low, high); both systems differ at this confidence when 0 lies outside.

    Raises:
        FormatError: If the lengths differ, or as in ``bootstrap_mean``.
    """
    if len(values) != len(others):
        raise FormatError(f"{len(values)} and {len(others)} values", "pairs over the same items")
    pairs = [float(a) - float(b) for a, b in zip(values, others, strict=True)]
    return bootstrap_mean(pairs, seed=seed, clusters=clusters, resamples=resamples, confidence=confidence)


def _checked(values: Sequence[float], resamples: int, confidence: float) -> NDArray[np.float64]:
    _check_confidence(confidence)
    if resamples < 1:
        raise FormatError(f"{resamples} resamples", "at least 1")
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size == 0 or not np.isfinite(numbers).all():
        raise FormatError(f"{numbers.size} values to resample, not all finite or none at all", "a list of finite numbers")
    return numbers


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise FormatError(f"the confidence {confidence}", "a number between 0 and 1", "write 0.95 for 95 percent")


def _cluster_sums(
    numbers: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and size of every cluster, in order of first appearance; every item its own cluster without labels."""
    if clusters is None:
        return numbers, np.ones_like(numbers)
    if len(clusters) != len(numbers):
        raise FormatError(f"{len(clusters)} cluster labels for {len(numbers)} values", "one a value")
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(label, len(order)) for label in clusters])
    return np.bincount(index, weights=numbers).astype(np.float64), np.bincount(index).astype(np.float64)
