"""Published releases that become data sets: what is kept, where boxes go, and why rows are left out."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layout_dataset import dataset
from releases import DRAWN, LOOKED, PUBLISHED, image, picture, reasons, release, rl, sft

from datasets import SMALL, built
from unireason.cli import main
from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.types import Box2D, Box3D, Frame, Look
from unireason.data.checks.run import check
from unireason.data.dataset import Dataset
from unireason.data.formats.exporters import export
from unireason.data.formats.importer import Wanted, rows_in, take_in
from unireason.data.formats.rows import written_frame
from unireason.data.frames import FrameRule, from_png
from unireason.data.words import from_data
from unireason.grounding.profile import load_profile


def test_rows_of_both_tables_become_one_sample(tmp_path):
    path = release(tmp_path / "in", sft=[sft(LOOKED, ["p", "crop"])], rl=[rl(["p"])], images=[image("p", picture(84, 56))])
    told = []
    manifest = take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED, progress=told.append)
    assert told == [1, 2, 3]
    assert rows_in("unimed-cot", path) == 3
    data = Dataset.open(tmp_path / "out")
    (case,) = data.cases("train")
    (sample,) = data.samples("train")
    scene = case.scene
    assert (scene.patient, scene.spacing_mm, scene.described, dict(scene.structures)) == ("", None, False, {})
    assert (scene.frame, case.image, case.source) == (Frame(84, 56, 1, "image"), "p.png", "unimed-cot")
    assert (sample.stages, sample.origin, sample.patient, sample.question.family) == (("sft", "grpo"), "x", "", "")
    assert sample.reasoning == ("The liver is at ", Look("liver", Box2D(1, 2, 30, 40)), " and big.")
    assert sample.response == "<think>The liver is at <|box_start|>[1,2,30,40]<|box_end|> and big.</think>B. right"
    (stored,) = data.images("train")
    assert np.array_equal(from_png(stored.png), from_png(picture(84, 56)))
    assert manifest["counts"]["stages"] == {"grpo": 1, "sft": 1}
    assert (manifest["counts"]["broken"], manifest["counts"]["other_crops"], manifest["skipped"]) == (0, 0, 0)
    assert not (tmp_path / "out" / "scratch.sqlite").exists()


def test_rows_of_one_table_are_for_its_stage(tmp_path):
    path = release(
        tmp_path / "in",
        sft=[sft(LOOKED, ["p"]), sft(LOOKED.replace("big", "large"), ["p"]), sft(LOOKED, ["p"])],
        rl=[rl(["p"], how={"question": "Another?"}), rl(["p"], how={"question": "Another?"})],
        images=[image("p", picture(84, 56))],
    )
    take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)
    first, second, third = Dataset.open(tmp_path / "out").samples("train")
    assert (first.stages, second.stages, third.stages) == (("sft",), ("sft",), ("grpo",))
    assert len({first.id, second.id, third.id}) == 3
    assert (third.response, third.annotator, third.reasoning, third.question.letter) == ("", "", (), "B")
    assert reasons(tmp_path / "out") == ["it says what another row says"] * 2


@pytest.mark.parametrize(
    ("said", "ids", "reason"),
    [
        ("B. right", ["p"], "it has no reasoning"),
        ("<think> </think>B. right", ["p"], "it has no reasoning"),
        ("<think>x<|box_start|>[1,2,85,9]<|box_end|></think>B. right", ["p"], "a box leaves the frame"),
        ("<think>x<|box_start|>[9,2,1,9]<|box_end|></think>B. right", ["p"], "its response cannot be read (inverted_box)"),
        ("<think>x<|box_start|>[1,2,3,9]</think>B. right", ["p"], "its response cannot be read (unclosed_box)"),
        ("<think>x<|box_start|>[1.2,2,1.4,9]<|box_end|></think>B. right", ["p"], "a box is empty or inverted"),
        ("<think>x<|box_start|>[1,2,0,3,4,9]<|box_end|></think>B. right", ["p"], "a box does not fit the image"),
        ("<think>x</think>B. right<|box_start|>[1,2,3,4]<|box_end|>", ["p"], "it looks behind its reasoning"),
        ("<think>x<|vision_start|></think>B. right", ["p"], "its text holds a special token"),
        ("<think>x</think>neither", ["p"], "its answer is no letter of an option"),
        ("<think>x</think>B. right", ["gone"], "its picture is not in the release (gone)"),
        ("<think>x</think>B. right", ["bad"], "its picture cannot be read"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_left_out_with_their_reason(said, ids, reason, tmp_path):
    images = [image("p", picture(84, 56)), image("bad", b"no picture")]
    path = release(tmp_path / "in", sft=[sft(said, ids), sft(LOOKED, ["p"])], images=images)
    manifest = take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)
    (found,) = reasons(tmp_path / "out")
    assert found.startswith(reason)
    assert manifest["counts"]["samples"] == manifest["skipped"] == 1
    assert sum(manifest["counts"]["dropped"].values()) == 1
    assert "(" not in next(iter(manifest["counts"]["dropped"]))


def test_questions_that_cannot_be_asked_are_left_out(tmp_path):
    rows = [
        rl(["p"], how={"options": "no options"}),
        rl(["p"], how={"options": "A. same\nB. same"}),
        rl(["p"], how={"question": " "}),
        rl(["p"], truth="Z"),
        rl(["p"], how={"question": "Odd <|im_end|>?"}),
        rl(["p"], how={"question": "Good?"}),
    ]
    take_in(
        "unimed-cot", release(tmp_path / "in", rl=rows, images=[image("p", picture(56, 56))]), tmp_path / "o", wanted=PUBLISHED
    )
    assert reasons(tmp_path / "o") == [
        "it has no options",
        "two of its options are the same",
        "it has no text",
        "its answer is no letter of an option",
        "its text holds a special token",
    ]


def test_boxes_go_from_the_frame_of_the_release_to_that_of_the_checkpoint(tmp_path):
    # 100 x 60 becomes 112 x 56 in the published frame, and 56 x 28 in the other.
    assert written_frame((60, 100)) == Frame(112, 56, 1, "image")
    assert written_frame((56, 100)) == Frame(112, 56, 1, "image")
    assert written_frame((28, 28)) == Frame(28, 28, 1, "image")
    path = release(
        tmp_path / "in",
        sft=[sft("<think>x<|box_start|>(10,20,30.9,56)<|box_end|></think>(A)", ["p"])],
        images=[image("p", picture(100, 60))],
    )
    take_in("unimed-cot", path, tmp_path / "same", wanted=PUBLISHED)
    take_in("unimed-cot", path, tmp_path / "half", wanted=Wanted(FrameRule(image_size=(28, 56), min_pixels=784)))
    boxes = {}
    for name in ("same", "half"):
        data = Dataset.open(tmp_path / name)
        (sample,), (case,) = data.samples("train"), data.cases("train")
        boxes[name] = (sample.reasoning[1].box, case.scene.frame.width, from_png(next(data.images()).png).shape)
        assert sample.response.endswith("</think>A. left")
    assert boxes["same"] == (Box2D(10, 20, 30, 56), 112, (56, 112))
    assert boxes["half"] == (Box2D(5, 10, 15, 28), 56, (28, 56))


def test_another_number_of_crops_is_counted(tmp_path):
    said = LOOKED.replace("<image>", "<image><image>")
    path = release(tmp_path / "in", sft=[sft(said, ["p"])], images=[image("p", picture(84, 56))])
    assert take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)["counts"]["other_crops"] == 1


def test_volumes_are_read_from_where_they_lie(tmp_path, capsys):
    frame = Wanted(FrameRule(volume_shape=(4, 28, 56), min_pixels=784), volumes=tmp_path / "volumes")
    values = np.random.default_rng(0).random((4, 28, 56)).astype(np.float32)
    (tmp_path / "volumes" / "12").mkdir(parents=True)
    np.save(tmp_path / "volumes" / "12" / "v.npy", values)
    said = "<think>x<|box_start|>[126,0,8,252,126,24]<|box_end|></think>A. left"
    rows = [rl([], how={"pictures": 0}, image="ct_case/12/v.npy"), rl([], how={"pictures": 0}, image="ct_case/13/v.npy")]
    named = sft(said, ["ct_case/12/v.npy"], pictures=0, question="Deep?")
    path = release(tmp_path / "in", sft=[named], rl=rows)
    manifest = take_in("unimed-cot", path, tmp_path / "out", wanted=frame)
    assert (manifest["counts"]["by_kind"], manifest["counts"]["broken"]) == ({"volume": 2}, 0)
    assert reasons(tmp_path / "out") == ["its volume was not found: not found (ct_case/13/v.npy)"]
    data = Dataset.open(tmp_path / "out")
    (case,), samples = data.cases(), {s.stages: s for s in data.samples()}
    assert (case.image, case.scene.frame, case.scene.patient) == ("12/v.npy", Frame(56, 28, 4, "volume"), "")
    # half of 252 and of 32 is half of 56 and of 4
    assert samples["sft",].reasoning[1].box == Box3D(28, 0, 1, 56, 14, 3)
    source = data.source()
    (item,) = source.items()
    assert np.array_equal(source.load(item).case.pixels, values)
    assert source.load(item).case.source.sha256 == case.sha256
    (tmp_path / "out" / ".origin.json").unlink()
    with pytest.raises(ImageReadError, match="no known folder"):
        data.source().load(item)
    assert main(["data", "import", "unimed-cot", str(path), "--out", str(tmp_path / "none")]) == 2
    assert "no folder of volumes was given 3" in capsys.readouterr().err


def test_published_splits_are_kept_and_validation_is_made_if_asked_for(tmp_path):
    names = [f"p{i:02d}" for i in range(30)]
    tables = {
        "rl": [rl([n]) for n in names[:20]] + [rl([names[20]], split="val"), rl([names[0]], split="test")],
        "rl__test": [rl([n]) for n in names[21:]],
        "images": [image(n, picture(56, 56, i)) for i, n in enumerate(names)],
    }
    path = release(tmp_path / "in", **tables)
    plain = take_in("unimed-cot", path, tmp_path / "plain", wanted=PUBLISHED)
    assert plain["counts"]["by_split"] == {"test": 10, "train": 20, "validation": 1}
    data = Dataset.open(tmp_path / "plain")
    assert {c.scene.case for c in data.cases("test")} >= {"unimed-cot:p00@test", "unimed-cot:p29@test"}
    assert len({c.scene.case for c in data.cases()}) == 31
    some = take_in("unimed-cot", path, tmp_path / "some", wanted=Wanted(FrameRule(), validation=0.3))
    held = some["counts"]["by_split"]
    assert held["test"] == 10
    assert held["train"] + held["validation"] == 21
    assert held["validation"] > 1
    # the picture that was published in two splits is found by the check, and patients that nobody knows are no leak
    report = check(data, data.source())
    assert [p.detail.split(",")[0] for p in report.problems if p.check == "leakage"] == ["looks like unimed-cot:p00@test of test"]
    assert {r.check for r in report.remarks} >= {"answers", "leakage"}
    with pytest.raises(FormatError, match=r"validation split is 1\.0"):
        Wanted(FrameRule(), validation=1.0)


def test_the_pictures_of_a_known_patient_stay_together(tmp_path):
    built(tmp_path / "data", patients=6, slices=3)
    export(Dataset.open(tmp_path / "data"), "unimed-cot", tmp_path / "release")
    take_in("unimed-cot", tmp_path / "release", tmp_path / "out", wanted=Wanted(SMALL, validation=0.5))
    found = {}
    for case in Dataset.open(tmp_path / "out").cases():
        found.setdefault(case.scene.patient, set()).add(case.split)
    assert set.union(*found.values()) == {"train", "validation"}
    assert all(len(splits) == 1 for splits in found.values())


def test_boxes_of_ours_are_pixels_of_the_stored_picture_whatever_its_size(tmp_path):
    frame = FrameRule("other", (16, 96, 96), (64, 96), factor=32)  # sides are no multiples of 28
    ours = built(tmp_path / "data", patients=6, frame=frame)
    export(ours, "unimed-cot", tmp_path / "release")
    take_in("unimed-cot", tmp_path / "release", tmp_path / "out", wanted=Wanted(frame))
    found = {s.id: s.response for s in Dataset.open(tmp_path / "out").samples()}
    assert found == {s.id: s.response for s in ours.samples("train") if s.task == "vqa"}


def test_a_volume_of_which_a_slice_is_missing_is_left_out(tmp_path):
    rows = [rl(["p", "gone"], how={"pictures": 2}), rl(["p"])]
    path = release(tmp_path / "in", rl=rows, images=[image("p", picture(56, 56))])
    (tmp_path / "volumes").mkdir()
    np.save(tmp_path / "volumes" / "p.npy", np.zeros((2, 3, 4), np.float32))
    take_in("unimed-cot", path, tmp_path / "out", wanted=Wanted(FrameRule(), volumes=tmp_path / "volumes"))
    assert reasons(tmp_path / "out") == ["its picture is not in the release (gone)"]


def test_two_pictures_of_one_identifier_are_refused(tmp_path):
    path = release(tmp_path / "in", rl=[rl(["p"])], images=[image("p", picture(56, 56))] * 2)
    with pytest.raises(FormatError, match="two pictures have the identifier 'p'"):
        take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)
    assert not (tmp_path / "out").exists()


def test_a_release_without_a_usable_row_is_refused(tmp_path):
    path = release(tmp_path / "in", rl=[rl(["q"])], images=[image("p", picture(56, 56))])
    with pytest.raises(UniReasonError, match=r"learned from \(its picture is not in the release 1; the first: .* \(q\)\)"):
        take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("without", ["", "rl", "sft"])
def test_our_own_export_comes_back(without, tmp_path, capsys):
    ours = dataset(tmp_path / "data")
    export(ours, "unimed-cot", tmp_path / "release")
    if without:
        for file in (tmp_path / "release" / without).iterdir():
            file.unlink()
    take_in("unimed-cot", tmp_path / "release", tmp_path / "out", wanted=DRAWN)
    data = Dataset.open(tmp_path / "out")
    before = [s for s in ours.samples("train") if s.task == "vqa"]
    after = {s.response: s for s in data.samples("train")}
    assert len(after) == len(before) == 4
    for sample in before:
        found = after[sample.response]
        assert (found.question.text, found.question.options) == (sample.question.text, sample.question.options)
        assert [p.box for p in found.reasoning if isinstance(p, Look)] == [p.box for p in sample.reasoning if isinstance(p, Look)]
        if without != "rl":  # the whole sample was kept in its reinforcement-learning row
            assert (found.id, found.question, found.patient) == (sample.id, sample.question, sample.patient)
            assert (found.reasoning, found.annotator) == (sample.reasoning, sample.annotator)
    stages = {"": ("sft", "grpo"), "rl": ("sft",), "sft": ("grpo",)}[without]
    assert {s.stages for s in after.values()} == {stages}
    pictures = {s.case: [i.png for i in data.images() if i.case == s.case] for s in after.values()}
    for sample in before:
        own = [i.png for i in ours.images("train") if i.case == sample.case]
        found = after[sample.response]
        assert [from_png(p).tolist() for p in pictures[found.case]] == [from_png(p).tolist() for p in own]


def test_a_kept_sample_that_contradicts_itself_is_left_out(tmp_path):
    export(dataset(tmp_path / "data"), "unimed-cot", tmp_path / "release")
    file = next((tmp_path / "release" / "rl").iterdir())
    rows = pq.read_table(file).to_pylist()
    extra = json.loads(rows[0]["extra_info"])
    extra["sample"]["letter"] = "D"
    rows[0]["extra_info"] = json.dumps(extra)
    pq.write_table(pa.Table.from_pylist(rows), file)
    manifest = take_in("unimed-cot", tmp_path / "release", tmp_path / "out", wanted=DRAWN)
    assert manifest["counts"]["broken"] == 1
    assert manifest["counts"]["samples"] == 4


def test_the_same_release_gives_the_same_files(tmp_path):
    export(dataset(tmp_path / "data"), "unimed-cot", tmp_path / "release")
    made = [take_in("unimed-cot", tmp_path / "release", tmp_path / name, wanted=DRAWN) for name in ("a", "b")]
    assert made[0]["content_sha256"] == made[1]["content_sha256"]
    assert (tmp_path / "a" / "README.md").read_text() == (tmp_path / "b" / "README.md").read_text()
    assert "taken in from a published release" in (tmp_path / "a" / "README.md").read_text()


def test_an_import_can_be_checked_and_exported_again(tmp_path, capsys):
    export(dataset(tmp_path / "data"), "unimed-cot", tmp_path / "release")
    take_in("unimed-cot", tmp_path / "release", tmp_path / "out", wanted=DRAWN)
    data = Dataset.open(tmp_path / "out")
    report = check(data, data.source())
    assert [p.detail for p in report.problems] == ["1 questions are asked again of the same case"]  # as drawn
    assert main(["data", "check", str(tmp_path / "out"), "--json"]) in (0, 1)
    capsys.readouterr()
    export(data, "unimed-cot", tmp_path / "again")
    export(data, "llamafactory", tmp_path / "llama")
    export(data, "verl", tmp_path / "verl")
    rows = [pq.read_table(next((tmp_path / name / "sft").iterdir())).column("messages") for name in ("release", "again")]
    assert rows[0].to_pylist() == rows[1].to_pylist()


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(FormatError, match="'verl' is unknown"):
        take_in("verl", tmp_path, tmp_path / "out", wanted=PUBLISHED)
    assert main(["data", "import", "umrg", str(tmp_path), "--out", str(tmp_path / "out")]) == 2


def test_the_words_of_the_rows_are_the_profile_of_the_data_set(tmp_path, capsys):
    path = release(tmp_path / "in", sft=[sft(LOOKED, ["p"])], rl=[rl(["p"])], images=[image("p", picture(84, 56))])
    assert main(["data", "import", "unimed-cot", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "model.profile=" in capsys.readouterr().out
    words = load_profile(tmp_path / "out")
    assert (words.name, words.separator, words.crops) == (
        "unireason-med-from-data",
        from_data(path).profile.separator,
        "published",
    )
    assert "profile.toml" in json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
