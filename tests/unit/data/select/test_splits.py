"""Splits by patient."""

import pytest

from unireason.core.errors import FormatError
from unireason.data.select import assign, position

PATIENTS = [f"p{i}" for i in range(400)]


def test_shares_are_met_and_order_does_not_matter() -> None:
    first = assign(PATIENTS, seed=3, source="s")
    assert assign(reversed(PATIENTS), seed=3, source="s") == first
    share = {split: list(first.values()).count(split) / 400 for split in ("train", "validation", "test")}
    assert share["train"] == pytest.approx(0.8, abs=0.06)
    assert share["validation"] == pytest.approx(0.1, abs=0.05)
    assert share["test"] == pytest.approx(0.1, abs=0.05)


def test_more_patients_move_nobody() -> None:
    few, many = assign(PATIENTS[:200], seed=0, source="s"), assign(PATIENTS, seed=0, source="s")
    assert {p: many[p] for p in few} == few


def test_another_share_of_validation_keeps_the_test_patients() -> None:
    one, two = (assign(PATIENTS, seed=0, source="s", shares=s) for s in ((0.8, 0.1, 0.1), (0.6, 0.3, 0.1)))
    assert {p for p in one if one[p] == "test"} == {p for p in two if two[p] == "test"}


@pytest.mark.parametrize("seed", range(20))
def test_three_patients_fill_three_splits(seed: int) -> None:
    assert sorted(assign(["a", "b", "c"], seed=seed, source="s").values()) == ["test", "train", "validation"]


def test_one_patient_falls_somewhere_and_none_is_nothing() -> None:
    assert len(assign(["a"], seed=0, source="s")) == 1
    assert assign([], seed=0, source="s") == {}


def test_a_split_without_a_share_stays_empty() -> None:
    assert set(assign(PATIENTS, seed=0, source="s", shares=(0.5, 0.0, 0.5)).values()) == {"train", "test"}
    assert set(assign(["a", "b"], seed=0, source="s", shares=(1.0, 0.0, 0.0)).values()) == {"train"}


def test_groups_stay_together() -> None:
    groups = dict.fromkeys(PATIENTS[:50], "p0")
    assert len({assign(PATIENTS, seed=0, source="s", groups=groups)[p] for p in PATIENTS[:50]}) == 1


def test_position_depends_on_everything() -> None:
    base = position(0, "s", "p")
    assert 0 <= base < 1
    assert len({base, position(1, "s", "p"), position(0, "t", "p"), position(0, "s", "q")}) == 4


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.6, -0.1), (0.5, 0.2, 0.2), (float("nan"), 0.5, 0.5)])
def test_shares_are_checked(shares: tuple[float, ...]) -> None:
    with pytest.raises(FormatError, match="shares"):
        assign(["a"], seed=0, source="s", shares=shares)
