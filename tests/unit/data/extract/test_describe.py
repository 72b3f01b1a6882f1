"""Every field of a scene against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawn_cases import loaded, same_size, stored, turned

from recipes.phantom.scene import image_scene, volume_scene
from unireason.core.errors import GeometryError, ImageReadError
from unireason.core.types import Box2D, Box3D, Case, Geometry, Source
from unireason.data.frames import FrameRule, mask_on_frame, rule, structure_mask
from unireason.data.measure import describe
from unireason.data.regions import axial
from unireason.data.sources.phantom import SLICE_NAMES, generate


def two_boxes() -> np.ndarray:
    """An image of 60 x 40 with a 20 x 10 box and, two pixels below it, a 6 x 8 box in two pieces of 36 and 12 pixels."""
    labels = np.zeros((40, 60), np.uint8)
    labels[5:15, 10:30] = 1
    labels[17:23, 10:16] = 2
    labels[24:26, 10:16] = 2
    return labels


def test_an_image_by_hand():
    scene = describe(loaded((two_boxes(), {1: "left kidney", 2: "cyst"}), spacing=(0.5, 2.0)), same_size((40, 60)), case="c")
    assert (scene.case, scene.patient, scene.kind, scene.space, scene.unit) == ("c", "p1", "image", "picture", "mm2")
    assert (scene.shape, scene.extent, scene.spacing_mm) == ((40, 60), (30.0, 80.0), (0.5, 2.0))
    assert list(scene.structures) == ["cyst", "left kidney"]
    kidney, cyst = scene.structures["left kidney"], scene.structures["cyst"]
    assert kidney.box_canonical == kidney.box_voxel == (10, 5, 30, 15)
    assert kidney.box_model == Box2D(10, 5, 30, 15)
    assert (kidney.voxels, kidney.measure) == (200, 200.0)
    assert kidney.centre == ((20 - 30) * 0.5, (10 - 20) * 2.0)
    assert (kidney.side, kidney.borders, kidney.slices) == ("", (), (0, 1))
    assert kidney.elongation == 2.0  # 20 mm high, 10 mm wide: filled boxes have scatter side^2 / 12
    assert kidney.part_count == 1
    assert kidney.parts[0].box_canonical == (10, 5, 30, 15)
    assert [(p.box_canonical, p.voxels, p.measure) for p in cyst.parts] == [
        ((10, 17, 16, 23), 36, 36.0),
        ((10, 24, 16, 26), 12, 12.0),
    ]
    assert cyst.part_count == 2
    assert cyst.neighbours == ("left kidney",)
    assert kidney.neighbours == ("cyst",)


def test_a_volume_by_hand():
    labels = np.zeros((10, 30, 20), np.uint16)
    labels[2:6, 4:24, 12:20] = 700
    pixels = np.where(labels > 0, 100, 40).astype(np.uint8)
    item = loaded((labels, {700: "spleen"}), spacing=(2.0, 1.0, 5.0), pixels=pixels, annotated=("spleen", "liver", "Left Kidney"))
    frame = FrameRule("drawn", (20, 60, 10), (1, 1), 1, 1, 1 << 20, "127.5,255")
    scene = describe(item, frame, case="c", patient="other")
    spleen = scene.structures["spleen"]
    assert scene.patient == "other"
    assert scene.absent == ("left kidney", "liver")
    assert (scene.unit, scene.extent) == ("mm3", (40.0, 30.0, 50.0))
    assert spleen.box_canonical == (12, 4, 2, 20, 24, 6)
    assert spleen.box_model == Box3D(6, 8, 4, 10, 48, 12)
    assert (spleen.voxels, spleen.measure) == (640, 6400.0)
    assert spleen.centre == (12.0, -1.0, -5.0)
    assert spleen.slices == (4, 12)
    assert spleen.borders == ("right",)  # of the picture: the file tells no orientation
    assert spleen.contrast == 60.0
    assert spleen.elongation == round(20 / 16, 4)


def test_slices_are_those_of_the_box():
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[3:6, 5:15, 5:15] = 1
    scene = describe(loaded((labels, {1: "a"})), FrameRule("drawn", (4, 20, 20), None, 1, 1, 1 << 20), case="c")
    assert scene.structures["a"].slices == (1, 2)  # [3, 6) of 10 is [1.2, 2.4) of 4
    assert scene.structures["a"].box_model == Box3D(5, 5, 1, 15, 15, 2)


@pytest.mark.parametrize(("x", "side"), [(0, "right"), (44, "midline"), (47, "midline"), (90, "left")])
def test_sides_of_patients(x: int, side: str):
    labels = np.zeros((4, 40, 100), np.uint8)
    labels[1:3, 10:20, x : x + 10] = 1
    geometry = Geometry(labels.shape, labels.shape[::-1], (0, 1, 2), (False,) * 3, np.eye(4), (1.0, 1.0, 1.0))
    body = np.full(labels.shape, -1000, np.int16)
    body[:, 5:35, 5:95] = 0
    item = loaded((labels, {1: "a"}), geometry=geometry, pixels=body)
    scene = describe(item, same_size(labels.shape), case="c")
    assert scene.structures["a"].centre == (x + 5 - 50.0, -5.0, 0.0)
    assert (scene.midline.found, scene.midline.offset, scene.midline.canonical) == ("body", 0.0, 50.0)
    assert scene.structures["a"].side == side  # two millimetres of a hundred are the midline


def beside(labels: np.ndarray, names: dict[int, str], body: tuple[int, int] = (0, 0), modality: str = "CT", **more):
    """A scene in patient space of a picture 100 mm wide, with a body from column to column (the whole width if it is empty)."""
    pixels = np.full(labels.shape, -1000, np.int16)
    pixels[..., 5:35, slice(*body) if any(body) else slice(None)] = 0
    geometry = Geometry(labels.shape, labels.shape[::-1], (0, 1, 2), (False,) * 3, np.eye(4), (1.0, 1.0, 1.0))
    item = loaded((labels, names), geometry=geometry, pixels=pixels, modality=modality, **more)
    return describe(item, same_size(labels.shape), case="c")


def test_sides_follow_the_body_and_not_the_picture():
    labels = np.zeros((4, 40, 100), np.uint8)
    labels[1:3, 10:20, 52:62] = 1  # to the left of the picture's middle, to the right of the body's
    scene = beside(labels, {1: "liver"}, body=(40, 98))
    assert (scene.midline.found, scene.midline.canonical) == ("body", 69.0)
    assert scene.structures["liver"].side == scene.side("liver") == "right"
    assert scene.midline_model == 69.0


def test_a_body_that_is_cut_off_tells_no_side_and_the_spine_does():
    labels = np.zeros((4, 40, 100), np.uint8)
    labels[1:3, 10:20, 52:62] = 1
    cropped = beside(labels, {1: "liver"}, body=(40, 100))
    assert (cropped.midline.found, cropped.side_words) == ("", None)
    assert cropped.structures["liver"].side == cropped.side("liver") == ""
    labels[1:3, 22:30, 78:88] = 2
    spined = beside(labels, {1: "liver", 2: "vertebrae_L1"}, body=(40, 100))
    assert (spined.midline.found, spined.midline.canonical) == ("spine", 83.0)
    assert spined.side("liver") == "right"
    assert spined.side("vertebrae l1") == "midline"


def test_organs_in_pairs_tell_the_midline_unless_they_lie_the_wrong_way_round():
    labels = np.zeros((4, 40, 100), np.uint8)
    labels[1:3, 10:20, 60:68], labels[1:3, 10:20, 90:98] = 1, 2
    found = beside(labels, {1: "kidney_right", 2: "kidney_left"}).midline
    assert (found.found, found.canonical) == ("paired organs", 79.0)
    assert beside(labels, {2: "kidney_right", 1: "kidney_left"}).midline.found == ""
    assert beside(labels, {1: "right kidney cyst", 2: "left kidney cyst"}).midline.found == ""


def test_what_sides_mean_depends_on_the_kind_of_picture():
    labels = np.zeros((40, 100), np.uint8)
    labels[10:20, 20:30], labels[12:18, 60:66] = 1, 2

    def seen(modality: str, names: dict[int, str]):
        return describe(loaded((labels, names), modality=modality), same_size((40, 100)), case="c")

    names = {1: "optic disc", 2: "macula"}
    assert seen("OP", names).side_words == ("nasal", "temporal")
    assert seen("OP", {1: "macula", 2: "optic disc"}).side_words == ("temporal", "nasal")
    assert seen("OP", names).midline.found == "macula"
    assert seen("OP", {1: "optic disc", 2: "hard exudates"}).side_words == ("left", "right")
    for code in ("XC", "ES", "SM", "GM"):
        assert (seen(code, names).side_words, seen(code, names).side("macula")) == (None, "")
    assert [seen(code, names).terms for code in ("US", "DX", "OP")] == ["depth", "picture", "nasal left"]


def test_scattered_structures_are_shown_part_by_part():
    labels = np.zeros((60, 100), np.uint8)
    labels[5:25, 5:25], labels[30:50, 60:75], labels[5:9, 80:84], labels[55, 2] = 1, 1, 1, 1
    labels[28:36, 40:50] = 2
    scene = describe(loaded((labels, {1: "polyps", 2: "instrument"})), same_size((60, 100)), case="c")
    polyps = scene.structures["polyps"]
    assert polyps.scattered
    assert [p.voxels for p in polyps.shown] == [400, 300, 16]
    assert polyps.instances == 3
    assert not scene.structures["instrument"].scattered
    assert [p.box_canonical for p in scene.structures["instrument"].shown] == [(40, 28, 50, 36)]
    assert scene.structures["instrument"].instances == 0
    # The instrument lies in the box round all polyps, but in none of theirs.
    assert scene.outside("polyps") == ["instrument"]


def test_a_false_lead_never_encloses_the_target():
    labels, tumour = np.zeros((60, 100), np.uint8), np.zeros((60, 100), np.uint8)
    labels[5:45, 5:55], tumour[10:20, 20:30], labels[50:58, 80:95] = 1, 1, 2
    item = loaded((labels, {1: "liver", 2: "spleen"}), (tumour, {1: "hcc"}))
    scene = describe(item, same_size((60, 100)), case="c")
    assert scene.outside("hcc") == ["spleen"]
    assert scene.outside("spleen") == ["hcc", "liver"]


def test_borders_have_patient_names():
    labels = np.zeros((8, 40, 40), np.uint8)
    labels[0:8, 0:20, 30:40] = 1
    geometry = Geometry(labels.shape, labels.shape[::-1], (0, 1, 2), (False,) * 3, np.eye(4), (1.0, 1.0, 1.0))
    found = describe(loaded((labels, {1: "a"}), geometry=geometry), same_size(labels.shape), case="c").structures["a"]
    assert found.borders == ("left", "anterior", "inferior", "superior")


def anatomy() -> np.ndarray:
    """Three lopsided structures in 24 x 40 x 30 voxels (Z, Y, X)."""
    labels = np.zeros((24, 40, 30), np.uint8)
    labels[2:10, 3:20, 2:9] = 1
    labels[4:20, 22:35, 12:26] = 2
    labels[12:16, 24:30, 14:20] = 3
    labels[2:4, 3:9, 2:5] = 0
    return labels


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR", "SAL", "ASR"])
def test_storage_does_not_matter(axes: str):
    """The same anatomy in files of any orientation: the same scene but for boxes in the file's own indices."""
    names = {1: "liver", 2: "stomach", 3: "tumor"}
    frame = FrameRule("drawn", (24, 60, 45), None, 1, 1, 1 << 20)
    straight = describe(stored(anatomy(), names, axes="LPS"), frame, case="c")
    other = describe(stored(anatomy(), names, axes=axes), frame, case="c")
    for name, found in straight.structures.items():
        twin = other.structures[name]
        for field in set(type(found).__slots__) - {"box_voxel"}:
            assert getattr(found, field) == getattr(twin, field), (name, field)
    assert (other.shape, other.extent, other.spacing_mm, other.space) == (
        (24, 40, 30),
        (60.0, 120.0, 120.0),
        (2.0, 3.0, 5.0),
        "patient",
    )
    assert straight.structures["liver"].side == "right"
    assert straight.structures["stomach"].neighbours == ("tumor",)


