"""What a look finds, and the numbers in which it is said, against scenes drawn by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from annotate_samples import image_scene, scene, structure, volume_scene

from unireason.core.types import Frame
from unireason.data.rationale import seen, template
from unireason.grounding.profile import scale_line

TOLD = scale_line((2.0, 2.0), (100, 100), Frame(112, 112, 1, "image"))


def written(said):
    return [] if said is None else [said.written(w) for w in said.wordings]


def test_the_scale_is_told_in_one_line():
    assert TOLD == "Scale: a pixel measures 1.79 x 1.79 mm; the field of view is 200 x 200 mm."
    told = scale_line((0.8, 0.8, 3.0), (40, 250, 250), Frame(100, 100, 20, "volume"))
    assert told == "Scale: a pixel measures 2 x 2 mm, slices lie 6 mm apart; the field of view is 200 x 200 x 120 mm."
    assert scale_line(None, (100, 100), Frame(112, 112, 1, "image")) == ""


def test_sizes_are_in_millimetres_only_where_the_scale_is_told():
    bare, told = image_scene(), image_scene(TOLD)
    liver = bare.structures["liver"]
    assert seen.said_size(liver, told) == "52 cm2"
    assert seen.said_size(liver, bare) == f"{seen.number(5200 / (200 / 112) ** 2)} pixels" == "1600 pixels"
    assert seen.said_size(told.structures["lesion"], told) == "0.8 cm2"
    volume = volume_scene()
    assert seen.said_size(volume.structures["right kidney"], volume) == "500 voxels"
    assert seen.said_size(volume.structures["right kidney"], volume_scene("told")) == "80 ml"


def test_sizes_side_by_side_share_the_unit_in_which_none_is_a_trifle():
    told = image_scene(TOLD)
    assert seen.one_unit([5200.0, 80.0], told) == ("cm2", 100.0)
    assert seen.one_unit([5200.0, 8.0], told) == ("mm2", 1.0)
    assert seen.one_unit([5200.0, 8.0], image_scene()) == ("pixels", 1.0)


def test_places_are_those_of_boxes():
    drawn = volume_scene()
    left, right = drawn.structures["left kidney"], drawn.structures["right kidney"]
    assert seen.middle_of(left) == (40, 34, 6)
    assert seen.centre_of(drawn) == (28, 28, 8)
    assert seen.where(seen.middle_of(left), (0, 2)) == "x 40 and slice 6"
    assert seen.offset(left, right, drawn) == (24, 0, 2)
    assert seen.offset(left, right, volume_scene("told")) == (86, 0, 25)
    assert seen.unit_of_distance(drawn) == ""
    assert seen.distance(left, right, volume_scene("told")) == pytest.approx((85.71**2 + 25.0**2) ** 0.5, abs=0.01)


def test_a_box_is_off_by_its_worst_edge():
    assert seen.worst_edge((10, 20, 30, 40), (10, 20, 30, 40)) is None
    assert seen.worst_edge((12, 20, 50, 40), (10, 20, 30, 40)) == 2
    assert seen.worst_edge((10, 20, 3, 30, 40, 9), (10, 20, 5, 30, 40, 9)) == 2
    assert seen.share((0, 0, 10, 10), (5, 0, 20, 20)) == 0.5


def test_scattered_structures_are_known_by_their_parts():
    drawn = image_scene()
    assert drawn.structures["kidneys"].scattered
    assert not seen.clear_parts(drawn.structures["liver"])
    assert [p.voxels for p in seen.clear_parts(drawn.structures["kidneys"])] == [50, 50]


def test_offsets_in_words_are_metric_only_with_a_scale():
    assert template.offsets((52.0, -20.0), [0, 1], image_scene(TOLD)) == "52 mm to the left and 20 mm to the front"
    assert template.offsets((52.0, -20.0), [0, 1], image_scene()) == "29 pixels to the left and 11 pixels to the front"
    plain = scene(structure("mole", (10, 20, 30, 40), (-20, 30), 90.0), space="picture", unit="pixels")
    assert template.offsets((-20.0, 30.0), [0, 1], plain) == "11 pixels to the left and 17 pixels down"


def test_slices_count_both_ends_and_are_for_volumes_only():
    drawn = volume_scene()
    assert "It is seen on slices 4 to 8." in written(seen.slices(drawn.structures["left kidney"], drawn))
    assert "It can be followed over five slices, from 4 to 8." in written(seen.slices(drawn.structures["left kidney"], drawn))
    assert "It shows on slice 4 only." in written(seen.slices(drawn.structures["right kidney"], drawn))
    assert seen.slices(image_scene().structures["liver"], image_scene()) is None


@pytest.mark.parametrize(
    ("contrast", "said"),
    [
        (60.0, "It is clearly brighter than the tissue around it."),
        (20.0, "It is brighter than the tissue around it."),
        (-20.0, "It is darker than the tissue around it."),
        (-3.0, "It is about as bright as the tissue around it."),
    ],
)
def test_brightness(contrast, said):
    drawn = image_scene()
    changed = replace(drawn.structures["liver"], contrast=contrast)
    assert said in written(seen.brightness(changed, drawn))


def test_border_neighbours_and_shape():
    drawn = image_scene()
    kidneys, liver = drawn.structures["kidneys"], drawn.structures["liver"]
    assert "They touch the posterior border of the image, so they may be cut off there." in written(seen.border(kidneys, drawn))
    assert seen.border(liver, drawn) is None
    assert seen.neighbours(liver, drawn) is None  # the lesion lies inside it, not beside it
    aside = replace(liver, borders=("right", "posterior"))
    said = "It reaches the posterior border of the image and the border on the patient's right and may go on beyond."
    assert said in written(seen.border(aside, drawn))  # the patient's right is the left of the picture
    assert "Close by lie the kidneys." in written(seen.neighbours(drawn.structures["spleen"], drawn))
    assert seen.neighbours(kidneys, drawn) is None
    assert seen.neighbours(replace(liver, neighbours=("not in the scene",)), drawn) is None
    assert "Its outline is compact." in written(seen.shape(drawn.structures["lesion"], drawn))
    assert seen.shape(liver, drawn) is None
