"""Pages of evaluations in a real browser: the filter, the drill-down, narrow screens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evaluation_samples as samples
from report_samples import HOSTILE
from unireason.cli.compare import answers_of
from unireason.evaluate.comparison import compare, read_run, shared
from unireason.evaluate.results import RunResults, RunRow
from unireason.report.comparison import comparison_document
from unireason.report.document import write_html
from unireason.report.run import write_run

pytestmark = pytest.mark.browser

Opener = Callable[..., Any]


@pytest.fixture
def run_page(tmp_path: Path) -> Path:
    """Twelve questions, four wrong: one unread without a look, one hostile."""
    rows = samples.rows_of(n % 3 > 0 for n in range(12))
    rows[3] = samples.row(3, False, said="", look=False)
    rows[6] = samples.row(6, False, question=HOSTILE, thought=HOSTILE, case=HOSTILE)
    folder = samples.write_folder(tmp_path / "run", rows)
    write_run(RunResults.of(samples.results_of(rows)), lambda: map(RunRow.of, rows), folder)
    return folder / "report.html"


@pytest.fixture
def comparison_page(tmp_path: Path) -> Path:
    """Of six questions the first run alone is right on two, the second alone on one."""
    patterns = {"first": [True, True, True, False, False, False], "second": [False, False, True, True, False, False]}
    runs = [read_run(samples.write_folder(tmp_path / name, samples.rows_of(own)), name) for name, own in patterns.items()]
    return write_html(comparison_document(compare(runs, resamples=50), answers_of(shared(runs))), tmp_path / "page.html")


def shown(view: Any) -> int:
    return int(view.locator("[data-card]:visible").count())


def test_the_filter_of_a_run(opened: Opener, run_page: Path) -> None:
    view = opened(run_page)
    assert shown(view) == 12
    view.select_option("select[name=verdict]", "wrong")
    assert shown(view) == 4
    assert view.inner_text(".finder output") == "4 of 12 shown"
    assert not view.locator("text=All 8 right answers").is_visible()
    view.select_option("select[name=reading]", "unread")
    assert shown(view) == 1
    assert "number 3" in view.inner_text("[data-card]:visible")
    view.select_option("select[name=reading]", "")
    view.select_option("select[name=looked]", "yes")
    assert shown(view) == 3
    view.select_option("select[name=verdict]", "")
    view.select_option("select[name=looked]", "")
    view.fill("input[name=words]", "NUMBER 11")
    assert shown(view) == 1
    view.fill("input[name=words]", "")
    assert shown(view) == 12


def test_without_scripts_everything_is_shown(opened: Opener, run_page: Path) -> None:
    view = opened(run_page, java_script_enabled=False)
    assert view.locator("[data-card]:visible").count() == 12
    assert not view.locator(".finder").is_visible()


def test_pictures_are_lit_and_nothing_hangs_over(opened: Opener, run_page: Path, comparison_page: Path) -> None:
    for page in (run_page, comparison_page):
        view = opened(page, size=(1300, 800))
        assert view.evaluate("document.documentElement.scrollWidth") <= 1300
        assert view.evaluate("[...document.querySelectorAll('.shots img')].every(i => i.naturalWidth > 100)")
        assert view.evaluate("[...document.querySelectorAll('.shots svg')].every(i => i.clientWidth > 100)")
        view.set_viewport_size({"width": 390, "height": 800})
        assert view.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_dot_lies_at_its_share(opened: Opener, run_page: Path) -> None:
    """8 of 12 are right: the dot of all questions lies at two thirds of its axis."""
    view = opened(run_page)
    axis, point = (view.locator(f"td.chart {part}").first.bounding_box() for part in ("svg", ".dot"))
    assert (point["x"] + point["width"] / 2 - axis["x"]) / axis["width"] == pytest.approx(2 / 3, abs=0.01)


def test_drill_down_of_a_comparison(opened: Opener, comparison_page: Path) -> None:
    view = opened(comparison_page)
    assert shown(view) == 6
    view.select_option("select[name=group]", "apart")
    assert shown(view) == 3
    view.select_option("select[name=run-0]", "wrong")
    assert shown(view) == 1
    question = view.locator("[data-card]:visible")
    assert question.locator(".thought:visible").count() == 0
    question.locator("summary").click()
    assert question.locator(".thought:visible").count() == 2
    assert [one.inner_text().split() for one in question.locator(".said li").all()] == [["first", "C"], ["second", "B"]]
    assert question.locator(".shots img").first.bounding_box()["width"] > 80


def test_headings_of_groups_stand_in_their_table(opened: Opener, run_page: Path) -> None:
    view = opened(run_page)
    table, heading = view.locator("table").first.bounding_box(), view.locator("th", has_text="Family").bounding_box()
    assert table["y"] < heading["y"] < table["y"] + table["height"]
    assert heading["width"] > 0.9 * table["width"]
