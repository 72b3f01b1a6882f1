"""Every layout from a tiny tree: what is listed, what is loaded, and the traps of each."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import sparse

import trees
from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.data.item import CaseSource, Item, Loaded, Skipped
from unireason.data.sources.base import NAMES, open_source
from unireason.data.sources.m3d import axes_of, patient_of


def split(source: CaseSource) -> tuple[list[Item], list[Skipped]]:
    listed = list(source.items())
    return [i for i in listed if isinstance(i, Item)], [i for i in listed if isinstance(i, Skipped)]


def mask(loaded: Loaded, name: str) -> np.ndarray:
    """The mask of a structure, which lies in exactly one layer."""
    (found,) = [layer.labels == v for layer in loaded.layers for v, n in layer.names.items() if n == name]
    return found


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    table = {k: v for k, v in (json.loads(path.read_text()) | changes).items() if v is not None}
    path.write_text(json.dumps(table))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tree of every layout; tests that change one take a copy."""
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in trees.TREES.items()}


@pytest.fixture
def copy(grown: dict[str, Path], tmp_path: Path) -> Any:
    return lambda name: Path(shutil.copytree(grown[name], tmp_path / name))


def test_the_catalogue_holds_every_layout() -> None:
    assert set(NAMES) == {"phantom", *trees.TREES}
    with pytest.raises(FormatError, match="sa-med2d"):
        open_source("coco")


@pytest.mark.parametrize("name", sorted(trees.TREES))
def test_what_every_source_promises(grown: dict[str, Path], name: str) -> None:
    source = open_source(name, grown[name])
    again = pickle.loads(pickle.dumps(source))
    assert list(again.items()) == list(source.items())
    assert (source.name, source.root) == (name, grown[name])
    assert source.title
    assert source.licence
    items, _ = split(source)
    assert len({i.id for i in items}) == len(items) >= 2
    for item in items:
        assert pickle.loads(pickle.dumps(item)) == item
        named = {n for ref in item.masks for n in ref.names.values()}
        assert named <= set(item.annotated)
        assert "background" not in item.annotated
        assert list(item.annotated) == sorted(set(item.annotated))
        assert not Path(item.image).is_absolute()
        if item.id.startswith("mr_t1--Phantom--case_900"):
            continue
        loaded = again.load(item)
        assert loaded.case.kind == item.kind
        held = [n for layer in loaded.layers for n in layer.names.values()]
        assert len(held) == len(set(held)), "a structure lies in one layer"
        for layer in loaded.layers:
            assert 0 not in layer.names
            assert layer.labels.dtype.kind == "u"
            assert layer.labels.shape == loaded.case.geometry.shape


@pytest.mark.parametrize("name", sorted(trees.TREES))
def test_an_empty_or_missing_folder_is_an_error_that_says_what_was_expected(tmp_path: Path, name: str) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UniReasonError):
            list(open_source(name, root).items())
    with pytest.raises(FormatError, match="folder"):
        open_source(name)
    with pytest.raises(FormatError, match="no option 'nonsense'"):
        open_source(name, tmp_path, options={"nonsense": "1"})


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("nnunet", "dataset.json"), ("msd", "dataset.json"), ("m3d-seg", "0007/0007.json"), ("sa-med2d", "SAMed2D_v1.json"),
        ("sa-med2d", "SAMed2D_v1_class_mapping_id.json"), ("pair", "labels.json"), ("slake", "imgs/xmlab1/detection.json"),
        ("slake", "train.json"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "null",
        '{"labels": 3}',
        '{"labels": {"1": {"a": 2}}, "training": 4}',
        '{"x": {"y": [[[]]]}}',
        "[" * 20_000,
        "\xff",
    ],
)
def test_hostile_indexes_never_escape_our_errors(copy: Any, name: str, index: str, text: str) -> None:
    root = copy(name)
    (root / index).write_text(text, encoding="latin-1")
    try:
        for entry in open_source(name, root).items():
            if isinstance(entry, Item):
                open_source(name, root).load(entry)
    except UniReasonError:
        pass


@pytest.mark.parametrize("name", sorted(trees.TREES))
def test_truncated_files_are_told_when_loaded(copy: Any, name: str) -> None:
    root = copy(name)
    source = open_source(name, root)
    item = split(source)[0][0]
    for path in (item.image, item.masks[0].path):
        whole = (root / path).read_bytes()
        (root / path).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UniReasonError):
            source.load(item)
        (root / path).unlink()
        with pytest.raises(UniReasonError):
            source.load(item)
        (root / path).write_bytes(whole)
    source.load(item)


