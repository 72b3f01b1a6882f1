"""The page of a trace as text: what must be in it and what must never be. How it behaves is tested in a browser."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import report_samples as samples
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import PHANTOM, LookStep, ScopeCheck, TextStep
from unireason.grounding.trace import from_json
from unireason.report import trace as page
from unireason.report.pictures import overlay


class _Reader(HTMLParser):
    """Collects elements, visible words and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.hidden = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.hidden = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = False

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def build(sample: samples.Sample, **options: object) -> _Reader:
    return _Reader(page.build(sample.trace, sample.case, sample.stack, **options))  # type: ignore[arg-type]


def test_write_makes_one_file_without_any_outside_address(tmp_path: Path) -> None:
    sample = samples.volume()
    path = page.write(sample.trace, sample.case, sample.stack, tmp_path / "a" / "trace.html")
    reader = _Reader(path.read_text(encoding="utf-8"))
    for tag, attrs in reader.elements:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            if tag != "svg" and attrs.get(name):
                assert str(attrs[name]).startswith("data:"), (tag, name)
        assert not [name for name in attrs if name.startswith("on") or name == "style"], tag


def test_every_slice_is_there_and_equals_the_stack() -> None:
    sample = samples.volume()
    pictures = [i["src"] for i in build(sample).named("img")][:10]
    for z, link in enumerate(pictures):
        assert link is not None
        stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(link.split(",", 1)[1]))))
        np.testing.assert_array_equal(stored, sample.stack.slices[z])


def test_crops_are_stored_pixel_for_pixel_and_enlarged_by_whole_factors() -> None:
    sample = samples.volume()
    images = build(sample).named("img")[10:]
    crops = [crop for look in sample.trace.looks for crop in look.crops]
    assert len(images) == len(crops) == 8
    for attrs, crop in zip(images, crops, strict=True):
        stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(str(attrs["src"]).split(",", 1)[1]))))
        np.testing.assert_array_equal(stored, crop.pixels)
        height, width = crop.pixels.shape
        assert int(str(attrs["width"])) % width == 0
        assert int(str(attrs["height"])) % height == 0
        assert int(str(attrs["width"])) // width == int(str(attrs["height"])) // height


def test_a_large_native_crop_is_stored_whole_and_shown_smaller() -> None:
    sample = samples.image()
    look = sample.trace.looks[0]
    large = replace(look, crops=(replace(look.crops[0], pixels=np.zeros((600, 900, 3), np.uint8)),))
    (attrs,) = build(replace(sample, trace=replace(sample.trace, steps=(large,)))).named("img")[1:]
    assert (attrs["width"], attrs["height"], attrs["class"]) == ("360", "240", "shrunk")
    assert Image.open(io.BytesIO(base64.b64decode(str(attrs["src"]).split(",", 1)[1]))).size == (900, 600)


def test_text_answer_numbers_problems_and_provenance_are_on_the_page() -> None:
    words = " ".join("".join(build(samples.volume()).words).split())
    for expected in (
        "Which structure lies nearer to the head?",
        "The left condyle lies at 1slices 2–4. Compare the meniscus at 2slices 4–8. A last glance",
        "glance at 3slices 0–1 was not granted.",
        "B. meniscus",
        "The limit of looks was reached",
        "Bmeniscuschosen",
        "modelpxx10to30y8to24z2to5",
        "voxelindexi4to10j27.9to49.3k22.9to34.3",
        "17.1 × 14.3 × 30 mm",
        "not carried out",
        "round_budget",
        "knee.nii.gz",
        "abababababab",
        "percentile",
        "10 model slices show source slices i 0–19, 2 each",
        "torch 2.13.0, transformers 5.23.0",
        "temperature 0.0, seed 3",
        "Research only. Not a medical device.",
    ):
        assert expected.replace(" ", "") in words.replace(" ", ""), expected
    assert "ab" * 32 not in words


def test_boxes_are_drawn_with_the_numbers_the_model_wrote() -> None:
    sample = samples.volume()
    text = page.build(sample.trace, sample.case, sample.stack)
    assert 'viewBox="0 0 56 56"' in text
    assert text.count('<rect class="line" x="10" y="8" width="20" height="16"/>') == 1
    assert 'class="box tone-0" data-look="0"' in text, "shown on the slice the page opens with"
    assert 'class="box tone-1 off" data-look="1"' in text
    assert 'class="box tone-2 idle off" data-look="2"' in text
    ends_there = replace(sample.trace.looks[2], box_model=(40.0, 2.0, 0.0, 54.0, 12.0, 3.0))
    trace = replace(sample.trace, steps=(sample.trace.looks[0], ends_there))
    assert 'class="box tone-1 idle off"' in page.build(trace, sample.case, sample.stack), "slice 3 is its exclusive end"


def test_hostile_text_adds_no_element_and_no_attribute() -> None:
    plain, hostile = build(samples.volume()), build(samples.hostile())
    assert [tag for tag, _ in hostile.elements if tag in ("img", "svg", "script", "style", "title")] == [
        tag for tag, _ in plain.elements if tag in ("img", "svg", "script", "style", "title")
    ]
    allowed = {name for _, attrs in plain.elements for name in attrs}
    assert {name for _, attrs in hostile.elements for name in attrs} <= allowed
    assert "\u202e" not in "".join(hostile.words)


def test_the_script_gets_numbers_alone() -> None:
    text = page.build(*_parts(samples.hostile()))
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert data is not None
    assert "onerror" not in data[1]
    value = json.loads(data[1])
    assert value["frame"] == [56, 56, 10]
    assert value["start"] == 3
    assert value["looks"][1] == {"rect": [26, 20, 48, 44], "first": 4, "last": 9, "home": 6}