def test_voxel_boxes_count_in_the_file():
    found = describe(stored(anatomy(), {1: "liver"}, axes="PIR"), same_size((24, 40, 30)), case="c").structures["liver"]
    assert found.box_canonical == (2, 3, 2, 9, 20, 10)
    # i runs to posterior as y does; j runs down, against z of 24; k runs to the right, against x of 30.
    assert found.box_voxel == (3, 24 - 10, 30 - 9, 20, 24 - 2, 30 - 2)


def test_oblique_volumes_are_turned_into_the_patient():
    labels = np.zeros((10, 40, 40), np.uint8)
    labels[4:6, 17:23, 32:36] = 1
    straight = describe(stored(labels, {1: "a"}, axes="LPS"), same_size(labels.shape), case="c").structures["a"]
    oblique = stored(labels, {1: "a"}, axes="RAS", turn=turned(20))
    found = describe(oblique, same_size(labels.shape), case="c").structures["a"]
    assert straight.centre == (28.0, 0.0, 0.0)
    expected = (28 * math.cos(math.radians(20)), 28 * math.sin(math.radians(20)), 0.0)
    assert found.centre == pytest.approx(expected, abs=1e-5)
    assert found.measure == straight.measure
    cut = describe(axial(oblique, 5), same_size((40, 40)), case="c")
    assert cut.space == "patient"
    assert cut.structures["a"].centre == pytest.approx(expected[:2], abs=1e-5)
    assert cut.structures["a"].side == ""  # nothing tells where the body's middle is


