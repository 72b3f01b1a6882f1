"""Cases of several data sets: which samples, under which names, and the very pictures that the network is shown, from either place."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from datasets import SMALL, built, edited
from unireason.core.errors import FormatError, UniReasonError
from unireason.data.dataset import MANIFEST, Dataset
from unireason.data.frames import from_png, model_pictures, png
from unireason.data.parquet import rows, write_table
from unireason.data.regions import axial
from unireason.data.sources.phantom import PhantomSource
from unireason.train import cases as cases_module
from unireason.train.cases import Cases, Unreadable
from unireason.train.config import Data, Run
from unireason.train.features import DiskCache
from unireason.train.sampler import BatchPlan, PackUnit

OFF = DiskCache(None, 0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(tmp_path_factory.mktemp("plain") / "set", patients=6, slices=2)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(tmp_path_factory.mktemp("embedded") / "set", patients=6, slices=2, embed=True)


def opened(*datasets: Dataset, disk: DiskCache = OFF, memory_bytes: int = 0, **settings: Any) -> Cases:
    folders = tuple(str(d.folder) for d in datasets)
    return Cases(Data(folders, **settings), SMALL, disk, memory_bytes=memory_bytes)


def truth(dataset: Dataset) -> Iterator[tuple[str, list[np.ndarray[Any, Any]]]]:
    """Pictures of the training cases as the builder would make them."""
    source = dataset.source()
    items = {item.id: item for item in source.items()}
    for case in dataset.cases("train"):
        loaded = source.load(items[case.item])
        yield case.scene.case, model_pictures((loaded if case.slice < 0 else axial(loaded, case.slice)).case, SMALL)


def copied(dataset: Dataset, folder: Path) -> Dataset:
    shutil.copytree(dataset.folder, folder)
    return Dataset.open(folder)


def with_images(dataset: Dataset, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Rewrite the embedded pictures of the training split."""
    (path,) = dataset.files("images", "train")
    write_table(path, "images", change(list(rows(path, "images"))))


def test_cases_are_those_of_the_data_set(plain):
    found = opened(plain).cases("train")
    assert [c.id for c in found] == [c.scene.case for c in plain.cases("train")]
    records = {c.scene.case: c for c in plain.cases("train")}
    for case in found:
        assert case.frame == records[case.id].scene.frame
        assert case.kind == records[case.id].scene.kind
        assert case.place.slice == records[case.id].slice
    assert [s for c in found for s in c.samples] == list(plain.samples("train"))


def test_tasks_choose_samples_and_cases_without_any_go(plain, tmp_path):
    def unlettered(sample):  # makes the questions about size open ones
        question = sample.question
        return (
            sample if question.family != "size_comparison" else replace(sample, question=replace(question, options=(), answer=-1))
        )

    mixed = edited(plain, tmp_path / "mixed", sample=unlettered)
    for tasks, fits in (
        (("umrg",), lambda s: s.task == "umrg"),
        (("open",), lambda s: s.question.family == "size_comparison"),
        (("choice",), lambda s: bool(s.question.options)),
        (("umrg", "open"), lambda s: not s.question.options),
    ):
        found = opened(mixed, tasks=tasks).cases("train")
        wanted = [s.id for s in mixed.samples("train") if fits(s)]
        assert [s.id for c in found for s in c.samples] == wanted
        assert wanted
        assert all(c.samples for c in found)


@pytest.mark.parametrize("which", ["plain", "embedded"])
def test_pictures_are_the_model_pictures(which, request):
    dataset = request.getfixturevalue(which)
    cases = opened(dataset)
    expected = dict(truth(dataset))
    listed = cases.cases("train")
    assert {c.kind for c in listed} == {"image", "volume"}
    for case in reversed(listed):
        found = cases.pictures(case)
        assert len(found) == case.frame.depth
        assert all(np.array_equal(a, b) for a, b in zip(found, expected[case.id], strict=True))
        assert {p.dtype for p in found} == {np.dtype(np.uint8)}


def test_pictures_from_a_source_are_made_once_an_item(plain, tmp_path, monkeypatch):
    loads = []
    load = PhantomSource.load
    monkeypatch.setattr(PhantomSource, "load", lambda self, item: loads.append(item.id) or load(self, item))
    cases = opened(plain, disk=DiskCache(tmp_path, 1 << 30))
    first = [cases.pictures(c) for c in cases.cases("train")]
    # A volume and its two slices: one look into the source for all three.
    assert sorted(loads) == sorted({c.place.item for c in cases.cases("train")})
    again = opened(plain, disk=DiskCache(tmp_path, 1 << 30))
    second = [again.pictures(c) for c in again.cases("train")]
    assert len(loads) == len(first) // 3
    assert all(np.array_equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True))


