"""Evidence checks of suites with cases that cannot be read: what is left out, who stands in, how many are too many, asking again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from spots import Spots, reads_region, run
from unireason.core.errors import FormatError, UniReasonError
from unireason.evaluate import store

HALF = 0.5


def plain(results):
    """Results without what tells the suites apart."""
    return {key: value for key, value in results.to_json().items() if key not in ("manifest", "unreadable")}


def lines(folder):
    """Lines of a folder in an order of their own, without what clocks say."""
    found = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    for line in found:
        if line.get("trace"):
            line["trace"]["provenance"].pop("seconds", None)
    return sorted(found, key=lambda line: (line["id"], line.get("condition", "")))


def hosts(found):
    """By case the one whose pictures were shown in its place."""
    return {row.case: row.shown for row in found.rows.values() if row.condition == "other"}


def counted(asked):
    def policy(stack):
        asked.append(1)
        yield from reads_region(stack)

    return policy


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All can be read."""
    folder = tmp_path_factory.mktemp("whole")
    return run(reads_region, folder)[0], folder


def test_a_case_that_cannot_be_read_is_left_out_of_all_conditions(tmp_path, whole):
    found, _ = run(reads_region, tmp_path / "broken", Spots(broken=["c5"]), skip=HALF)
    without, _ = run(reads_region, tmp_path / "without", Spots(without=["c5"]))
    assert plain(found.results) == plain(without.results)
    assert found.results.conditions["true"].n == found.results.conditions["other"].n == 30
    assert found.results.unreadable.to_json() == {"n": 2, "questions": {"05a": "c5 is broken.", "05b": "c5 is broken."}}
    assert json.loads((tmp_path / "broken" / "results.json").read_text()) == found.results.to_json()
    assert found.results.manifest == whole[0].results.manifest
    assert [line for line in lines(tmp_path / "broken") if "problem" in line] == [
        {"id": name, "case": "c5", "patient": "p5", "problem": "c5 is broken."} for name in ("05a", "05b")
    ]
    assert (
        {row.case for row in found.rows.values()}
        == {entry.case for entry in found.entries}
        == {f"c{n}" for n in range(16)} - {"c5"}
    )


def test_only_those_whose_partner_is_lost_get_another_one(tmp_path, whole):
    found, _ = run(reads_region, tmp_path, Spots(broken=["c5"]), skip=HALF)
    before, after = hosts(whole[0]), hosts(found)
    assert "c5" not in {*after, *after.values()}
    moved = [case for case, host in after.items() if before[case] != host]
    assert moved == [case for case, host in before.items() if host == "c5"]
    assert [after[case] for case in moved] == [before["c5"]]  # the next one in the order
    same = [key for key, row in found.rows.items() if row.case not in moved and row.condition != "shuffled"]
    assert all(found.rows[key] == whole[0].rows[key] for key in same)


def test_what_could_not_be_read_is_asked_again(tmp_path, whole):
    run(reads_region, tmp_path, Spots(broken=["c5"]), skip=HALF)
    asked = []
    found, engine = run(counted(asked), tmp_path)
    assert (found.results.unreadable.n, asked, engine.stacks) == (2, [], [])  # not by itself
    found, _ = run(counted(asked), tmp_path, again=True)
    assert found.results == whole[0].results
    assert found.rows == whole[0].rows
    assert lines(tmp_path) == lines(whole[1])
    # Eight conditions of the two questions, `other` of the two whose partner it is, and `shuffled` of those who get its regions.
    assert 18 <= len(asked) <= 22
    asked.clear()
    run(counted(asked), tmp_path, again=True)
    assert not asked
    assert lines(tmp_path) == lines(whole[1])


def test_what_still_cannot_be_read_is_tried_again_the_next_time(tmp_path, whole):
    run(reads_region, tmp_path, Spots(broken=["c5", "c9"]), skip=HALF)
    found, _ = run(reads_region, tmp_path, Spots(broken=["c9"]), skip=HALF, again=True)
    assert list(found.results.unreadable.questions) == ["09a", "09b"]
    with pytest.raises(UniReasonError, match=r"2 of 32 questions.*--skip"):
        run(reads_region, tmp_path, Spots(broken=["c9"]), again=True)
    assert run(reads_region, tmp_path)[0].results == whole[0].results


def test_too_many_stop_the_check_and_nothing_is_lost(tmp_path, whole):
    with pytest.raises(UniReasonError, match=r"2 of 32 questions cannot be asked; of 'c5': c5 is broken.*at most 1\.0%.*--skip"):
        run(reads_region, tmp_path, Spots(broken=["c5"]))
    before = lines(tmp_path)
    assert all(line["condition"] in ("true", "blank") for line in before)
    assert run(reads_region, tmp_path)[0].results == whole[0].results
    assert [line for line in lines(tmp_path) if line in before] == before
    with pytest.raises(FormatError, match="no question was asked"):
        run(reads_region, tmp_path / "all", Spots(2, broken=["c0", "c1"]), skip=1.0)


class Failing(Spots):
    """Reads a case only so many times."""

    def __init__(self, case, times):
        super().__init__()
        self.case, self.times = case, times

    def read(self, case):
        if self.reads.count(self.case) >= self.times:
            self.broken = {self.case}
        return super().read(case)


def test_a_case_that_is_lost_later_is_taken_out_of_the_pairs(tmp_path, whole):
    found, _ = run(reads_region, tmp_path / "late", Failing("c5", 1), skip=HALF)  # read for true and blank, and then not again
    without, _ = run(reads_region, tmp_path / "without", Spots(without=["c5"]))
    assert found.results.unreadable.n == 2
    assert plain(found.results) == plain(without.results)
    assert found.rows == without.rows
    assert run(reads_region, tmp_path / "late", again=True)[0].results == whole[0].results


class Long(Spots):
    """One question is longer than the model's context."""

    def entries(self):
        for entry in super().entries():
            yield replace(entry, question=entry.question + " please" * 2000) if entry.id == "01b" else entry


def test_answers_in_front_of_one_question_too_many_are_kept(tmp_path):
    with pytest.raises(UniReasonError, match="1 of 4 questions cannot be asked"):
        run(reads_region, tmp_path, Long(2), skip=0.0)
    keys = [(line["id"], line["condition"]) for line in lines(tmp_path)]
    assert keys == [(name, condition) for name in ("00a", "00b") for condition in ("blank", "true")] + [("01a", "true")]


def test_a_question_that_does_not_fit_is_given_up_alone(tmp_path):
    found, _ = run(reads_region, tmp_path, Long(4), skip=HALF)
    assert list(found.results.unreadable.questions) == ["01b"]
    assert "context" in found.results.unreadable.questions["01b"]
    assert {name: part.n for name, part in found.results.conditions.items()}["random_region"] == 7
    assert hosts(found)["c1"] != "c1"  # its other question stays


def test_progress_counts_answers_of_all(tmp_path):
    told = []
    run(reads_region, tmp_path, Spots(4, broken=["c1"]), skip=HALF, progress=lambda *done: told.append(done))
    assert (told[0], told[-1]) == ((0, 64), (64, 64))


def test_settings_out_of_range_are_refused():
    for wrong in ({"skip": 1.5}, {"skip": -0.1}, {"seed": -1}, {"count": 0}, {"count": True}):
        with pytest.raises(FormatError):
            store.AskSettings(**wrong)
