"""Balance: fair draws pass, favoured letters, answers and families do not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from unireason.data.checks.facts import CheckFindings
from unireason.data.checks.text import BalanceTally, check_balance, uneven
from unireason.data.scene import FAMILIES


def tally(**letters: int) -> BalanceTally:
    """A sound tally of 600 questions with four options, in which ``letters`` (A to D) of the first family are replaced."""
    counts = BalanceTally()
    for family in FAMILIES:
        counts.table[family, "image", "train"] = 100
        counts.allows[family] = 100
        for place in range(4):
            counts.letters[4, place, family] = 25
    for letter, n in letters.items():
        counts.letters[4, "ABCD".index(letter), FAMILIES[0]] = n
    for split in ("train", "validation", "test"):
        counts.cases["image", split] = 100
    return counts


def judged(counts: BalanceTally, patients: int = 50) -> CheckFindings:
    found = CheckFindings()
    check_balance(counts, patients, found)
    return found


def test_an_even_set_passes() -> None:
    assert judged(tally()).kept == []


def test_a_favoured_letter_is_found() -> None:
    # 100 fair draws at 1/4: 25 with a deviation of 4.33, so 42.3 is the bound
    assert judged(tally(A=42, B=20, C=19, D=19)).kept == []
    found = judged(tally(A=43, B=19, C=19, D=19)).kept
    assert [(p.id, p.detail[:24]) for p in found] == [(FAMILIES[0], "of 4 options, A is right")]


def test_always_the_same_letter_is_found_everywhere() -> None:
    details = [p.detail for p in judged(tally(A=100, B=0, C=0, D=0)).kept]
    assert len(details) >= 4


def test_fair_draws_are_hardly_ever_blamed() -> None:
    rng = np.random.default_rng(5)
    draws = [(n, int(c)) for n in (1, 5, 30, 1000, 100_000) for _ in range(400) for c in rng.multinomial(n, [0.25] * 4)]
    assert sum(uneven(count, n, 0.25) for n, count in draws) <= 3  # of 8,000; one in 16,000 for large n, a little more for small


def test_trifles_in_large_sets_are_no_fault() -> None:
    assert not uneven(254_000, 1_000_000, 0.25)
    assert uneven(262_000, 1_000_000, 0.25)


def test_yes_too_often_is_found() -> None:
    counts = tally()
    answered(counts, 90, 10)
    assert [p.detail for p in judged(counts).kept] == ["the right answer is yes 90 times and no 10 times"]


def answered(counts: BalanceTally, yes: int, no: int, *, each: int = 1) -> None:
    """So many questions answered by yes and by no, of each patient several with one answer."""
    family = "existence_verification"
    counts.yes[family, "yes"], counts.yes[family, "no"] = yes, no
    for number in range((yes + no) // each):
        counts.leans[family][f"p{number}"] = each if number * each < yes else -each


def test_answers_of_one_patient_count_together() -> None:
    counts = tally()
    answered(counts, 360, 120)  # one by one this is eleven deviations
    assert len(judged(counts).kept) == 1
    answered(counts, 360, 120, each=8)  # of 60 patients 45 against 15: under four
    counts.leans["existence_verification"] = Counter({f"p{n}": 8 if n < 45 else -8 for n in range(60)})
    assert judged(counts).kept == []
    answered(counts, 432, 48, each=8)
    counts.leans["existence_verification"] = Counter({f"p{n}": 8 if n < 54 else -8 for n in range(60)})
    assert len(judged(counts).kept) == 1


def test_a_lean_of_few_patients_is_told_and_not_blamed() -> None:
    counts = tally(A=43, B=19, C=19, D=19)
    answered(counts, 152, 0, each=8)  # 19 patients
    found = judged(counts, patients=19)
    assert found.kept == []
    assert [r.detail.split("; ")[1] for r in found.remarks] == ["too few patients to judge (19)"] * 2


def test_a_missing_family_is_a_fault_only_if_the_cases_allow_it() -> None:
    counts = tally()
    del counts.table["lesion_analysis", "image", "train"]
    counts.allows["lesion_analysis"] = 0
    found = judged(counts)
    assert found.kept == []
    assert [r.id for r in found.remarks] == ["lesion_analysis"]
    counts.allows["lesion_analysis"] = 80
    assert [p.id for p in judged(counts).kept] == ["lesion_analysis"]


def test_a_rare_family_is_measured_by_what_the_cases_allow() -> None:
    counts = tally()
    counts.table["lesion_analysis", "image", "train"] = 5
    assert [p.id for p in judged(counts).kept] == ["lesion_analysis"]
    counts.allows["lesion_analysis"] = 6
    assert judged(counts).kept == []


@pytest.mark.parametrize(("patients", "problems"), [(50, 1), (5, 0)])
def test_an_empty_split(patients: int, problems: int) -> None:
    counts = tally()
    del counts.cases["image", "test"]
    found = judged(counts, patients)
    assert len(found.kept) == problems
    assert len(found.kept) + len(found.remarks) == 1
