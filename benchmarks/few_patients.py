"""How often intervals over few patients hold the truth: those of ``unireason.metrics`` against the percentile bootstrap.

    python benchmarks/few_patients.py

prints the tables of benchmarks/results/few_patients.md (ten minutes). A patient's share of right answers is drawn from a Beta
distribution whose spread is the correlation of two answers about one patient (ICC); patients have 1 to 8 questions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unireason.metrics.statistics import Interval, bootstrap_mean, crossed_difference, crossed_mean, flip_interval

PATIENTS, STUDIES, RESAMPLED = (3, 5, 8, 12, 19, 30), 1000, 400
SHARES, ICCS = (0.5, 0.75, 0.9), (0.05, 0.2, 0.4)
Values = NDArray[np.float64]
Rng = np.random.Generator
Study = Callable[[Rng, int, float, float], tuple[Values, NDArray[np.int64], float]]


def eases(rng: Rng, patients: int, share: float, icc: float) -> Values:
    """The chance of a right answer for every patient."""
    both = 1 / icc - 1
    return rng.beta(share * both, (1 - share) * both, size=patients)


def whom(rng: Rng, patients: int) -> NDArray[np.int64]:
    """Whom each question is about."""
    return np.repeat(np.arange(patients), rng.integers(1, 9, size=patients))


def shares(rng: Rng, patients: int, share: float, icc: float) -> tuple[Values, NDArray[np.int64], float]:
    """Right answers, their patients, and the true share."""
    about = whom(rng, patients)
    return (rng.random(len(about)) < eases(rng, patients, share, icc)[about]).astype(float), about, share


def overlaps(rng: Rng, patients: int, share: float, icc: float) -> tuple[Values, NDArray[np.int64], float]:
    """Overlaps around 0.75, but for the looks that missed, which are 0."""
    hit, about, _ = shares(rng, patients, share, icc)
    return hit * rng.beta(6, 2, size=len(hit)), about, share * 0.75


def differences(rng: Rng, patients: int, share: float, icc: float) -> tuple[Values, NDArray[np.int64], float]:
    """Right answers of one system less those of one that is 0.1 better; both find the same patients hard."""
    about = whom(rng, patients)
    ease = eases(rng, patients, share, icc)[about]
    ours = rng.random(len(about)) < 0.9 * ease
    return ours.astype(float) - (rng.random(len(about)) < ease), about, -0.1 * share


def bootstrap(values: Values, about: NDArray[np.int64], rng: Rng) -> Interval:
    """Percentile interval of draws of whole patients."""
    sums, sizes = np.bincount(about, weights=values), np.bincount(about)
    drawn = rng.multinomial(len(sizes), [1 / len(sizes)] * len(sizes), size=1000)
    low, high = np.quantile((drawn @ sums) / (drawn @ sizes), [0.025, 0.975])
    return float(low), float(high)


def seeded(rng: Rng, seeds: int, patients: int, share: float, icc: float) -> tuple[list[Values], NDArray[np.int64]]:
    """Right answers of two ways to train, the second 0.05 worse, each with some seeds whose skill differs by 0.02."""
    about = whom(rng, patients)
    ease = eases(rng, patients, share, icc)[about]
    skill = rng.normal(0, 0.02, size=(2, seeds, 1))
    chance = np.clip(ease + skill, 0, 1) * np.array([1.0, 0.95])[:, None, None]
    return list((rng.random(chance.shape) < chance).astype(float)), about


def cell(study: Study, interval: Callable[..., Interval], patients: int, share: float, icc: float) -> str:
    """Coverage and mean width, the bootstrap's coverage in brackets."""
    rng = np.random.default_rng(1)
    held, widths, resampled = [], [], []
    for number in range(STUDIES):
        values, about, wanted = study(rng, patients, share, icc)
        low, high = interval(values.tolist(), seed=0, clusters=about.tolist())
        held.append(low <= wanted <= high)
        widths.append(high - low)
        if number < RESAMPLED:
            low, high = bootstrap(values, about, rng)
            resampled.append(low <= wanted <= high)
    return f"{np.mean(held):.1%}, {np.mean(widths):.2f} ({np.mean(resampled):.0%})"


def crossed_cell(seeds: int, patients: int, share: float, icc: float) -> str:
    """Coverage of the mean and of the difference."""
    rng, wanted = np.random.default_rng(1), (share, 0.05 * share)
    held = np.zeros(2)
    for _ in range(STUDIES):
        (first, second), about = seeded(rng, seeds, patients, share, icc)
        tables = first.tolist(), second.tolist()
        found = crossed_mean(tables[0], clusters=about.tolist()), crossed_difference(*tables, clusters=about.tolist())
        held += [one.interval[0] <= true <= one.interval[1] for one, true in zip(found, wanted, strict=True)]
    return ", ".join(f"{share:.1%}" for share in held / STUDIES)


def main() -> None:
    """Print the tables."""
    head = "".join(f" {n} |" for n in PATIENTS) + "\n|---|" + "---:|" * len(PATIENTS)
    flips = partial(flip_interval, draws=2000)
    studies: tuple[tuple[Study, Callable[..., Interval]], ...] = (
        (shares, bootstrap_mean),
        (overlaps, bootstrap_mean),
        (differences, flips),
    )
    for study, interval in studies:
        print(f"\n{study.__name__}\n\n| share, ICC |{head}", flush=True)
        for share, icc in product(SHARES, ICCS):
            print(
                f"| {share:g}, {icc:g} | " + " | ".join(cell(study, interval, n, share, icc) for n in PATIENTS) + " |", flush=True
            )
    print(f"\nseeds crossed with patients: mean, difference\n\n| seeds, share, ICC |{head}", flush=True)
    for seeds, share, icc in product((2, 3, 5), SHARES, ICCS[1:]):
        cells = " | ".join(crossed_cell(seeds, n, share, icc) for n in PATIENTS)
        print(f"| {seeds}, {share:g}, {icc:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
