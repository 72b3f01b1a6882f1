"""The plan: every sample once an epoch, shares held in every step, any step without those before; rows within their limit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.train.config import Rollout, Run
from unireason.train.sampler import BatchPlan, DifficultyWindow, PackUnit, bins


@dataclass(frozen=True)
class Sample:
    id: str


@dataclass(frozen=True)
class Case:
    id: str
    kind: str
    samples: tuple[Sample, ...]


def cases(images: list[int], volumes: list[int]) -> list[Case]:
    """Cases with so many samples each."""
    made = []
    for kind, counts in (("image", images), ("volume", volumes)):
        for n, count in enumerate(counts):
            made.append(Case(f"{kind}{n}", kind, tuple(Sample(f"{kind}{n}-{k}") for k in range(count))))
    return made


def drawn(units: tuple[PackUnit, ...]) -> list[str]:
    return [sample for unit in units for sample in unit.samples]


def whole(plan: BatchPlan) -> list[tuple[PackUnit, ...]]:
    return [plan.step(n) for n in range(plan.steps)]


def test_a_small_plan_by_hand():
    plan = BatchPlan(cases([2], [2, 2]), samples=3, together=2, run=Run(seed=1))
    first, second = whole(plan)
    assert plan.steps == 2
    assert plan.epoch == 6
    # A third of the data is 2D, so one sample of each step is, and the group of the one image is cut by the end of the step.
    assert [len(u.samples) for u in first] == [1, 2]
    assert sorted(u.case for u in (first[0], second[0])) == ["image0", "image0"]
    assert {first[1].case, second[1].case} == {"volume0", "volume1"}
    assert sorted(drawn(first) + drawn(second)) == sorted(f"{k}-{i}" for k in ("image0", "volume0", "volume1") for i in (0, 1))


@given(
    st.lists(st.integers(0, 5), max_size=8),
    st.lists(st.integers(1, 5), min_size=1, max_size=8),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_every_sample_comes_once_an_epoch(images, volumes, samples, together, seed):
    listed = cases(images, volumes)
    epochs = 2
    plan = BatchPlan(listed, samples=samples, together=together, run=Run(seed=seed, epochs=epochs))
    steps = whole(plan)
    count = Counter(s for step in steps for s in drawn(step))
    assert count == {s.id: epochs for c in listed for s in c.samples}
    owner = {s.id: c.id for c in listed for s in c.samples}
    for unit in (u for step in steps for u in step):
        assert 1 <= len(unit.samples) <= together
        assert len(set(unit.samples)) == len(unit.samples)
        assert {owner[s] for s in unit.samples} == {unit.case}
    assert all(len(drawn(step)) == samples for step in steps[:-1])


@given(st.floats(0, 1), st.integers(1, 16), st.integers(1, 12), st.integers(1, 12))
def test_every_step_holds_the_share(share, samples, images, volumes):
    plan = BatchPlan(cases([1] * images, [2] * volumes), samples=samples, images=share, run=Run(steps=12))
    so_far = 0
    for n in range(plan.steps):
        twos = sum(s.startswith("image") for s in drawn(plan.step(n)))
        so_far += twos
        assert abs(twos - share * samples) <= 1 + 1e-3
        assert abs(so_far - share * samples * (n + 1)) <= 0.5 + 1e-3


def test_the_scarcer_kind_comes_again_and_no_sample_is_preferred():
    plan = BatchPlan(cases([1] * 3, [1] * 9), samples=4, images=0.5, run=Run(epochs=3.0))
    assert plan.epoch == 12
    assert plan.steps == 9
    count = Counter(s for step in whole(plan) for s in drawn(step))
    assert {v for k, v in count.items() if k.startswith("image")} == {6}
    assert {v for k, v in count.items() if k.startswith("volume")} == {2}


def test_a_share_of_one_leaves_the_other_kind_out_of_the_epoch():
    plan = BatchPlan(cases([1] * 3, [1] * 9), samples=2, images=1.0)
    assert (plan.epoch, plan.steps) == (3, 2)
    assert all(s.startswith("image") for step in whole(plan) for s in drawn(step))
    assert BatchPlan(cases([], [1] * 9), samples=2, images=0.0).epoch == 9


def test_a_step_does_not_depend_on_what_was_asked_before():
    listed = cases([3, 2, 4], [5, 1, 2, 2])
    run = Run(seed=5, epochs=7)
    forward = whole(BatchPlan(listed, samples=4, together=2, images=0.4, run=run))
    plan = BatchPlan(listed, samples=4, together=2, images=0.4, run=run)
    assert [plan.step(n) for n in reversed(range(plan.steps))] == forward[::-1]
    assert BatchPlan(listed, samples=4, together=2, images=0.4, run=Run(seed=5, steps=40)).step(3) == forward[3]


def test_passes_and_seeds_differ():
    listed = cases([1] * 20, [])
    plan = BatchPlan(listed, samples=20, run=Run(seed=0, epochs=2))
    other = BatchPlan(listed, samples=20, run=Run(seed=1))
    assert len({tuple(drawn(s)) for s in (plan.step(0), plan.step(1), other.step(0))}) == 3


def test_samples_of_a_case_are_grouped_anew_in_every_pass():
    plan = BatchPlan(cases([4], []), samples=4, together=2, run=Run(epochs=30))
    groups = {frozenset(u.samples) for step in whole(plan) for u in step}
    assert len(groups) == 6  # all pairs of four


def test_the_number_of_steps():
    listed = cases([5], [5])
    assert BatchPlan(listed, samples=4).steps == 3
    assert len(drawn(BatchPlan(listed, samples=4).step(2))) == 2
    assert BatchPlan(listed, samples=4, run=Run(epochs=0.5)).steps == 2
    assert BatchPlan(listed, samples=4, run=Run(steps=11, epochs=1)).steps == 11
    assert len(drawn(BatchPlan(listed, samples=64).step(0))) == 10


def test_steps_outside_the_run():
    plan = BatchPlan(cases([5], [5]), samples=4)
    for n in (-1, 3):
        with pytest.raises(IndexError):
            plan.step(n)


@pytest.mark.parametrize(
    ("listed", "options", "words"),
    [
        (cases([], []), {}, "no sample to learn from"),
        (cases([0], [0]), {}, "no sample to learn from"),
        (cases([1], []), {"images": 0.5}, "no sample of volumes"),
        (cases([], [1]), {"images": 0.5}, "no sample of images"),
        (cases([1], [1]), {"images": -0.5}, "share"),
        (cases([1], [1]), {"together": 0}, "0 together"),
        (cases([1], [1]), {"samples": 0}, "0 samples"),
    ],
)
def test_what_cannot_be_planned(listed, options, words):
    with pytest.raises(FormatError, match=words):
        BatchPlan(listed, **{"samples": 2, **options})


def test_bins_by_hand():
    # First-fit decreasing needs two rows: 6+4 and 5+3+2. Spread over them longest first: 6+3 and 5+4 and the 2 behind the first.
    assert bins([2, 3, 4, 5, 6], 12) == [[0, 1, 4], [2, 3]]
    assert bins([2, 3, 4, 5, 6], 10) == [[0, 1, 3], [2, 4]]  # here spreading would make a row of eleven
    assert bins([30, 2, 2], 10) == [[0], [1, 2]]
    assert bins([30, 10, 10, 1], 20, 3) == [[0], [1, 3], [2]]
    assert bins([3, 3, 3], 10, 2) == [[0, 2], [1]]
    assert bins([3], 10, 3) == [[0], [], []]
    assert bins([], 10, 3) == []


def test_rows_that_only_first_fit_finds_are_halved_up_to_the_multiple():
    # First-fit fills six rows; seven rows filled longest first leave no room for the last 12; so the longest full row is halved.
    lengths = [33, 30, 29, 28, 26, 24, 22, 21, 20, 17, 16, 15, 13, 12, 12]
    rows = bins(lengths, 54, 7)
    shown = [[lengths[i] for i in row] for row in rows]
    assert shown == [[30, 24], [28, 26], [20, 17, 16], [15, 13, 12, 12], [29, 22], [33], [21]]


lengths_of_units = st.lists(st.integers(1, 60), max_size=40)


@given(lengths_of_units, st.integers(20, 80), st.integers(1, 5))
def test_every_unit_lies_in_one_row_within_the_limit(lengths, limit, multiple):
    rows = bins(lengths, limit, multiple)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert len(rows) % multiple == 0
    sums = [sum(lengths[i] for i in row) for row in rows]
    assert all(total <= limit or len(row) == 1 for total, row in zip(sums, rows, strict=True))
    assert sums == sorted(sums, reverse=True)
    assert rows == bins(lengths, limit, multiple)
    # Never more rows than rounding up demands: first-fit leaves at most one row half empty.
    least = sum(lengths) / limit
    assert len(rows) <= 2 * least + multiple + sum(n > limit for n in lengths)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=40), st.integers(1, 5))
def test_rows_are_balanced(lengths, multiple):
    rows = bins(lengths, 1000, multiple)
    assert len(rows) == multiple
    sums = [sum(lengths[i] for i in row) for row in rows]
    # A row is never longer than the shortest by more than the unit that came to it last.
    assert max(sums) - min(sums) <= max(lengths)
    for row, total in zip(rows, sums, strict=True):
        if len(row) > 1:
            assert total - min(lengths[i] for i in row) <= min(sums)


@given(lengths_of_units.filter(bool), st.integers(20, 80), st.integers(2, 5))
def test_no_row_stays_empty_that_could_have_work(lengths, limit, multiple):
    rows = bins(lengths, limit, multiple)
    assert sum(not row for row in rows) == max(0, len(rows) - len(lengths))


@pytest.mark.parametrize(("lengths", "limit", "multiple"), [([0], 5, 1), ([1], 0, 1), ([1], 5, 0)])
def test_what_cannot_be_packed(lengths, limit, multiple):
    with pytest.raises(FormatError):
        bins(lengths, limit, multiple)


# --- Further draws, and the window of difficulty.


def test_a_further_draw_is_another_batch_of_the_same_size_and_mixture():
    made = cases([3] * 4, [5] * 6)
    plan, again = (BatchPlan(made, samples=7, together=2, run=Run(seed=1, steps=9)) for _ in range(2))
    late = again.step(5, 2)  # known without those before
    for number in range(plan.steps):
        batches = [drawn(plan.step(number, draw)) for draw in range(4)]
        mixtures = {(len(b), sum(name.startswith("image") for name in b)) for b in batches}
        assert len(mixtures) == 1
    assert late == plan.step(5, 2)
    assert len({tuple(drawn(plan.step(0, draw))) for draw in range(4)}) == 4
    assert plan.step(0) == plan.step(0, 0)
    # A pass of a further draw holds every sample once, too.
    whole_pass = [name for number in range(6) for name in drawn(plan.step(number, 1))]
    assert len(set(whole_pass)) == 42


def test_the_window_by_hand():
    """Rates are halves of what was known and of the newest; outside a question is skipped twice and asked the third time."""
    memory: dict[str, list[float]] = {}
    window = DifficultyWindow(Rollout(min_success=0.25, max_success=0.75, skips_at_most=2), memory)
    units = [PackUnit("x", ("a", "b")), PackUnit("y", ("c",))]

    def asked(count: int = 3) -> list[str]:
        return [name for unit in window.take(iter(units), count) for name in unit.samples]

    assert asked() == ["a", "b", "c"]
    for name, success in (("a", 1.0), ("b", 0.5), ("c", 0.25)):
        window.saw(name, success)
    assert memory == {"a": [1.0, 0], "b": [0.5, 0], "c": [0.25, 0]}
    assert asked() == ["b", "c"]  # both ends of the window are inside
    window.saw("b", 1.0)
    window.saw("c", 0.0)
    assert memory == {"a": [1.0, 1], "b": [0.75, 0], "c": [0.125, 0]}
    assert asked() == ["b"]
    assert asked() == ["a", "b"]
    window.saw("a", 0.0)
    assert memory["a"] == [0.5, 0]
    assert asked() == ["a", "b", "c"]
    assert window.skipped == 4  # a, then a and c, then c
    assert asked(1) == ["a"]


def test_without_a_window_all_are_asked_and_the_rest_stays_for_later():
    window = DifficultyWindow(Rollout(), {"a": [1.0, 0], "b": [0.0, 0]})
    assert not window.active
    units = iter([PackUnit("x", ("a", "b", "c")), PackUnit("y", ("d",))])
    assert window.take(units, 2) == [PackUnit("x", ("a", "b"))]
    assert window.take(units, 5) == [PackUnit("y", ("d",))]
    assert window.take(units, 5) == []


@pytest.mark.parametrize("bounds", [(0.5, 0.5), (0.8, 0.2)])
def test_a_window_that_skips_everything_is_refused(bounds):
    with pytest.raises(FormatError, match="success"):
        Rollout(min_success=bounds[0], max_success=bounds[1])
