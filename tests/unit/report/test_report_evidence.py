"""The report of an evidence check: every condition has its row, pictures carry their boxes, nothing is left unescaped."""

from __future__ import annotations

import numpy as np
import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Frame
from unireason.evaluate.evidence import EvidenceRow, Flip
from unireason.evaluate.results import EvidenceResults
from unireason.evaluate.suites.base import Entry
from unireason.report.document import as_html, as_markdown
from unireason.report.evidence import evidence_document


def part(accuracy, **more):
    return {"accuracy": accuracy, "ci95": [0.1, 0.9], "n": 8, "chance": 0.25, "meaning": "a <b> meaning", **more}


def results(value=0.5):
    lost = {"value": value, "ci95": None if value is None else [0.25, 0.75], "n": 8}
    kept = {"value": 0.4, "ci95": [0.1, 0.8], "n": 5}
    model = {"name": "<script>", "sha256": "abc"}
    return EvidenceResults.of({
        "conditions": {
            "true": part(0.8), "random_region": part(0.5, reliance=lost, survival=kept), "given_region": part(0.9, survival=kept)
        },
        "reliance": lost,
        "reliance_condition": "random_region",
        "looked": 1.0,
        "unreadable": {"n": 0, "questions": {}},
        "left_out": ["other"],
        "manifest": {"suite": "s", "questions": 8, "seed": 0, "checkpoint": model},
    })  # fmt: skip


def flip(asked=((1, (0, 0, 28, 14)),), instead=((2, (28, 14, 56, 28)),), pictures=None):
    def row(condition, right, said, seen):
        looks, seen = ((asked,), (seen,)) if asked else ((), ())
        return EvidenceRow(
            "q", condition, "c<1>", "p", 0.5, right, said, Frame(56, 28, 3, "volume"), looks, seen, "c", None, not right
        )

    entry = Entry("q", "c<1>", "p", "Is <i>it</i> left?", ("yes", "no <b>"), ("yes",), "A", {}, ())
    rows = {"true": row("true", True, "A", asked), "random_region": row("random_region", False, "", instead)}
    return Flip(entry, rows, np.zeros((3, 28, 56), np.uint8) if pictures is None else pictures)


def page(*args):
    return as_html(evidence_document(*args)).decode()


def test_page_has_table_flips_and_survivors():
    html = page(results(), [flip()], [flip(asked=())])
    assert "<script>" not in html
    assert "&lt;script&gt; abc" in html
    assert "a &lt;b&gt; meaning" in html
    assert "Is &lt;i&gt;it&lt;/i&gt; left?" in html
    assert html.count('<th scope="row">') == 3
    assert '<b class="strong">0.50</b> <small>0.25\u20130.75</small>' in html
    assert "Not asked: other." in html
    assert 'x="50.00" y="25.00" width="50.00" height="25.00"' in html  # half the frame, 100 units wide
    assert "asked for, slice 1" in html
    assert "shown instead, slice 2" in html
    assert "no look, slice 1" in html
    assert '<li class="bad"><span>random region</span><b>\u2013</b></li>' in html
    assert '<span class="expected">yes</span>' in html
    assert "contradict each other: random region." in html


def test_markdown_has_every_condition():
    text = as_markdown(evidence_document(results()))
    assert "| random region (a &lt;b&gt; meaning) | 50% | 10\u201390% | 8 | 40% | 0.50 (0.25\u20130.75) |" in text


def test_undefined_reliance_and_no_questions():
    html = page(results(None))
    assert "undefined: not above chance" in html
    assert html.count("None among the answers.") == 2


def test_pictures_of_another_depth_are_refused():
    with pytest.raises(FormatError, match="3 slices"):
        page(results(), [flip(pictures=np.zeros((2, 28, 56), np.uint8))])
