"""Exporting as a whole: splits, order, atomic folders, pictures from the source."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from layout_dataset import SCHEMAS, dataset, entries_of, implicit, sample, write_rows

from unireason.cli import main
from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.types import Look
from unireason.data.dataset import Dataset
from unireason.data.formats import WRITABLE, exporters, umrg, unimed_cot
from unireason.data.formats.exporters import export
from unireason.data.formats.tables import base_name, entries, stem, whole
from unireason.data.frames import FrameRule, embedded
from unireason.data.measure import describe
from unireason.data.records import SCHEMA, CaseRecord, case_row, image_row, sample_row
from unireason.data.regions import axial
from unireason.data.sources.phantom import PhantomSource

FRAME = FrameRule("tiny", (4, 56, 56), (112, 84))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """The same data set of two phantoms, a slice of each and a look at every structure, with pictures inside and by reference."""
    folder = tmp_path_factory.mktemp("phantoms")
    cases, samples, images = [], [], []
    source = PhantomSource(patients=2)
    for item in source.items():
        loaded = source.load(item)
        for name, shown, k in ((item.id, loaded, -1), (f"{item.id}:z", axial(loaded, 12), 12)):
            scene = describe(shown, FRAME, case=name, patient=item.patient)
            record = CaseRecord(scene, "phantom", item.id, item.image, k, "", "", "train", "auto")
            looks = tuple(Look(s.name, s.box_model) for s in scene.structures.values())
            cases.append(case_row(record))
            samples.append(sample_row(sample(record, 0, looks)))
            images += [image_row(i) for i in embedded(shown, scene, FRAME)]
            if k >= 0:
                target = next(iter(scene.structures.values()))
                drawn = implicit(record)
                named = replace(drawn.question, about=(target.name,))
                meant = replace(drawn, question=named, box=target.box_model, points=target.points, category=target.name)
                samples.append(sample_row(meant))
    manifest = {"schema": SCHEMA, "config": {"source": "phantom", "options": {"patients": "2"}, "frame": FRAME.to_json()}}
    for name in ("inside", "reference"):
        write_rows(folder / name, "cases", "train", cases)
        write_rows(folder / name, "samples", "train", samples)
        (folder / name / "manifest.json").write_text(json.dumps(manifest))
    write_rows(folder / "inside", "images", "train", images)
    return folder


@pytest.mark.parametrize("layout", WRITABLE)
def test_pictures_of_the_source_and_embedded_ones_give_the_same_export(phantoms, tmp_path, layout):
    for name in ("inside", "reference"):
        export(Dataset.open(phantoms / name), layout, tmp_path / name)
    found = contents(tmp_path / "inside")
    assert len(found) >= 1
    assert found == contents(tmp_path / "reference")


def test_progress_counts_cases(tmp_path):
    told = []
    export(dataset(tmp_path / "data"), "umrg", tmp_path / "out", progress=told.append)
    assert told == [1, 2, 3, 4, 5, 6]


def test_unimed_cot_takes_the_training_split_alone(tmp_path):
    data = dataset(tmp_path / "data")
    assert export(data, "unimed-cot", tmp_path / "a").rows == {"train/sft": 4, "train/rl": 4, "train/images": 12}
    assert set(export(data, "unimed-cot", tmp_path / "b", split="test").rows) == {"test/sft", "test/rl", "test/images"}


def test_what_cannot_be_exported_is_a_clear_error(tmp_path):
    data = dataset(tmp_path / "data", splits=("train",))
    with pytest.raises(FormatError, match="'parquet' is unknown"):
        export(data, "parquet", tmp_path / "out")
    with pytest.raises(FormatError, match="no samples of test"):
        export(data, "verl", tmp_path / "out", split="test")
    write_rows(tmp_path / "data", "samples", "train", [sample_row(s) for _, ss, _ in entries_of() for s in ss if s.task == "vqa"])
    with pytest.raises(UniReasonError, match="no question of train fits the layout umrg"):
        export(data, "umrg", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


def test_samples_out_of_order_are_refused(tmp_path):
    data = dataset(tmp_path, splits=("train",))
    write_rows(tmp_path, "samples", "train", [sample_row(s) for _, ss, _ in reversed(entries_of()) for s in ss])
    with pytest.raises(FormatError, match=r"samples of case .* order of the cases"):
        list(entries(data, "train"))


def test_missing_and_strange_pictures_are_refused(tmp_path):
    data = dataset(tmp_path, splits=("train",))
    images = [image_row(i) for _, _, ii in entries_of() for i in ii]
    write_rows(tmp_path, "images", "train", images[:-1])
    with pytest.raises(FormatError, match=r"has the pictures \[0, 1, 2\]"):
        list(entries(data, "train"))
    swapped = [images[0] | {"png": images[1]["png"]}, *images[1:]]
    write_rows(tmp_path, "images", "train", swapped)
    first = next(entries(data, "train"))
    with pytest.raises(FormatError, match="56 x 56 pixels"):
        first.png((0, (1, 1, 9, 9)))
    write_rows(tmp_path, "images", "train", [images[0] | {"png": images[0]["png"][:60]}, *images[1:]])
    with pytest.raises(ImageReadError, match="embedded picture"):
        next(entries(data, "train")).png((0, (1, 1, 9, 9)))


def test_a_case_without_samples_is_passed(tmp_path):
    data = dataset(tmp_path / "data", splits=("train",))
    write_rows(tmp_path / "data", "samples", "train", [sample_row(s) for s in entries_of()[0][1]])
    assert export(data, "verl", tmp_path / "out").rows == {"train": 3}
    assert set(SCHEMAS) == {"cases", "samples", "images"}
    assert len([case_row(e.case) for e in entries(data, "train")]) == 3


def test_a_failed_export_leaves_nothing(tmp_path):
    def fail():
        with whole(tmp_path / "out") as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_never_touched_and_leftovers_are_thrown_away(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "old").write_text("x")
    with whole(tmp_path / "out") as folder:
        (folder / "new").write_text("y")
    assert contents(tmp_path / "out") == {"new": b"y"}
    with pytest.raises(UniReasonError, match="not empty"), whole(tmp_path / "out"):
        pass
    assert contents(tmp_path / "out") == {"new": b"y"}


def test_the_reference_page_names_every_column():
    page = (Path(__file__).parents[4] / "docs" / "reference" / "layouts.md").read_text()
    schemas = [umrg.schema(), exporters.schema(), *(unimed_cot.schema(table) for table in ("sft", "rl", "images"))]
    names = {name for schema in schemas for name in schema.names} | {f.name for f in exporters.schema().field("extra_info").type}
    assert [name for name in sorted({*names, *exporters.COLUMNS, *exporters.TAGS}) if f"`{name}`" not in page] == []


def test_names_of_files():
    assert stem("phantom:a/b") == stem("phantom:a/b")
    assert stem("a/b").startswith("a-b-")
    assert len({stem("a/b"), stem("a-b"), stem("a:b")}) == 3
    assert "/" not in stem("../../x")
    assert base_name("a/b/", "i") == "b"


def test_the_command_prints_what_it_wrote(tmp_path, capsys):
    dataset(tmp_path / "data")
    assert main(["data", "export", str(tmp_path / "data"), "--format", "verl", "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(tmp_path / "out"), "format": "verl", "rows": {"train": 5, "test": 5}, "pictures": 12,
    }  # fmt: skip
    assert main(["data", "export", str(tmp_path / "data"), "--format", "verl", "--out", str(tmp_path / "out")]) == 2
    assert "not empty" in capsys.readouterr().err
    command = ["data", "export", str(tmp_path / "data"), "--format", "llamafactory", "--split", "test", "--out"]
    assert main([*command, str(tmp_path / "more")]) == 0
    assert "5 test, 12 picture files" in capsys.readouterr().out


def test_rows_name_the_agent_that_was_asked_for(phantoms, tmp_path):
    import pyarrow.parquet as pq

    for layout, place in (("unimed-cot", "rl"), ("verl", ".")):
        export(Dataset.open(phantoms / "inside"), layout, tmp_path / layout, agent="mine")
        (file, *_) = sorted((tmp_path / layout / place).glob("*.parquet"))
        assert set(pq.read_table(file)["agent_name"].to_pylist()) == {"mine"}
    with pytest.raises(FormatError, match="agent"):
        export(Dataset.open(phantoms / "inside"), "umrg", tmp_path / "other", agent="mine")
