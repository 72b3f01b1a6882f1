"""The report of implicit questions: pictures, tables, Markdown, and text that is not to be trusted."""

from __future__ import annotations

import re

import numpy as np
import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Case, Frame, Geometry, Source, Stack, Trace
from unireason.evaluate.pointing import Pointed
from unireason.evaluate.results import PointingResults
from unireason.evaluate.suites.grounding import Truth
from unireason.report.document import as_html, as_markdown
from unireason.report.pointing import pointing_document

MEANS = {"iou": 0.5, "pdice_released": 1.25, "dice_both": 0.75, "hd95_mm": 3.5}


def part(n, *, interval=True):
    ends = {name: [value / 2, value] if interval else None for name, value in MEANS.items()}
    return {"n": n, "patients": 2, "scores": {k: {"mean": v, "ci95_patients": ends[k]} for k, v in MEANS.items()}}


def results(**more):
    manifest = {
        "seed": 1, "samples": 1, "temperature": 0.0,
        "checkpoint": {"name": "m", "sha256": "ab" * 32}, "expert": {"name": "classical", "sha256": ""},
    }  # fmt: skip
    return PointingResults.of({
        "suite": "u-mrg", "rule": "The rule.", **part(4), "headline": {k: MEANS[k] for k in ("iou", "pdice_released", "dice_both")},
        "found": 0.75, "malformed": 0.25, "problems": {}, "unreadable": {"n": 0, "questions": {}}, "left_out": {},
        "by_supercategory": {"organ": part(4)}, "by_category": {"left | right": part(3), "spleen": part(1)}, "manifest": manifest, **more,
    })  # fmt: skip


def pointed(*, answer=None, mask=True, frame=None):
    said = {"scores": MEANS | {"dice_both": 0.0}, "box": [2.0, 2.0, 8.0, 6.0], "points": [[3.0, 3.0]], "problems": ["no_think"]}
    row = {
        "id": "q", "case": "c", "category": "liver<script>", "supercategory": "", "question": "Which <b>?",
        "target": {"box": [4, 2, 8, 6], "points": [[5, 3], [5, 5]]}, "answers": [said | (answer or {})],
    }  # fmt: skip
    truth, found = np.zeros((20, 40), bool), np.zeros((20, 40), bool)
    truth[4:12, 8:16] = True
    found[4:12, 4:16] = True
    picture = np.full((1, 20, 40), 90, np.uint8)
    case = Case(picture[0], "image", Geometry((20, 40), (20, 40), (0, 1), (False, False)), "", Source("c", "npy", "c"))
    meant = Truth(Box2D(4, 2, 8, 6), ((5, 3), (5, 5)), truth, (20, 10))
    trace = Trace("Which?", (), (), frame or Frame(20, 10, 1, "image"), "end_of_turn", (), raw_text="<think>So.</think>")
    stack = Stack(picture, "image", "stored", ((0, 1),), picture[0])
    return Pointed(row, case, stack, meant, trace, found if mask else None)


def page(*lists, **more):
    text = as_html(pointing_document(results(**more), *lists)).decode()
    assert "://" not in text
    return text


def test_a_question_is_drawn_twice():
    text = page([pointed()])
    assert text.count("<figure>") == 2
    meant, answered = re.findall(r"<figure>(.*?)</figure>", text, re.DOTALL)
    # The drawing is 100 wide and 50 high: five units a pixel of the frame.
    assert 'transform="scale(5.00000 5.00000)"' in meant
    assert 'd="M4,2 8,2 8,6 4,6Z"' in meant
    assert 'x="20.00" y="10.00" width="20.00" height="20.00"' in meant
    assert re.findall(r'class="dot" cx="([\d.]+)" cy="([\d.]+)"', meant) == [("27.50", "17.50"), ("27.50", "27.50")]
    assert re.findall(r'd="(\S+ \S+ \S+ \S+)Z"', answered) == ["M4,2 8,2 8,6 4,6", "M2,2 8,2 8,6 2,6"]
    assert 'x="10.00" y="10.00" width="30.00" height="20.00"' in answered
    assert answered.count('class="dot"') == 1
    assert "Which &lt;b&gt;?" in text
    assert "liver&lt;script&gt; · c" in text
    assert "no think" in text
    assert '<p class="thought">So.</p>' in text
    assert '<b class="bad">0.00%</b>' in text
    assert "None among the answers" in text  # the best ones


def test_an_answer_without_a_place():
    text = page([], [pointed(mask=False, answer={"box": None, "points": []})])
    _, answered = re.findall(r"<figure>(.*?)</figure>", text, re.DOTALL)
    assert answered.count("<path") == 1
    assert "<rect" not in answered
    assert "dot" not in answered


def test_tables():
    text = page()
    assert "<dt>pDice (released)</dt><dd>125.00%<small>62.50\u2013125.00%</small></dd>" in text
    assert '<td class="value">3.50 mm</td><td class="ends">1.75\u20133.50 mm</td>' in text
    assert text.count('<rect class="bar"') == 2  # neither millimetres nor the released pDice are shares
    assert "A mask was found for 75.0% of the answers, 25.0% were malformed." in text
    assert "suite u-mrg · 4 questions · 2 patients · seed 1 · checkpoint m abababababab · expert classical" in text
    assert "could not be asked" not in text
    unreadable = {"n": 3, "questions": {"q7": "'a' is damaged.", "q8": "b"}}
    lost = {"unreadable": unreadable, "left_out": {"it has no text": 2}, "problems": {"no_answer": 1}}
    alone = page(**lost | part(1, interval=False))
    assert "3 questions could not be asked and count in no mean." in alone
    assert "q7: &#39;a&#39; is damaged." in alone
    assert "Not asked: 2 because it has no text." in alone
    assert "Problems: no_answer 1." in alone


def test_markdown():
    text = as_markdown(pointing_document(results()))
    assert "| pDice (released) | 125.00% | 62.50\u2013125.00% |" in text
    assert "| HD95 | 3.50 mm | 1.75\u20133.50 mm |" in text
    assert "| Category | Questions | IoU | pDice (released) | Dice, both |\n| --- | --- | --- | --- | --- |" in text
    assert "| left \\| right | 3 | 50.00% | 125.00% | 75.00% |" in text
    assert "Super-category" not in as_markdown(pointing_document(results(by_supercategory={})))


def test_names_of_a_data_set_cannot_break_the_markdown():
    """Categories come from data files."""
    text = as_markdown(pointing_document(results(by_category={"a\n\n# b | <script>": part(4)})))
    assert "| a # b \\| &lt;script&gt; | 4 |" in text


def test_a_volume_is_refused():
    with pytest.raises(FormatError, match="volume"):
        page([pointed(frame=Frame(20, 10, 4, "volume"))])
