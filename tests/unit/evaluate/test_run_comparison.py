"""Runs side by side: hand-computed differences, shared questions, folders that are refused."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import evaluation_samples as samples
from unireason.core.errors import FormatError
from unireason.evaluate import comparison
from unireason.evaluate.comparison import ComparedRun, read_run, reply, shared, whole_rows
from unireason.evaluate.results import RunResults

BASE = [n < 10 for n in range(20)]
BETTER = [n < 9 or 10 <= n < 16 for n in range(20)]  # 6 won, 1 lost
SAME = [n < 11 for n in range(20)]  # 1 won


def run_of(name: str, pattern: list[bool]) -> ComparedRun:
    return run_over(name, samples.rows_of(pattern))


def compare(runs: Sequence[ComparedRun], **how: int) -> dict[str, Any]:
    """As ``--json`` prints it."""
    return comparison.compare(runs, **how).to_json()


def run_over(name: str, rows: Sequence[Mapping[str, Any]]) -> ComparedRun:
    return ComparedRun(name, Path(name), RunResults.of(samples.results_of(rows, name=name)), tuple(map(reply, rows)))


def test_two_by_two_by_hand() -> None:
    """Patients of two questions: +2, +2, +2 and -1 have a sum of 5 or more in 2 of 16 flips, p 0.25; +1 alone has 1. Holm doubles it."""
    found = compare([run_of("base", BASE), run_of("better", BETTER), run_of("same", SAME)], resamples=300)
    better, same = found["comparisons"]
    assert (better["run"], better["baseline"], better["n"]) == ("better", "base", 20)
    assert (better["only_first"], better["only_second"]) == (6, 1)
    assert better["difference"] == pytest.approx(0.25)
    assert better["p_exact"] == pytest.approx(0.25)
    assert better["p_holm"] == pytest.approx(0.5)
    assert better["interval"][0] < 0.25 < better["interval"][1]
    assert (same["difference"], same["p_exact"], same["p_holm"]) == (pytest.approx(0.05), 1.0, 1.0)
    assert [run["accuracy"] for run in found["runs"]] == [0.5, 0.75, 0.55]
    assert (found["n"], found["patients"], found["baseline"]) == (20, 10, "base")
    assert found["runs"][0]["overlap"]["mean"] == pytest.approx(0.5)  # half 0.75, half 0.25
    assert found["runs"][0]["by"]["structure"]["spleen"]["n"] == 10
    assert set(found["comparisons"][0]["by"]) == {"kind", "family", "modality", "structure"}
    json.dumps(found, allow_nan=False)


def test_any_run_may_be_the_baseline() -> None:
    found = compare([run_of("base", BASE), run_of("better", BETTER)], baseline=1, resamples=50)
    assert [own["run"] for own in found["comparisons"]] == ["base"]
    assert found["comparisons"][0]["difference"] == pytest.approx(-0.25)


def test_only_questions_in_the_same_words_are_compared() -> None:
    """Question 3 is worded otherwise in the second run, 0 to 2 are asked in one only: 16 of 20 stay, by the order of the first."""
    first, second = run_of("a", BASE), run_of("b", BASE)
    rows = (reply(samples.row(3, True, question="Another?")), *reversed(second.rows[4:]))
    cut = ComparedRun("b", Path("b"), second.results, rows)
    both = shared([first, cut])
    assert [row.id for row in both[1].rows] == [f"q{n:04d}" for n in range(4, 20)]
    assert [row.id for row in both[0].rows] == [row.id for row in both[1].rows]
    found = compare([first, cut], resamples=50)
    assert (found["n"], found["runs"][0]["asked"]) == (16, 20)
    assert found["runs"][0]["accuracy"] == pytest.approx(6 / 16)
    with pytest.raises(FormatError, match="share no question"):
        compare([first, ComparedRun("b", Path("b"), second.results, rows[:1])])


def test_questions_without_an_answer_count_as_wrong() -> None:
    rows = samples.rows_of([True, True])
    lost = samples.row(1, False, said="") | {"samples": [], "problem": "no such file", "picture": ""}
    found = compare([run_over("whole", rows), run_over("broken", [rows[0], lost])], resamples=50)
    assert [run["accuracy"] for run in found["runs"]] == [1.0, 0.5]
    assert [run["looked"] for run in found["runs"]] == [1.0, 0.5]
    assert [run["unreadable"] for run in found["runs"]] == [0, 1]


def test_an_unknown_kind_is_no_group() -> None:
    """A question whose case could not be read may be 2D or 3D: it is in no group of kinds, but among all."""
    rows = samples.rows_of([True, True, False])
    lost = samples.row(1, False, said="", kind="") | {"samples": [], "problem": "no such file", "picture": ""}
    found = compare([run_over("a", rows), run_over("b", [rows[0], lost, rows[2]])], resamples=50)
    assert found["n"] == 3
    assert set(found["runs"][1]["by"]["kind"]) == {"image", "volume"}
    assert found["runs"][1]["by"]["kind"]["volume"]["n"] == 1
    assert set(found["comparisons"][0]["by"]["kind"]) == {"image", "volume"}


def test_holm_over_three_runs_and_a_baseline_in_the_middle() -> None:
    """Against the base, 10 of 20: 7 won (patients +2, +2, +2, +1: p 2/16), 6 won and 1 lost (p 0.25), 1 won (p 1). Holm: 3, 2, 1 times."""
    best = [n < 17 for n in range(20)]
    runs = [run_of("same", SAME), run_of("better", BETTER), run_of("base", BASE), run_of("best", best)]
    found = {own["run"]: own for own in compare(runs, baseline=2, resamples=50)["comparisons"]}
    assert list(found) == ["same", "better", "best"]
    assert found["best"]["p_exact"] == pytest.approx(2 / 16)
    assert found["best"]["p_holm"] == pytest.approx(6 / 16)
    assert found["better"]["p_holm"] == pytest.approx(0.5)
    assert found["same"]["p_holm"] == 1
    assert (found["best"]["first"], found["best"]["second"], found["best"]["only_first"]) == (0.85, 0.5, 7)


def test_the_overlap_of_questions_without_an_answer_counts() -> None:
    """One of three has no true look and is left out; one could not be asked and counts 0."""
    rows = [samples.row(0, True), samples.row(2, True, overlap=None), samples.row(4, False, said="", overlap=0.0)]
    rows[2] |= {"samples": [], "problem": "no such file", "picture": ""}
    one = run_over("a", rows)
    found = compare([one, ComparedRun("b", Path("b"), one.results, one.rows)], resamples=50)["runs"][0]
    assert (found["overlap"]["n"], found["overlap"]["mean"]) == (2, pytest.approx(0.375))
    assert found["looked"] == pytest.approx(2 / 3)


def test_looked_is_said_of_the_response_that_stands() -> None:
    """Of two questions with two samples each one stands that looked, and one that did not though the other sample did."""
    rows = samples.rows_of([True, True])
    for row, index in zip(rows, (0, 1), strict=True):
        row |= {"samples": [row["samples"][0], {**row["samples"][0], "looks": 0}], "sample": index}
    one = run_over("a", rows)
    assert compare([one, ComparedRun("b", Path("b"), one.results, one.rows)], resamples=50)["runs"][0]["looked"] == 0.5


def test_one_patient_has_no_interval_over_patients() -> None:
    rows = [samples.row(n, n == 0, patient="p") for n in range(3)]
    one = run_over("a", rows)
    found = compare([one, ComparedRun("b", Path("b"), one.results, one.rows)], resamples=50)
    assert found["comparisons"][0]["interval"] is None
    assert (found["runs"][0]["accuracy_ci95_patients"], found["runs"][0]["overlap"]["ci95_patients"]) == (None, None)


def test_runs_that_are_no_match() -> None:
    one = run_of("a", BASE)
    with pytest.raises(FormatError, match="at least two"):
        compare([one])
    with pytest.raises(FormatError, match="different names"):
        compare([one, one])
    for key, value in (("suite", "slake"), ("rule", "another")):
        other = ComparedRun("b", Path("b"), one.results.model_copy(update={key: value}), one.rows)
        with pytest.raises(FormatError, match=f"one {key}"):
            compare([one, other])


def test_folders(tmp_path: Path) -> None:
    folder = samples.write_folder(tmp_path / "one", samples.rows_of([True, False]))
    run = read_run(folder)
    assert (run.name, len(run.rows)) == ("one", 2)
    assert read_run(folder, "mine").name == "mine"
    for broken in ({"id": 1}, samples.row(0, True) | {"options": 3}, samples.row(0, True) | {"sample": 5}):
        (folder / "rows.jsonl").write_text(json.dumps(broken) + "\n")
        with pytest.raises(FormatError, match="line 1"):
            read_run(folder)
    (folder / "rows.jsonl").write_text(json.dumps(samples.row(0, True)) + "\n")
    with pytest.raises(FormatError, match=r"has 1 rows\. Expected the 2"):
        read_run(folder)
    (folder / "rows.jsonl").write_text("")
    with pytest.raises(FormatError, match="0 rows"):
        read_run(folder)
    with pytest.raises(FormatError, match="finished run"):
        read_run(tmp_path / "nothing")
    for content, said in (
        ('{"manifest": {"kind": "evidence"}}', "evidence"),
        ('{"manifest": {"kind": "run"}}', "incomplete"),
        ("[]", "None"),
    ):
        (folder / "results.json").write_text(content)
        with pytest.raises(FormatError, match=said):
            read_run(folder)


def test_traces_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 rows none but the one that is being read is alive, and what is kept of a row does not grow with its trace."""

    class Seen(dict[str, Any]):
        __hash__ = object.__hash__  # type: ignore[assignment]

    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    counts = []

    def rows(path: Path, parse: Callable[[Any], Any]) -> Iterator[Any]:
        for n in range(300):
            one = Seen(samples.row(n, n % 2 == 0))
            one["samples"][0]["trace"] = Seen(one["samples"][0]["trace"])
            alive.update((one, one["samples"][0]["trace"]))
            yield parse(one)
            counts.append(len(alive))

    folder = samples.write_folder(tmp_path / "one", samples.rows_of([True, False]))
    (folder / "results.json").write_text(json.dumps(samples.results_of(samples.rows_of([True])) | {"n": 300}))
    monkeypatch.setattr(comparison, "read_rows", rows)
    run = read_run(folder)
    assert (len(run.rows), len(counts), max(counts)) == (300, 300, 2)


def test_words_and_tags_of_many_rows_are_kept_once(tmp_path: Path) -> None:
    """Rows are read line by line, so that the same word comes as a new text with each."""
    folder = samples.write_folder(tmp_path / "one", samples.rows_of([True] * 12))
    kept = [row.answer.scored for row in read_run(folder).rows]
    words = [[*row.tags, *row.tags.values(), *row.published] for row in kept]
    assert len({id(word) for own in words for word in own}) == len({word for own in words for word in own})


def test_whole_rows_are_read_again(tmp_path: Path) -> None:
    rows = samples.rows_of([True, False, True])
    run = read_run(samples.write_folder(tmp_path / "one", rows))
    assert [row.to_json() for row in whole_rows(run, {"q0002", "q0001", "other"})] == rows[1:]
    assert list(whole_rows(run, set())) == []
    (run.folder / "rows.jsonl").write_text("[]\nnothing")
    with pytest.raises(FormatError, match="line"):
        list(whole_rows(run, {"q0001"}))
