"""Means over seeds and questions: a table worked out by hand, and by simulation how often the interval holds the truth."""

import numpy as np
import pytest
from scipy import stats

from unireason.core.errors import FormatError
from unireason.metrics.statistics import crossed_difference, crossed_mean

TABLE = [[1, 0, 1, 1], [1, 0, 0, 0]]


def test_a_table_worked_out_by_hand():
    found = crossed_mean(TABLE)
    # Squares of seeds (0.25, -0.25) / (2 x 1) = 1/16; of questions (0.5, -0.5, 0, 0) / (4 x 3) = 1/24; of the rest 8 / 16 / 24 = 1/48.
    assert found.mean == 0.5
    assert found.seeds == (0.75, 0.25)
    assert found.error**2 == pytest.approx(1 / 16 + 1 / 24 - 1 / 48)
    assert found.freedom == pytest.approx((1 / 12) ** 2 / (1 / 16**2 + 1 / 24**2 / 3 + 1 / 48**2 / 3))
    assert found.interval[0] < 0.1
    assert found.interval[1] > 0.9
    other = crossed_difference(TABLE, [[0] * 4] * 2)
    reach = stats.t.ppf(0.975, 1.5) / 12**0.5
    assert other.interval == pytest.approx((0.5 - reach, 0.5 + reach))


def test_one_seed_is_a_t_interval_over_questions_and_one_question_over_seeds():
    values = [0.0, 1.0, 1.0, 0.0, 1.0] * 5
    expected = stats.t.interval(0.95, 24, loc=0.6, scale=stats.sem(values))
    assert crossed_mean([values]).interval == pytest.approx(expected)
    zeros = [[0.0]] * 25
    assert crossed_difference([[v] for v in values], zeros).interval == pytest.approx(expected)


def test_questions_of_a_patient_hang_together():
    single = crossed_mean([[1, 1, 0, 0]] * 2)
    whole = crossed_mean([[1, 1, 0, 0]] * 2, clusters=["a", "a", "b", "b"])
    # Two patients with means 1 and 0: (0.25 + 0.25) / (2 x 1); seeds agree throughout.
    assert whole.error**2 == pytest.approx(0.25)
    assert whole.freedom == pytest.approx(1)
    assert single.error**2 == pytest.approx(4 * 0.25 / (4 * 3))


def test_patients_weigh_by_their_questions():
    found = crossed_mean([[1, 1, 1, 0]], clusters=["a", "a", "a", "b"])
    # Patient a: (3 - 3 x 0.75) x 2 / 4 = 0.375, b the opposite; 2 x 0.375^2 / (2 x 1).
    assert found.mean == 0.75
    assert found.error == pytest.approx(0.375)


def test_there_is_at_least_one_degree_of_freedom():
    """Equal mean squares: their sum has 1/3 after Satterthwaite, fewer than any of them."""
    found = crossed_mean([[1, 0], [0, 0]])
    assert found.error**2 == pytest.approx(1 / 16)
    assert found.freedom == 1.0


def test_equal_values_never_give_an_interval_without_width():
    assert crossed_mean([[1, 1], [1, 1], [1, 1]]).interval == pytest.approx((0.025**0.5, 1.0))
    assert crossed_mean([[1] * 40] * 3).interval == pytest.approx((0.025 ** (1 / 40), 1.0))
    assert crossed_mean([[0.5]]).interval == (0.0, 1.0)


def test_a_difference_is_paired():
    other = [[1, 0, 0, 1], [0, 0, 0, 0]]
    found = crossed_difference(TABLE, other)
    assert found.mean == 0.25
    assert found.seeds == (0.25, 0.25)
    assert found.error == crossed_mean([[0, 0, 1, 0], [1, 0, 0, 0]]).error
    unseen = 1 - 0.025 ** (1 / 4)
    assert crossed_difference(TABLE, TABLE).interval == pytest.approx((-unseen, unseen))


@pytest.mark.parametrize("table", [[], [[]], [[1, 0], [1]], [[1, float("nan")]]])
def test_a_table_must_be_whole(table):
    with pytest.raises(FormatError):
        crossed_mean(table)


def test_labels_shapes_and_confidence_are_checked():
    with pytest.raises(FormatError, match="labels"):
        crossed_mean(TABLE, clusters=["a"])
    with pytest.raises(FormatError, match="same seeds and questions"):
        crossed_difference(TABLE, TABLE[:1])
    with pytest.raises(FormatError, match="confidence"):
        crossed_mean(TABLE, confidence=1.0)


PATIENTS, TRIALS, MEAN = 100, 400, 0.6


def study(rng, seeds, of_seeds, of_patients):
    """Right answers (seeds, questions) and whom each question is about: 1 to 4 questions a patient."""
    patients = np.repeat(np.arange(PATIENTS), rng.integers(1, 5, size=PATIENTS))
    skill = rng.normal(0, of_seeds, size=(seeds, 1))
    ease = rng.uniform(-1, 1, size=PATIENTS)[patients] * of_patients * 3**0.5
    return (rng.random((seeds, len(patients))) < MEAN + skill + ease).astype(float), patients


def resampled(values, patients, rng):
    """Percentile bootstrap of seeds and patients."""
    sums = np.stack([np.bincount(patients, weights=row, minlength=PATIENTS) for row in values])
    seeds = rng.multinomial(len(values), [1 / len(values)] * len(values), size=150)
    drawn = rng.multinomial(PATIENTS, [1 / PATIENTS] * PATIENTS, size=150)
    means = ((seeds @ sums) * drawn).sum(axis=1) / (len(values) * (drawn @ np.bincount(patients, minlength=PATIENTS)))
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.parametrize(("of_seeds", "of_patients"), [(0.0, 0.15), (0.05, 0.15), (0.1, 0.0)])
def test_the_interval_covers_with_three_seeds(of_seeds, of_patients):
    rng = np.random.default_rng(7)
    held = []
    for _ in range(TRIALS):
        values, patients = study(rng, 3, of_seeds, of_patients)
        low, high = crossed_mean(values.tolist(), clusters=patients.tolist()).interval
        held.append(low <= MEAN <= high)
    assert 0.91 <= np.mean(held) <= 0.985


def test_a_bootstrap_over_three_seeds_is_too_narrow():
    rng = np.random.default_rng(8)
    held = []
    for _ in range(TRIALS):
        values, patients = study(rng, 3, 0.1, 0.0)
        low, high = resampled(values, patients, rng)
        held.append(low <= MEAN <= high)
    assert np.mean(held) < 0.88


def test_a_paired_difference_covers():
    """The same patients are as easy for both ways to train, which differ by 0.05."""
    rng = np.random.default_rng(9)
    held = []
    for _ in range(TRIALS):
        patients = np.repeat(np.arange(PATIENTS), rng.integers(1, 5, size=PATIENTS))
        ease = rng.uniform(-0.25, 0.25, size=PATIENTS)[patients]
        tables = []
        for mean in (0.6, 0.55):
            skill = rng.normal(0, 0.06, size=(3, 1))
            tables.append((rng.random((3, len(patients))) < mean + skill + ease).astype(float).tolist())
        low, high = crossed_difference(*tables, clusters=patients.tolist()).interval
        held.append(low <= 0.05 <= high)
    assert 0.91 <= np.mean(held) <= 0.985