# phantom


def test_phantoms_are_generated_alike() -> None:
    source = open_source("phantom", options={"patients": "3", "seed": "5"})
    items, skipped = split(source)
    assert [i.image for i in items] == ["5/0", "5/1", "5/2"]
    assert not skipped
    assert {"spine", "lesion", "left kidney"} <= set(items[0].annotated)
    loaded = source.load(items[1])
    one = trees.patient(1, 5)
    assert np.array_equal(loaded.case.pixels, one.voxels)
    assert np.array_equal(mask(loaded, "liver"), one.labels == 4)
    assert np.array_equal(mask(loaded, "spine"), one.labels == 30)
    assert source.root == Path()


@pytest.mark.parametrize("options", [{"patients": "0"}, {"patients": "x"}, {"seed": "-1"}, {"patients": "9" * 30}])
def test_phantom_options_that_cannot_be_used(options: dict[str, str]) -> None:
    with pytest.raises(FormatError):
        open_source("phantom", options=options)


def test_phantoms_need_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="generated"):
        open_source("phantom", tmp_path)


# nnU-Net


def test_nnunet_reads_labels_stored_in_another_order(grown: dict[str, Path]) -> None:
    source = open_source("nnunet", grown["nnunet"])
    items, skipped = split(source)
    assert [(i.id, i.modality, i.split) for i in items] == [("case_1", "CT", "train"), ("case_2", "CT", "train")]
    assert not skipped, "hidden files are no cases"
    loaded = source.load(items[0])
    one = trees.patient(0)
    assert np.array_equal(loaded.case.pixels, one.voxels)
    assert np.array_equal(mask(loaded, "right kidney"), one.labels == 10)
    assert (source.title, source.licence) == ("Phantoms", "CC0")


def test_nnunet_regions_overlap_and_ignored_voxels_refuse_the_case(copy: Any) -> None:
    root = copy("nnunet")
    labels = {"background": 0, "whole": [5, 6, 8], "core": [6, 8], "spot": 8, "ignore": 99}
    rewrite(root / "dataset.json", labels=labels, regions_class_order=[1, 2, 3])
    source = open_source("nnunet", root, options={"ignore-unnamed": "yes"})
    item = split(source)[0][0]
    assert item.annotated == ("core", "spot", "whole")
    loaded = source.load(item)
    truth = trees.patient(0).labels
    assert len(loaded.layers) == 3
    assert np.array_equal(mask(loaded, "whole"), np.isin(truth, [5, 6, 8]))
    assert np.array_equal(mask(loaded, "core"), np.isin(truth, [6, 8]))
    assert np.array_equal(mask(loaded, "spot"), truth == 8)
    rewrite(root / "dataset.json", labels=labels | {"ignore": 5})
    with pytest.raises(FormatError, match="not annotated"):
        source.load(split(source)[0][0])


def test_nnunet_channels_and_cases_without_a_partner(copy: Any) -> None:
    root = copy("nnunet")
    shutil.copy(root / "imagesTr" / "case_2_0000.nii.gz", root / "imagesTr" / "case_2_0001.nii.gz")
    shutil.copy(root / "imagesTr" / "case_2_0000.nii.gz", root / "imagesTr" / "lonely_0000.nii.gz")
    shutil.copy(root / "labelsTr" / "case_2.nii.gz", root / "labelsTr" / "orphan.nii.gz")
    rewrite(root / "dataset.json", channel_names={"0": "CT", "1": "T2"})
    items, skipped = split(open_source("nnunet", root))
    assert [i.id for i in items] == ["case_1", "case_2"]
    assert {s.id for s in skipped} == {"lonely", "orphan"}
    items, skipped = split(open_source("nnunet", root, options={"channel": "1"}))
    assert [(i.id, i.image, i.modality) for i in items] == [("case_2", "imagesTr/case_2_0001.nii.gz", "MR")]
    assert {s.id for s in skipped} == {"case_1", "lonely", "orphan"}


