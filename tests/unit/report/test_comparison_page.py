"""The page of several runs: the right numbers, the right questions, harmless text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import evaluation_samples as samples
from unireason.cli.compare import answers_of
from unireason.core.errors import FormatError
from unireason.evaluate.comparison import compare, read_run, shared
from unireason.evaluate.results import RunRow
from unireason.report.comparison import comparison_document, p_value
from unireason.report.document import as_html

HOSTILE = "<script>alert(1)</script>'\""


def page_of(folder: Path, patterns: dict[str, list[bool]]) -> str:
    for name, pattern in patterns.items():
        samples.write_folder(folder / name, samples.rows_of(pattern), name=f"model-{name}")
    return page_at(folder, list(patterns))


def page_at(folder: Path, names: list[str]) -> str:
    runs = [read_run(folder / name, name) for name in names]
    found = compare(runs, resamples=200)
    return as_html(comparison_document(found, answers_of(shared(runs)), rules={"unireason_med": "the first letter"})).decode()


def test_numbers_of_runs_and_pairs(tmp_path: Path) -> None:
    """6 won and 1 lost of 20: +25 points, p 0.25 over patients of two questions, the best run first."""
    base = [n < 10 for n in range(20)]
    better = [n < 9 or 10 <= n < 16 for n in range(20)]
    page = page_of(tmp_path, {"base": base, "better": better})
    assert page.index("better <small>model-better") < page.index("base <small>model-base")
    flat = re.sub(r"\s*</?t[dh][^>]*>\s*", "|", page)
    assert "|75.0%||53.1\u201388.8%|" in flat
    assert "|+25.0||" in flat
    assert "|6||1||0.25||0.25|" in flat
    assert "Runs part: all 7 questions" in page
    assert "All runs wrong: all 4 questions" in page
    assert "All runs right: all 9 questions" in page
    assert page.index("Runs part: all") < page.index("All runs wrong: all") < page.index("All runs right: all")
    assert "Only the" not in page


def test_a_question_opens_to_both_answers(tmp_path: Path) -> None:
    page = page_of(tmp_path, {"one": [True, True], "two": [False, True]})
    part = page[page.index("Runs part:") : page.index("All runs right:")]
    assert 'data-run-0="right" data-run-1="wrong"' in part
    assert part.count('src="data:image/png') == 2
    assert part.index('<details class="whole">') < part.index('src="data:image/png')
    assert part.count("[20, 30, 2, 90, 80, 5]") == 2
    assert '<li class="good"><span>one</span><b>B</b></li><li class="bad"><span>two</span><b>C</b></li>' in part


def test_what_is_not_shared_is_told(tmp_path: Path) -> None:
    page = page_of(tmp_path, {"long": [True] * 6, "short": [False] * 4})
    assert "Only the 4 questions that all runs were asked" in page
    assert "long 6" in page


def test_texts_are_inert(tmp_path: Path) -> None:
    rows = [samples.row(n, n > 0, question=HOSTILE, case=HOSTILE, tags={"family": HOSTILE}, thought=HOSTILE) for n in range(3)]
    samples.write_folder(tmp_path / "a", rows, name=HOSTILE)
    samples.write_folder(tmp_path / "b", rows[::-1])
    runs = [read_run(tmp_path / "a", HOSTILE), read_run(tmp_path / "b")]
    page = as_html(comparison_document(compare(runs, resamples=50), answers_of(shared(runs)))).decode()
    assert "<script>alert" not in page
    assert page.count("<script>") == 1


def test_the_page_stays_small(tmp_path: Path) -> None:
    page = page_of(tmp_path, {f"run{k}": [n % 2 == k for n in range(192)] for k in range(2)})
    assert "Runs part: 150 of 192 questions, spread" in page
    assert len(page) < 5_000_000


def test_numbers_in_words() -> None:
    assert [p_value(v) for v in (1.0, 0.25, 0.0312, 0.00512, 1e-9)] == ["1.00", "0.25", "0.031", "0.0051", "<0.0001"]


def test_only_rows_with_a_card_are_read(tmp_path: Path) -> None:
    """Of 400 questions 300 are right or wrong together and 100 part; two runs show 25, 25 and 100 of them."""
    patterns = {"a": [n % 4 < 2 for n in range(400)], "b": [n % 4 in (0, 3) if n < 200 else n % 4 < 2 for n in range(400)]}
    for name, pattern in patterns.items():
        samples.write_folder(tmp_path / name, samples.rows_of(pattern))
    runs = [read_run(tmp_path / name) for name in patterns]
    answers, asked = answers_of(shared(runs)), []

    def noted(name: str, wanted: Collection[str]) -> Iterator[RunRow]:
        for row in answers.sides[name].read(wanted):
            asked.append(row.id)
            yield row

    sides = {name: replace(side, read=partial(noted, name)) for name, side in answers.sides.items()}
    page = as_html(comparison_document(compare(runs, resamples=50), replace(answers, sides=sides))).decode()
    assert len(asked) == 2 * len(set(asked)) == 2 * page.count("data-card data-group") == 2 * (25 + 25 + 100)
    assert "Runs part: all 100 questions</h2>" in page
    assert "All runs right: 25 of 150 questions, spread evenly over the families; all are in rows.jsonl" in page


def test_questions_and_answers_that_do_not_match_are_refused(tmp_path: Path) -> None:
    samples.write_folder(tmp_path / "a", samples.rows_of([True, True]))
    samples.write_folder(tmp_path / "b", samples.rows_of([True, False]))
    runs = [read_run(tmp_path / name) for name in "ab"]
    found, answers = compare(runs, resamples=50), answers_of(runs)
    lost = {**answers.sides, "b": replace(answers.sides["b"], read=lambda wanted: [])}
    short = {**answers.sides, "b": replace(answers.sides["b"], right=[True])}
    for sides in (lost, short):
        with pytest.raises(FormatError, match="incomplete"):
            comparison_document(found, replace(answers, sides=sides))


def test_of_very_many_values_the_frequent_ones_are_shown(tmp_path: Path) -> None:
    """Structure 0 has two questions and is kept, 149 have one: 100 of 150 rows, and where the others are."""
    rows = [samples.row(n, True, tags={"structure": f"part {n % 150:03d}"}, look=False) for n in range(151)]
    for name in "ab":
        samples.write_folder(tmp_path / name, rows)
    page = page_at(tmp_path, ["a", "b"])
    assert page.count('<th scope="row">part ') == 100
    assert '<th scope="row">part 000</th>' in page
    assert "Structure: the 100 with the most questions of 150; all are in the JSON results</th>" in page
