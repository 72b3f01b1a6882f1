from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.metrics.statistics import auroc, calibration_error, reliability_bins, wilson

VALUES = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
RIGHT = [False, False, True, False, True, True, False, True]


def test_bins_by_hand():
    low, high = reliability_bins(VALUES[::-1], RIGHT[::-1], count=2)  # any order
    assert (low.low, low.high, low.n, low.accuracy) == (0.1, 0.4, 4, 0.25)
    assert (high.low, high.high, high.n, high.accuracy) == (0.6, 0.9, 4, 0.75)
    assert (low.mean, high.mean) == pytest.approx((0.25, 0.75))
    assert low.interval == wilson(1, 4)
    assert calibration_error((low, high)) == pytest.approx(0)


def test_calibration_error_by_hand():
    bins = reliability_bins([0.9, 0.9, 0.9, 0.5], [True, False, False, True], count=2)
    assert [(b.mean, b.n, b.accuracy) for b in bins] == [(0.5, 1, 1.0), (pytest.approx(0.9), 3, pytest.approx(1 / 3))]
    assert calibration_error(bins) == pytest.approx((1 * 0.5 + 3 * (0.9 - 1 / 3)) / 4)


def test_equal_values_stay_together():
    bins = reliability_bins([0.2] * 5 + [0.6] * 90 + [1.0] * 5, [True] * 100, count=10)
    assert [(b.low, b.high, b.n) for b in bins] == [(0.2, 0.2, 5), (0.6, 0.6, 90), (1.0, 1.0, 5)]
    # Three values for two bins: the middle of the answers lies in the run of 0.6, which begins the second bin.
    assert [b.n for b in reliability_bins([0.2] * 5 + [0.6] * 90 + [1.0] * 5, [True] * 100, count=2)] == [5, 95]
    assert [b.n for b in reliability_bins([0.5] * 7, [True] * 7)] == [7]


def test_few_answers_give_few_bins():
    assert [b.n for b in reliability_bins([0.1, 0.9], [True, False])] == [1, 1]
    assert reliability_bins([], []) == ()
    assert calibration_error(()) is None


@given(
    st.lists(st.tuples(st.sampled_from([0, 0.1, 0.25, 0.5, 0.9, 1]) | st.floats(0, 1), st.booleans()), max_size=60),
    st.integers(1, 12),
)
def test_every_answer_is_in_one_bin(answers, count):
    values, right = [v for v, _ in answers], [r for _, r in answers]
    bins = reliability_bins(values, right, count=count)
    assert sum(b.n for b in bins) == len(values)
    assert len(bins) <= count
    assert sum(b.n * b.accuracy for b in bins) == pytest.approx(sum(right))
    assert all(a.high < b.low for a, b in pairwise(bins))


def test_distinct_values_give_equal_mass():
    bins = reliability_bins(list(np.linspace(0, 1, 103)), [True] * 103, count=10)
    assert len(bins) == 10
    assert {b.n for b in bins} == {10, 11}


def test_auroc_by_hand():
    # Right: 0.3 0.6 0.7 0.9; wrong: 0.1 0.2 0.4 0.8. Pairs won: 2 + 3 + 3 + 4 of 16.
    assert auroc(VALUES, RIGHT) == pytest.approx(12 / 16)
    assert auroc([1, 1, 1, 0], [True, False, False, False]) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert auroc([0.5] * 4, [True, False, True, False]) == 0.5
    assert auroc([3.0, -2.0], [False, True]) == 0  # any scale
    assert auroc([0.1, 0.2], [True, True]) is None
    assert auroc([], []) is None


@pytest.mark.parametrize(
    ("values", "right", "count"),
    [([0.1], [], 10), ([1.2], [True], 10), ([-0.1], [True], 10), ([np.nan], [True], 10), ([0.5], [True], 0)],
)
def test_bad_predictors_are_refused(values, right, count):
    with pytest.raises(FormatError):
        reliability_bins(values, right, count=count)


def test_auroc_refuses():
    with pytest.raises(FormatError):
        auroc([np.inf, 0], [True, False])
    with pytest.raises(FormatError):
        auroc([0.1], [True, False])
