"""The page and the Markdown of one run: the right numbers, the right cards, harmless text."""

from __future__ import annotations

import base64
import io
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import evaluation_samples as samples
from unireason.core.errors import FormatError
from unireason.evaluate.results import RunResults, RunRow
from unireason.report.document import Cards, Document, as_html, as_terminal
from unireason.report.run import card, choose, command, pick, pictures, write_run

HOSTILE = "<script>alert(1)</script> `a` | b\n# c"


def written(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> tuple[str, str]:
    report_of(folder, rows, **changes)
    return (folder / "report.html").read_text(), (folder / "report.md").read_text()


def report_of(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Document:
    samples.write_folder(folder, rows)
    results = RunResults.of(samples.results_of(rows, **changes))
    return write_run(results, lambda: map(RunRow.of, rows), folder, rules={"unireason_med": "the first letter"})


def card_of(row: dict[str, Any]) -> str:
    """The card of a row without pictures, as HTML."""
    return as_html(Document("", [], [Cards("Answers", [card(RunRow.of(row), {})])])).decode()


def test_headline_and_tables_tell_the_numbers(tmp_path: Path) -> None:
    """3 of 4 right: Wilson 30.1-95.4%; one of four options is chance."""
    page, markdown = written(tmp_path, samples.rows_of([True, True, True, False]))
    assert "<dt>Accuracy</dt><dd>75.0%<small>Wilson 30.1\u201395.4%" in page
    assert "<dt>Chance</dt><dd>25.0%</dd>" in page
    assert "| Accuracy | 75.0% | Wilson 30.1\u201395.4%" in markdown
    assert "| kidney | 50% | 9\u201391% |" in markdown
    assert "| spleen | 100% | 34\u2013100% |" in markdown
    assert "| 2D image | 100% | 21\u2013100% | \u2013 | 25% | 0 | 1 | 1 |" in markdown
    assert "Mean box IoU</dt><dd>0.62" in page  # (3 * 0.75 + 0.25) / 4 = 0.625, rounded to even


def test_what_the_own_boxes_say_is_told_by_kind(tmp_path: Path) -> None:
    """Of four questions of a kind the own boxes decide three and are right on all, the model on one; of others nothing is known."""
    rows = [samples.row(n, n == 0, own_boxes="B" if n < 3 else "", true_boxes="B") for n in range(4)]
    rows += [samples.row(n, True) for n in range(4, 6)]
    for row in rows[:4]:
        row["tags"] |= {"ask": "which_at_box"}
    page, markdown = written(tmp_path / "told", rows)
    assert "<dt>Own boxes are right</dt><dd>100.0%<small>where the model has 33.3%; 3 of 4 questions</small>" in page
    assert "<dt>Follows its own boxes</dt><dd>33.3%" in page
    line = next(line for line in markdown.splitlines() if line.startswith("| which at box | 100% | 13"))
    assert "| 33% | +67 |" in line
    assert "| 33% | 3 of 4 | 0.00 (" in line
    assert "own boxes say B" in page
    assert "Of 2 questions the data set does not say what kind they are" in markdown
    _, untold = written(tmp_path / "untold", samples.rows_of([True, False]))
    assert "does not say what kind" in untold


def test_a_card_shows_picture_options_reasoning_and_verdict(tmp_path: Path) -> None:
    rows = [samples.row(5, False)]
    samples.write_folder(tmp_path, rows)
    own = RunRow.of(rows[0])
    html = as_html(Document("", [], [Cards("", [card(own, pictures(tmp_path, [own]))])])).decode()
    assert 'data-verdict="wrong"' in html
    assert 'data-family="count"' in html
    assert 'data-looked="yes"' in html
    assert 'href="data:image/png;base64,' in html
    assert re.search(
        r'<li class="option expected"><b>B</b><span class="expected">right kidney</span><span class="mark[^>]*>expected<', html
    )
    assert re.search(r'<li class="option chosen wrong"><b>C</b><span>spleen</span><span class="mark">chosen, wrong<', html)
    assert "[20, 30, 2, 90, 80, 5]" in html
    assert "C. it is" in html
    assert "3D · case-2 · count · CT · kidney" in html


def test_unread_and_open_questions(tmp_path: Path) -> None:
    unread = card_of(samples.row(0, False, said="", look=False))
    assert 'data-reading="unread"' in unread
    assert "wrong, unread" in unread
    assert "no look" in unread
    opened = card_of(samples.row(1, True, options=(), said="kidney"))
    assert '<p class="truth">kidney</p>' in opened


def test_what_broke_an_answer_is_told_once() -> None:
    row = samples.row(0, False, said="")
    row["samples"][0]["trace"] |= {"finish": "token_budget"}
    row["samples"][0]["trace"]["problems"] = [{"code": code, "text": "", "start": 0} for code in ("token_budget", "bad_box")]
    html = card_of(row)
    assert html.count("class=flaw") == 2
    assert "ran out" in html
    assert "<code>bad_box</code>" in html


def test_a_vote_shows_the_sample_that_won() -> None:
    row = samples.row(0, True)
    other = {**row["samples"][0], "said": "D", "right": False}
    row |= {"samples": [other, row["samples"][0], row["samples"][0]], "sample": 1, "agreement": 2 / 3}
    assert RunRow.of(row).standing.said == "B"
    assert "67% agreement" in card_of(row)


def test_a_question_that_could_not_be_asked_says_why(tmp_path: Path) -> None:
    row = samples.row(0, False, said="", kind="", picture="") | {"samples": [], "problem": "no such <file>", "overlap": 0.0}
    html = card_of(row)
    assert "no such &lt;file&gt;" in html
    assert 'data-looked="no"' in html
    page, markdown = written(tmp_path, [row, samples.row(1, True)], questions_a_second=None)
    assert "**1 question could not be asked and counted as wrong.**" in markdown
    assert "<b>1 question could not be asked and counted as wrong.</b><ul><li>q0000: no such &lt;file&gt;</li></ul>" in page
    assert "--again" in page
    assert ">not asked</b>" in html
    assert "The only wrong answer" in page


def test_a_few_of_many_questions_that_could_not_be_asked_are_named(tmp_path: Path) -> None:
    rows = [samples.row(n, False, said="", picture="") | {"samples": [], "problem": f"why {n}"} for n in range(5)]
    page, _ = written(tmp_path / "lost", rows)
    head = page.split("By what was asked")[0]
    assert [n for n in range(5) if f"why {n}" in head] == [0, 1, 2]
    assert "<li>and 2 more; rows.jsonl has all</li>" in head
    whole, _ = written(tmp_path / "whole", samples.rows_of([True]))
    assert "could not be asked" not in whole


def test_texts_are_inert(tmp_path: Path) -> None:
    rows = [samples.row(n, False, question=HOSTILE, case=HOSTILE, thought=HOSTILE, tags={"family": HOSTILE}) for n in range(2)]
    page, markdown = written(tmp_path, rows, rule=HOSTILE)
    assert "<script>alert" not in page + markdown
    assert page.count("<script>") == 1
    assert "\n# c" not in markdown
    body = next(line for line in markdown.splitlines() if line.startswith("| &lt;script&gt;"))
    assert len(re.findall(r"(?<!\\)\|", body)) == 9  # eight cells


def test_very_long_reasoning_is_cut() -> None:
    html = card_of(samples.row(0, True, thought="y" * 9000, question="why " * 15_000))
    assert html.count("y") < 6000
    assert "56,000 more characters" in html
    assert "5,013 more characters" in html  # with "It is bright." behind the look


def test_pictures_stay_in_their_folder(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="pictures"):
        pictures(tmp_path, [RunRow.of(samples.row(0, True, picture="../secret.png"))])
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0000.png").write_text("no picture")
    with pytest.raises(FormatError, match="cannot be read"):
        pictures(tmp_path, [RunRow.of(samples.row(0, True))])
    assert pictures(tmp_path, [RunRow.of(samples.row(1, True))]) == {}


def test_many_pictures_are_coded_smaller(tmp_path: Path) -> None:
    """Noise of 256 x 256 pixels has 196 kB as PNG and still some 60 kB as JPEG: it is shrunk to 144 pixels."""
    (tmp_path / "pictures").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "pictures" / "0000.png")

    def size(budget: int) -> tuple[int, int]:
        (view,) = pictures(tmp_path, [RunRow.of(samples.row(0, True))], budget=budget).values()
        with Image.open(io.BytesIO(base64.b64decode(view.link().partition(",")[2]))) as picture:
            return picture.size

    assert size(10**6) == (256, 256)
    assert size(20_000) == (144, 144)


def test_choice_covers_every_family_evenly() -> None:
    rows = [(str(n), "rare" if n == 50 else "often") for n in range(100)]
    chosen = pick(rows, 10)
    assert len(chosen) == 10
    assert {"0", "50", "99"} < chosen
    assert pick(rows, 100) == {str(n) for n in range(100)}
    assert pick([], 5) == set()


def test_shown_of_how_many_is_said_and_the_page_stays_small(tmp_path: Path) -> None:
    rows = samples.rows_of(n % 3 == 0 for n in range(400))
    page, _ = written(tmp_path, rows)
    assert "72 of 266 wrong answers, spread evenly over the families; all are in rows.jsonl" in page
    assert "24 of 134 right answers" in page
    assert page.count("data-card data-verdict") == 96
    assert len(page) < 5_000_000


def test_rows_are_not_kept_in_memory(tmp_path: Path) -> None:
    """Of 600 rows that are read twice never more are alive than have a card, and the one that is being read."""

    alive = most = reads = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def rows() -> Iterator[RunRow]:
        nonlocal alive, most, reads
        reads += 1
        for n in range(600):
            one = RunRow.of(samples.row(n, n % 2 == 0))
            alive += 1
            weakref.finalize(one, gone)
            yield one
            most = max(most, alive)

    found = choose(rows)
    assert reads == 2
    assert most <= 72 + 24 + 1
    assert found.every == {"wrong": 300, "right": 300}
    assert {word: len(own) for word, own in found.shown.items()} == {"wrong": 72, "right": 24}
    assert all(row.right is (word == "right") for word, own in found.shown.items() for row in own)


def test_one_patient_has_no_interval_over_patients(tmp_path: Path) -> None:
    rows = [samples.row(n, n == 0, patient="p") for n in range(2)]
    grounding = samples.results_of(rows)["grounding"] | {"ci95_patients": None}
    page, markdown = written(tmp_path, rows, grounding=grounding)
    assert "Wilson 9.5\u201390.5%</small>" in page
    assert "| Accuracy | 50.0% | Wilson 9.5\u201390.5% |" in markdown


def test_without_predictors_nothing_is_drawn(tmp_path: Path) -> None:
    page, markdown = written(tmp_path, samples.rows_of([True, False]), calibration={})
    assert "Nothing that could tell was measured." in page
    assert "Nothing that could tell was measured." in markdown
    assert not (tmp_path / "reliability.png").exists()


def test_sampling_is_told(tmp_path: Path) -> None:
    drawn = {
        "samples": 4, "temperature": 0.7, "mean_accuracy": 0.5, "mean_accuracy_ci95_patients": [0.4, 0.6], "any_right": 0.75,
        "all_right": 0.25,
    }  # fmt: skip
    page, markdown = written(tmp_path, samples.rows_of([True, False]), sampling=drawn)
    assert "<dt>Any sample right</dt><dd>75.0%</dd>" in page
    assert "| Mean of 4 samples at temperature 0.7 | 50.0% | patients 40.0\u201360.0% |" in markdown


def test_command_of_the_manifest() -> None:
    made = samples.results_of(samples.rows_of([True]))["manifest"] | {"suite": "slake", "samples": 5, "vote": 5}
    made |= {"sampling": {"temperature": 0.7, "top_p": 1.0}, "limits": {"max_looks": 0, "max_new_tokens": None}}
    made["checkpoint"]["name"] = "my model"
    told = "unireason eval run --suite slake --data DIR --model 'my model' --questions 1 --seed 0 --samples 5 --vote 5 "
    assert command(made) == told + "--temperature 0.7 --max-looks 0 --out DIR"  # a folder of an earlier version
    made |= {"data": "Slake 1.0", "split": "test", "suite_options": {"missing": "skip"}}
    told = told.replace("--data DIR", "--data 'Slake 1.0' --split test")
    assert command(made) == told + "--temperature 0.7 --max-looks 0 --option missing=skip --out DIR"


def test_of_very_many_values_the_frequent_ones_are_shown(tmp_path: Path) -> None:
    """Structure 0 has two questions and is kept, 149 have one: 100 of 150 rows, and where the others are."""
    rows = [samples.row(n, True, tags={"family": "size", "structure": f"part {n % 150:03d}"}, look=False) for n in range(151)]
    page, markdown = written(tmp_path, rows)
    assert '<th scope="row">part 000</th>' in page
    assert page.count('<th scope="row">part ') == 100
    assert "Structure: the 100 with the most questions of 150; all are in the JSON results</th>" in page
    assert markdown.count("| part ") == 100
    assert ">Family</th>" in page


def test_a_reading_is_counted_where_it_parts(tmp_path: Path) -> None:
    rows = samples.rows_of([True, True, True, False])
    for row, verdict in zip(rows, (False, False, True, True), strict=True):
        row["published"] = {"unireason_med": verdict, "m3d": None}
    _, markdown = written(tmp_path, rows)
    assert "| unireason_med (the first letter) | 50.0% | 15.0\u201385.0% | 1.3\u201398.7% | 2 | 1 | 4 |" in markdown
    assert "| m3d" not in markdown


def test_reliability_is_drawn_from_100_answers_on(tmp_path: Path) -> None:
    """Fewer say nothing; then the numbers stand alone, and why is said."""
    few, _ = written(tmp_path / "few", samples.rows_of(n % 3 > 0 for n in range(99)))
    assert "not drawn: below 100 answers" in few
    assert 'class="plot"' not in few
    assert not (tmp_path / "few" / "reliability.png").exists()
    many, markdown = written(tmp_path / "many", samples.rows_of(n % 3 > 0 for n in range(100)))
    assert 'class="plot"' in many
    assert "](reliability.png)" in markdown
    assert (tmp_path / "many" / "reliability.png").exists()


def test_wrong_answers_come_first_and_most_wait_to_be_unfolded(tmp_path: Path) -> None:
    page, _ = written(tmp_path, samples.rows_of(n % 2 == 0 for n in range(60)))
    assert page.index("All 30 wrong answers") < page.index("24 of 30 right answers") < page.index("Readings side by side")
    wrong = page[page.index("All 30 wrong answers") : page.index("24 of 30 right answers")]
    assert wrong[: wrong.index('<details class="rest">')].count('<li class="card response') == 12
    assert '<details class="card provenance"' in page


def test_a_terminal_is_told_the_same(tmp_path: Path) -> None:
    rows = [samples.row(n, n < 3) for n in range(4)]
    rows[3] |= {"samples": [], "problem": "no such file", "said": "", "picture": ""}
    told = as_terminal(report_of(tmp_path, rows)).splitlines()
    assert any(line.split()[:2] == ["Accuracy", "75.0%"] for line in told)
    assert any(line.split()[:3] == ["all", "questions", "75%"] for line in told)
    assert any(line.startswith("1 question could not be asked") for line in told)
    assert "  q0003: no such file" in told
