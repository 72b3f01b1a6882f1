from __future__ import annotations

from dataclasses import replace

import pytest
from annotate_samples import image_scene, scene, structure, volume_scene

from unireason.data.rationale import template


def written(said):
    return [] if said is None else [said.written(w) for w in said.wordings]


def test_size_of_areas_and_volumes():
    drawn = image_scene()
    assert "It covers about 52 cm2." in written(template.size(drawn.structures["liver"], drawn))
    assert "They cover about 9 cm2." in written(template.size(drawn.structures["kidneys"], drawn))
    drawn = volume_scene()
    assert "Its volume is about 120 ml." in written(template.size(drawn.structures["left kidney"], drawn))


def test_place_in_patient_terms_by_hand():
    drawn = volume_scene()
    said = written(template.place(drawn.structures["left kidney"], drawn))
    assert "It lies in the left posterior inferior part of the volume." in said
    expected = (
        "Measured from the middle of the volume, its centre lies 40 mm to the left, 30 mm to the back and 10 mm towards the feet."
    )
    assert expected in said


def test_place_in_a_picture_without_patient_directions():
    drawn = scene(structure("mole", (10, 20, 30, 40), (-20, 30), 90.0), space="picture", unit="pixels")
    said = written(template.place(drawn.structures["mole"], drawn))
    assert "It lies in the lower left part of the image." in said
    assert "Its centre lies 20 pixels to the left and 30 pixels down from the middle of the image." in said


def test_place_in_the_middle_says_no_direction():
    drawn = scene(structure("heart", (10, 20, 30, 40), (0.5, -1.9), 90.0))
    said = written(template.place(drawn.structures["heart"], drawn))
    assert "It lies in the middle of the image." in said
    assert not any(word in " ".join(said) for word in ("left", "anterior", "mm"))


def test_slices_count_both_ends_and_are_for_volumes_only():
    drawn = volume_scene()
    assert "It is seen on slices 4 to 8." in written(template.slices(drawn.structures["left kidney"], drawn))
    assert "It can be followed over five slices, from 4 to 8." in written(template.slices(drawn.structures["left kidney"], drawn))
    assert "It shows on slice 4 only." in written(template.slices(drawn.structures["right kidney"], drawn))
    assert template.slices(image_scene().structures["liver"], image_scene()) is None


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
    assert said in written(template.brightness(changed, drawn))


def test_border_parts_neighbours_and_shape():
    drawn = image_scene()
    kidneys, liver = drawn.structures["kidneys"], drawn.structures["liver"]
    assert "They touch the posterior border of the image, so they may be cut off there." in written(
        template.border(kidneys, drawn)
    )
    assert template.border(liver, drawn) is None
    assert "They fall into two separate parts." in written(template.parts(kidneys, drawn))
    assert "It is one connected piece." in written(template.parts(liver, drawn))
    assert "It lies next to the lesion." in written(template.neighbours(liver, drawn))
    assert "Close by lie the kidneys." in written(template.neighbours(drawn.structures["spleen"], drawn))
    assert template.neighbours(kidneys, drawn) is None
    assert template.neighbours(replace(liver, neighbours=("not in the scene",)), drawn) is None
    assert "Its outline is compact." in written(template.shape(drawn.structures["lesion"], drawn))
    assert template.shape(liver, drawn) is None


def test_every_finding_has_at_least_four_wordings():
    drawn = image_scene()
    all_findings = (template.size, template.place, template.brightness, template.border, template.parts, template.neighbours)
    said = [f(s, drawn) for f in all_findings for s in drawn.structures.values()]
    assert all(len(set(s.wordings)) >= 4 for s in said if s)
