from __future__ import annotations

import math

import numpy as np

from recipes.phantom.scene import regions
from unireason.core.types import Box2D, Box3D, Frame

NAMES = {1: "cube", 2: "dot"}


def test_hand_computed_volume():
    labels = np.zeros((8, 20, 10), np.uint8)
    labels[2:6, 4:12, 5:10] = 1
    found, unclear = regions(labels, NAMES, frame=Frame(20, 10, 4, "volume"), spacing_mm=(2.0, 1.0, 5.0), smallest=1)
    cube = found["cube"]
    assert unclear == ()
    assert cube.box == Box3D(10, 2, 1, 20, 6, 3)
    assert cube.voxels == 5 * 8 * 4
    assert cube.measure_mm == 160 * 10.0
    assert cube.centre_mm == ((7.5 - 5) * 2.0, (8 - 10) * 1.0, (4 - 4) * 5.0)
    assert cube.size == round(2 * math.sqrt(160 * 2 * 0.5 * 0.5))


def test_hand_computed_image():
    labels = np.zeros((4, 8), np.uint8)
    labels[1:3, 2:8] = 1
    found, _ = regions(labels, NAMES, frame=Frame(16, 8, 1, "image"), spacing_mm=(0.5, 0.5), smallest=1)
    assert found["cube"].box == Box2D(4, 2, 16, 6)
    assert found["cube"].measure_mm == 12 * 0.25


def test_too_small_is_unclear_not_absent():
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[0, 0, 0] = 2
    found, unclear = regions(labels, NAMES, frame=Frame(8, 8, 4, "volume"), spacing_mm=(1.0, 1.0, 1.0), smallest=2)
    assert found == {}
    assert unclear == ("dot",)


def test_a_box_never_vanishes():
    labels = np.zeros((100, 100), np.uint8)
    labels[99, 99] = 1
    found, _ = regions(labels, NAMES, frame=Frame(10, 10, 1, "image"), spacing_mm=(1.0, 1.0), smallest=0)
    assert found["cube"].box == Box2D(9, 9, 10, 10)


def test_empty_map():
    assert regions(np.zeros((3, 4, 5), np.uint8), NAMES, frame=Frame(5, 4, 3, "volume"), spacing_mm=(1, 1, 1), smallest=1) == (
        {},
        (),
    )