def test_without_a_disk_no_sibling_is_made(plain, monkeypatch):
    made = []
    make = model_pictures
    monkeypatch.setattr("unireason.train.cases.model_pictures", lambda case, rule: made.append(case.kind) or make(case, rule))
    cases = opened(plain)
    cases.pictures(cases.cases("train")[0])
    assert len(made) == 1


def test_memory_keeps_what_was_read_last(embedded, monkeypatch):
    read = []
    inner = Cases._read
    monkeypatch.setattr(Cases, "_read", lambda self, case: read.append(case.id) or inner(self, case))
    images = [c for c in opened(embedded).cases("train") if c.kind == "image"][:3]
    cases = opened(embedded, memory_bytes=2 * 84 * 84)
    cases.cases("train")
    for case in (*images, images[2], images[1], images[0]):
        cases.pictures(case)
    assert read == [c.id for c in (*images, images[0])]


def test_other_rule_or_content_other_key(plain, tmp_path):
    disk = DiskCache(tmp_path / "cache", 1 << 30)
    one = opened(plain, disk=disk)
    one.pictures(one.cases("train")[0])
    other = copied(plain, tmp_path / "other")
    manifest = dict(other.manifest)
    manifest["config"] = manifest["config"] | {"frame": manifest["config"]["frame"] | {"window": "minmax"}}
    (other.folder / MANIFEST).write_text(json.dumps(manifest))
    two = opened(Dataset.open(other.folder), disk=disk)
    case = two.cases("train")[0]
    misses = disk.misses
    two.pictures(case)
    assert disk.misses == misses + 1


def test_names_are_unique_over_data_sets(plain, embedded):
    cases = opened(plain, embedded)
    found = cases.cases("train")
    half = len(found) // 2
    assert [c.id for c in found[half:]] == [f"2:{c.id}" for c in found[:half]]
    assert [c.place.dataset for c in found] == [0] * half + [1] * half
    for one, two in zip(found[:half:4], found[half::4], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(cases.pictures(one), cases.pictures(two), strict=True))


def test_a_limit_takes_cases_from_all_over(plain, embedded):
    whole = opened(plain, embedded).cases("train")
    found = opened(plain, embedded, cases=4).cases("train")
    assert [c.id for c in found] == [whole[i * len(whole) // 4].id for i in range(4)]
    assert {c.place.dataset for c in found} == {0, 1}
    assert len(opened(plain, cases=1000).cases("train")) == len(whole) // 2


def test_splits_are_read_once_and_apart(plain):
    cases = opened(plain)
    assert cases.cases("train") is cases.cases("train")
    assert not {c.id for c in cases.cases("train")} & {c.id for c in cases.cases("test")}
    with pytest.raises(FormatError, match="split"):
        cases.cases("holdout")


def test_units_of_a_plan_find_their_samples(plain):
    cases = opened(plain)
    listed = cases.cases("train")
    plan = BatchPlan(listed, samples=5, together=3, run=Run())
    seen = []
    for n in range(plan.steps):
        for unit in plan.step(n):
            case, samples = cases.asked(unit)
            assert case.id == unit.case
            assert tuple(s.id for s in samples) == unit.samples
            assert {s.case for s in samples} == {case.place.case}
            seen += [s.id for s in samples]
    assert sorted(seen) == sorted(s.id for s in plain.samples("train"))
    backwards = tuple(s.id for s in listed[0].samples[::-1])
    assert cases.asked(PackUnit(listed[0].id, backwards))[1] == listed[0].samples[::-1]


def test_name_and_window_of_the_rule_do_not_matter(plain):
    folders = Data((str(plain.folder),))
    Cases(folders, replace(SMALL, name="mine", window="minmax"), OFF)
    for other in ({"volume_shape": (8, 84, 84)}, {"image_size": None}, {"factor": 14}, {"min_pixels": 1000}):
        with pytest.raises(FormatError, match="model frame"):
            Cases(folders, replace(SMALL, **other), OFF)


def test_texts_in_millimetres_need_a_profile_that_shows_the_scale(plain, tmp_path):
    folder = tmp_path / "told"
    shutil.copytree(plain.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["frame"]["scale"] = True
    (folder / "manifest.json").write_text(json.dumps(manifest))
    Cases(Data((str(folder),)), replace(SMALL, scale=True), OFF)
    Cases(Data((str(plain.folder),)), replace(SMALL, scale=True), OFF)
    with pytest.raises(FormatError, match="millimetres"):
        Cases(Data((str(folder),)), SMALL, OFF)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"folders": ()}, "folders"),
        ({"roots": ("a", "b")}, "2 entries.*1 folders"),
        ({"tasks": ("choice", "poem")}, "poem"),
        ({"tasks": ()}, "tasks"),
        ({"folders": ("nowhere",)}, "no finished data set"),
    ],
)
def test_settings_that_cannot_be_used(plain, settings, words):
    with pytest.raises(UniReasonError, match=words):
        Cases(Data(**{"folders": (str(plain.folder),), **settings}), SMALL, OFF)


