"""The page of an evidence check: nothing is left unescaped, every condition has its row, pictures carry their boxes."""

from __future__ import annotations

import numpy as np
import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Frame
from unireason.report.evidence import Flip, write_evidence


def part(accuracy, **more):
    return {"accuracy": accuracy, "ci95": [0.1, 0.9], "n": 8, "chance": 0.25, "meaning": "a <b> meaning", **more}


def results(value=0.5):
    lost = {"value": value, "ci95": None if value is None else [0.25, 0.75], "n": 8}
    kept = {"value": 0.4, "ci95": [0.1, 0.8], "n": 5}
    model = {"name": "<script>", "sha256": "abc"}
    return {
        "conditions": {
            "true": part(0.8), "random_region": part(0.5, reliance=lost, survival=kept), "given_region": part(0.9, survival=kept)
        },
        "reliance": lost,
        "reliance_condition": "random_region",
        "looked": 1.0,
        "unreadable": {"n": 0, "questions": {}},
        "left_out": ["other"],
        "manifest": {"suite": "s", "questions": 8, "seed": 0, "checkpoint": model},
    }  # fmt: skip


def flip(**more):
    frame = Frame(56, 28, 3, "volume")
    values = {
        "question": "Is <i>it</i> left?", "options": ("yes", "no <b>"), "gold": "A", "case": "c<1>",
        "answers": {"true": ("A", True), "random_region": ("", False)}, "frame": frame, "pictures": np.zeros((3, 28, 56), np.uint8),
        "asked": ((1, (0, 0, 28, 14)),), "instead": ((2, (28, 14, 56, 28)),),
    }  # fmt: skip
    return Flip(**{**values, **more})


def test_page_has_table_flips_and_survivors(tmp_path):
    page = write_evidence(results(), tmp_path / "evidence.html", flips=[flip()], survivors=[flip(asked=(), instead=())])
    html = page.read_text()
    assert "<script>" not in html
    assert "&lt;script&gt; abc" in html
    assert "a &lt;b&gt; meaning" in html
    assert "Is &lt;i&gt;it&lt;/i&gt; left?" in html
    assert html.count('<th scope="row">') == 3
    assert "<b>0.50</b> <small>0.25\u20130.75</small>" in html
    assert "Not asked: other." in html
    assert 'x="50.00" y="25.00" width="50.00" height="25.00"' in html  # half the frame, 100 units wide
    assert "asked for, slice 1" in html
    assert "shown instead, slice 2" in html
    assert "no look, slice 1" in html
    assert '<li class="bad"><span>random region</span><b>\u2013</b></li>' in html
    assert '<span class="expected">yes</span>' in html


def test_undefined_reliance_and_no_questions(tmp_path):
    html = write_evidence(results(None), tmp_path / "evidence.html").read_text()
    assert "undefined: not above chance" in html
    assert html.count("None among the answers.") == 2


def test_pictures_of_another_depth_are_refused(tmp_path):
    with pytest.raises(FormatError, match="3 slices"):
        write_evidence(results(), tmp_path / "evidence.html", flips=[flip(pictures=np.zeros((2, 28, 56), np.uint8))])
