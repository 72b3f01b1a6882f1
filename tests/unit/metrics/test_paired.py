import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from unireason.errors import FormatError
from unireason.metrics.paired import compare, holm, mcnemar


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
def test_mcnemar_by_hand(only_first, only_second, exact, mid):
    assert mcnemar(only_first, only_second) == pytest.approx((exact, mid), abs=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_exact_test_is_the_binomial_one(a, b):
    exact, mid = mcnemar(a, b)
    assert exact == pytest.approx(binomtest(a, a + b).pvalue if a + b else 1.0, rel=1e-9)
    assert 0 <= mid <= exact <= 1


def test_many_questions_stay_exact():
    assert mcnemar(6000, 6000) == (1, pytest.approx(1))
    exact, mid = mcnemar(5150, 4850)  # three standard deviations of 50 on either side of 5000
    assert exact == pytest.approx(0.0028, abs=0.0002)
    assert mid < exact


def test_negative_counts_are_refused():
    with pytest.raises(FormatError):
        mcnemar(-1, 3)


def test_comparison_by_hand():
    first = [True] * 6 + [True] * 7 + [False] * 1 + [False] * 6
    second = [True] * 6 + [False] * 7 + [True] * 1 + [False] * 6
    found = compare(first, second, seed=0)
    assert (found.n, found.first, found.second) == (20, 13 / 20, 7 / 20)
    assert (found.only_first, found.only_second) == (7, 1)
    assert (found.p_exact, found.p_mid) == pytest.approx((18 / 256, 10 / 256))
    assert found.difference == pytest.approx(0.3)
    # The pairs have the standard deviation sqrt(8/20 - 0.09) = 0.557, over sqrt(20): 0.1245.
    assert found.interval == pytest.approx((0.3 - 1.96 * 0.1245, 0.3 + 1.96 * 0.1245), abs=0.06)
    assert found == compare(first, second, seed=0)


def test_patients_are_drawn_whole():
    first, second = [True] * 50 + [False] * 50, [False] * 50 + [True] * 50
    patients = ["p"] * 50 + ["q"] * 50
    plain = compare(first, second, seed=0).interval
    whole = compare(first, second, seed=0, clusters=patients).interval
    assert plain == pytest.approx((-0.2, 0.2), abs=0.04)
    assert whole == (-1, 1)  # a quarter of all draws has one patient twice


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
