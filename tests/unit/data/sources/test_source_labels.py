"""Mask files to label maps: values exact, overlaps in layers of their own, axis orders and grids held against the image."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trees import write_picture, write_volume
from unireason import imaging
from unireason.core.errors import FormatError, GeometryError, ImageReadError, UniReasonError
from unireason.data.item import Item, Layer, MaskRef
from unireason.data.sources.labels import Packer, canonical_affine, layers, load_files, read_mask, whole

RNG = np.random.default_rng(3)


def item(image: str, *refs: MaskRef, kind: str = "volume", **more: object) -> Item:
    names = tuple(sorted({n for r in refs for n in r.names.values()}))
    return Item("one", "one", kind, image, refs, names, **more)  # type: ignore[arg-type]


ABC = {1: "a", 2: "b", 3: "c"}


def volume(shape: tuple[int, ...] = (5, 6, 7)) -> np.ndarray:
    return RNG.integers(0, 4, shape).astype(np.uint8)


def oblique() -> np.ndarray:
    """An oblique rotation with spacing 2, 3, 5 mm."""
    c, s = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.diag([2.0, 3.0, 5.0])
    affine[:3, 3] = (-40, 12, 7)
    return affine


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR", "SAL"])
def test_masks_in_another_axis_order_align_with_the_image(tmp_path: Path, axes: str) -> None:
    labels = volume()
    write_volume(tmp_path / "image.nii.gz", labels * 10.0, oblique(), "ASR")
    write_volume(tmp_path / "mask.nii.gz", labels, oblique(), axes)
    loaded = load_files(tmp_path, item("image.nii.gz", MaskRef("mask.nii.gz", ABC)))
    assert np.array_equal(loaded.layers[0].labels * 10, loaded.case.pixels)
    assert loaded.layers[0].labels.dtype == np.uint8
    assert loaded.layers[0].names == {1: "a", 2: "b", 3: "c"}


CODES = ["".join(code) for order in permutations(["LR", "PA", "SI"]) for code in product(*order)]


@settings(max_examples=12)
@given(st.sampled_from(CODES), st.sampled_from(CODES))
def test_any_two_axis_orders_align(tmp_path_factory: pytest.TempPathFactory, one: str, other: str) -> None:
    folder = tmp_path_factory.mktemp("axes")
    labels = np.random.default_rng(0).integers(0, 4, (3, 4, 5)).astype(np.uint8)
    write_volume(folder / "image.nii.gz", labels, oblique(), one)
    write_volume(folder / "mask.nii.gz", labels, oblique(), other)
    loaded = load_files(folder, item("image.nii.gz", MaskRef("mask.nii.gz", ABC)))
    assert np.array_equal(loaded.layers[0].labels, loaded.case.pixels)
    assert np.array_equal(loaded.case.pixels, labels)


def test_the_canonical_affine_places_voxel_centres(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii.gz", volume(), np.diag([2.0, 3.0, 5.0, 1.0]), "RAS")
    geometry = imaging.read(path).geometry
    assert np.allclose(canonical_affine(geometry), np.diag([2.0, 3.0, 5.0, 1.0]), atol=1e-5)


@pytest.mark.parametrize("apart", [0.3, 0.4])
def test_a_header_that_rounds_is_accepted(tmp_path: Path, apart: float) -> None:
    moved = np.diag([2.0, 2.0, 5.0, 1.0])
    moved[0, 3] = apart * 2.0
    labels = volume()
    write_volume(tmp_path / "image.nii.gz", labels)
    write_volume(tmp_path / "mask.nii.gz", labels, moved)
    loaded = load_files(tmp_path, item("image.nii.gz", MaskRef("mask.nii.gz", ABC)))
    assert np.array_equal(loaded.layers[0].labels, labels)


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (np.array([[2.0, 0, 0, 1.2], [0, 2, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]]), "0.6 voxels apart"),
        (np.diag([2.0, 2.0, 6.0, 1.0]), "0.8 voxels apart"),
        (np.array([[1.4, -1.4, 0, 0], [1.4, 1.4, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]]), "elsewhere in the patient"),
    ],
)
def test_masks_at_another_place_are_refused(tmp_path: Path, affine: np.ndarray, words: str) -> None:
    write_volume(tmp_path / "image.nii.gz", volume())
    write_volume(tmp_path / "mask.nii.gz", volume(), affine)
    with pytest.raises(GeometryError, match=words):
        load_files(tmp_path, item("image.nii.gz", MaskRef("mask.nii.gz", ABC)))


def test_another_shape_is_told_as_such(tmp_path: Path) -> None:
    write_volume(tmp_path / "image.nii.gz", volume())
    write_volume(tmp_path / "mask.nii.gz", volume((5, 6, 8)))
    with pytest.raises(ImageReadError, match=r"\(5, 6, 8\).*\(5, 6, 7\)"):
        load_files(tmp_path, item("image.nii.gz", MaskRef("mask.nii.gz", ABC)))


def test_float_labels_with_whole_numbers_are_exact_and_fractions_refused(tmp_path: Path) -> None:
    labels = volume().astype(np.float32) * 300
    for name, values in (("image", labels), ("good", labels), ("bad", labels + 0.25)):
        nibabel.save(nibabel.Nifti1Image(values.T, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / f"{name}.nii.gz")
    loaded = load_files(tmp_path, item("image.nii.gz", MaskRef("good.nii.gz", {300: "a", 600: "b", 900: "c"})))
    assert loaded.layers[0].labels.dtype == np.uint16
    assert np.array_equal(loaded.layers[0].labels, labels)
    with pytest.raises(FormatError, match="fractions"):
        load_files(tmp_path, item("image.nii.gz", MaskRef("bad.nii.gz", {300: "a"})))


@pytest.mark.parametrize("values", [[-1.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [2.0**32, 0.0]])
def test_values_that_are_no_labels_are_refused(values: list[float]) -> None:
    with pytest.raises(FormatError):
        whole(np.array(values), "'x'")


@pytest.mark.parametrize(("value", "kind"), [(255, np.uint8), (256, np.uint16), (65536, np.uint32)])
def test_label_maps_are_as_small_as_possible(value: int, kind: type) -> None:
    assert whole(np.array([[0, value]], np.int64), "'x'").dtype == kind


def test_overlapping_masks_get_layers_of_their_own_and_others_share_one(tmp_path: Path) -> None:
    masks = {name: np.zeros((6, 8), np.uint8) for name in ("a", "b", "c")}
    masks["a"][0:3, 0:3] = 255
    masks["b"][4:6, 4:6] = 1
    masks["c"][2:5, 2:5] = 7
    for name, mask in masks.items():
        write_picture(tmp_path / f"{name}.png", mask)
    refs = [MaskRef(f"{n}.png", {1: n}, binary=True) for n in masks]
    write_picture(tmp_path / "image.png", np.zeros((6, 8), np.uint8))
    first, second = load_files(tmp_path, item("image.png", *refs, kind="image")).layers
    assert (first.names, second.names) == ({1: "a", 2: "b"}, {1: "c"})
    assert first.labels.dtype == second.labels.dtype == np.uint8
    assert np.array_equal(first.labels == 2, masks["b"] > 0)
    assert np.array_equal(second.labels == 1, masks["c"] > 0)


def test_files_and_values_of_one_name_are_one_structure(tmp_path: Path) -> None:
    left, right, both = (np.zeros((6, 8), np.uint8) for _ in range(3))
    left[0, 0], right[5, 7] = 255, 255
    both[2, 2], both[3, 3] = 1, 2
    for name, mask in (("left", left), ("right", right), ("both", both)):
        write_picture(tmp_path / f"{name}.png", mask)
    write_picture(tmp_path / "image.png", np.zeros((6, 8), np.uint8))
    refs = [MaskRef(f"{n}.png", {1: "kidney"}, binary=True) for n in ("left", "right")]
    refs.append(MaskRef("both.png", {1: "kidney", 2: "kidney"}))
    (layer,) = load_files(tmp_path, item("image.png", *refs, kind="image")).layers
    assert layer.names == {1: "kidney"}
    assert sorted(zip(*np.nonzero(layer.labels), strict=True)) == [(0, 0), (2, 2), (3, 3), (5, 7)]


def test_an_empty_mask_stays_as_an_absent_structure(tmp_path: Path) -> None:
    write_picture(tmp_path / "image.png", np.zeros((6, 8), np.uint8))
    write_picture(tmp_path / "mask.png", np.zeros((6, 8), np.uint8))
    (layer,) = load_files(tmp_path, item("image.png", MaskRef("mask.png", {1: "a"}, binary=True), kind="image")).layers
    assert layer.names == {1: "a"}
    assert not layer.labels.any()


def test_palette_pictures_give_indices_and_grey_in_colour_is_grey(tmp_path: Path) -> None:
    labels = np.arange(48, dtype=np.uint8).reshape(6, 8) % 5
    palette = Image.frombytes("P", (8, 6), labels.tobytes())
    palette.putpalette([v for n in range(256) for v in (255 - n, n, 128)])
    palette.save(tmp_path / "palette.png")
    write_picture(tmp_path / "grey.png", np.repeat(labels[..., None], 3, axis=2))
    case = imaging.read(write_picture(tmp_path / "image.png", np.zeros((6, 8), np.uint8)))
    one = item("image.png", kind="image")
    assert np.array_equal(read_mask(case, tmp_path / "palette.png", one), labels)
    assert np.array_equal(read_mask(case, tmp_path / "grey.png", one), labels)


def test_coloured_masks_are_refused_and_lossy_ones_cleaned(tmp_path: Path) -> None:
    colours = np.zeros((16, 16, 3), np.uint8)
    colours[4:8, 4:8] = (255, 0, 0)
    square = np.zeros((16, 16), np.uint8)
    square[8:, 8:] = 255
    case = imaging.read(write_picture(tmp_path / "image.png", np.zeros((16, 16), np.uint8)))
    with pytest.raises(ImageReadError, match="colour"):
        read_mask(case, write_picture(tmp_path / "colour.png", colours), item("image.png", kind="image"))
    Image.fromarray(square).save(tmp_path / "lossy.jpg", quality=30)
    assert np.array_equal(read_mask(case, tmp_path / "lossy.jpg", item("image.png", kind="image")), square)


def test_a_picture_turned_by_exif_needs_a_mask_turned_alike(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "image.jpg", exif=exif)
    write_picture(tmp_path / "mask.png", np.ones((6, 8), np.uint8))
    with pytest.raises(ImageReadError, match="EXIF"):
        load_files(tmp_path, item("image.jpg", MaskRef("mask.png", {1: "a"}), kind="image"))


def test_a_file_of_another_kind_than_listed_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "image.png", np.zeros((6, 8), np.uint8))
    with pytest.raises(ImageReadError, match="one image"):
        load_files(tmp_path, item("image.png"))


@pytest.mark.parametrize("path", ["../image.png", "/etc/passwd", "a/../../b.png", "C:/x.png", "", "a\0.png"])
def test_paths_never_leave_the_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "image.png", np.zeros((6, 8), np.uint8))
    write_picture(tmp_path / "in" / "image.png", np.zeros((6, 8), np.uint8))
    with pytest.raises(UniReasonError):
        load_files(tmp_path / "in", item(path, kind="image"))
    with pytest.raises(UniReasonError):
        load_files(tmp_path / "in", item("image.png", MaskRef(path, {1: "a"}), kind="image"))


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "image.png", np.zeros((6, 8), np.uint8))
    (tmp_path / "in" / "image.png").symlink_to(tmp_path / "image.png")
    with pytest.raises(FormatError, match="out of the data set"):
        load_files(tmp_path / "in", item("image.png", kind="image"))


@settings(max_examples=30)
@given(st.lists(st.sets(st.integers(0, 23), max_size=12), max_size=8))
def test_packing_keeps_every_structure_exactly(masks: list[set[int]]) -> None:
    packer = Packer((4, 6))
    for n, where in enumerate(masks):
        packer.add(str(n), np.array(sorted(where), np.intp))
    found = list(packer.layers())
    held = {name: set(np.flatnonzero(y.labels == v).tolist()) for y in found for v, name in y.names.items()}
    assert held == {str(n): where for n, where in enumerate(masks)}
    assert all(isinstance(y, Layer) and y.labels.shape == (4, 6) for y in found)
    disjoint = all(not a & b for n, a in enumerate(masks) for b in masks[n + 1 :])
    assert len(found) <= 1 or not disjoint


def test_more_structures_than_a_byte_holds() -> None:
    packer = Packer((300,))
    for n in range(300):
        packer.add(str(n), np.array([n], np.intp))
    (layer,) = packer.layers()
    assert layer.labels.dtype == np.uint16
    assert np.array_equal(layer.labels, np.arange(1, 301))


def test_no_masks_give_no_layers(tmp_path: Path) -> None:
    case = imaging.read(write_picture(tmp_path / "image.png", np.zeros((6, 8), np.uint8)))
    assert layers(case, [], lambda ref: np.zeros(1)) == ()


def scaled_labels(path: Path, labels: np.ndarray, stored: type) -> Path:
    """Labels as nibabel saves a float array under an integer header: scaled, and a little off when they come back."""
    image = nibabel.Nifti1Image(labels.astype(np.float64).T, np.diag([-1.0, -1.0, 1.0, 1.0]))
    image.set_data_dtype(stored)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("stored", [np.uint8, np.int8, np.int16, np.uint16, np.int32])
@pytest.mark.parametrize("top", [2, 4, 7, 13, 104])
def test_labels_off_by_half_a_step_of_their_scale_are_rounded(tmp_path: Path, top: int, stored: type) -> None:
    labels = np.arange(top + 1).repeat(2).reshape(-1, 1, 1) * np.ones((1, 2, 3), np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.int16).T, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "image.nii.gz")
    path = scaled_labels(tmp_path / "mask.nii.gz", labels, stored)
    one = item("image.nii.gz")
    case = imaging.read(tmp_path / "image.nii.gz")
    assert imaging.read(path).geometry.header["step"][0] > 0
    assert np.array_equal(read_mask(case, path, one), labels)


def test_noise_is_rounded_and_real_fractions_are_refused(tmp_path: Path) -> None:
    labels = volume()
    whole_ones = imaging.read(scaled_labels(tmp_path / "image.nii.gz", labels, np.int16))
    for factor, good in ((0.9999999, True), (1.0002, True), (0.996, False), (0.7, False), (1.01, False)):
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        nibabel.save(nibabel.Nifti1Image((labels * np.float32(factor)).T, affine), tmp_path / "mask.nii")
        if good:
            assert np.array_equal(read_mask(whole_ones, tmp_path / "mask.nii", item("image.nii.gz")), labels)
        else:  # 0.996 without a scale that explains it
            with pytest.raises(FormatError, match="fractions"):
                read_mask(whole_ones, tmp_path / "mask.nii", item("image.nii.gz"))
    half = scaled_labels(tmp_path / "half.nii.gz", labels * 0.7, np.uint8)
    with pytest.raises(FormatError, match="fractions"):
        read_mask(whole_ones, half, item("image.nii.gz"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.npy"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_mask_that_is_not_finite_is_refused_in_every_format(tmp_path: Path, name: str, value: float, binary: bool) -> None:
    labels = (volume() > 0).astype(np.float32)
    write = {"npy": lambda path, array: np.save(path, array)}.get(
        name[2:], lambda path, array: nibabel.save(nibabel.Nifti1Image(array.T, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    )
    write(tmp_path / f"image{name[1:]}", labels)
    one = item(f"image{name[1:]}", MaskRef(name, {1: "a"}, binary=binary))
    write(tmp_path / name, labels)
    assert np.array_equal(load_files(tmp_path, one).layers[0].labels, labels)
    labels[0, 0, :2] = value
    write(tmp_path / name, labels)
    with pytest.raises(FormatError, match="2 values that are not numbers"):
        load_files(tmp_path, one)
    labels[0, 0, :2] = 0  # what the error says to do
    write(tmp_path / name, labels)
    assert np.array_equal(load_files(tmp_path, one).layers[0].labels, labels)


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("kind", ["palette.png", "palette.tif", "grey.png", "grey.tif", "bits.png"])
def test_picture_and_mask_with_one_turn_stay_together(tmp_path: Path, kind: str, turn: int) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (6, 6)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(labels * 40).save(tmp_path / "image.png", exif=exif)
    mask = Image.frombytes("P", (6, 6), labels.tobytes()) if kind[0] == "p" else Image.fromarray(labels)
    if kind[0] == "p":
        mask.putpalette([v for n in range(256) for v in (255 - n, n, 128)])
    mask.save(tmp_path / kind, exif=exif, **({"bits": 2} if kind[0] == "b" else {}))
    case = imaging.read(tmp_path / "image.png")
    assert np.array_equal(read_mask(case, tmp_path / kind, item("image.png", kind="image")) * 40, case.pixels)


@pytest.mark.parametrize("kind", ["P", "L"])
def test_a_mask_without_the_turn_of_its_picture_is_fitted_by_its_shape_or_refused(tmp_path: Path, kind: str) -> None:
    def mask(values: np.ndarray) -> Path:
        picture = Image.frombytes("P", values.shape[::-1], values.tobytes()) if kind == "P" else Image.fromarray(values)
        if kind == "P":
            picture.putpalette(list(range(256)) * 3)
        picture.save(tmp_path / "mask.png")
        return tmp_path / "mask.png"

    one = item("image.png", kind="image")
    labels = RNG.integers(0, 4, (6, 8)).astype(np.uint8)
    for turn, fits in ((6, True), (5, True), (3, False)):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(labels * 40).save(tmp_path / "image.png", exif=exif)
        case = imaging.read(tmp_path / "image.png")
        if fits:
            assert np.array_equal(read_mask(case, mask(labels), one) * 40, case.pixels)
            assert np.array_equal(read_mask(case, mask(case.pixels // 40), one) * 40, case.pixels)
        else:
            with pytest.raises(ImageReadError, match="EXIF"):
                read_mask(case, mask(labels), one)