@pytest.mark.parametrize(
    ("x_step", "y_step", "space"),
    [
        ((1, 0, 0), (0, 1, 0), "patient"),
        ((0.9, 0.3, 0.1), (-0.3, 0.9, 0), "patient"),
        ((1, 0, 0), (0, 0, -1), "picture"),  # coronal
        ((0, 1, 0), (0, 0, -1), "picture"),  # sagittal
        ((-1, 0, 0), (0, -1, 0), "picture"),  # prone
    ],
)
def test_only_upright_axial_images_have_patient_directions(x_step, y_step, space):
    labels = np.zeros((40, 40), np.uint8)
    labels[10:20, 2:12] = 1
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = x_step, y_step, np.cross(x_step, y_step)
    geometry = Geometry((40, 40), (40, 40), (0, 1), (False, False), affine, (1.0, 1.0))
    scene = describe(loaded((labels, {1: "a"}), geometry=geometry), same_size((40, 40)), case="c")
    assert scene.space == space
    if space == "picture":
        assert scene.structures["a"].centre == (-13.0, -5.0)


def test_pixels_where_nothing_is_known_and_the_items_spacing_where_it_is():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:20, 2:12] = 1
    plain = describe(loaded((labels, {1: "a"})), same_size((40, 40)), case="c")
    assert (plain.unit, plain.spacing_mm, plain.extent) == ("pixels", None, (40.0, 40.0))
    assert (plain.structures["a"].measure, plain.structures["a"].centre) == (100.0, (-13.0, -5.0))
    told = describe(loaded((labels, {1: "a"}), spacing_mm=(0.5, 0.25, 3.0)), same_size((40, 40)), case="c")
    assert (told.unit, told.spacing_mm) == ("mm2", (0.5, 0.25))
    assert told.structures["a"].measure == 12.5


