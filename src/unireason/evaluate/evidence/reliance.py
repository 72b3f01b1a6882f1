"""What the answers under all conditions say: accuracy, survival and evidence reliance, with intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from unireason.errors import FormatError
from unireason.metrics.intervals import over_patients, spread, too_few, wilson

from .conditions import CONDITIONS, HEADLINE, REMOVED
from .rows import Row, Rows

RESAMPLES = 2000
_TAIL = 0.025

Pairs = Sequence[tuple[Row, Row]]


def reliance(pairs: Pairs, *, seed: int) -> dict[str, Any]:
    """Evidence reliance: which share of what the model knows beyond chance is lost without the evidence.

    ``(a - w) / (a - c)``, cut to [0, 1]: ``a`` is the accuracy with the evidence, ``w`` without it, ``c`` that of guessing, over the same
    questions. 0: nothing is lost. 1: what is left is no better than guessing.

    Args:
        pairs: Of every question the answer with and the answer without the evidence. None gives no value.
        seed: Of the resampling of whole patients.

    Returns:
        ``value``, None unless ``a > c``; ``ci95``, the percentile interval, below 20 patients Fieller's, None with the value or for one
        patient; ``n``. A resample in which the model is not above chance says nothing: it counts as 0 for the lower end, as 1 for the
        upper one.
    """
    if not pairs:
        return {"value": None, "ci95": None, "n": 0}
    table = np.array([(with_it.right, without.right, with_it.chance) for with_it, without in pairs], dtype=np.float64)
    patients = {name: n for n, name in enumerate(dict.fromkeys(row.patient for row, _ in pairs))}
    sums = np.zeros((len(patients), 3))
    np.add.at(sums, [patients[row.patient] for row, _ in pairs], table)
    value = _share(sums.sum(axis=0)[None])[0]
    if np.isnan(value):
        return {"value": None, "ci95": None, "n": len(pairs)}
    if len(patients) == 1:
        return {"value": float(value), "ci95": None, "n": len(pairs)}
    low, high = _few(sums) if too_few(len(sums)) else _resampled(sums, seed)
    low, high = min(low, float(value)), max(high, float(value))
    if low == high:
        low, high = spread(float(value), 0.0, len(sums) - 1.0, clusters=len(sums), limits=(0.0, 1.0))
    return {"value": float(value), "ci95": [low, high], "n": len(pairs)}


def _few(sums: NDArray[np.float64]) -> tuple[float, float]:
    """The shares that a t test over patients does not reject (Fieller's interval), inside [0, 1]; a grid of 1,000."""
    right, without, chance = sums.T
    grid = np.linspace(0, 1, 1001)[:, None]
    left = right - without - grid * (right - chance)
    means, errors = left.mean(axis=1), left.std(axis=1, ddof=1) / np.sqrt(len(sums))
    held = grid[np.abs(means) <= float(stdtrit(len(sums) - 1, 1 - _TAIL)) * errors, 0]
    return (float(held[0]), float(held[-1])) if len(held) else (1.0, 0.0)


def _resampled(sums: NDArray[np.float64], seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    drawn = np.stack([sums[rng.integers(0, len(sums), len(sums))].sum(axis=0) for _ in range(RESAMPLES)])
    shares = _share(drawn)
    low, high = np.quantile(np.nan_to_num(shares, nan=0.0), _TAIL), np.quantile(np.nan_to_num(shares, nan=1.0), 1 - _TAIL)
    return float(low), float(high)


def _share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) shares from sums (n, 3) of right with, right without and chance; NaN where right is not above chance."""
    right, without, chance = sums.T
    known = right - chance
    above = known > 1e-9 * np.maximum(right, 1)
    lost = np.clip((right - without) / np.where(above, known, 1.0), 0.0, 1.0)
    return np.where(above, lost, np.nan)


def summary(rows: Rows, *, seed: int) -> dict[str, Any]:
    """Everything that the answers say, as plain JSON values.

    Args:
        rows: Answers by question and condition.
        seed: Of the resampling of patients.

    Returns:
        ``conditions``: for every condition that was asked ``accuracy``, ``ci95`` (Wilson), ``ci95_patients`` (over patients,
        None for one), ``n``, ``chance``, ``mismatch_rate`` (letter against text) and ``meaning``; behind "true" also ``true_accuracy``
        (of the same questions under "true") and
        ``survival`` (share of right answers under "true" that are right again); where evidence is taken away also ``reliance``.
        ``patients``, ``too_few_patients``.
        ``reliance``: that of the headline condition, named by ``reliance_condition``. ``looked``: share of questions with a look under
        "true".
        ``left_out``: conditions under which no question could be asked.

    Raises:
        FormatError: If nothing was answered under "true".
    """
    by_name = {name: [row for row in rows.values() if row.condition == name] for name in CONDITIONS}
    if not by_name["true"]:
        raise FormatError("no question was asked", "at least one")
    conditions = {name: _condition(name, found, rows, seed) for name, found in by_name.items() if found}
    headline = conditions[HEADLINE]["reliance"] if HEADLINE in conditions else reliance((), seed=seed)
    return {
        "conditions": conditions,
        "reliance": headline,
        "reliance_condition": HEADLINE,
        "patients": (patients := len({row.patient for row in by_name["true"]})),
        "too_few_patients": too_few(patients),
        "looked": float(np.mean([bool(row.looks) for row in by_name["true"]])),
        "left_out": [name for name in CONDITIONS if name not in conditions],
    }


def _condition(name: str, found: Sequence[Row], rows: Rows, seed: int) -> dict[str, Any]:
    right = [row.right for row in found]
    patients = [row.patient for row in found]
    out: dict[str, Any] = {
        "accuracy": sum(right) / len(right),
        "ci95": list(wilson(sum(right), len(right))),
        "ci95_patients": over_patients([float(one) for one in right], patients, seed=seed, resamples=RESAMPLES),
        "n": len(right),
        "chance": float(np.mean([row.chance for row in found])),
        "mismatch_rate": sum(row.mismatch for row in found) / len(found),
        "meaning": CONDITIONS[name],
    }
    if name == "true":
        return out
    pairs = [(rows[row.id, "true"], row) for row in found]
    kept = [again for once, again in pairs if once.right]
    before = [float(again.right) for again in kept]
    out["true_accuracy"] = sum(once.right for once, _ in pairs) / len(pairs)
    out["survival"] = {
        "value": sum(before) / len(before) if before else None,
        "ci95": list(wilson(int(sum(before)), len(before))),
        "ci95_patients": over_patients(before, [again.patient for again in kept], seed=seed, resamples=RESAMPLES),
        "n": len(before),
    }
    if name in REMOVED:
        # Where a look still showed what it asked for, the evidence was not taken away: such a question tells nothing.
        out["reliance"] = reliance([(once, again) for once, again in pairs if is_removed(again)], seed=seed)
    return out


def is_removed(row: Row) -> bool:
    """Whether the condition of an answer took away what there was to take: no look showed what it asked for."""
    return row.condition in ("blank", "other", "blanked") or row.replaced == len(row.looks)