def test_identifiers_are_unique_over_training_and_test(copy: Any) -> None:
    root = copy("nnunet")
    for kind in ("images", "labels"):
        shutil.copytree(root / f"{kind}Tr", root / f"{kind}Ts")
    shutil.copy(root / "imagesTs" / "case_1_0000.nii.gz", root / "imagesTs" / "case_3_0000.nii.gz")
    shutil.copy(root / "labelsTs" / "case_1.nii.gz", root / "labelsTs" / "case_3.nii.gz")
    items, skipped = split(open_source("nnunet", root))
    assert [(i.id, i.split) for i in items] == [("case_1", "train"), ("case_2", "train"), ("case_3", "test")]
    assert [(s.id, s.reason) for s in skipped] == [("case_1", "it is listed twice"), ("case_2", "it is listed twice")]


def test_nnunet_pictures(tmp_path: Path) -> None:
    values = np.zeros((9, 11), np.uint8)
    values[2:4, 3:6] = 2
    trees.write_picture(tmp_path / "imagesTr" / "img_7_0000.png", np.zeros((9, 11, 3), np.uint8))
    trees.write_picture(tmp_path / "labelsTr" / "img_7.png", values)
    trees.write_json(tmp_path / "dataset.json", {"channel_names": {"0": "rgb"}, "labels": {"background": 0, "polyp": 2}})
    source = open_source("nnunet", tmp_path)
    (item,) = split(source)[0]
    assert (item.id, item.kind, item.modality) == ("img_7", "image", "")
    assert np.array_equal(mask(source.load(item), "polyp"), values == 2)


def test_an_msd_index_is_told_from_an_nnunet_one(grown: dict[str, Path]) -> None:
    with pytest.raises(FormatError, match="msd"):
        list(open_source("nnunet", grown["msd"]).items())


# MSD


@pytest.mark.parametrize(("channel", "modality"), [("0", "CT"), ("1", "MR")])
def test_msd_takes_one_channel_of_four_dimensions(grown: dict[str, Path], channel: str, modality: str) -> None:
    source = open_source("msd", grown["msd"], options={"channel": channel})
    items, skipped = split(source)
    assert [i.id for i in items] == ["task_001", "task_002"], "natural order, whatever the list's"
    assert not skipped
    loaded = source.load(items[0])
    one = trees.patient(0)
    assert np.array_equal(loaded.case.pixels, one.voxels + 100 * int(channel))
    assert loaded.case.modality == modality
    assert np.array_equal(mask(loaded, "spleen"), one.labels == 5)


def test_msd_entries_that_cannot_be_used_are_skipped(copy: Any) -> None:
    root = copy("msd")
    good = {"image": "./imagesTr/task_001.nii.gz", "label": "./labelsTr/task_001.nii.gz"}
    bad = [
        good, 7, {"image": "./imagesTr/task_002.nii.gz"}, {"image": "../../etc/passwd", "label": "./labelsTr/task_001.nii.gz"},
        {"image": "./imagesTr/none.nii.gz", "label": "./labelsTr/none.nii.gz"}, {"image": ["x"], "label": {}},
    ]  # fmt: skip
    rewrite(root / "dataset.json", training=[good, *bad])
    items, skipped = split(open_source("msd", root))
    assert [i.id for i in items] == ["task_001"]
    assert len(skipped) == 6
    assert any("twice" in s.reason for s in skipped)
    with pytest.raises(FormatError, match="channel 5"):
        list(open_source("msd", root, options={"channel": "5"}).items())


# AMOS


def test_amos_numbers_tell_ct_from_mr(grown: dict[str, Path]) -> None:
    items, skipped = split(open_source("amos", grown["amos"]))
    assert [(i.id, i.modality, i.split) for i in items] == [
        ("amos_0410", "CT", "train"),
        ("amos_0507", "MR", "train"),
        ("amos_0409", "CT", "validation"),
    ]
    assert [s.id for s in skipped] == ["amos_0500"]
    assert {"inferior vena cava", "prostate or uterus", "left adrenal gland"} <= set(items[0].annotated)
    assert len(items[0].annotated) == 15


def test_amos_takes_the_labels_of_its_index(copy: Any) -> None:
    root = copy("amos")
    trees.write_json(root / "dataset.json", {"labels": {"0": "background", "1": "spleen", "9": "postcava"}})
    items, _ = split(open_source("amos", root))
    assert items[0].masks[0].names == {1: "spleen", 9: "inferior vena cava"}


# TotalSegmentator