def test_contrast_of_pictures():
    labels = np.zeros((40, 60), np.uint8)
    labels[10:20, 10:20] = 1
    grey = np.full((40, 60), 50, np.uint8)
    grey[labels == 1] = 90
    grey[5, 5] = 255  # beyond the ring of three pixels
    grey[7, 7] = 50 + 156  # the far corner of the ring of 16 x 16 - 100 = 156 pixels
    found = describe(loaded((labels, {1: "a"}), pixels=grey), rule("published"), case="c").structures["a"]
    assert found.contrast == 39.0
    colour = np.stack([grey, grey, grey], axis=2)
    assert describe(loaded((labels, {1: "a"}), pixels=colour), rule("published"), case="c").structures["a"].contrast == 39.0
    red = np.zeros((40, 60, 3), np.uint8)
    red[labels == 1, 0] = 100
    assert describe(loaded((labels, {1: "a"}), pixels=red), rule("published"), case="c").structures["a"].contrast == 29.9


def test_a_structure_that_fills_the_picture_has_no_contrast():
    scene = describe(
        loaded((np.ones((30, 30), np.uint8), {1: "a"}), pixels=np.full((30, 30), 9, np.uint8)), rule("published"), case="c"
    )
    assert scene.structures["a"].contrast == 0.0
    assert scene.structures["a"].borders == ("left", "right", "top", "bottom")


