"""How often nominal 95% intervals hold the truth when the questions of a patient hang together: by simulation, with a fixed seed."""

import numpy as np
import pytest

from unireason.metrics.intervals import bootstrap_difference, bootstrap_mean, wilson

PATIENTS, TRIALS, MEAN = 60, 500, 0.6


def cohort(rng):
    """Right answers of one cohort and whom each is about: 1 to 9 questions a patient, whose own accuracy is Beta(1.8, 1.2)."""
    sizes = rng.integers(1, 10, size=PATIENTS)
    patients = np.repeat(np.arange(PATIENTS), sizes)
    own = rng.beta(1.8, 1.2, size=PATIENTS)
    return (rng.random(len(patients)) < own[patients]).astype(float), patients, own


def share_covered(intervals, truth):
    return np.mean([low <= truth <= high for low, high in intervals])


def test_bootstrap_of_patients_covers_and_questions_alone_do_not():
    rng = np.random.default_rng(20)
    whole, single, score = [], [], []
    for trial in range(TRIALS):
        values, patients, _ = cohort(rng)
        whole.append(bootstrap_mean(values, seed=trial, clusters=patients.tolist(), resamples=400))
        single.append(bootstrap_mean(values, seed=trial, resamples=400))
        score.append(wilson(int(values.sum()), len(values)))
    assert 0.91 <= share_covered(whole, MEAN) <= 0.98
    # Questions of one patient correlate by 1 / (1.8 + 1.2 + 1) = 0.25; taking them as independent promises too much.
    assert share_covered(single, MEAN) < 0.9
    assert share_covered(score, MEAN) < 0.9


@pytest.mark.parametrize("gain", [0.0, 0.15])
def test_bootstrap_of_a_paired_difference_covers(gain):
    """A second system answers the same questions right with its own luck and, of those it would miss, a share ``gain`` more."""
    rng = np.random.default_rng(21)
    found = []
    for trial in range(TRIALS):
        values, patients, own = cohort(rng)
        better = own + gain * (1 - own)
        others = (rng.random(len(patients)) < better[patients]).astype(float)
        found.append(bootstrap_difference(others, values, seed=trial, clusters=patients.tolist(), resamples=400))
    assert 0.91 <= share_covered(found, gain * (1 - MEAN)) <= 0.98
