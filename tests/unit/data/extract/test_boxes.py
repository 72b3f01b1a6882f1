"""Boxes of label maps, and their place in the model frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.core.types import Box2D, Box3D, Frame
from unireason.data.item import Layer
from unireason.data.regions import find, model_box


def box(low, high, sizes, frame):
    return model_box(np.array(low, float), np.array(high, float), np.array(sizes, float), frame)


def test_scaling_and_rounding_by_hand():
    frame = Frame(252, 252, 32, "volume")
    assert box((100, 0, 10), (200, 511, 30), (512, 512, 200), frame) == Box3D(49, 0, 2, 98, 252, 5)
    assert box((10, 20), (30, 60), (100, 100), Frame(50, 200, 1, "image")) == Box2D(5, 40, 15, 120)


def test_one_voxel_keeps_a_pixel_inside_the_frame():
    frame = Frame(28, 28, 8, "volume")
    assert box((0, 0, 0), (1, 1, 1), (512, 512, 200), frame) == Box3D(0, 0, 0, 1, 1, 1)
    assert box((511, 511, 199), (512, 512, 200), (512, 512, 200), frame) == Box3D(27, 27, 7, 28, 28, 8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_all_at_once_is_one_by_one(seed: int, single: bool):
    rng = np.random.default_rng(seed)
    labels = (rng.integers(0, 6, (5, 8, 9)) * (rng.random((5, 8, 9)) < 0.1)).astype(np.uint16)
    values = [3] if single else [1, 3, 4, 9]
    found = find([Layer(labels, {v: f"s{v}" for v in values})])
    expected = {}
    for value in values:
        where = np.where(labels == value)
        if len(where[0]):
            expected[f"s{value}"] = tuple(slice(int(w.min()), int(w.max()) + 1) for w in where)
    assert {f.name: f.block for f in found} == expected
    for f in found:
        assert np.array_equal(f.mask(), labels[f.block] == int(f.name[1:]))
        assert f.corners[0] == tuple(s.start for s in f.block[::-1])


def test_any_stride_and_type():
    labels = np.zeros((6, 7, 8), np.uint32)
    labels[1:3, 2:5, 3:8] = 70000
    labels[5, 6, 7] = 2
    for view in (labels, np.asfortranarray(labels), np.flip(np.flip(labels, 0).copy(), 0)):
        found = find([Layer(view, {70000: "big", 2: "dot", 5: "none"})])
        assert [(f.name, f.corners) for f in found] == [("big", ((3, 2, 1), (8, 5, 3))), ("dot", ((7, 6, 5), (8, 7, 6)))]


def test_background_is_no_structure():
    labels = np.array([[0, 0], [0, 1]], np.uint8)
    assert [f.name for f in find([Layer(labels, {0: "background", 1: "a"})])] == ["a"]
    assert find([Layer(labels, {0: "background"})]) == []
    assert find([Layer(np.zeros((0, 5), np.uint8), {1: "a"})]) == []
    assert find([]) == []


@pytest.mark.parametrize("index", [np.s_[0:2, 1:3], np.ix_([1, 0], [2])])
def test_masks_on_other_parts(index):
    first, second = np.array([[1, 0, 2], [0, 2, 2]], np.uint8), np.array([[0, 4, 0], [0, 0, 0]], np.uint8)
    (found,) = find([Layer(first, {1: "a", 2: "a"}), Layer(second, {4: "a"})])
    whole = np.array([[1, 1, 1], [0, 1, 1]], bool)
    assert np.array_equal(found.mask(index), whole[index])
    assert np.array_equal(found.mask(), whole)
