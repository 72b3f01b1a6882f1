import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from unireason.errors import FormatError
from unireason.metrics import intervals
from unireason.metrics.intervals import bootstrap_difference, bootstrap_mean, wilson


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(counts, confidence):
    found = wilson(*counts, confidence=confidence)
    truth = binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert found == pytest.approx((truth.low, truth.high), abs=1e-9)


def test_wilson_by_hand():
    # z = 1.959964: 8 of 10 gives 0.4902 to 0.9433.
    assert wilson(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-4)
    assert wilson(0, 0) == (0, 1)
    assert wilson(0, 5)[0] == 0
    assert wilson(5, 5)[1] == 1


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 95), (1, 5, 0), (1, 5, 1)])
def test_wilson_refuses(successes, trials, confidence):
    with pytest.raises(FormatError):
        wilson(successes, trials, confidence=confidence)


def test_bootstrap_matches_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    low, high = bootstrap_mean(values, seed=1)
    reach = 1.96 * values.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.01)


def test_bootstrap_is_fixed_by_its_seed():
    values = list(range(30))
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_draws_made_in_parts_are_those_made_at_once(monkeypatch):
    values = np.random.default_rng(5).random(40)
    whole = bootstrap_mean(values, seed=3, resamples=50)
    monkeypatch.setattr(intervals, "_CHUNK", 7 * 40)  # 50 is no multiple of 7
    assert bootstrap_mean(values, seed=3, resamples=50) == whole


def test_one_value_or_one_cluster_has_no_width():
    assert bootstrap_mean([0.5], seed=0) == (0.5, 0.5)
    assert bootstrap_mean([0, 1, 2], seed=0, clusters=["p"] * 3) == (1, 1)


def test_clusters_widen_the_interval():
    # 20 patients with 50 equal answers each know no more than 20 answers.
    patients = np.repeat(np.arange(20), 50)
    values = (patients % 2).astype(float)
    plain = bootstrap_mean(values, seed=0)
    whole = bootstrap_mean(values, seed=0, clusters=list(patients))
    single = bootstrap_mean(values[::50], seed=0)
    assert whole == pytest.approx(single, abs=1e-12)
    assert whole[1] - whole[0] > 4 * (plain[1] - plain[0])


def test_clusters_of_unequal_size_weigh_by_their_items():
    low, high = bootstrap_mean([1, 1, 1, 0], seed=0, clusters=["a", "a", "a", "b"])
    assert (low, high) == (0, 1)
    assert bootstrap_mean([1, 1, 1, 0], seed=0, clusters=["a", "a", "a", "b"], confidence=0.02, resamples=999) == (0.75, 0.75)


def test_difference_is_paired():
    ours, theirs = [1.0, 2, 3, 4], [0.5, 1.5, 2.5, 3.5]
    assert bootstrap_difference(ours, theirs, seed=0) == (0.5, 0.5)
    low, high = bootstrap_difference([1.0, 0, 1, 0], [0.0, 1, 0, 1], seed=0)
    assert low < 0 < high


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_bootstrap_refuses_values(values):
    with pytest.raises(FormatError):
        bootstrap_mean(values, seed=0)


def test_bootstrap_refuses_lengths_and_settings():
    with pytest.raises(FormatError):
        bootstrap_mean([1.0, 2], seed=0, clusters=["a"])
    with pytest.raises(FormatError):
        bootstrap_difference([1.0], [1.0, 2], seed=0)
    with pytest.raises(FormatError):
        bootstrap_mean([1.0], seed=0, resamples=0)
    with pytest.raises(FormatError):
        bootstrap_mean([1.0], seed=0, confidence=95)
