"""U-MRG-14K taken in: implicit questions with box, points and mask."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layout_dataset import dataset, mask
from PIL import Image

from unireason.cli import main
from unireason.core.errors import FormatError
from unireason.core.types import Box2D
from unireason.data.checks.run import check
from unireason.data.dataset import Dataset
from unireason.data.formats import umrg
from unireason.data.formats.exporters import export
from unireason.data.formats.importer import Wanted, rows_in, take_in
from unireason.data.formats.umrg import Stored, UmrgRow
from unireason.data.frames import FrameRule, from_png, structure_mask

PUBLISHED = Wanted(FrameRule())


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def shape(seed, height=56, width=84):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def row(number=0, *, picture=0, drawn=None, **said):
    values = {"question": "What?", "box": (20, 8, 30, 16), "points": ((22, 10), (27, 13)), "supercategory": "abdomen"}
    values |= {"id": f"q{number}", "category": "Liver", "data_source": "somewhere"} | said
    return UmrgRow((Stored(png(shape(picture)), "a.png"),), (Stored(png(mask() if drawn is None else drawn)),), **values)


def taken_in(folder, rows, prefix="train", **how):
    umrg.write(folder / "release" / "data", rows, prefix=prefix)
    manifest = take_in("umrg", folder / "release", folder / "out", wanted=Wanted(FrameRule(**how)))
    return Dataset.open(folder / "out"), manifest


def reasons(data):
    return [json.loads(line)["reason"] for line in (data.folder / "skipped.jsonl").read_text().splitlines()]


def test_rows_about_one_picture_are_one_case(tmp_path):
    other = np.zeros((56, 84), np.uint8)
    other[30:40, 50:60] = 255
    rows = [
        row(0),
        row(1, picture=1, reasoning="It is the largest one."),
        row(2, question="And?", drawn=other, box=(50, 30, 60, 40), points=((52, 32), (57, 36))),
        row(3, question="Or?"),
        row(3, question="Else?"),
    ]
    data, manifest = taken_in(tmp_path, rows)
    assert rows_in("umrg", tmp_path / "release") == 10
    first, _ = data.cases("train")
    samples = {s.id: s for s in data.samples("train")}
    assert [samples[name].target for name in ("q0", "q2", "q3", "q3~2")] == ["liver", "liver 2", "liver", "liver"]
    assert len({samples[name].case for name in ("q0", "q2", "q3", "q3~2")}) == 1
    assert (first.scene.patient, first.scene.described, first.image) == ("", False, "a.png")
    one = samples["q0"]
    assert (one.box, one.points, one.category, one.supercategory) == (
        Box2D(20, 8, 30, 16),
        ((22, 10), (27, 13)),
        "Liver",
        "abdomen",
    )
    assert (one.stages, one.response, one.origin, one.split) == (("grpo",), "", "somewhere", "train")
    told = samples["q1"]
    assert (told.stages, told.reasoning) == (("sft", "grpo"), ("It is the largest one.",))
    answer = '<answer>{"bbox": [20,8,30,16], "points_1": [22,10], "points_2": [27,13]}</answer>'
    assert told.response == f"<think>It is the largest one.</think>{answer}"
    stored, _ = data.images("train")
    assert stored.mask_names == ("liver", "liver 2")
    assert np.array_equal(from_png(stored.masks[1]), other)
    source = data.source()
    loaded = source.load(next(iter(source.items())))
    assert np.array_equal(loaded.case.pixels, shape(0))
    assert np.array_equal(structure_mask(loaded, "liver 2"), other > 0)
    assert manifest["counts"]["dropped"] == {}
    report = check(data, source)
    assert report.ok, report.problems
    assert {"answers", "leakage"} <= {r.check for r in report.remarks}


def test_boxes_points_and_masks_go_to_the_model_frame(tmp_path):
    # 84 x 56 becomes 56 x 28: two thirds across, a half down.
    data, _ = taken_in(tmp_path, [row(points=((21, 9), (30, 16)))], image_size=(28, 56), min_pixels=784)
    (sample,), (stored,) = data.samples(), data.images()
    assert sample.box == Box2D(13, 4, 20, 8)
    assert sample.points == ((14, 4), (19, 7))  # the second lies on the far edges of its box
    drawn = np.argwhere(from_png(stored.masks[0]))
    assert drawn.min(0).tolist() == [4, 13]
    assert drawn.max(0).tolist() == [7, 19]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"box": (9, 9, 9, 12)}, "a box is empty or inverted"),
        ({"box": (20, 8, 90, 16)}, "a box leaves the frame"),
        ({"points": ((1, 1), (27, 13))}, "a point lies outside its box"),
        ({"points": ((22, 10), (22, 10))}, "its two points are one"),
        ({"question": " "}, "it has no text"),
        ({"question": "Where is <|image_pad|>?"}, "its text holds a special token"),
        ({"reasoning": "I </think> it."}, "its text holds a special token"),
    ],
)
def test_rows_that_cannot_be_learned_from(said, reason, tmp_path):
    data, manifest = taken_in(tmp_path, [row(0), row(1, **{"question": "Other?"} | said)])
    assert reasons(data) == [reason]
    assert manifest["counts"]["dropped"] == {reason: 1}


@pytest.mark.parametrize(
    "drawn",
    [
        np.zeros((56, 84), np.uint8),
        mask()[:20, :20],
        mask() // 5 + (mask() > 0)[::-1] * np.uint8(7),
        mask() // 255 + mask()[::-1] // 127,
    ],
)
def test_a_mask_that_cannot_be_used_leaves_the_row_out(drawn, tmp_path):
    data, manifest = taken_in(tmp_path, [row(0), row(1, question="Other?", drawn=drawn)])
    assert manifest["counts"]["dropped"] == {"its mask cannot be used": 1}
    assert manifest["counts"]["broken"] == 1
    assert [s.id for s in data.samples()] == ["q0"]


@pytest.mark.parametrize("box", [(10, 4, 15, 8), (40, 16, 60, 32), (24, 10, 34, 18), (20, 8, 24, 11), (0, 0, 84, 56)])
def test_a_box_on_another_scale_than_its_mask_is_left_out_and_named(box, tmp_path):
    x1, y1, x2, y2 = box
    data, manifest = taken_in(tmp_path, [row(0), row(1, question="Other?", box=box, points=((x1 + 1, y1 + 1), (x2 - 1, y2 - 1)))])
    assert manifest["counts"]["dropped"] == {"its box is not that of its mask": 1}
    assert "IoU" in reasons(data)[0]
    assert [s.id for s in data.samples()] == ["q0"]


@pytest.mark.parametrize("box", [(20, 8, 29, 15), (19, 7, 31, 17), (20.4, 8.2, 29.8, 15.9)])
@pytest.mark.parametrize("value", [1, 2, 255])
def test_masks_of_any_value_and_boxes_a_little_off_are_taken(box, value, tmp_path):
    data, manifest = taken_in(tmp_path, [row(0, box=box, drawn=mask() // 255 * np.uint8(value))])
    assert manifest["counts"]["dropped"] == {}
    (stored,) = data.images()
    assert np.array_equal(from_png(stored.masks[0]), mask())


def test_grey_edges_of_a_mask_are_cut_at_half(tmp_path):
    soft = np.where(mask() > 0, 255, np.where(np.roll(mask(), 1, 1) > 0, 90, 0)).astype(np.uint8)
    data, _ = taken_in(tmp_path, [row(0, drawn=soft)])
    (stored,) = data.images()
    assert np.array_equal(from_png(stored.masks[0]), mask())


def test_an_imported_box_that_left_its_mask_is_found_by_the_check(tmp_path):
    data, _ = taken_in(tmp_path, [row(0), row(1, picture=1)])
    (path,) = data.files("samples")
    table = pq.read_table(path).to_pylist()
    table[1]["box"] = [2, 1, 12, 9]
    pq.write_table(pa.Table.from_pylist(table, schema=pq.read_schema(path)), path)
    report = check(data, None)
    assert any(p.check == "pictures" and p.id == "q1" and "its mask fills [20,8,30,16]" in p.detail for p in report.problems)


def test_published_splits_are_kept(tmp_path):
    umrg.write(tmp_path / "release" / "data", [row(0)], prefix="test")
    data, manifest = taken_in(tmp_path, [row(1, picture=1)])
    assert manifest["counts"]["by_split"] == {"test": 1, "train": 1}
    assert [s.id for s in data.samples("test")] == ["q0"]


def test_our_own_export_comes_back(tmp_path, capsys):
    ours = dataset(tmp_path / "data", splits=("train",))
    export(ours, "umrg", tmp_path / "release")
    assert main(["data", "import", "umrg", str(tmp_path / "release"), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["stages"] == {"grpo": 1, "sft": 1}
    (before,) = (s for s in ours.samples("train") if s.task == "umrg")
    (after,) = Dataset.open(tmp_path / "out").samples("train")
    for name in ("id", "response", "reasoning", "box", "points", "category", "supercategory", "target", "stages"):
        assert getattr(after, name) == getattr(before, name)
    assert after.question.text == before.question.text


def test_points_that_the_frame_brings_together_are_no_fault_of_the_release(tmp_path):
    rows = [row(0), row(1, question="Other?", points=((22, 10), (22.1, 10)))]
    data, manifest = taken_in(tmp_path, rows)
    assert reasons(data) == ["its two points are one pixel of the frame"]
    assert manifest["counts"]["broken"] == 0


def test_a_row_that_cannot_be_read_costs_no_other(tmp_path):
    umrg.write(tmp_path / "first", [row(0), row(1, question="Other?")])
    (file,) = (tmp_path / "first").iterdir()
    rows = pq.read_table(file).to_pylist()
    rows[0]["reward_model"]["ground_truth"] = json.dumps({"bbox_2d": [1, 2, 3]})
    (tmp_path / "release").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=umrg.schema()), tmp_path / "release" / "train-0.parquet")
    told = []
    manifest = take_in("umrg", tmp_path / "release", tmp_path / "out", wanted=PUBLISHED, progress=told.append)
    assert manifest["counts"]["dropped"] == {"it cannot be read": 1}
    assert manifest["counts"]["samples"] == 1
    assert told == [1, 2, 3, 4]


def test_points_go_to_the_middle_of_what_their_pixel_covers(tmp_path):
    data, _ = taken_in(tmp_path, [row(0)], image_size=(560, 840))
    (sample,) = data.samples()
    assert sample.box == Box2D(200, 80, 300, 160)
    assert sample.points == ((225, 105), (275, 135))


def test_volumes_are_refused(tmp_path):
    umrg.write(tmp_path / "release", [row(0)])
    with pytest.raises(FormatError, match="U-MRG has pictures alone"):
        take_in("umrg", tmp_path / "release", tmp_path / "out", wanted=Wanted(FrameRule(), volumes=tmp_path))


@pytest.mark.parametrize(("height", "width"), [(528, 27), (27, 528), (1000, 20), (6, 1000)])
def test_thin_pictures_come_in_with_a_frame_that_stays(height, width, tmp_path):
    drawn = np.zeros((height, width), np.uint8)
    drawn[1:-1, 1:-1] = 255
    thin = replace(
        row(0, box=(1, 1, width - 1, height - 1), points=((2, 2), (width - 3, height - 3)), drawn=drawn),
        images=(Stored(png(shape(0, height, width)), "a.png"),),
    )
    data, _ = taken_in(tmp_path, [thin], max_pixels=12544, min_pixels=784)
    (case,) = data.cases()
    assert data_rule(data).holds(case.scene.frame)
    assert case.scene.frame.width * case.scene.frame.height <= 12544
    report = check(data, None)
    assert not report.counts["boxes"], report.problems


def test_a_picture_that_no_frame_holds_is_left_out_with_the_reason(tmp_path):
    drawn = np.full((1001, 4), 255, np.uint8)
    thin = replace(row(1, box=(0, 0, 4, 1001), drawn=drawn), images=(Stored(png(shape(0, 1001, 4)), "a.png"),))
    data, manifest = taken_in(tmp_path, [row(0), thin])
    assert manifest["counts"]["dropped"] == {"its picture cannot be read": 1}
    assert "at most 200 times" in reasons(data)[0]


def data_rule(data):
    return FrameRule.from_json(data.manifest["config"]["frame"])
