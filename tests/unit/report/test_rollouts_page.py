"""Pages of rollouts: groups, rewards, pictures embedded once, hostile text, and the index over the steps."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import report_samples as samples
from unireason.core.errors import FormatError
from unireason.core.types import AnswerStep, Scored
from unireason.report.rollouts import is_right, write_rollouts


def scored(sample, reward, *, gold="B", case="knee", **more):
    more = {"parts": {"answer": 0.8 * (reward > 0.5), "format": 0.2, "looks": 0.0}, "pictures": sample.stack.slices} | more
    return Scored(sample.trace, reward, gold=gold, case=case, **more)


def texts(html, pattern):
    return [re.sub(r"<[^>]+>", "", found).strip() for found in re.findall(pattern, html, flags=re.S)]


@pytest.fixture
def page(tmp_path):
    def write(responses, step=20):
        return write_rollouts(responses, tmp_path / "rollouts", step).read_text(encoding="utf-8")

    return write


def test_responses_of_a_question_stand_together_best_first(page):
    volume, image = samples.volume(), samples.image()
    html = page(
        [
            scored(volume, 0.2),
            scored(image, 0.5, gold="blue", case="skin"),
            scored(volume, 1.0, advantage=0.7),
            scored(volume, 0.2),
        ]
    )
    assert html.count('<section class="group"') == 2
    assert texts(html, r'<p class="earned">(.*?)</p>') == ["1", "0.2", "0.2", "0.5"]
    assert texts(html, r'<p class="kind">(response.*?)</p>') == [
        "response 2 right", "response 1 right", "response 3 right", "response 1",
    ]  # fmt: skip
    assert "3 responses · mean 0.467 · 0.2 to 1" in html
    assert "2 questions · 4 responses · mean reward 0.475 · 100% right" in html


def test_the_expected_option_is_marked_and_expected_words_are_told(page):
    volume, image = samples.volume(), samples.image()
    html = page([scored(volume, 1.0, gold="C. patella"), scored(image, 1.0, gold="Blue", case="skin")])
    assert re.findall(r"<b>(\w)</b><span>patella</span><span class=\"mark expected\">expected</span>", html) == ["C"]
    assert texts(html, r'<p class="expected">(.*?)</p>') == ["expected: Blue"]


def test_parts_and_advantage_are_told(page):
    volume = samples.volume()
    html = page([scored(volume, 1.0, advantage=0.7071), scored(volume, 0.2)])
    first, second = re.findall(r'<dl class="parts">(.*?)</dl>', html)
    assert texts(first, r"<div>(.*?)</div>") == ["advantage+0.71", "answer0.8", "format0.2"]  # "looks" earned nothing anywhere
    assert texts(second, r"<div>(.*?)</div>") == ["to the mean\u22120.4", "answer0", "format0.2"]
    assert html.index('<header class="up">') < html.index('<header class="down">')


def test_a_response_is_judged_by_its_letter():
    volume, image = samples.volume(), samples.image()
    assert is_right(scored(volume, 0.0, gold="B")) is True
    assert is_right(scored(volume, 0.0, gold="B. meniscus")) is True
    assert is_right(scored(volume, 0.0, gold="A. condyle")) is False
    assert is_right(scored(volume, 0.0, gold="somewhere")) is None
    assert is_right(scored(volume, 0.0, gold="C")) is False
    assert is_right(replace(scored(volume, 0.0), trace=replace(volume.trace, steps=(AnswerStep("?"),)))) is False
    assert is_right(scored(image, 0.0, gold="Blue.")) is None


def test_pictures_are_embedded_once_a_group_and_drawn_in_every_response(page):
    volume = samples.volume()
    html = page([scored(volume, 1.0), scored(volume, 0.0), scored(volume, 0.5)])
    stored = re.findall(r'<symbol id="(p0-\d+)"', html)
    drawn = re.findall(r'<use href="#(p0-\d+)"', html)
    assert len(stored) == len(set(stored))
    assert sorted(drawn) == sorted(stored * 3)
    # Frame of 56 pixels, drawing of 100 units: the box [10, 8, .., 30, 24, ..] begins at 10 * 100 / 56.
    assert f'x="{10 * 100 / 56:.2f}" y="{8 * 100 / 56:.2f}" width="{20 * 100 / 56:.2f}" height="{16 * 100 / 56:.2f}"' in html


def test_without_pictures_text_and_crops_remain(page):
    html = page([scored(samples.volume(), 1.0, pictures=None)])
    assert "<symbol" not in html
    assert "left condyle" in html
    assert html.count('alt="region of look') == 3 + 5  # looks over slices 2-4 and 4-8


def test_text_of_models_and_files_is_inert(page):
    hostile = samples.hostile()
    html = page([scored(hostile, 0.5, gold=samples.HOSTILE, case=samples.HOSTILE, parts={samples.HOSTILE: 0.5})])
    assert "<img src=x" not in html
    assert "onload=alert" not in re.sub(r"&lt;svg onload=alert", "", html)
    assert html.count("</style>") == 1
    assert "<script" not in html
    assert "script-src 'none'" in html


def test_many_crops_are_thinned_out(page):
    volume = samples.volume()
    step = volume.trace.looks[0]
    many = replace(step, crops=step.crops[:1] * 9)
    html = page([scored(replace(volume, trace=replace(volume.trace, steps=(many,))), 1.0)])
    assert html.count('alt="region of look') == 5
    assert "5 of 9 regions" in html


def test_index_lists_every_step_newest_first(tmp_path, page):
    volume = samples.volume()
    page([scored(volume, 0.25), scored(volume, 0.75)], step=20)
    page([scored(volume, 1.0, gold="A")], step=100)
    page([scored(volume, 0.5)], step=20)  # done again behind a kill: replaces
    html = (tmp_path / "rollouts" / "index.html").read_text()
    assert re.findall(r'<a href="(step-\d+\.html)">', html) == ["step-000100.html", "step-000020.html"]
    assert texts(html, r"<td>(.*?)</td>") == [
        "1",
        "1",
        "1",
        "1",
        "1",
        "0%",
        "100%",
        "1",
        "1",
        "0.5",
        "0.5",
        "0.5",
        "100%",
        "100%",
    ]
    assert sorted(p.name for p in (tmp_path / "rollouts").iterdir()) == [
        "index.html", "step-000020.html", "step-000100.html", "steps.json",
    ]  # fmt: skip


@pytest.mark.parametrize("broken", ["{", "[]", '{"x": {}}', '{"5": 3}'])
def test_a_broken_list_of_steps_is_begun_anew(tmp_path, page, broken):
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "steps.json").write_text(broken)
    page([scored(samples.volume(), 1.0)])
    assert list(json.loads((tmp_path / "rollouts" / "steps.json").read_text())) == ["20"]


def test_no_responses_give_a_page_that_says_so(tmp_path, page):
    assert "No rollouts were kept." in page([])
    assert "\u2013" in (tmp_path / "rollouts" / "index.html").read_text()


def test_pictures_of_another_depth_are_refused(page):
    with pytest.raises(FormatError, match="3 slices"):
        page([scored(samples.volume(), 1.0, pictures=np.zeros((3, 8, 8), np.uint8))])
