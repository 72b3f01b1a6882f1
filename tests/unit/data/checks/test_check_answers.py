"""Facts and answers on masks drawn by hand; every expectation is worked out in the comments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unireason.core.types import Box2D, Box3D, Case, Frame, Geometry, Source
from unireason.data.checks.answers import RULES, CannotTellError, judge
from unireason.data.checks.facts import MaskFacts, SceneFacts, rounded_like
from unireason.data.frames import FrameRule
from unireason.data.item import Item, Layer, Loaded
from unireason.data.measure import describe
from unireason.data.questions.families import candidates
from unireason.data.scene import DataQuestion

NAMES = {1: "Liver", 2: "spleen", 3: "liver_tumor", 4: "heart", 5: "kidney_left"}
ANNOTATED = (*NAMES.values(), "pancreas", "bladder", "stomach")
RULE = FrameRule(name="drawn", volume_shape=(4, 56, 84), image_size=(56, 84))
# The picture has 8 planes of 20 x 30 voxels of 2 x 2 x 5 mm; the frame 4 slices of 56 x 84, so factors 2.8, 2.8 and 0.5.


def drawn(*, turn: float = 0.0, mirrored: bool = False) -> Loaded:
    """A volume with four structures and a tumour; ``turn`` rotates the patient about z, ``mirrored`` stores x backwards."""
    labels = np.zeros((8, 20, 30), np.uint8)
    labels[1:7, 4:14, 2:12] = 1
    labels[3:6, 10:16, 20:26] = 2
    labels[2:6, 7:11, 5:9] = 3
    labels[6:8, 2:6, 12:18] = 4
    labels[2:4, 14:18, 16:19] = 5
    labels[2, 14, 24] = 5  # a second component of 1 of 25 voxels: 4%, no speck
    pixels = np.select([labels == 1, labels == 2, labels == 3, labels == 4], [100, 120, 30, 60], 0).astype(np.int16)
    pixels[:, :, 0] = pixels[:, :, -1] = -1000  # air beside a body that lies in the middle
    cos, sin = np.cos(turn), np.sin(turn)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([-2 if mirrored else 2, 2, 5])
    geometry = Geometry((8, 20, 30), (30, 20, 8), (0, 1, 2), (mirrored, False, False), affine, (2.0, 2.0, 5.0))
    item = Item("one", "p", "volume", "one.nii", (), ANNOTATED, "CT")
    return Loaded(item, Case(pixels, "volume", geometry, "CT", Source("one", "test", "")), (Layer(labels, NAMES),))


@pytest.fixture(scope="module")
def facts() -> MaskFacts:
    loaded = drawn()
    return MaskFacts(loaded, -1, describe(loaded, RULE, case="c"))


def test_measures_by_hand(facts: MaskFacts) -> None:
    assert facts.present() == {"liver", "spleen", "liver tumor", "heart", "left kidney"}
    assert facts.where("spleen") == ((20, 10, 3), (26, 16, 6), (23.0, 13.0, 4.5), 108)
    assert facts.measure("spleen") == 108 * 20  # a voxel has 2 x 2 x 5 mm3
    # (23, 13, 4.5) from the middle (15, 10, 4): 8, 3, 0.5 voxels
    assert facts.centre("spleen") == pytest.approx((16, 6, 2.5))
    assert facts.box("spleen").coords == pytest.approx((56, 28, 1.5, 72.8, 44.8, 3))
    assert facts.slices("spleen") == (2, 3)  # those of the recorded box, [1.5, 3) on whole slices
    assert facts.slices("heart") == (3, 4)
    assert facts.component_sizes("left kidney") == [24, 1]
    assert facts.components("left kidney") == 2
    # Soft tissue, level 40, width 400: grey = 255 (v + 160) / 400, rounded: 121 at 30 HU, 166 at 100 HU
    assert facts.contrast("liver tumor") == 121 - 166
    assert facts.around("liver tumor") == ["liver"]


def test_directions_follow_the_patient() -> None:
    turned = drawn(turn=np.pi / 6)
    found = MaskFacts(turned, -1, describe(turned, RULE, case="c"))
    # (16, 6) mm turned by 30 degrees: 16 cos - 6 sin, 16 sin + 6 cos
    assert found.centre("spleen") == pytest.approx((16 * 3**0.5 / 2 - 3, 8 + 6 * 3**0.5 / 2, 2.5))
    mirrored = drawn(mirrored=True)
    assert MaskFacts(mirrored, -1, describe(mirrored, RULE, case="c")).centre("spleen") == pytest.approx((16, 6, 2.5))


def test_a_slice_is_measured_as_an_image() -> None:
    from unireason.data.regions import axial

    loaded = drawn()
    found = MaskFacts(loaded, 4, describe(axial(loaded, 4), RULE, case="c"))
    assert found.shape == (20, 30)
    assert found.measure("spleen") == 36 * 4
    assert found.centre("spleen") == pytest.approx((16, 6))
    assert found.slices("spleen") == (0, 1)
    assert found.contrast("liver tumor") == 121 - 166
    assert "heart" not in found.present()


def test_a_slice_has_its_own_window() -> None:
    loaded = drawn()
    case = loaded.case
    bright = case.pixels.astype(np.float32)
    bright[0] = 4000.0  # another plane, which sets the volume's percentiles
    magnetic = Loaded(loaded.item, Case(bright, "volume", case.geometry, "MR", case.source), loaded.layers)
    from unireason.data.regions import axial

    scene = describe(axial(magnetic, 4), RULE, case="c")
    assert MaskFacts(magnetic, 4, scene).contrast("spleen") == pytest.approx(scene.structures["spleen"].contrast, abs=0.01)


def asked(family: str, ask: str, about: tuple[str, ...], *options: str, text: str = "") -> DataQuestion:
    return DataQuestion(family, ask, about, text or " ".join(about), options, 0, (), ("liver",))


LOCAL, SPATIAL, SIZE = "structure_localisation", "spatial_localisation", "size_comparison"
EXISTS, RELATION, LESION = "existence_verification", "spatial_relation", "lesion_analysis"
AT_SPLEEN = "<|box_start|>[56,28,2,73,45,3]<|box_end|>"
CASES = [
    # liver: (7, 9, 4) from the middle: (-16, -2, 0) mm; spleen (16, 6, 2.5); heart (15, 4, 7): (0, -12, 15)
    (asked(LOCAL, "quadrant", ("spleen", "xy"), "left anterior", "left posterior", "right posterior"), [False, True, False]),
    (asked(LOCAL, "quadrant", ("spleen", "xz"), "left superior", "left inferior"), [True, False]),
    # exact box 56, 28, 1.5, 72.8, 44.8, 3: 1.5 may be rounded to 1 or to 2
    (asked(LOCAL, "box", ("spleen",), "[56,28,2,73,45,3]", "[56,28,1,73,45,3]", "[20,28,2,37,45,3]"), [True, True, False]),
    (asked(LOCAL, "box", ("spleen",), "[59,28,2,76,45,3]", "[0,0,0,5,5,1]"), [None, False]),
    (asked(LOCAL, "slices", ("spleen",), "2 to 2", "1 to 2", "1 to 3"), [True, False, False]),
    (asked(SPATIAL, "which_in_quadrant", ("left posterior",), "spleen", "liver", "heart"), [True, False, False]),
    (asked(SPATIAL, "which_at_box", (AT_SPLEEN,), "liver", "spleen", text="What lies at [56,28,2,73,45,3]?"), [False, True]),
    (asked(EXISTS, "present", ("pancreas",), "yes", "no"), [False, True]),
    (asked(EXISTS, "present", ("heart",), "yes", "no"), [True, False]),
    (asked(EXISTS, "which_present", (), "pancreas", "spleen", "bladder"), [False, True, False]),
    (asked(EXISTS, "which_absent", (), "pancreas", "spleen", "heart"), [True, False, False]),
    # liver 600 - 64 = 536 voxels, spleen 108, heart 48
    (asked(SIZE, "largest", (), "spleen", "liver", "heart"), [False, True, False]),
    (asked(SIZE, "smallest", (), "spleen", "liver", "heart"), [False, False, True]),
    # 2160 mm3 = 2.16 ml
    (asked(SIZE, "how_large", ("spleen",), "1 to 2 ml", "2 to 4 ml", "4 to 8 ml"), [False, True, False]),
    (asked(SIZE, "how_large", ("spleen",), "2000 to 2160 mm3", "2160 to 4000 mm3"), [False, True]),
    # spleen - liver: (32, 8, 2.5)
    (asked(RELATION, "direction", ("spleen", "liver"), "left", "right", "posterior", "superior"), [True, False, False, False]),
    # heart - liver: (16, -10, 15): x wins by a millimetre
    (asked(RELATION, "direction", ("heart", "liver"), "superior", "left"), [False, True]),
    # from the heart: liver (-16, 10, -15), 24.1 mm; spleen (16, 18, -12.5), 27.1 mm
    (asked(RELATION, "nearest", ("heart",), "liver", "spleen"), [True, False]),
    (asked(RELATION, "which_direction", ("superior", "liver"), "heart", "liver tumor"), [True, False]),
    (asked(LESION, "host", ("liver tumor",), "liver", "spleen"), [True, False]),
    (asked(LESION, "host", ("liver tumor",), "heart", "spleen"), [False, False]),
    (asked(LESION, "brightness", ("liver tumor",), "brighter", "darker"), [False, True]),
    (asked(LESION, "count", ("liver tumor",), "1", "2", "3"), [True, False, False]),
    (asked(LESION, "lesion_side", ("liver tumor",), "left", "right"), [False, True]),
    # tumour: (7, 9, 4): (-16, -2, 0)
    (asked(LESION, "lesion_quadrant", ("liver tumor", "xy"), "right anterior", "right posterior"), [True, False]),
    # 64 voxels of 20 mm3
    (asked(LESION, "lesion_extent", ("liver tumor",), "1000 to 1300 mm3", "1.3 to 1.7 ml"), [True, False]),
    # 4 x 4 pixels of 2 mm: from the middle of one outer edge to another it is 4 pixels one way and 3 the other, 10 mm, both ways across
    (asked(LESION, "long_diameter", ("liver tumor",), "9 to 10.5 mm", "10.5 to 14 mm"), [True, False]),
    (asked(LESION, "short_diameter", ("liver tumor",), "7 to 9 mm", "9 to 10.5 mm"), [False, True]),
    (asked(LESION, "burden", ("liver tumor", "liver"), "11.5 to 12.5 %", "12.5 to 15 %"), [True, False]),
    # x 8 to 20: 12 pixels
    (asked(LESION, "gap", ("liver tumor", "spleen"), "20 to 23 mm", "23 to 25 mm"), [False, True]),
    (asked(LESION, "closest", ("liver tumor",), "spleen", "liver"), [False, True]),
    (asked(LESION, "count_side", ("liver tumor", "right"), "0", "1"), [False, True]),
    (asked(LESION, "largest_place", ("liver tumor",), "right anterior", "left anterior"), [True, False]),
    # three slices alike, the first of which is slice 3 of 8, in a frame of 4
    (asked(LOCAL, "widest", ("spleen",), "1", "2", "3"), [True, False, False]),
    (asked(SIZE, "pair", ("left kidney", "spleen"), "left kidney", "spleen", "about equal"), [False, True, False]),
    (asked(SIZE, "pair", ("left kidney", "heart"), "about equal", "heart"), [False, True]),
    # three slices of 5 mm; a rule of older data sets is still judged
    (
        asked(SIZE, "grade", ("spleen",), "not enlarged", "enlarged", text="spleen length by the Lugano classification: spleen"),
        [True, False],
    ),
    (
        asked(SIZE, "grade", ("spleen",), "not enlarged", "massively enlarged", text="grades of spleen size by length: spleen"),
        [True, False],
    ),
]


WINDOW = "black is -160 HU, white is 240 HU"
LOOKS = [
    # 100 on average, every other voxel 10 more or less; the tumour 40 on average, by turns 30 more or less: 60 lower
    (asked(SIZE, "attenuation", ("liver",), "85 to 110 HU", "110 to 130 HU", text=f"{WINDOW}: liver"), [True, False]),
    (asked(SIZE, "attenuation", ("liver",), "100 to 120 HU", "60 to 80 HU", text=f"{WINDOW}: liver"), [None, False]),
    (
        asked(
            *(LESION, "attenuation_difference", ("liver tumor", "liver")),
            *("50 to 70 HU lower", "50 to 70 HU higher", "20 to 40 HU lower"),
            text=f"{WINDOW}: liver tumor, liver",
        ),
        [True, False, False],
    ),
    # grey levels: liver 166, tumour 127.5, spleen at 120 HU 178.5
    (asked(SIZE, "brightest", (), "liver", "spleen", "liver tumor"), [False, True, False]),
    (asked(SIZE, "darkest", (), "liver", "spleen", "liver tumor"), [False, False, True]),
    (
        asked(LESION, "brightness", ("liver tumor",), "slightly darker", "clearly darker", "slightly brighter"),
        [True, False, False],
    ),
    (asked(LESION, "evenness", ("liver tumor", "liver"), "less even", "more even", "about as even"), [True, False, False]),
    # 28 x 10 pixels, a filled box: 2.8 times as long as wide; the middles of its outer edges leave out half a pixel of 280
    (asked(LESION, "shape", ("liver tumor",), "round", "oval", "elongated", "irregular"), [False, False, True, False]),
    # x 40 to 50, both on slice 5 of the case: ten pixels of 2 mm and one more from middle to middle, 22 mm
    (asked(LESION, "contact", ("liver tumor", "spleen"), "in contact", "10 to 30 mm apart"), [False, True]),
    (asked(LESION, "contact", ("liver tumor", "liver"), "in contact", "up to 10 mm apart"), [True, False]),
    # a frame of 16 slices for 16: the tumour has slices 5 to 9, L2 3 to 7, L1 9 to 12: middles at 7.5, 5.5 and 11
    (asked(SPATIAL, "which_on_slice", ("slice 4",), "liver tumor", "l2 vertebra", text="slice 4"), [False, True]),
    (asked(LOCAL, "level", ("liver tumor",), "l1 vertebra", "l2 vertebra"), [False, True]),
    # 4 x 10 x 10 and 4 x 10 x 15 voxels: half as much again
    (asked(SIZE, "pair_share", ("left kidney", "right kidney"), "40 to 60 %", "60 to 80 %"), [True, False]),
]


def textured() -> Loaded:
    """A volume whose liver and tumour have a texture, beside two vertebrae, a spleen and two kidneys."""
    names = {1: "liver", 2: "liver_tumor", 3: "l1 vertebra", 4: "l2 vertebra", 5: "spleen", 6: "kidney_left", 7: "kidney_right"}
    labels = np.zeros((16, 60, 80), np.uint8)
    labels[2:14, 5:45, 5:45] = 1
    labels[5:10, 20:30, 12:40] = 2
    labels[9:13, 50:58, 36:44] = 3
    labels[3:8, 50:58, 36:44] = 4
    labels[2:9, 10:20, 50:58] = 5
    labels[1:5, 46:56, 60:70] = 6
    labels[1:5, 46:56, 15:30] = 7
    turns = np.where(np.indices(labels.shape).sum(axis=0) % 2, 1, -1)
    pixels = np.select([labels == 1, labels == 2, labels == 5], [100 + 10 * turns, 40 + 30 * turns, 120], 0).astype(np.int16)
    pixels[:, :, 0] = pixels[:, :, -1] = -1000
    geometry = Geometry((16, 60, 80), (80, 60, 16), (0, 1, 2), (False,) * 3, np.diag([2.0, 2.0, 5.0, 1.0]), (2.0, 2.0, 5.0))
    item = Item("two", "p", "volume", "two.nii", (), tuple(names.values()), "CT")
    return Loaded(item, Case(pixels, "volume", geometry, "CT", Source("two", "test", "")), (Layer(labels, names),))


@pytest.mark.parametrize(("question", "expected"), LOOKS, ids=lambda v: v.ask if isinstance(v, DataQuestion) else "")
def test_looks_contact_and_levels_by_hand(question: DataQuestion, expected: list[bool | None]) -> None:
    loaded = textured()
    scene = describe(loaded, FrameRule(name="drawn", volume_shape=(16, 56, 84), image_size=(56, 84)), case="c")
    for facts in (MaskFacts(loaded, -1, scene), SceneFacts(scene)):
        assert judge(question, facts) == expected


def test_looks_of_the_record_are_those_of_the_masks() -> None:
    loaded = textured()
    scene = describe(loaded, FrameRule(name="drawn", volume_shape=(16, 56, 84), image_size=(56, 84)), case="c")
    masks, told = MaskFacts(loaded, -1, scene), SceneFacts(scene)
    assert scene.hounsfield == (-160, 240)
    assert scene.structures["liver tumor"].touching == ("liver",)
    for name in scene.structures:
        assert told.tone(name) == pytest.approx(masks.tone(name), abs=0.01)
        assert told.attenuation(name) == pytest.approx(masks.attenuation(name), abs=0.8)  # grey levels are 1.6 HU wide
    assert told.outline("liver tumor") == pytest.approx(masks.outline("liver tumor"), abs=3e-3)  # half a pixel of 280
    assert masks.outline("liver tumor")[0] == pytest.approx(2.8)
    assert masks.tone("liver tumor")[1] == pytest.approx(30 * 255 / 400, abs=0.5)


@pytest.mark.parametrize("pixels", [np.float32(0.5), np.int16(1024)], ids=["not whole numbers", "air is not near -1000"])
def test_no_hounsfield_units_without_the_values_of_a_ct(pixels: np.generic) -> None:
    loaded = textured()
    other = replace(loaded, case=replace(loaded.case, pixels=loaded.case.pixels + pixels))
    scene = describe(other, RULE, case="c")
    assert scene.hounsfield == ()
    question = asked(SIZE, "attenuation", ("liver",), "85 to 110 HU", "110 to 130 HU", text=f"{WINDOW}: liver")
    with pytest.raises(CannotTellError):
        judge(question, MaskFacts(other, -1, scene))
    questions = candidates(scene, np.random.default_rng(0), each=60)
    assert questions
    assert not [q for q in questions if "HU" in q.text]


@pytest.mark.parametrize(("question", "expected"), CASES, ids=lambda v: v.ask if isinstance(v, DataQuestion) else "")
def test_every_kind_by_hand(facts: MaskFacts, question: DataQuestion, expected: list[bool | None]) -> None:
    assert judge(question, facts) == expected


def test_no_kind_is_left_out() -> None:
    assert {(q.family, q.ask) for q, _ in [*CASES, *LOOKS]} == set(RULES)


def test_the_reference_page_and_the_rules_name_the_same_kinds() -> None:
    from pathlib import Path

    page = (Path(__file__).parents[4] / "docs" / "reference" / "questions.md").read_text()
    named = set()
    for block in page.split("\n## ")[1:]:
        family, body = block.split("\n", 1)
        named |= {(family.strip(), line.split("`")[1]) for line in body.splitlines() if line.startswith("| `")}
    assert {pair for pair in named if pair[0] in {f for f, _ in RULES}} == set(RULES)


def test_records_and_masks_give_the_same_verdicts(facts: MaskFacts) -> None:
    told = SceneFacts(facts.scene)
    for question, expected in CASES:
        names = {*question.about, *question.options} & facts.present()
        if names <= set(facts.scene.structures) and question.ask != "box":
            assert judge(question, told) == expected, question.ask


@pytest.mark.parametrize(
    "question",
    [
        asked("colour", "which", ()),
        asked(LOCAL, "colour", ("liver",)),
        asked(LOCAL, "quadrant", (), "left anterior"),
        asked(LOCAL, "quadrant", ("pancreas", "xy"), "left anterior"),
        asked(LOCAL, "quadrant", ("liver", "xy"), "upper left"),
        asked(LOCAL, "box", ("liver",), "somewhere"),
        asked(LOCAL, "box", ("liver",), "[1,2,3,4]"),
        asked(LOCAL, "slices", ("liver",), "all"),
        asked(SPATIAL, "which_at_box", ("here",), "liver"),
        asked(SPATIAL, "which_at_box", (AT_SPLEEN,), "spleen", text="What is there?"),
        asked(EXISTS, "present", ("aorta",), "yes", "no"),
        asked(EXISTS, "present", ("liver",), "yes", "perhaps"),
        asked(SIZE, "how_large", ("liver",), "1 to 2 cm2"),
        asked(RELATION, "direction", ("liver", "spleen"), "nowhere"),
        asked(RELATION, "nearest", ("liver",), "liver", "spleen"),
        asked(LESION, "count", ("liver",), "1", "2"),
        asked(LESION, "count", ("liver tumor",), "one"),
        asked(LESION, "lesion_side", ("liver tumor",), "anterior"),
        asked(LESION, "brightness", ("liver tumor",), "clearly brighter", "bright"),
        asked(SIZE, "attenuation", ("liver",), "85 to 110 HU", "110 to 130 HU"),
        asked(SIZE, "attenuation", ("liver",), "85 to 110", text="black is -160 HU, white is 240 HU"),
        asked(SPATIAL, "which_on_slice", ("slice 4",), "liver", text="slice 5"),
        asked(LOCAL, "level", ("liver",), "spleen"),
        asked(LESION, "contact", ("liver tumor", "liver"), "beside"),
    ],
    ids=lambda q: f"{q.ask} {q.about} {q.options}",
)
def test_what_cannot_be_judged_is_said(facts: MaskFacts, question: DataQuestion) -> None:
    with pytest.raises(CannotTellError):
        judge(question, facts)


def test_two_equal_sizes_have_no_largest(facts: MaskFacts) -> None:
    assert judge(asked(SIZE, "largest", (), "liver", "liver"), facts) == [None, None]


def test_rounding_takes_the_nearest_pixel_and_either_side_of_a_half() -> None:
    frame = Frame(84, 56, 4, "volume")
    exact = Box3D(10.4, 0.5, 1.5, 10.45, 20.6, 3.0)
    assert rounded_like(exact, frame, Box3D(10, 1, 1, 11, 21, 3)).coords == (10, 1, 1, 11, 21, 3)
    assert rounded_like(exact, frame, Box3D(10, 0, 2, 11, 21, 3)).coords == (10, 0, 2, 11, 21, 3)
    assert rounded_like(Box2D(83.9, 0, 84, 0.2), Frame(84, 56, 1, "image"), Box2D(0, 0, 9, 9)).coords == (83, 0, 84, 1)