def test_totalsegmentator_binary_files_share_a_layer(grown: dict[str, Path]) -> None:
    source = open_source("totalsegmentator", grown["totalsegmentator"])
    items, skipped = split(source)
    assert [(i.id, i.modality, i.split) for i in items] == [("s0009", "CT", "train"), ("s0010", "MR", "test")]
    assert [s.id for s in skipped] == ["s0999"]
    loaded = source.load(items[0])
    assert len(loaded.layers) == 1, "organs of a phantom do not overlap"
    assert np.array_equal(mask(loaded, "left kidney"), trees.patient(0).labels == 9)
    assert np.array_equal(mask(loaded, "right lung"), trees.patient(0).labels == 1)


def test_a_structure_without_a_file_was_not_annotated(copy: Any) -> None:
    root = copy("totalsegmentator")
    (root / "s0009" / "segmentations" / "spleen.nii.gz").unlink()
    (root / "s0010" / "ct.nii.gz").write_bytes((root / "s0010" / "mri.nii.gz").read_bytes())
    items, skipped = split(open_source("totalsegmentator", root))
    assert "spleen" not in items[0].annotated
    assert [s.id for s in skipped] == ["s0010", "s0999"]


def test_totalsegmentator_rows_that_lead_outside(copy: Any) -> None:
    root = copy("totalsegmentator")
    (root / "meta.csv").write_text("image_id;split\n../s0009;train\n;x\n")
    items, skipped = split(open_source("totalsegmentator", root))
    assert [i.id for i in items] == ["s0009", "s0010"]
    assert [s.id for s in skipped] == ["../s0009"]
    (root / "meta.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="image_id"):
        list(open_source("totalsegmentator", root).items())


# SA-Med2D


def test_samed2d_reads_names_classes_and_instances(grown: dict[str, Path]) -> None:
    source = open_source("sa-med2d", grown["sa-med2d"])
    items, skipped = split(source)
    assert not skipped
    first = items[0]
    k = trees.busy(trees.patient(0))
    assert first.id == f"ct_00--Phantom--case_000--z_{k:04d}"
    assert (first.patient, first.kind, first.modality) == ("Phantom--case_000", "image", "CT")
    assert items[1].patient == first.patient, "slices of a case stay together"
    assert first.annotated == ("left kidney", "liver", "right kidney", "right lung", "spleen"), "no union, no bare side"
    loaded = source.load(first)
    assert np.array_equal(mask(loaded, "right kidney"), trees.patient(0).labels[k] == 10)
    assert not any(name.startswith("union") for layer in loaded.layers for name in layer.names.values())


def test_samed2d_turns_inverted_adam_masks_and_leaves_upright_ones(copy: Any) -> None:
    root = copy("sa-med2d")
    source = open_source("sa-med2d", root)
    item = next(i for i in split(source)[0] if i.patient.startswith("ADAM"))
    expected = np.zeros((40, 50), bool)
    expected[10:20, 15:30] = True
    assert item.modality == "OP"
    assert np.array_equal(mask(source.load(item), "optic disc"), expected)
    trees.write_picture(root / item.masks[0].path, (expected * 255).astype(np.uint8))
    assert np.array_equal(mask(source.load(item), "optic disc"), expected)


def test_samed2d_refuses_masks_of_another_shape(grown: dict[str, Path]) -> None:
    source = open_source("sa-med2d", grown["sa-med2d"])
    item = next(i for i in split(source)[0] if "case_900" in i.id)
    with pytest.raises(ImageReadError, match=r"\(30, 32\).*\(32, 32\)"):
        source.load(item)


def test_samed2d_merges_instances_of_a_class(tmp_path: Path) -> None:
    root = trees.samed2d_tree(tmp_path, patients=0)
    stem = "mr_t2--Phantom--patient007_frame01--y_0003"
    halves = np.zeros((2, 20, 20), np.uint8)
    halves[0, 2:5, 2:5], halves[1, 12:15, 12:15] = 255, 255
    trees.write_picture(root / "images" / f"{stem}.png", np.zeros((20, 20), np.uint8))
    names = [f"masks/{stem}--0000_{n:03d}.png" for n in range(2)]
    for name, half in zip(names, halves, strict=True):
        trees.write_picture(root / name, half)
    trees.write_json(root / "SAMed2D_v1.json", {f"images/{stem}.png": names})
    source = open_source("sa-med2d", root)
    (item,) = source.items()
    assert isinstance(item, Item)
    assert (item.patient, item.modality) == ("Phantom--patient007", "MR"), "moments of one scan are one patient"
    (layer,) = source.load(item).layers
    assert np.array_equal(layer.labels > 0, halves.any(axis=0))


def test_samed2d_entries_that_cannot_be_used_are_skipped(tmp_path: Path) -> None:
    root = trees.samed2d_tree(tmp_path, patients=0)
    good = "images/ct_00--Phantom--c--z_1.png"
    index: dict[str, Any] = {
        "images/noname.png": ["masks/a.png"],
        "images/ct_00--Other--c--z_1.png": ["masks/ct_00--Other--c--z_1--0000_000.png"],
        good: ["masks/ct_00--Phantom--x--z_1--0000_000.png"],
        "images/ct_00--Phantom--c--z_2.png": ["masks/ct_00--Phantom--c--z_2--0077_000.png"],
        "images/ct_00--Phantom--c--z_3.png": ["masks/ct_00--Phantom--c--z_3--0005_000.png"],
        "images/ct_00--Phantom--c--z_4.png": [],
        "images/ct_00--Phantom--c--z_5.png": {"a": 1},
        "images/ct_00--Phantom--c--z_6.png": [7],
    }
    trees.write_json(root / "SAMed2D_v1.json", index)
    items, skipped = split(open_source("sa-med2d", root))
    assert not items
    assert len(skipped) == len(index)
    assert all(s.reason for s in skipped)


def test_samed2d_images_listed_twice(grown: dict[str, Path], copy: Any) -> None:
    root = copy("sa-med2d")
    text = (root / "SAMed2D_v1.json").read_text()
    (root / "SAMed2D_v1.json").write_text(text[:-1] + ", " + text[1:])
    items, skipped = split(open_source("sa-med2d", root))
    assert items == split(open_source("sa-med2d", grown["sa-med2d"]))[0]
    assert len(skipped) == len(items)


def test_samed2d_paths_that_lead_outside_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    root = trees.samed2d_tree(tmp_path / "in", patients=0)
    stem = "ct_00--Phantom--c--z_1"
    for path in (tmp_path / f"{stem}.png", tmp_path / f"{stem}--0000_000.png"):
        trees.write_picture(path, np.zeros((8, 8), np.uint8))
    trees.write_json(root / "SAMed2D_v1.json", {f"../{stem}.png": [f"../{stem}--0000_000.png"]})
    source = open_source("sa-med2d", root)
    (item,) = split(source)[0]
    with pytest.raises(FormatError, match="relative path inside"):
        source.load(item)


# M3D-Seg


@pytest.mark.parametrize("axes", ["xyz", "zyx"])
@pytest.mark.parametrize("training", ["train", "training"])
def test_m3d_sparse_masks_lie_on_their_image_in_either_order(tmp_path: Path, axes: str, training: str) -> None:
    source = open_source("m3d-seg", trees.m3d_tree(tmp_path, axes=axes, training=training))
    items, skipped = split(source)
    assert not skipped
    assert [(i.id, i.patient, i.split) for i in items] == [("0007--1", "0007--1", "train"), ("0007--2", "0007--2", "test")]
    loaded = source.load(items[0])
    one = trees.patient(0)
    assert loaded.case.geometry.shape == one.labels.shape
    assert loaded.case.pixels.dtype == np.float32
    assert np.allclose(loaded.case.pixels, (np.clip(one.voxels, -200, 300) + 200) / 500.0)
    for value, name in trees.ORGAN_NAMES.items():
        assert np.array_equal(mask(loaded, name), one.labels == value), name


def test_m3d_normalised_values_are_not_windowed_as_hounsfield_units(grown: dict[str, Path]) -> None:
    from unireason import imaging

    source = open_source("m3d-seg", grown["m3d-seg"])
    item = split(source)[0][0]
    stack = imaging.serialize(source.load(item).case, depth=4, size=(64, 64))
    assert item.modality == "CT"
    assert len(np.unique(stack.slices)) > 50


def test_m3d_axes_are_told_by_the_square_slices() -> None:
    assert [axes_of(s) for s in ((512, 512, 96), (32, 256, 256), (64, 64, 64), (10, 20, 30))] == ["xyz", "zyx", "xyz", "xyz"]


def test_m3d_axes_may_be_said_outright(tmp_path: Path) -> None:
    source = open_source("m3d-seg", trees.m3d_tree(tmp_path, axes="zyx"), options={"axes": "xyz"})
    one = trees.patient(0)
    assert source.load(split(source)[0][0]).case.geometry.shape == one.labels.shape[::-1]
    with pytest.raises(FormatError, match="xyz or zyx"):
        open_source("m3d-seg", tmp_path, options={"axes": "yxz"})


def test_m3d_quiz_copies_are_the_same_patient() -> None:
    assert patient_of("ct_quizze/000017/Axial.npy") == patient_of("./ct_case/000017/series.npy") == "case--000017"
    assert patient_of("0007/3/image.npy") == "0007--3"


def m3d_case(root: Path) -> tuple[CaseSource, Item, Path]:
    source = open_source("m3d-seg", root)
    item = split(source)[0][0]
    return source, item, root / item.masks[0].path


def test_m3d_damaged_matrices_are_refused(copy: Any) -> None:
    source, item, path = m3d_case(copy("m3d-seg"))
    parts = dict(np.load(path))
    size = int(parts["shape"][1])
    beyond, back, early = (dict(parts) for _ in range(3))
    beyond["indices"] = np.where(np.arange(len(parts["indices"])) == 0, size, parts["indices"])
    back["indptr"] = parts["indptr"][::-1].copy()
    early["indptr"] = parts["indptr"] + 5
    for broken in (beyond, back, early, parts | {"indices": parts["indices"][:-1]}, parts | {"data": parts["data"].astype("U1")}):
        np.savez(path, **broken)
        with pytest.raises(FormatError, match="damaged"):
            source.load(item)
    np.savez(path, **(parts | {"shape": np.array([1, 5])}))
    with pytest.raises(FormatError, match="as its name says"):
        source.load(item)
    np.savez(path, **(parts | {"format": np.array(b"coo")}))
    with pytest.raises(FormatError, match="csr"):
        source.load(item)


def test_m3d_never_unpickles(copy: Any) -> None:
    source, item, path = m3d_case(copy("m3d-seg"))
    parts = dict(np.load(path))
    np.savez(path, **(parts | {"data": np.array([{"a": 1}], object)}))
    with pytest.raises(ImageReadError):
        source.load(item)
    image = path.parent / "image.npy"
    np.save(image, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ImageReadError):
        source.load(item)


def test_m3d_image_and_mask_of_different_shapes_are_refused(copy: Any) -> None:
    source, item, path = m3d_case(copy("m3d-seg"))
    np.save(path.parent / "image.npy", np.zeros((1, 4, 5, 6), np.float32))
    with pytest.raises(ImageReadError, match="shape"):
        source.load(item)
    np.save(path.parent / "image.npy", np.zeros((3, 4, 5, 6), np.float32))
    with pytest.raises(ImageReadError, match="shape"):
        source.load(item)


def test_m3d_entries_that_cannot_be_used_are_skipped(copy: Any) -> None:
    root = copy("m3d-seg")
    index = json.loads((root / "0007" / "0007.json").read_text())
    good = index["train"][0]
    far = {k: f"/home/them/data/M3D_Seg/{v}" for k, v in good.items()}
    bad = [good, 3, {"image": "0007/1/image.npy"}, {"image": "0007/../../x.npy", "label": good["label"]}]
    bad.append({"image": "0007/9/image.npy", "label": "0007/9/mask_(1, 2, 3, 4).npz"})
    bad.append({"image": "0007/9/image.npy", "label": "0007/9/mask.npz"})
    rewrite(root / "0007" / "0007.json", train=[far, *bad])
    items, skipped = split(open_source("m3d-seg", root))
    assert [i.id for i in items] == ["0007--1", "0007--2"], "folders of the publisher's machine are left out"
    assert len(skipped) == 6
    trees.write_json(root / "0008.json", {"train": []})
    assert any(s.id == "0008" for s in split(open_source("m3d-seg", root))[1])


def test_m3d_rows_of_one_name_are_one_structure(tmp_path: Path) -> None:
    place = tmp_path / "0014" / "a"
    place.mkdir(parents=True)
    np.save(place / "image.npy", np.zeros((1, 4, 4, 3), np.float64))
    dense = np.zeros((2, 48), np.int32)
    dense[0, 1], dense[1, 2] = 1, 1
    sparse.save_npz(place / "mask_(2, 4, 4, 3).npz", sparse.csr_matrix(dense))
    entry = {"image": "0014/a/image.npy", "label": "0014/a/mask_(2, 4, 4, 3).npz"}
    table = {"labels": {"0": "background", "1": "lumbar spine L1", "2": "lumbar spine L1"}, "train": [entry]}
    trees.write_json(tmp_path / "0014" / "0014.json", table)
    source = open_source("m3d-seg", tmp_path)
    (layer,) = source.load(split(source)[0][0]).layers
    assert layer.names == {1: "lumbar spine l1"}
    # (X, Y, Z) flat index 1 is z = 1, 2 is z = 2, both at x = y = 0
    assert sorted(zip(*np.nonzero(layer.labels), strict=True)) == [(1, 0, 0), (2, 0, 0)]


# SLAKE


def test_slake_finds_the_pixels_of_each_detection(grown: dict[str, Path]) -> None:
    source = open_source("slake", grown["slake"])
    items, skipped = split(source)
    assert [(i.id, i.modality, i.split) for i in items] == [("xmlab1", "CT", "train"), ("xmlab10", "CT", "validation")]
    assert not skipped
    for n, item in enumerate(items):
        loaded = source.load(item)
        truth = trees.patient(n).labels[trees.busy(trees.patient(n))]
        for name in item.annotated:
            value = next(v for v, organ in trees.ORGAN_NAMES.items() if organ == name)
            assert np.array_equal(mask(loaded, name), truth == value), name


def test_slake_coloured_masks_and_detections_without_pixels(copy: Any) -> None:
    root = copy("slake")
    place = root / "imgs" / "xmlab1"
    values = np.asarray(Image.open(place / "mask.png"))
    colours = np.stack([values, 255 - values, values // 2], axis=-1) * (values > 0)[..., None]
    trees.write_picture(place / "mask.png", colours.astype(np.uint8))
    detections = json.loads((place / "detection.json").read_text())
    trees.write_json(place / "detection.json", [*detections, {"Uterus": [0, 0, 20, 20]}])
    source = open_source("slake", root)
    item = split(source)[0][0]
    assert "uterus" in item.annotated
    loaded = source.load(item)
    assert "uterus" not in loaded.item.annotated, "neither present nor absent"
    assert np.array_equal(mask(loaded, "spleen"), trees.patient(0).labels[trees.busy(trees.patient(0))] == 5)
    trees.write_json(place / "detection.json", [{"Uterus": [0, 0, 20, 20]}])
    with pytest.raises(ImageReadError, match="no detection"):
        source.load(split(source)[0][0])


@pytest.mark.parametrize(
    "detections",
    [[], [3], [{"Liver": [1, 2, 3]}], [{"Liver": "box"}], [{"Liver": [1, 2, 3, float("inf")]}], [{"a": [1] * 4}] * 300],
)
def test_slake_detections_that_cannot_be_used(copy: Any, detections: list[Any]) -> None:
    root = copy("slake")
    trees.write_json(root / "imgs" / "xmlab1" / "detection.json", detections)
    (root / "imgs" / "xmlab10" / "mask.png").unlink()
    items, skipped = split(open_source("slake", root))
    assert not items
    assert [s.id for s in skipped] == ["xmlab1", "xmlab10"]


# pairs


@pytest.mark.parametrize("volumes", [False, True])
def test_pairs_of_label_maps(tmp_path: Path, volumes: bool) -> None:
    source = open_source("pair", trees.pair_tree(tmp_path, volumes=volumes), options={"modality": "mri", "licence": "mine"})
    items, skipped = split(source)
    assert not skipped
    assert [(i.id, i.kind, i.modality) for i in items] == [(p, "volume" if volumes else "image", "MR") for p in ("p1", "p2")]
    one = trees.patient(0)
    truth = one.labels if volumes else one.labels[trees.busy(one)]
    assert np.array_equal(mask(source.load(items[0]), "spleen"), truth == 5)
    assert (source.title, source.licence) == (tmp_path.name, "mine")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels.csv", "value,name\n5,Spleen\n9,Kidney Left\n"),
        ("labels.csv", 'Spleen,5\n"Kidney, Left",9\nbackground,0\n'),
        ("labels.toml", '"5" = "spleen"\n"9" = "left kidney"\n'),
        ("labels.toml", "[labels]\nspleen = 5\nkidney_left = 9\nbackground = 0\n"),
        ("labels.json", '{"labels": {"spleen": 5, "kidney_left": 9}}'),
    ],
)
def test_labels_files_of_every_form(tmp_path: Path, file: str, text: str) -> None:
    root = trees.pair_tree(tmp_path)
    (root / "labels.json").unlink()
    (root / file).write_text(text)
    items, _ = split(open_source("pair", root))
    assert items[0].masks[0].names == {5: "spleen", 9: "left kidney"}


def test_a_labels_file_without_structures_is_an_error(tmp_path: Path) -> None:
    root = trees.pair_tree(tmp_path)
    (root / "labels.json").write_text('{"0": "background"}')
    with pytest.raises(FormatError, match="names no structure"):
        list(open_source("pair", root).items())
    (root / "labels.json").unlink()
    with pytest.raises(FormatError, match="no labels file"):
        list(open_source("pair", root).items())


def test_pairs_of_binary_masks_in_a_folder_a_structure(tmp_path: Path) -> None:
    for stem in ("a1", "a2", "a10"):
        trees.write_picture(tmp_path / "images" / f"{stem}.png", np.zeros((8, 8), np.uint8))
    square = np.zeros((8, 8), np.uint8)
    square[2:4, 2:4] = 255
    trees.write_picture(tmp_path / "masks" / "kidney_left" / "a1.png", square)
    trees.write_picture(tmp_path / "masks" / "tumor" / "a1.png", square.T)
    trees.write_picture(tmp_path / "masks" / "tumor" / "a2.png", square)
    trees.write_json(tmp_path / "labels.json", {"tumor": "Kidney Tumor"})
    source = open_source("pair", tmp_path)
    items, skipped = split(source)
    assert [i.id for i in items] == ["a1", "a2"]
    assert [s.id for s in skipped] == ["a10"]
    assert items[1].annotated == ("kidney tumor", "left kidney"), "absent where others of the same image have a file"
    assert len(source.load(items[0]).layers) == 2, "the two masks overlap"


def test_a_single_label_means_every_value_above_zero(tmp_path: Path) -> None:
    trees.write_picture(tmp_path / "images" / "a.png", np.zeros((8, 8), np.uint8))
    square = np.zeros((8, 8), np.uint8)
    square[2:4, 2:4] = 255
    trees.write_picture(tmp_path / "masks" / "a.png", square)
    trees.write_json(tmp_path / "labels.json", {"1": "polyp"})
    source = open_source("pair", tmp_path)
    assert np.array_equal(mask(source.load(split(source)[0][0]), "polyp"), square > 0)


def test_pairs_of_arrays_with_axes_and_spacing(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.int64)  # x, y, z
    np.save(tmp_path / "images" / "a_s1.npy", labels * 100.0)
    np.save(tmp_path / "masks" / "a_s1.npy", labels)
    np.save(tmp_path / "images" / "b_s1.npy", labels[0] * 1.0)
    np.save(tmp_path / "masks" / "b_s1.npy", labels[0])
    trees.write_json(tmp_path / "labels.json", {"1": "liver", "2": "spleen"})
    options = {"axes": "xyz", "spacing": "1,2,3", "patient": "^(.)_"}
    source = open_source("pair", tmp_path, options=options)
    items, _ = split(source)
    assert [(i.patient, i.kind) for i in items] == [("a", "volume"), ("b", "image")]
    loaded = source.load(items[0])
    assert loaded.case.geometry.spacing_mm == (1.0, 2.0, 3.0)
    assert np.array_equal(loaded.layers[0].labels, labels.transpose(2, 1, 0))
    assert np.array_equal(loaded.case.pixels, labels.transpose(2, 1, 0) * 100.0)


def test_pairs_without_partners_are_skipped_and_nothing_in_common_is_an_error(tmp_path: Path) -> None:
    root = trees.pair_tree(tmp_path)
    (root / "images" / "p1.png").rename(root / "images" / "q1.png")
    items, skipped = split(open_source("pair", root))
    assert [i.id for i in items] == ["p2"]
    assert {s.id for s in skipped} == {"p1", "q1"}
    (root / "images" / "p2.png").rename(root / "images" / "q2.png")
    with pytest.raises(FormatError, match="called like an image"):
        list(open_source("pair", root).items())


@pytest.mark.parametrize(
    "options",
    [{"images": "../x"}, {"labels": "none.json"}, {"spacing": "1"}, {"spacing": "a,b"}, {"spacing": "0,1"}, {"patient": "("}],
)
def test_pair_options_that_cannot_be_used(tmp_path: Path, options: dict[str, str]) -> None:
    root = trees.pair_tree(tmp_path)
    try:
        items, skipped = split(open_source("pair", root, options=options))
    except FormatError:
        return
    assert not items
    assert skipped
