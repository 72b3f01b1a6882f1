"""Tables of scored questions: figures by hand, groups, refusals."""

import json

import pytest

from unireason.core.errors import FormatError
from unireason.evaluate.scoring import ScoredRow, breakdown, compare_runs, judge_text, make_row
from unireason.evaluate.suites.base import Entry
from unireason.metrics.statistics import bootstrap_mean, wilson


def row(number, right, *, patient=None, family="size", published=None, said="A", **tags):
    return ScoredRow(f"q{number}", patient or f"p{number}", {"family": family, **tags}, 4, said, right, published or {})


# Two patients with three questions each and one with two: 5 of 8 right.
ROWS = [
    row(1, True, patient="a", modality="CT", published={"m3d": True, "llava_med_closed": None}),
    row(2, True, patient="a", modality="CT", published={"m3d": False, "llava_med_closed": None}),
    row(3, True, patient="a", modality="MR", published={"m3d": None, "llava_med_closed": True}),
    row(4, False, patient="b", family="existence", said=""),
    row(5, False, patient="b", family="existence"),
    row(6, True, patient="b", family="existence"),
    row(7, True, patient="c"),
    row(8, False, patient="c"),
]


def test_figures_by_hand():
    found = breakdown(ROWS, seed=3)
    everything = found["all"]
    assert (everything["n"], everything["patients"], everything["unread"]) == (8, 3, 1)
    assert everything["accuracy"] == 5 / 8
    assert everything["chance"] == 0.25
    assert everything["accuracy_ci95"] == list(wilson(5, 8))
    values, patients = [1, 1, 1, 0, 0, 1, 1, 0], list("aaabbbcc")
    assert everything["accuracy_ci95_patients"] == list(bootstrap_mean(values, seed=3, clusters=patients))
    assert everything["too_few_patients"] is True
    assert json.loads(json.dumps(found)) == found


def test_groups():
    by = breakdown(ROWS, seed=3)["by"]
    assert list(by) == ["family", "modality"]  # no row tells its structure
    assert list(by["family"]) == ["existence", "size"]
    assert (by["family"]["size"]["n"], by["family"]["size"]["accuracy"]) == (5, 4 / 5)
    assert by["family"]["existence"]["accuracy_ci95_patients"] is None  # one patient says nothing about patients
    assert {value: own["n"] for value, own in by["modality"].items()} == {"CT": 2, "MR": 1}  # untagged rows are in none
    assert breakdown(ROWS, seed=3, by=["split"])["by"] == {}


def test_published_readings_count_what_they_count():
    assert breakdown(ROWS, seed=3)["all"]["published"] == {
        "llava_med_closed": {"n": 1, "accuracy": 1.0, "accuracy_ci95": list(wilson(1, 1)), "accuracy_ci95_patients": None},
        "m3d": {"n": 2, "accuracy": 0.5, "accuracy_ci95": list(wilson(1, 2)), "accuracy_ci95_patients": None},
    }


def test_chance_of_mixed_questions():
    rows = [ScoredRow("a", "p", {}, 2, "A", True, {}), ScoredRow("b", "p", {}, 0, "x", True, {})]
    assert breakdown(rows, seed=0)["all"]["chance"] == 0.25


def test_rows_come_from_verdicts():
    entry = Entry("q", "c", "p", "?", ("yes", "no"), ("no",), "B", {"family": "existence"})
    found = make_row(entry, judge_text(entry, "A. yes"))
    assert (found.id, found.patient, found.tags, found.options) == ("q", "p", {"family": "existence"}, 2)
    assert (found.said, found.right, found.published["llava_med_closed"], found.published["m3d"]) == ("A", False, None, False)


def test_two_runs_side_by_side():
    other = [row(own.id[1:], own.id in ("q4", "q6"), patient=own.patient, family="other") for own in reversed(ROWS)]
    found = compare_runs(ROWS, other, seed=1)
    everything = found["all"]
    assert (everything["n"], everything["first"], everything["second"]) == (8, 5 / 8, 2 / 8)
    assert (everything["only_first"], everything["only_second"]) == (4, 1)  # 1 2 3 7 against 4
    assert everything["p_exact"] == pytest.approx(6 / 8)
    assert everything["difference"] == pytest.approx(3 / 8)
    # By patient the sums are +3, -1, +1: 6 of 8 flips are as far from 0. Of 3 patients no flip is rare enough for an interval.
    assert everything["interval"] == [-1, 1]
    assert list(found["by"]["family"]) == ["existence", "size"]
    assert found["by"]["family"]["existence"]["interval"] is None
    assert found["by"]["family"]["existence"]["only_second"] == 1
    assert json.loads(json.dumps(found)) == found


def test_no_question_counts_twice():
    with pytest.raises(FormatError, match="q1"):
        breakdown([ROWS[0], ROWS[0]], seed=0)
    with pytest.raises(FormatError):
        compare_runs(ROWS, [*ROWS, ROWS[0]], seed=0)


def test_runs_over_other_questions_are_refused():
    with pytest.raises(FormatError, match="'q8'"):
        compare_runs(ROWS, ROWS[:-1], seed=0)
    with pytest.raises(FormatError):
        breakdown([], seed=0)