@pytest.mark.parametrize(
    ("block", "clear"),
    [
        (np.s_[10:15, 10:15], True),
        (np.s_[10:14, 10:15], False),  # 20 of 24 pixels
        (np.s_[10:13, 10:30], False),  # three pixels high
        (np.s_[0:4, 10:80], True),
        (np.s_[0:3, 10:80], False),
        (np.s_[50:51, 50:51], False),
    ],
)
def test_what_is_clear_in_an_image(block, clear):
    labels = np.zeros((100, 100), np.uint8)
    labels[block] = 1
    scene = describe(loaded((labels, {1: "lesion"}), annotated=("lesion", "liver")), same_size((100, 100)), case="c")
    assert (list(scene.structures), list(scene.unclear)) == (["lesion"], []) if clear else ([], ["lesion"])
    assert scene.absent == ("liver",)


def test_what_is_clear_in_a_volume():
    labels = np.zeros((20, 50, 50), np.uint8)
    labels[0, 5:20, 5:20] = 1  # one slice of a structure that goes on below
    labels[10, 5:20, 5:20] = 2
    labels[10, 30:34, 30:33] = 3
    labels[15, 40, 40] = 4
    names = {1: "sliver", 2: "slice", 3: "narrow", 4: "voxel"}
    scene = describe(loaded((labels, names)), same_size(labels.shape), case="c")
    assert list(scene.structures) == ["slice"]
    assert scene.unclear == ("narrow", "sliver", "voxel")
    assert scene.absent == ()


def test_a_single_slice_is_no_sliver():
    labels = np.zeros((1, 50, 50), np.uint8)
    labels[0, 5:20, 5:20] = 1
    assert list(describe(loaded((labels, {1: "a"})), same_size(labels.shape), case="c").structures) == ["a"]


def test_overlapping_layers():
    """A lesion inside an organ whose mask holds it too: both whole, and neighbours of each other."""
    organ, lesion = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    organ[5:35, 5:35], lesion[15:21, 15:21] = 3, 1
    scene = describe(loaded((organ, {3: "liver"}), (lesion, {1: "tumour"})), same_size((40, 40)), case="c")
    assert (scene.structures["liver"].voxels, scene.structures["tumour"].voxels) == (900, 36)
    assert scene.structures["liver"].neighbours == ("tumour",)
    assert scene.structures["tumour"].neighbours == ("liver",)


def test_values_of_one_name_are_one_structure():
    first, second = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    first[0:10, 0:10], first[20:30, 20:30], second[20:30, 25:40] = 1, 2, 5
    scene = describe(
        loaded((first, {1: "kidney_left", 2: "Left Kidney"}), (second, {5: "left kidney"})), same_size((40, 40)), case="c"
    )
    kidney = scene.structures["left kidney"]
    assert (kidney.voxels, kidney.part_count, kidney.box_canonical) == (100 + 200, 2, (0, 0, 40, 30))