def test_download_is_the_trace_itself() -> None:
    sample = samples.volume()
    (link,) = [a for a in build(sample).named("a") if "download" in a]
    trace = from_json(json.loads(base64.b64decode(str(link["href"]).split(",", 1)[1])))
    assert trace.raw_text == sample.trace.raw_text
    assert [look.box_model for look in trace.looks] == [look.box_model for look in sample.trace.looks]


def test_expected_option_is_marked_right_or_wrong() -> None:
    sample = samples.volume()
    assert "chosen, right" in page.build(*_parts(sample), expected="B")
    wrong = page.build(*_parts(sample), expected="C")
    assert "chosen, wrong" in wrong
    assert ">expected<" in wrong
    assert "expected" not in "".join(_Reader(page.build(*_parts(sample))).words)


def test_model_scope_and_problems_stand_beside_the_answer() -> None:
    def answer(changes: dict[str, object]) -> str:
        text = page.build(replace(sample.trace, **changes), sample.case, sample.stack)
        return re.sub(r"<[^>]+>", " ", text.split('class="card reply"')[1].split("</section>")[0])

    sample = samples.volume()
    made = {"name": "phantom", "sha256": "cd" * 32, "dtype": "float32", "device": "cpu"}
    outside = ScopeCheck("Phantoms alone.", False, ("The case is outside.",))
    told = answer({"provenance": {"checkpoint": made}, "scope": outside})
    for word in ("phantom in float32 on cpu", "round_budget", "outside what the model was made for", "Phantoms alone."):
        assert word in told
    assert "inside what" in answer({"scope": ScopeCheck("Phantoms alone.", True)})
    assert "does not say" in answer({})
    assert "phantom patient" in answer({"source": replace(sample.trace.source, made_by=PHANTOM)})


def test_a_trace_without_anything_still_makes_a_page() -> None:
    sample = samples.volume()
    bare = replace(sample.trace, steps=(), options=(), problems=(), provenance={}, raw_text="", question="", source=None)
    words = "".join(_Reader(page.build(bare, sample.case, sample.stack)).words)
    for expected in ("wrote no reasoning", "gave no answer", "No region was cut out", "looked at no region"):
        assert expected in words
    assert "Problems" not in words
    only_text = replace(bare, steps=(TextStep("Nothing to see."),))
    assert "Nothing to see." in page.build(only_text, sample.case, sample.stack)


def test_crops_whose_pixels_were_not_kept_are_named_not_drawn() -> None:
    sample = samples.volume()
    link = next(a for a in build(sample).named("a") if "download" in a)["href"]
    trace = from_json(json.loads(base64.b64decode(str(link).split(",", 1)[1])))
    reader = _Reader(page.build(trace, sample.case, sample.stack))
    assert len(reader.named("img")) == 10
    assert "pixels were not kept" in "".join(reader.words)


def test_an_image_has_no_slider_and_says_where_its_crop_came_from() -> None:
    reader = build(samples.image())
    assert not [i for i in reader.named("input") if i.get("type") == "range"]
    words = "".join(reader.words)
    assert "2D image" in words
    assert "cut from the source pixels" in words
    assert "28–56 × 19–37" in words
    assert "sourcepxx30to60y20.4to39.6" in words.replace(" ", "")


def test_frame_pictures_replace_the_slices() -> None:
    sample = samples.volume()
    white = np.full((10, 20, 30), 255, np.uint8)
    link = str(build(sample, frame_pictures=white).named("img")[0]["src"])
    stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(link.split(",", 1)[1]))))
    np.testing.assert_array_equal(stored, white[0])
    with pytest.raises(FormatError, match="9 pictures"):
        page.build(*_parts(sample), frame_pictures=white[:9])


@pytest.mark.parametrize(
    "box", [(-1e300, 3, 0, 1e300, 9, 1e300), (20, 20, 8, 5, 5, 2), (1, 2, 30, 40), (0,) * 6, (60, 70, 1, 80, 90, 4)]
)
def test_senseless_boxes_are_shown_as_far_as_they_go(box: tuple[float, ...]) -> None:
    sample = samples.volume()
    trace = replace(sample.trace, steps=(LookStep("[...]", tuple(map(float, box))),))
    assert 'data-look="0"' in page.build(trace, sample.case, sample.stack)
    assert overlay(trace, sample.case, sample.stack, width=400).width == 400


def test_errors_are_ours(tmp_path: Path) -> None:
    sample, other = samples.volume(), samples.image()
    with pytest.raises(FormatError):
        page.write(sample.trace, other.case, sample.stack, tmp_path / "x.html")
    with pytest.raises(FormatError):
        page.write(replace(sample.trace, provenance={"x": object()}), sample.case, sample.stack, tmp_path / "x.html")
    with pytest.raises(UniReasonError):
        page.write(sample.trace, sample.case, sample.stack, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_volume_stays_below_three_megabytes() -> None:
    sample = samples.volume()
    noise = np.random.default_rng(0).integers(0, 256, (32, 256, 256), dtype=np.uint8)
    stack = replace(sample.stack, slices=noise, coverage=((0, 2),) * 32)
    trace = replace(sample.trace, steps=(), frame=replace(sample.trace.frame, depth=32))
    assert len(page.build(trace, sample.case, stack)) < 3_000_000


def _parts(sample: samples.Sample) -> tuple:  # type: ignore[type-arg]
    return sample.trace, sample.case, sample.stack
