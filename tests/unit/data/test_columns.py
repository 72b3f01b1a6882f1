"""Tables that are whole as files, but not as the schema says."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datasets
from unireason.cli import main
from unireason.core.errors import FormatError
from unireason.data.checks.facts import SceneFacts
from unireason.data.checks.run import check
from unireason.data.dataset import Dataset


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return datasets.built(tmp_path_factory.mktemp("sound") / "set", patients=3)


def altered(dataset: Dataset, table: str, edit: Callable[[pa.Table], pa.Table], folder: Path) -> Dataset:
    shutil.copytree(dataset.folder, folder)
    path = folder / table / "train-00000.parquet"
    pq.write_table(edit(pq.read_table(path)), path)
    return Dataset.open(folder)


def with_values(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """All rows with another value in a column, whose type stays."""

    def edit(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        return table.set_column(place, table.schema.field(place), pa.array([value] * len(table), table.schema.field(place).type))

    return edit


FAULTS: list[tuple[str, Callable[[pa.Table], pa.Table], str]] = [
    ("cases", lambda t: t.drop_columns(["phash"]), "phash is missing"),
    ("cases", lambda t: t.set_column(0, "id", pa.array([5] * len(t))), "id is int64, not string"),
    ("cases", with_values("patient", None), "value of patient is missing"),
    ("cases", with_values("extent", [1.0, None]), r"value of extent \(an item\) is missing"),
    ("cases", with_values("kind", "film"), "kind is 'film'"),
    ("cases", with_values("space", "moon"), "space is 'moon'"),
    ("cases", with_values("extent", []), "extent has 0 numbers"),
    ("samples", with_values("question", None), "value of question is missing"),
    ("samples", with_values("reasoning", [None]), "value of reasoning"),
    ("samples", with_values("reasoning", [dict.fromkeys(("text", "label", "box", "seen"))]), "neither text nor a look"),
]


@pytest.mark.parametrize(("table", "edit", "words"), FAULTS)
def test_damaged_tables_are_clear_errors_and_findings(
    table: str, edit: Callable[[pa.Table], pa.Table], words: str, sound: Dataset, tmp_path: Path
) -> None:
    dataset = altered(sound, table, edit, tmp_path / "set")
    with pytest.raises(FormatError, match=words):
        list(dataset.cases() if table == "cases" else dataset.samples())
    report = check(dataset, None)
    assert any("cannot be read" in problem.detail for problem in report.problems)


def test_further_columns_and_another_order_do_no_harm(sound: Dataset, tmp_path: Path) -> None:
    def edit(table: pa.Table) -> pa.Table:
        return table.select(table.column_names[::-1]).append_column("mine", pa.array(range(len(table))))

    assert list(altered(sound, "cases", edit, tmp_path / "set").cases()) == list(sound.cases())


def test_version_1_is_read(sound: Dataset, tmp_path: Path) -> None:
    made = altered(sound, "samples", lambda t: t.drop_columns(["stages", "origin", "scale"]), tmp_path / "set")
    manifest = {**made.manifest, "schema": "unireason.dataset/1"}
    (made.folder / "manifest.json").write_text(json.dumps(manifest))
    assert list(Dataset.open(made.folder).samples()) == list(sound.samples())
    assert {s.stages for s in sound.samples()} == {("sft", "grpo")}
    assert not [found for found in check(Dataset.open(made.folder), None).problems if "schema" in found.detail]
    (made.folder / "manifest.json").write_text(json.dumps(manifest | {"schema": "unireason.dataset/9"}))
    with pytest.raises(FormatError, match="has the schema 'unireason"):
        Dataset.open(made.folder)


def test_version_2_tells_sides_by_the_middle_of_the_picture(sound: Dataset, tmp_path: Path) -> None:
    made = altered(sound, "cases", lambda t: t.drop_columns(["midline"]), tmp_path / "set")
    manifest = {**made.manifest, "schema": "unireason.dataset/2"}
    (made.folder / "manifest.json").write_text(json.dumps(manifest))
    for case in (c for c in Dataset.open(made.folder).cases() if c.split == "train"):
        assert (case.scene.midline.found, case.scene.midline.offset) == ("picture", 0.0)
        assert case.scene.midline.canonical == case.scene.shape[-1] / 2


def test_version_3_is_read_without_what_structures_look_like(sound: Dataset, tmp_path: Path) -> None:
    made = altered(sound, "cases", lambda t: t.drop_columns(["looks", "hounsfield"]), tmp_path / "set")
    for case, whole in zip(made.cases("train"), sound.cases("train"), strict=True):
        assert any(s.grey for s in whole.scene.structures.values())
        plain = {n: replace(s, grey=(), outline=(), touching=()) for n, s in whole.scene.structures.items()}
        assert case.scene == replace(whole.scene, structures=plain, hounsfield=())
    assert not [found for found in check(made, None).problems if "cannot be read" in found.detail]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (with_values("stages", []), "stages are"),
        (with_values("stages", ["sft", "test"]), "stages are"),
        (with_values("annotator", ""), "stages are"),
    ],
)
def test_stages_that_do_not_fit_are_refused(
    edit: Callable[[pa.Table], pa.Table], words: str, sound: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=words):
        list(altered(sound, "samples", edit, tmp_path / "set").samples())


def test_identifiers_that_all_agree_are_findings(sound: Dataset, tmp_path: Path) -> None:
    dataset = altered(sound, "samples", with_values("id", "x"), tmp_path / "set")
    assert main(["data", "check", str(dataset.folder), "--without-masks", "--json"]) == 1


def test_neighbours_that_are_not_there_are_no_neighbours(sound: Dataset) -> None:
    scene = next(c.scene for c in sound.cases() if any(s.neighbours for s in c.scene.structures.values()))
    name = next(n for n, s in scene.structures.items() if s.neighbours)
    alone = replace(scene, structures={name: scene.structures[name]})
    assert SceneFacts(alone).around(name) == []