def test_specks_are_listed_and_not_counted():
    labels = np.zeros((100, 100), np.uint8)
    labels[10:40, 10:40] = 1
    labels[60, 0:80:2] = 1
    labels[70:73, 70:73] = 1
    found = describe(loaded((labels, {1: "a"})), same_size((100, 100)), case="c").structures["a"]
    assert found.voxels == 900 + 40 + 9
    assert found.part_count == 1  # nine pixels of 949 are less than a hundredth
    assert len(found.parts) == 32
    assert [p.voxels for p in found.parts[:3]] == [900, 9, 1]
    assert [p.box_canonical[0] for p in found.parts[2:5]] == [0, 2, 4]


def test_corners_connect():
    labels = np.zeros((8, 40, 40), np.uint8)
    labels[1:3, 5:15, 5:15] = 1
    labels[3:5, 15:25, 15:25] = 1
    assert describe(loaded((labels, {1: "a"})), same_size(labels.shape), case="c").structures["a"].part_count == 1


@pytest.mark.parametrize("maps", [(), ((np.zeros((30, 30), np.uint8), {1: "a"}),), ((np.ones((30, 30), np.uint8), {}),)])
def test_empty_masks(maps):
    item = loaded(*(maps or ((np.zeros((30, 30), np.uint8), {}),)), annotated=("b", "a"))
    scene = describe(item, rule("published"), case="c")
    assert (dict(scene.structures), scene.absent, scene.unclear) == ({}, ("a", "b"), ())


def test_masks_of_another_grid_are_refused():
    item = loaded((np.zeros((30, 30), np.uint8), {1: "a"}), pixels=np.zeros((30, 31), np.uint8))
    with pytest.raises(ImageReadError, match=r"layer 0 has the shape \(30, 30\)"):
        describe(item, rule("published"), case="c")


@pytest.mark.parametrize("name", ["phantom", "published"])
def test_phantoms_agree_with_the_lessons(name: str):
    """Boxes and sizes of whole patients and their slices are those the built-in checkpoint was taught with."""
    patient = generate(3, 1)
    item = loaded((patient.labels, SLICE_NAMES), geometry=patient.case().geometry, pixels=patient.voxels)
    pairs = [(item, lambda frame: volume_scene(patient, frame))]
    pairs += [(axial(item, k), lambda frame, k=k: image_scene(patient, k, frame)) for k in (10, 20)]
    compared = 0
    for case, lesson in pairs:
        scene = describe(case, rule(name), case="c")
        regions = lesson(scene.frame).regions
        for structure in (s for s in scene.structures.values() if s.name in regions):
            region = regions[structure.name]
            assert (structure.box_model, structure.voxels) == (region.box, region.voxels)
            assert structure.measure == pytest.approx(region.measure_mm)
            compared += 1
    assert compared >= 8


def test_points_lie_in_the_mask_of_the_model_frame():
    patient = generate(3, 1)
    item = loaded((patient.labels, SLICE_NAMES), geometry=patient.case().geometry, pixels=patient.voxels)
    for case in (item, axial(item, 15)):
        scene = describe(case, rule("published"), case="c")
        for name, found in scene.structures.items():
            mask = mask_on_frame(structure_mask(case, name), scene.frame)
            assert all(mask[point[::-1]] for point in found.points)
            assert found.points[0] != found.points[1]


def test_an_affine_alone_tells_the_spacing():
    labels = np.zeros((8, 30, 30), np.uint8)
    labels[2:6, 5:15, 5:15] = 1
    geometry = Geometry(labels.shape, labels.shape[::-1], (0, 1, 2), (False,) * 3, np.diag([2.0, 2.0, 4.0, 1.0]), None)
    case = Case(np.zeros(labels.shape, np.int16), "volume", geometry, "CT", Source("x", "drawn", ""))
    scene = describe(loaded((labels, {1: "a"}), geometry=case.geometry), same_size(labels.shape), case="c")
    assert (scene.unit, scene.spacing_mm) == ("mm3", (2.0, 2.0, 4.0))


@pytest.mark.parametrize("spacing", [(1.0,), (0.0, 1.0), (1.0, float("nan"))])
def test_impossible_spacings_are_refused(spacing):
    with pytest.raises(GeometryError, match="2 positive numbers"):
        describe(loaded((np.ones((30, 30), np.uint8), {1: "a"}), spacing_mm=spacing), rule("published"), case="c")
