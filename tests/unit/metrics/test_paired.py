import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from unireason.core.errors import FormatError
from unireason.metrics.statistics import compare, holm


@pytest.mark.parametrize(
    ("only_first", "only_second", "exact", "mid"),
    [
        # 8 discordant, 1 of them for the second: tail (1 + 8) / 256; twice is 18 / 256, less the point 8 / 256.
        (7, 1, 18 / 256, 10 / 256),
        (1, 7, 18 / 256, 10 / 256),
        (5, 0, 2 / 32, 1 / 32),
        (1, 0, 1.0, 0.5),
        # 6 discordant, 3 each: tail (1 + 6 + 15 + 20) / 64 = 42 / 64, twice 84 / 64, less the point 20 / 64.
        (3, 3, 1.0, 1.0),
        (4, 2, 44 / 64, 29 / 64),
        (0, 0, 1.0, 1.0),
    ],
)
def test_one_question_a_patient_is_mcnemar_by_hand(only_first, only_second, exact, mid):
    assert p_values(only_first, only_second) == pytest.approx((exact, mid), abs=1e-12)


def p_values(only_first, only_second):
    """Of two systems that agree on one more question."""
    first = [True] * only_first + [False] * only_second + [True]
    second = [False] * only_first + [True] * only_second + [True]
    found = compare(first, second, seed=0, draws=10)
    return found.p_exact, found.p_mid


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 300), st.integers(0, 300))
def test_the_exact_test_is_the_binomial_one(a, b):
    exact, mid = p_values(a, b)
    assert exact == pytest.approx(binomtest(a, a + b).pvalue if a + b else 1.0, rel=1e-9)
    assert 0 <= mid <= exact <= 1


def test_many_questions_stay_exact():
    assert p_values(600, 600) == (1, pytest.approx(1))
    exact, mid = p_values(5150, 4850)  # three standard deviations of 50 on either side of 5000
    assert exact == pytest.approx(0.0028, abs=0.0002)
    assert mid < exact


def test_comparison_by_hand():
    first = [True] * 6 + [True] * 7 + [False] * 1 + [False] * 6
    second = [True] * 6 + [False] * 7 + [True] * 1 + [False] * 6
    found = compare(first, second, seed=0)
    assert (found.n, found.first, found.second) == (20, 13 / 20, 7 / 20)
    assert (found.only_first, found.only_second) == (7, 1)
    assert (found.p_exact, found.p_mid) == pytest.approx((18 / 256, 10 / 256))
    assert found.difference == pytest.approx(0.3)
    # The pairs have the standard deviation sqrt(8/20 - 0.09) = 0.557, over sqrt(20): 0.1245. p is 0.07: 0 lies inside.
    assert found.interval == pytest.approx((0.3 - 1.96 * 0.1245, 0.3 + 1.96 * 0.1245), abs=0.07)
    assert found == compare(first, second, seed=0)


def test_patients_are_drawn_whole():
    first, second = [True] * 50 + [False] * 50, [False] * 50 + [True] * 50
    patients = ["p"] * 50 + ["q"] * 50
    plain = compare(first, second, seed=0).interval
    whole = compare(first, second, seed=0, clusters=patients).interval
    assert plain == pytest.approx((-0.2, 0.2), abs=0.04)
    assert whole == (-1, 1)


@pytest.mark.parametrize("patients", [2, 5, 6, 8, 12, 19, 20, 60])
def test_interval_and_p_never_contradict_each_other(patients):
    rng = np.random.default_rng(patients)
    for _ in range(25):
        clusters = np.repeat(np.arange(patients), rng.integers(1, 7, size=patients)).tolist()
        gain = rng.random() * 0.5
        first, second = rng.random(len(clusters)) < 0.5 + gain, rng.random(len(clusters)) < 0.5 - gain / 2
        found = compare(first.tolist(), second.tolist(), seed=0, clusters=clusters, draws=500)
        low, high = found.interval
        assert -1 <= low < high <= 1
        assert low <= found.difference <= high
        assert (found.p_exact < 0.05) == (not low <= 0 <= high)


def test_patients_whose_questions_hang_together_count_once():
    """8 patients of 5 questions, one system right on all of 3 of them: 3 coins, two-sided 1/4, however many questions there are."""
    first, second = [True] * 15 + [False] * 25, [False] * 40
    found = compare(first, second, seed=0, clusters=[n // 5 for n in range(40)])
    assert found.p_exact == 0.25
    assert found.interval[0] <= 0


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], []), ([True], [True, False])])
def test_unpaired_answers_are_refused(first, second):
    with pytest.raises(FormatError):
        compare(first, second, seed=0)


def test_holm_by_hand() -> None:
    """3 * 0.01 = 0.03; 2 * 0.02 = 0.04; 1 * 0.03 is raised to the 0.04 before it."""
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
    with pytest.raises(FormatError):
        holm([1.5])
