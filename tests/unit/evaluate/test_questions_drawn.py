"""Which questions a seed draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean

import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Case
from unireason.evaluate.store import choose
from unireason.evaluate.suites.base import Entry


@dataclass
class Many:
    """So many cases with two questions each."""

    cases: int
    name = "many"
    rule = "none"

    def entries(self) -> Iterator[Entry]:
        for number in range(2 * self.cases):
            yield Entry(f"q{number}", f"case-{number // 2}", f"p{number // 2}", "Side?", ("L", "R"), ("L",), "A")

    def read(self, case: str) -> Case:
        raise NotImplementedError


def test_seeds_draw_independently():
    """100 of 400 cases: two draws share 25 in the mean, and none of them all or nothing."""
    drawn = [{e.case for e in choose(Many(400), 200, seed)} for seed in range(20)]
    assert {len(cases) for cases in drawn} == {100}
    shared = [len(drawn[i] & drawn[j]) for i in range(20) for j in range(i)]
    assert 22 < fmean(shared) < 28
    assert 5 < min(shared) <= max(shared) < 50


def test_the_order_of_the_suite_is_kept_and_cases_are_asked_whole():
    found = choose(Many(50), 20, 3)
    assert [e.id for e in found] == sorted((e.id for e in found), key=lambda name: int(name[1:]))
    assert len({e.case for e in found}) == 10
    assert choose(Many(50), None, 3) == list(Many(50).entries())


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(count):
    with pytest.raises(FormatError, match="questions"):
        choose(Many(5), count, 0)


@pytest.mark.parametrize("field", ["id", "case", "patient", "question", "options", "answers"])
@pytest.mark.parametrize("count", [None, 1])
def test_half_characters_are_refused(field, count):
    class Half(Many):
        def entries(self) -> Iterator[Entry]:
            yield from super().entries()
            last = Entry("last", "c", "p", "Side?", ("L", "R"), ("L",), "A")
            yield replace(last, **{field: ("\ud800", "R") if field in ("options", "answers") else "\ud800"})

    with pytest.raises(FormatError, match="half character"):
        choose(Half(3), count, 0)
    odd = Entry('a/b\\c:*?"<>| \U0001f600\n', "CON", "p", "?", (), ("a",))
    suite = Many(0)
    suite.entries = lambda: iter([odd])  # type: ignore[method-assign]
    assert choose(suite, None, 0) == [odd]