def test_a_source_that_is_gone(plain, tmp_path):
    cases = Cases(Data((str(plain.folder),), roots=(str(tmp_path),)), SMALL, OFF)
    case = cases.cases("train")[0]
    with pytest.raises(Unreadable) as caught:
        cases.pictures(case)
    assert (caught.value.case, caught.value.reason) == (case.id, caught.value.reason)
    assert str(tmp_path) in caught.value.reason
    back = pickle.loads(pickle.dumps(caught.value))
    assert (back.case, back.reason, str(back)) == (case.id, caught.value.reason, str(caught.value))


def test_an_item_that_is_gone_or_another(plain, tmp_path):
    lost = edited(plain, tmp_path / "lost", case=lambda c: replace(c, item=c.item + "x") if c.slice < 0 else c)
    other = edited(plain, tmp_path / "other", case=lambda c: replace(c, sha256="0" * 64))
    cases = opened(lost, disk=DiskCache(tmp_path / "cache", 1 << 30))
    for case in cases.cases("train"):
        if case.kind == "image":
            cases.pictures(case)
        else:
            with pytest.raises(Unreadable, match="no item"):
                cases.pictures(case)
    cases = opened(other)
    with pytest.raises(Unreadable, match="has changed"):
        cases.pictures(cases.cases("train")[0])


def test_a_lost_item_is_looked_for_once(plain, tmp_path, monkeypatch):
    listed = []
    items = PhantomSource.items
    monkeypatch.setattr(PhantomSource, "items", lambda self: listed.append(1) or items(self))
    lost = edited(plain, tmp_path / "lost", case=lambda c: replace(c, item=c.item + "x"))
    cases = opened(lost)
    for case in cases.cases("train")[:5]:
        with pytest.raises(Unreadable):
            cases.pictures(case)
    assert len(listed) == 1


def damaged(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"png": row["png"][:-30]}


@pytest.mark.parametrize(
    "change",
    [
        lambda found: [damaged(r) for r in found],
        lambda found: [r | {"png": png(np.zeros((84, 83), np.uint8))} for r in found],
        lambda found: [r | {"png": png(np.zeros((84, 84, 4), np.uint8))} for r in found],
        lambda found: [r for r in found if r["slice"] != 0],
        lambda found: found[::-1],
        lambda found: found[:1],
    ],
)
def test_embedded_pictures_that_cannot_be_used(embedded, tmp_path, change):
    bad = copied(embedded, tmp_path / "bad")
    with_images(bad, change)
    cases = opened(bad)
    volume = next(c for c in cases.cases("train") if c.kind == "volume")
    with pytest.raises(Unreadable, match="case " + volume.id):
        cases.pictures(volume)


def test_colour_pictures_stay_coloured(embedded, tmp_path):
    red = copied(embedded, tmp_path / "red")
    picture = np.random.default_rng(0).integers(0, 256, (84, 84, 3), np.uint8)
    with_images(red, lambda found: [r | {"png": png(picture)} if r["masks"] else r for r in found])
    cases = opened(red)
    image = next(c for c in cases.cases("train") if c.kind == "image")
    (found,) = cases.pictures(image)
    assert np.array_equal(found, picture)


def test_only_the_row_groups_of_a_case_are_read(embedded, monkeypatch):
    taken = []
    read = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_groups", lambda self, groups, **k: taken.append(groups) or read(self, groups, **k)
    )
    (path,) = embedded.files("images", "train")
    with pq.ParquetFile(path) as file:
        assert file.metadata.num_row_groups > 1
    cases = opened(embedded)
    for case in cases.cases("train"):
        cases.pictures(case)
    assert all(1 <= len(groups) <= 2 for groups in taken)
    assert len({tuple(g) for g in taken}) > 1


