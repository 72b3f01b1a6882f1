"""How often intervals of means over seeds and questions hold the truth: the analysis of variance of ``unireason.metrics.statistics``
against a percentile bootstrap of seeds and patients.

    python benchmarks/crossed_intervals.py

prints the table of docs/explanation/ablation.md (two minutes).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unireason.metrics.statistics import crossed_mean

PATIENTS, STUDIES, RESAMPLED, DRAWS = 200, 1000, 400, 300
MIDDLE, NOISE = (
    0.6,
    0.1,
)  # mean of the chance that an answer is right, standard deviation of its part that belongs to seed and question
EFFECTS = ((0.0, 0.2), (0.02, 0.2), (0.05, 0.1), (0.05, 0.0), (0.1, 0.2))  # standard deviations of seeds and of patients
Values = NDArray[np.float64]


def study(rng: np.random.Generator, seeds: int, of_seeds: float, of_patients: float) -> tuple[Values, NDArray[np.int64]]:
    """Right answers (seeds, questions), and whom each question is about."""
    patients = np.repeat(np.arange(PATIENTS), rng.integers(1, 5, size=PATIENTS))
    skill, ease = rng.normal(0, of_seeds, size=seeds), rng.normal(0, of_patients, size=PATIENTS)[patients]
    own = MIDDLE + skill[:, None] + ease + rng.normal(0, NOISE, size=(seeds, len(patients)))
    return (rng.random(own.shape) < np.clip(own, 0, 1)).astype(float), patients


def truth(of_seeds: float, of_patients: float) -> float:
    """The mean over all seeds and patients; chances are cut off at 0 and 1."""
    spread = np.sqrt(of_seeds**2 + of_patients**2 + NOISE**2)
    return float(np.clip(MIDDLE + np.random.default_rng(5).normal(0, spread, size=10**6), 0, 1).mean())


def bootstrap(values: Values, patients: NDArray[np.int64], rng: np.random.Generator) -> tuple[float, float]:
    """Percentile interval of draws of whole seeds and whole patients."""
    sums = np.stack([np.bincount(patients, weights=row, minlength=PATIENTS) for row in values])
    seeds = rng.multinomial(len(values), [1 / len(values)] * len(values), size=DRAWS)
    drawn = rng.multinomial(PATIENTS, [1 / PATIENTS] * PATIENTS, size=DRAWS)
    means = ((seeds @ sums) * drawn).sum(axis=1) / (len(values) * (drawn @ np.bincount(patients, minlength=PATIENTS)))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def coverage(seeds: int, of_seeds: float, of_patients: float) -> tuple[float, float]:
    """Share of studies whose interval holds the truth: analysis of variance, bootstrap."""
    rng, wanted = np.random.default_rng(1), truth(of_seeds, of_patients)
    held, resampled = [], []
    for number in range(STUDIES):
        values, patients = study(rng, seeds, of_seeds, of_patients)
        low, high = crossed_mean(values.tolist(), clusters=patients.tolist()).interval
        held.append(low <= wanted <= high)
        if number < RESAMPLED:
            low, high = bootstrap(values, patients, rng)
            resampled.append(low <= wanted <= high)
    return float(np.mean(held)), float(np.mean(resampled))


def main() -> None:
    """Print the table."""
    print("| standard deviation of seeds, of patients |" + "".join(f" {n} seeds | bootstrap |" for n in (2, 3, 5)))
    print("|---|" + "---:|" * 6)
    for of_seeds, of_patients in EFFECTS:
        shares = [share for n in (2, 3, 5) for share in coverage(n, of_seeds, of_patients)]
        print(f"| {of_seeds:g}, {of_patients:g} |" + "".join(f" {share:.0%} |" for share in shares), flush=True)


if __name__ == "__main__":
    main()
