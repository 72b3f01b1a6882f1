"""The ring around a structure, against the plain definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.data.item import Layer
from unireason.data.measure import contrast, padded, widened
from unireason.data.regions import find


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 9), st.sampled_from([0, 1, -1]))
def test_widened(seed: int, reach: int, axis: int):
    mask = np.random.default_rng(seed).random((7, 12)) < 0.1
    line = np.arange(mask.shape[axis])
    near = np.abs(line[:, None] - line) <= reach
    expected = np.moveaxis((near @ np.moveaxis(mask, axis, 0)).astype(bool), 0, axis)
    assert np.array_equal(widened(mask, axis, reach), expected)


def test_padded():
    assert padded(np.s_[2:3, 1:4, 5:9], (2, 2), (10, 5, 12)) == np.s_[2:3, 0:5, 3:11]
    assert padded(np.s_[2:3, 1:4], (9, 1), (10, 5)) == np.s_[0:10, 0:5]


@pytest.mark.parametrize(("size", "reach"), [(40, 3), (384, 3), (640, 5)])
def test_the_ring_is_that_wide(size: int, reach: int):
    labels = np.zeros((size, size), np.uint8)
    labels[15:25, 15:25] = 1
    (found,) = find([Layer(labels, {1: "a"})])
    grey = np.full((size, size), 200, np.uint8)
    side = slice(15 - reach, 25 + reach)
    grey[side, side] = 30
    grey[labels == 1] = 90
    assert contrast(grey, found) == 60.0
    grey[15 - reach, 15] = 200
    assert contrast(grey, found) < 60.0


def test_rings_stay_in_their_slices():
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[1, 5:10, 5:10] = 1
    grey = np.full((3, 20, 20), 255, np.uint8)
    grey[1] = np.where(labels[1], 40, 10)
    assert contrast(grey, find([Layer(labels, {1: "a"})])[0]) == 30.0