def test_damaged_tables(embedded, tmp_path):
    cut = copied(embedded, tmp_path / "cut")
    (path,) = cut.files("images", "train")
    path.write_bytes(path.read_bytes()[:-10])
    cases = opened(cut)
    with pytest.raises(Unreadable, match="Parquet"):
        cases.pictures(cases.cases("train")[0])
    twice = copied(embedded, tmp_path / "twice")
    (path,) = twice.files("cases", "train")
    shutil.copy(path, path.with_name("train-00001.parquet"))
    with pytest.raises(FormatError, match="twice"):
        opened(twice).cases("train")
    orphan = copied(embedded, tmp_path / "orphan")
    (path,) = orphan.files("cases", "train")
    write_table(path, "cases", list(rows(path, "cases"))[1:])
    with pytest.raises(FormatError, match="no case"):
        opened(orphan).cases("train")
    (path,) = orphan.files("samples", "train")
    write_table(path, "samples", list(rows(path, "samples")) * 2)
    with pytest.raises(FormatError, match="one identifier"):
        opened(orphan).cases("train")


def test_listing_reads_no_scene(plain, monkeypatch):
    asked = []
    monkeypatch.setattr(cases_module, "rows", lambda path, table, columns: asked.append(columns) or rows(path, table, columns))
    assert opened(plain).cases("train")
    assert {"structures", "absent"}.isdisjoint(*asked)


def moved(dataset: Dataset, folder: Path, patient: str, split: str) -> Dataset:
    """A copy in which a patient stands in another split."""
    return edited(
        dataset,
        folder,
        case=lambda c: replace(c, split=split) if c.scene.patient == patient else c,
        sample=lambda s: replace(s, split=split) if s.patient == patient else s,
    )


def test_a_patient_in_two_splits_of_two_data_sets_is_named(plain, embedded, tmp_path):
    kept = next(c.scene.patient for c in plain.cases("test"))
    other = moved(embedded, tmp_path / "other", kept, "train")
    with pytest.raises(FormatError, match=rf"1 patient stands in different splits.*{kept} \(test in 'set', train in 'other'\)"):
        opened(plain, other)
    for alone in (plain, other):
        opened(alone)
    opened(plain, embedded)


def test_a_file_in_two_splits_is_one_patient_whatever_it_is_called(plain, tmp_path):
    kept = next(c.scene.patient for c in plain.cases("test"))

    def hashed(record):
        return replace(record, sha256=hashlib.sha256(record.item.encode()).hexdigest())

    first = edited(plain, tmp_path / "first", case=hashed)
    renamed = edited(
        first, tmp_path / "renamed", case=lambda c: replace(c, scene=replace(c.scene, patient=f"anon {c.scene.patient}"))
    )
    opened(first, renamed)
    with pytest.raises(FormatError, match=kept):
        opened(first, moved(renamed, tmp_path / "moved", f"anon {kept}", "train"))


def test_patients_of_one_name_in_two_sources_are_two(plain, tmp_path):
    kept = next(c.scene.patient for c in plain.cases("test"))
    other = moved(plain, tmp_path / "other", kept, "train")
    path = other.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"title": "another hospital"}))
    opened(plain, other)


def test_a_frame_that_would_be_resized_again_is_unreadable(plain, tmp_path):
    def case(record):
        wide = replace(record.scene.frame, width=record.scene.frame.width + 1)
        return replace(record, scene=replace(record.scene, frame=wide)) if record.scene.kind == "image" else record

    cases = opened(edited(plain, tmp_path / "thin", case=case))
    image = next(c for c in cases.cases("train") if c.kind == "image")
    with pytest.raises(Unreadable, match="would be resized"):
        cases.pictures(image)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", None])
def test_pictures_without_content_are_unreadable(embedded, tmp_path, data):
    bad = copied(embedded, tmp_path / "bad")
    with_images(bad, lambda found: [r | {"png": data} for r in found])
    cases = opened(bad)
    for case in cases.cases("train"):
        with pytest.raises(Unreadable):
            cases.pictures(case)


@pytest.mark.parametrize("at", range(8, 120, 7))
def test_no_damage_of_a_stored_picture_escapes(embedded, at):
    image = next(iter(embedded.images("train")))
    for value in (0, 255):
        data = bytearray(image.png)
        data[at] = value
        with suppress(UniReasonError):
            from_png(bytes(data))
