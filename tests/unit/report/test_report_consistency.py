"""The report of slice-volume consistency: every figure has its row, pictures carry their boxes, nothing is left unescaped."""

from __future__ import annotations

import re

import numpy as np
import pytest

from unireason.core.errors import FormatError
from unireason.evaluate.consistency import ConsistencyRow, Example, pairs
from unireason.evaluate.results import ConsistencyResults
from unireason.report.consistency import consistency_document
from unireason.report.document import as_html, as_terminal

NAMES = ("agreement", "slice_to_truth", "volume_to_truth", "cuboid_to_truth", "other_patient", "ceiling")


def figures(value=0.5):
    ends = None if value is None else [0.25, 0.75]
    made = {name: {"mean_iou": value, "ci95_patients": ends, "at_50": None if value is None else 0.6, "n": 4} for name in NAMES}
    return made | {"n": 4, "patients": 2, "above_other_patient": {"difference": -0.1, "ci95_patients": [-0.2, 0.1], "n": 4}}


def results(value=0.5, **more):
    looked = {"slice": 1.0, "volume": 0.5, "both": 0.5}
    model = {"name": "<script>", "sha256": "abc"}
    return ConsistencyResults.of({
        **figures(value), "conditional": figures(0.9), "looked": looked, "crossed": 1.0, "left_out": 3,
        "unreadable": {"n": 0, "questions": {}},
        "by_structure": {"<b>liver": {**figures(0.7), "looked": looked}},
        "manifest": {"suite": "s", "questions": 8, "seed": 0, "checkpoint": model}, **more,
    })  # fmt: skip


def pair(cuboid=None, rectangle=(10.0, 5.0, 20.0, 10.0)):
    row = ConsistencyRow(
        "q", "<i>liver", "c<1>", "p", "Is <i>it</i> left?", "Which?", 7, (40, 20), (11.0, 5.0, 20.0, 9.0), (11.0, 5.0, 6.0, 20.0, 9.0, 8.0),
        rectangle, cuboid, "A", "A",
    )  # fmt: skip
    (made,) = pairs([row], seed=0)
    return made


def example(picture=None, millimetres=(1.0, 4.0), **more):
    return Example(pair(**more), np.zeros((20, 40), np.uint8) if picture is None else picture, millimetres)


def page(*args):
    return as_html(consistency_document(*args)).decode()


CUBOID = (12.0, 5.0, 5.0, 20.0, 10.0, 9.0)


def test_what_was_left_out_stands_on_top():
    unreadable = {"n": 5, "questions": {f"q{n}": "<broken>" for n in range(5)}}
    html = page(results(unreadable=unreadable))
    assert "5 questions could not be asked and were left out." in html
    assert html.count("&lt;broken&gt;") == 3


def test_page_has_figures_plots_structures_and_slices():
    html = page(results(), [pair(CUBOID), pair(CUBOID), pair()], [example()])
    assert "<script>" not in html
    assert "<i>" not in html
    assert "&lt;script&gt; abc" in html
    assert "&lt;b&gt;liver" in html
    assert html.count('<th scope="row">') == 7
    assert "\u22120.10<small>\u22120.20 to 0.10</small>" in html
    assert "Left out: 3 pairs, too small on the slice." in html
    assert html.count('<img class="plot" src="data:image/png;base64,') == 2
    assert "no projection of the cuboid" in html
    assert "no box on the slice" not in html
    told = as_terminal(consistency_document(results()))
    assert ["Agreement", "0.50", "0.25\u20130.75", "60%", "0.90", "0.25\u20130.75"] in [
        line.split() for line in told.splitlines()
    ]


def test_boxes_are_drawn_in_millimetres_around_what_they_show():
    """20 rows of 4 mm are 80 mm: 1.25 units a millimetre. 45% of them are shown, 36 mm round a middle of (15, 30), cut to the picture."""
    html = page(results(), [], [example()])
    assert '<image href="data:image/png' in html
    assert 'width="50.00" height="100.00"' in html
    assert 'x="12.50" y="25.00" width="12.50" height="25.00"' in html
    assert 'viewBox="0.00 15.00 45.00 45.00"' in html
    assert "No pair has both looks." in html


def test_the_key_of_the_slices_names_the_boxes_that_are_drawn():
    html = page(results(), [], [example(cuboid=CUBOID)])
    key, cards = html.split("Slices, from the least agreement", 1)[1].split("<ul", 1)
    drawn = dict(re.findall(r'<g class="box ([^"]+)"><title>([^<]+)<', cards))
    named = dict(re.findall(r'<i class="(?:tone )?([^"]+)"></i>([^<]+)<', key))
    assert named == drawn == {"meant": "truth on the slice", "tone-1": "box on the slice", "tone-7": "projection of the cuboid"}


def test_figures_over_nothing():
    assert "<dt>Agreement, IoU</dt><dd>\u2013</dd>" in page(results(None))


def test_bad_pictures():
    for bad in (example(picture=np.zeros((4, 4), np.float32)), example(millimetres=(0.0, 1.0))):
        with pytest.raises(FormatError):
            page(results(), [], [bad])
