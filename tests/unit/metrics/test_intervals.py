import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest

from unireason.core.errors import FormatError
from unireason.metrics import statistics
from unireason.metrics.statistics import bootstrap_mean, flip_interval, over_patients, wilson


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
    monkeypatch.setattr(statistics, "_CHUNK", 7 * 40)  # 50 is no multiple of 7
    assert bootstrap_mean(values, seed=3, resamples=50) == whole


def test_one_value_or_one_cluster_tells_nothing_of_others():
    assert bootstrap_mean([0.5], seed=0) == (0, 1)
    assert bootstrap_mean([0, 1, 0], seed=0, clusters=["p"] * 3) == (0, 1)
    assert bootstrap_mean([0, 1, 2], seed=0, clusters=["p"] * 3) == (-np.inf, np.inf)
    assert over_patients([0, 1], ["p", "p"], seed=0) is None
    assert over_patients([3.0, 3.0], ["p", "q"], seed=0) is None


@pytest.mark.parametrize("patients", [2, 3, 5, 8, 19, 25])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_equal_patients_never_give_an_interval_without_width(patients, share):
    low, high = bootstrap_mean([share] * (4 * patients), seed=0, clusters=list(range(patients)) * 4)
    assert low <= share <= high
    assert high - low > 0.05
    if share == 1.0:
        # All of n patients right: the exact interval of n successes in n trials begins at 0.025 to the power of 1/n.
        assert (low, high) == pytest.approx((0.025 ** (1 / patients), 1.0))


def test_few_means_without_limits_take_students_t():
    values = [3.0, 4.0, 5.0]
    expected = stats.t.interval(0.95, 2, loc=4, scale=stats.sem(values))
    assert bootstrap_mean(values, seed=0) == pytest.approx(expected)
    assert bootstrap_mean(values, seed=0, limits=(2.0, np.inf)) == pytest.approx((2.0, expected[1]))
    with pytest.raises(FormatError, match="limits"):
        bootstrap_mean(values, seed=0, limits=(0.0, 1.0))


def test_few_patients_are_worth_fewer_questions_than_they_have():
    patients = np.repeat(np.arange(8), 5)
    own = bootstrap_mean((patients % 2).astype(float), seed=0, clusters=patients.tolist())
    mixed = bootstrap_mean(np.tile([1.0, 0.0], 20), seed=0, clusters=patients.tolist())
    assert own[1] - own[0] > 1.3 * (mixed[1] - mixed[0])
    assert own[0] < binomtest(4, 8).proportion_ci().low + 0.05


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
    values, clusters = [1, 1, 1, 0] * 20, [name for n in range(20) for name in (f"a{n}", f"a{n}", f"a{n}", f"b{n}")]
    low, high = bootstrap_mean(values, seed=0, clusters=clusters, confidence=0.02, resamples=999)
    assert (low, high) == pytest.approx((0.75, 0.75), abs=0.02)


def test_flips_by_hand():
    # Of 6 there are 32 partings, 1 of which parts nothing; 5% of 32 is 1.6, so an end is the second of the sorted ends. Parting the
    # largest (smallest) from the others gives the farthest one: 0.6 and 0.1.
    assert flip_interval([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], seed=0) == pytest.approx((0.1, 0.6))
    assert flip_interval([0.1, 0.2, 0.3, 0.4, 0.5], seed=0) == (-1, 1)
    two = [value for value in [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] for _ in range(2)]
    assert flip_interval(two, seed=0, clusters=[n // 2 for n in range(12)]) == pytest.approx((0.1, 0.6))


@pytest.mark.parametrize(("difference", "patients"), [(0.0, 4), (0.0, 30), (0.5, 8), (-1.0, 8), (1.0, 25)])
def test_equal_differences_never_give_an_interval_without_width(difference, patients):
    low, high = flip_interval([difference] * patients, seed=0)
    assert low <= difference <= high
    assert high - low > 0.05
    assert (low <= 0 <= high) == (difference == 0)


@pytest.mark.parametrize("value", [0.99, 0.999, 1 - 1e-9])
def test_values_next_to_a_limit_tell_about_as_much_as_values_at_it(value):
    low, high = bootstrap_mean([value] * 6, seed=0, clusters=range(6))
    assert (low, high) == pytest.approx(bootstrap_mean([1.0] * 6, seed=0, clusters=range(6)), abs=0.02)


def test_clusters_of_many_sizes_tell_less_than_clusters_of_one():
    even, uneven = [n for n in range(6) for _ in range(4)], [0] * 19 + [1, 2, 3, 4, 5]
    assert bootstrap_mean([1.0] * 24, seed=0, clusters=uneven)[0] < bootstrap_mean([1.0] * 24, seed=0, clusters=even)[0] - 0.3


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_bootstrap_refuses_values(values):
    with pytest.raises(FormatError):
        bootstrap_mean(values, seed=0)


def test_bootstrap_refuses_lengths_and_settings():
    with pytest.raises(FormatError):
        bootstrap_mean([1.0, 2], seed=0, clusters=["a"])
    with pytest.raises(FormatError):
        flip_interval([1.5], seed=0)
    with pytest.raises(FormatError):
        bootstrap_mean([1.0], seed=0, resamples=0)
    with pytest.raises(FormatError):
        bootstrap_mean([1.0], seed=0, confidence=95)
