"""The index of many traces."""

import re
from pathlib import Path

import pytest

import report_samples as samples
from report_samples import HOSTILE
from unireason.report.folder import IndexEntry, write_folder, write_index


def entry(sample: samples.Sample, **more: object) -> IndexEntry:
    return IndexEntry(sample.trace, sample.case, sample.stack, **more)  # type: ignore[arg-type]


def test_scores_families_and_cards(tmp_path: Path) -> None:
    family = {"n": 100, "accuracy": 0.9, "accuracy_ci95": [0.825, 0.945], "mean_box_iou": 0.7049, "chance": 0.25}
    score = {"n": 200, "accuracy": 0.87, "accuracy_ci95": (0.82, 0.91), "mean_box_iou": 0.66, "crop_rate": 1.0}
    summary = {"2d": {**score, "by_family": {"size_comparison": family}}, "checkpoint": "phantom", "seconds": 61.6}
    entries = [
        entry(samples.image(), href="traces/0.html", correct=True, family="size_comparison"),
        entry(samples.volume(), href="traces/1.html", correct=False),
    ]
    path = write_index(entries, tmp_path / "report.html", title="Demo", summary=summary)
    text = path.read_text(encoding="utf-8")
    for expected in (
        "2 traces below · checkpoint phantom · 62 s",
        "87%<small>82–91%</small>",
        "0.66",
        "2D images · 200 questions",
        "100%",
        ">0.70<",
        "Research only",
    ):
        assert expected in text, expected
    assert '<rect class="bar" y="3" width="90.00" height="10"/>' in text
    assert 'd="M82.50 8H94.50M82.50 4V12M94.50 4V12"' in text
    assert '<path class="chance" d="M25.00 0V16"/>' in text
    assert "3D volumes" not in text, "no scores for volumes were given"
    assert re.findall(r'<a href="([^"]*)">', text) == ["./traces/1.html", "./traces/0.html"], "wrong first"
    assert text.count("<li ") == 2
    assert "<details" not in text, "the two traces have nothing recorded in common"
    assert 'class="card entry image right"' in text
    assert 'class="card entry volume wrong"' in text
    assert text.count('type="radio"') == 5


def test_pages_of_a_folder_lead_to_each_other_in_the_order_of_the_index(tmp_path: Path) -> None:
    made = [entry(samples.volume(), href=f"traces/{n}.html", correct=right) for n, right in enumerate((True, None, False))]
    index = write_folder(made, tmp_path / "report.html", title="Demo").read_text(encoding="utf-8")
    assert re.findall(r'<a href="([^"]*)">', index) == ["./traces/2.html", "./traces/1.html", "./traces/0.html"]
    links = [re.findall(r'<a href="([^"]*)" rel="(\w+)"', (tmp_path / "traces" / f"{n}.html").read_text()) for n in (2, 1, 0)]
    back = ("./../report.html", "index")
    assert links[0] == [back, ("./1.html", "next")]
    assert links[1] == [("./2.html", "previous"), back, ("./0.html", "next")]
    assert links[2] == [("./1.html", "previous"), back]
    assert "<details" in index
    assert "transformers 5.23.0" in index, "what all traces have in common is folded below them"


def test_a_long_list_goes_on_on_further_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unireason.report.html.PAGE_BYTES", 40_000)
    one = samples.image()
    many = [entry(one, correct=n % 5 == 0) for n in range(60)]
    write_index(many, tmp_path / "x.html", title="Many")
    pages = sorted(tmp_path.iterdir())
    assert len(pages) > 1
    assert all(page.stat().st_size < 40_000 + 40_000 for page in pages)
    assert sum(page.read_text().count('class="card entry') for page in pages) == 60
    assert 'href="./x-page-2.html"' in (tmp_path / "x.html").read_text()
    assert 'href="./x.html"' in (tmp_path / "x-page-2.html").read_text()
    write_index(many[:3], tmp_path / "x.html", title="Few")
    assert [page.name for page in tmp_path.iterdir()] == ["x.html"], "pages of the longer list are gone"


def test_missing_or_odd_scores_leave_a_dash(tmp_path: Path) -> None:
    odd = {"accuracy": "high", "accuracy_ci95": [0.2], "n": None, "by_family": {"x": {}}}
    text = write_index([], tmp_path / "x.html", title="t", summary={"3d": odd}).read_text(encoding="utf-8")
    assert text.count("<dd>\u2013</dd>") == 3
    assert "<svg" not in text
    assert 'class="chance"' not in text


def test_empty_index_is_a_page_without_script(tmp_path: Path) -> None:
    text = write_index([], tmp_path / "x.html", title="Nothing").read_text(encoding="utf-8")
    assert "0 traces below" in text
    assert "<script" not in text
    assert "radio" not in text


def test_hostile_text_stays_text_and_links_stay_relative(tmp_path: Path) -> None:
    hostile = entry(samples.hostile(), href="javascript:alert(1)", family=HOSTILE)
    summary = {"2d": {"by_family": {HOSTILE: {}}}, "checkpoint": HOSTILE}
    text = write_index([hostile], tmp_path / "x.html", title=HOSTILE, summary=summary).read_text(encoding="utf-8")
    assert text.count("<img ") == 1
    assert "<script" not in text
    assert 'href="./javascript:alert(1)"' in text


def test_a_checkpoint_is_named_with_the_head_of_its_hash(tmp_path):
    summary = {"checkpoint": {"name": "phantom", "sha256": "0123456789abcdef"}, "seconds": 3}
    page = write_index([], tmp_path / "i.html", title="t", summary=summary).read_text()
    assert "checkpoint phantom 0123456789ab ·" in page
