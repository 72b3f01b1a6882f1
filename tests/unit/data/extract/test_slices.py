"""Slices of volumes: which, and where they lie."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from drawn_cases import loaded, stored, turned

from unireason.core.errors import GeometryError
from unireason.data.regions import axial, busy, slice_geometry
from unireason.imaging.geometry import canonical_to_voxel, to_source, volume_geometry, voxel_to_world


def labelled() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 5, (6, 9, 7)).astype(np.uint8)


AXES = ["LPS", "RAS", "PIR", "SAL", "ASR", "LSA", "IPR"]


@pytest.mark.parametrize(("axes", "oblique"), list(product(AXES, [False, True])))
def test_a_slice_keeps_its_place_in_the_patient(axes: str, oblique: bool):
    volume = stored(labelled(), {1: "a"}, axes=axes, turn=turned(12) if oblique else None)
    for k in (0, 2, 5):
        image = axial(volume, k)
        for x, y in ((0.5, 0.5), (6.5, 0.5), (2.25, 8.0)):
            in_volume = voxel_to_world(canonical_to_voxel((x, y, k + 0.5), volume.case.geometry), volume.case.geometry)
            in_image = voxel_to_world(canonical_to_voxel((x, y), image.case.geometry), image.case.geometry)
            assert in_image == pytest.approx(in_volume, abs=1e-9)


@pytest.mark.parametrize("axes", AXES)
def test_its_pixels_and_voxel_boxes_are_those_of_the_file(axes: str):
    volume = stored(labelled(), {1: "a"}, axes=axes)
    image = axial(volume, 4)
    assert np.array_equal(image.case.pixels, volume.case.pixels[4])
    assert np.array_equal(image.layers[0].labels, volume.layers[0].labels[4])
    file_array = to_source(volume.case.pixels, volume.case.geometry)  # (k, j, i)
    through = volume.case.geometry.order[2]
    at = canonical_to_voxel((0.5, 0.5, 4.5), volume.case.geometry)[through]
    plane = np.take(file_array, int(at), axis=2 - through)
    assert np.array_equal(to_source(image.case.pixels, image.case.geometry), plane)
    assert image.case.geometry.source_shape == plane.shape[::-1]


def test_what_else_a_slice_keeps():
    volume = stored(labelled(), {1: "a", 2: "b"}, axes="RAS")
    image = axial(volume, 1)
    assert (image.case.kind, image.item.kind, image.item.id) == ("image", "image", volume.item.id)
    assert image.case.geometry.spacing_mm == (2.0, 3.0)
    assert image.case.geometry.shape == image.case.pixels.shape == (9, 7)
    assert image.case.source.name == "drawn-001"
    assert image.layers[0].names == {1: "a", 2: "b"}
    assert image.item.annotated == volume.item.annotated
    step = image.case.geometry.affine_lps[:3, 2]
    assert step == pytest.approx((0, 0, 5.0))  # to the next slice, towards the head


def test_without_an_affine():
    geometry = slice_geometry(volume_geometry((7, 9, 6), None, (2.0, 3.0, 5.0)), 2)
    assert (geometry.affine_lps, geometry.order, geometry.flips, geometry.spacing_mm) == (
        None,
        (0, 1),
        (False, False),
        (2.0, 3.0),
    )


def test_what_cannot_be_cut():
    volume = stored(labelled(), {1: "a"}, axes="LPS")
    with pytest.raises(GeometryError, match="slice 6 was asked for"):
        axial(volume, 6)
    with pytest.raises(GeometryError, match="asked of an image"):
        axial(axial(volume, 0), 0)
    with pytest.raises(GeometryError, match="asked of an image"):
        busy(axial(volume, 0), 1, np.random.default_rng(0))


def crowded() -> np.ndarray:
    """Slice 0 empty, 1 with one structure, 2 with three, 3 with three of which one is a lesion, 4 with a speck of two more."""
    labels = np.zeros((5, 60, 60), np.uint8)
    for k, values in ((1, (1,)), (2, (1, 2, 3)), (3, (1, 2, 4))):
        for n, value in enumerate(values):
            labels[k, 10 * n : 10 * n + 5, 10:20] = value
    labels[4, 0, :3] = (1, 2, 3)
    return labels


def test_busy_slices_are_drawn():
    item = loaded((crowded(), {1: "liver", 2: "spleen", 3: "aorta", 4: "tumor"}))
    assert busy(item, 9, np.random.default_rng(0)) == [2, 3]
    assert busy(item, 9, np.random.default_rng(0)) == busy(item, 9, np.random.default_rng(5))
    draws = [busy(item, 1, np.random.default_rng(seed))[0] for seed in range(400)]
    assert 0.55 < np.mean(np.array(draws) == 3) < 0.70  # weights 3 and 5


def test_where_no_slice_shows_three_the_fullest_count():
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[1, :5], labels[2, :5], labels[2, 10:] = 1, 1, 2
    assert busy(loaded((labels, {1: "a", 2: "b"})), 3, np.random.default_rng(0)) == [2]
    more = np.zeros_like(labels)
    more[1, 10:] = 7
    assert busy(loaded((labels, {1: "a", 2: "b"}), (more, {7: "c"})), 3, np.random.default_rng(0)) == [1, 2]


def test_nothing_to_draw():
    assert busy(loaded((np.zeros((4, 9, 9), np.uint8), {1: "a"})), 2, np.random.default_rng(0)) == []
    assert busy(loaded((np.ones((4, 9, 9), np.uint8), {})), 2, np.random.default_rng(0)) == []
    assert busy(loaded((np.ones((4, 9, 9), np.uint8), {1: "a"})), 0, np.random.default_rng(0)) == []
