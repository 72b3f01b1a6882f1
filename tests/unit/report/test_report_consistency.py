"""The page of slice-volume consistency: nothing is left unescaped, every figure has its row, pictures carry their boxes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from unireason.core.errors import FormatError
from unireason.report.consistency import Example, Point, write_consistency

NAMES = ("agreement", "slice_to_truth", "volume_to_truth", "cuboid_to_truth", "other_patient", "ceiling")


def figures(value=0.5):
    ends = None if value is None else [0.25, 0.75]
    made = {name: {"mean_iou": value, "ci95_patients": ends, "at_50": None if value is None else 0.6, "n": 4} for name in NAMES}
    return made | {"n": 4, "patients": 2, "above_other_patient": {"difference": -0.1, "ci95_patients": [-0.2, 0.1], "n": 4}}


def results(value=0.5):
    looked = {"slice": 1.0, "volume": 0.5, "both": 0.5}
    model = {"name": "<script>", "sha256": "abc"}
    return {
        **figures(value), "conditional": figures(0.9), "looked": looked, "crossed": 1.0, "left_out": 3,
        "unreadable": {"n": 0, "questions": {}},
        "by_structure": {"<b>liver": {**figures(0.7), "looked": looked}},
        "manifest": {"suite": "s", "questions": 8, "seed": 0, "checkpoint": model},
    }  # fmt: skip


def test_what_was_left_out_stands_on_top(tmp_path):
    unreadable = {"n": 5, "questions": {f"q{n}": "<broken>" for n in range(5)}}
    page = write_consistency({**results(), "unreadable": unreadable}, tmp_path / "page.html").read_text()
    assert "5 questions could not be asked and were left out." in page
    assert page.count("&lt;broken&gt;") == 3
    assert "and 2 more; rows.jsonl has all" in page


def example(**more):
    values = {
        "structure": "<i>liver", "case": "c<1>", "slice": 7, "question": "Is <i>it</i> left?", "picture": np.zeros((20, 40), np.uint8),
        "size": (40, 20), "millimetres": (1.0, 4.0), "rectangle": (10.0, 5.0, 20.0, 10.0), "shadow": None, "truth": (11.0, 5.0, 20.0, 9.0),
        "agreement": 0.0,
    }  # fmt: skip
    return Example(**{**values, **more})


def test_page_has_figures_plots_structures_and_slices(tmp_path):
    points = [Point(0.81, 0.5, 0.1), Point(0.2, 0.1, None)]
    html = write_consistency(results(), tmp_path / "page.html", points=points, examples=[example()]).read_text()
    assert "<script>" not in html
    assert "<i>" not in html
    assert "&lt;script&gt; abc" in html
    assert "&lt;b&gt;liver" in html
    assert html.count('<th scope="row">') == 7
    assert "\u22120.10<small>\u22120.20\u20130.10</small>" in html
    assert "Left out: 3 pairs, too small on the slice." in html
    assert 'cx="291.6" cy="120.0"' in html  # 0.81 of 360 to the right, half of 240 down
    assert "no projection of the cuboid" in html
    assert "no box on the slice" not in html


def test_boxes_are_drawn_in_millimetres_around_what_they_show(tmp_path):
    html = write_consistency(results(), tmp_path / "page.html", examples=[example()]).read_text()
    assert '<image href="data:image/png' in html
    assert 'width="40.00" height="80.00"' in html  # 20 rows of 4 mm
    assert 'x="10.00" y="20.00" width="10.00" height="20.00"' in html
    assert 'viewBox="0.00 12.00 36.00 36.00"' in html  # 45% of 80 mm, round a middle of (15, 30), cut to the picture
    assert "No pair has both looks." in html


def test_the_key_of_the_slices_names_the_boxes_that_are_drawn(tmp_path):
    html = write_consistency(results(), tmp_path / "page.html", examples=[example(shadow=(12.0, 5.0, 20.0, 10.0))]).read_text()
    key, cards = html.split("Slices, from the least agreement", 1)[1].split("<ul", 1)
    drawn = dict(re.findall(r'<g class="box ([^"]+)"><title>([^<]+)<', cards))
    named = dict(re.findall(r'<i class="(?:tone )?([^"]+)"></i>([^<]+)<', key))
    assert named.pop("true") == drawn.pop("truth").split()[0] == "truth"
    assert named == drawn == {"tone-1": "box on the slice", "tone-7": "projection of the cuboid"}


def test_figures_over_nothing(tmp_path):
    html = write_consistency(results(None), tmp_path / "page.html").read_text()
    assert "<dt>Agreement, IoU</dt><dd>\u2013</dd>" in html


def test_bad_pictures(tmp_path):
    for bad in (example(picture=np.zeros((4, 4), np.float32)), example(millimetres=(0.0, 1.0))):
        with pytest.raises(FormatError):
            write_consistency(results(), tmp_path / "page.html", examples=[bad])
