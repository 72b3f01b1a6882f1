"""Gaps between drawn structures, and against the plain search over all pairs of voxels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.data.item import Layer
from unireason.data.measure import MOST, NEAR, neighbours
from unireason.data.regions import find


def near(labels: np.ndarray, steps: tuple[float, ...], *more: np.ndarray) -> dict[str, tuple[str, ...]]:
    layers = [Layer(m, {v: chr(96 + v) for v in range(1, 27)}) for m in (labels, *more)]
    return neighbours(find(layers), steps)


def test_by_hand():
    labels = np.zeros((30, 40), np.uint8)
    labels[10:15, 0:5] = 1
    labels[10:15, 8:12] = 2  # three pixels to the right of a
    labels[20:22, 0:5] = 3  # five below a
    labels[15:17, 12:14] = 4  # touches a corner of b
    labels[28:30, 30:40] = 5
    found = near(labels, (1.0, 1.0))
    assert found == {"a": ("b", "c"), "b": ("d", "a"), "c": ("a",), "d": ("b",), "e": ()}
    # Wide pixels pull a and b apart, low ones bring d and c together: (12 - 4 - 1 = 7 pixels) x 2 mm and 3 rows x 0.1 mm.
    assert near(labels, (2.0, 0.1)) == {"a": ("c",), "b": ("d",), "c": ("a",), "d": ("b",), "e": ()}


def test_thick_slices_do_not_part_what_touches():
    labels = np.zeros((4, 10, 10), np.uint8)
    labels[0], labels[1], labels[3] = 1, 2, 3
    assert near(labels, (1.0, 1.0, 10.0)) == {"a": ("b",), "b": ("a",), "c": ()}


def test_the_diagonal_counts():
    labels = np.zeros((20, 20), np.uint8)
    labels[0:2, 0:2], labels[5:7, 6:8] = 1, 2  # three rows and four columns between: five
    assert near(labels, (1.0, 1.0))["a"] == ("b",)
    labels[:], labels[0:2, 0:2], labels[6:8, 6:8] = 0, 1, 2  # four and four
    assert near(labels, (1.0, 1.0))["a"] == ()


def test_at_most_eight_nearest_first():
    labels = np.zeros((5, 60), np.uint8)
    labels[0] = 1
    for n in range(10):
        labels[1 + (n % 4), 5 * n : 5 * n + 2] = n + 2
    found = near(labels, (1.0, 1.0))["a"]
    assert found == ("b", "f", "j", "c", "g", "k", "d", "h")
    assert len(found) == MOST


def test_layers_that_overlap_and_one_inside_the_other():
    organ, lesion = np.zeros((30, 30), np.uint8), np.zeros((30, 30), np.uint8)
    organ[2:28, 2:28], lesion[14:16, 14:16] = 1, 2
    assert near(organ, (1.0, 1.0), lesion) == {"a": ("b",), "b": ("a",)}
    assert near(np.where(lesion, lesion, organ), (1.0, 1.0)) == {"a": ("b",), "b": ("a",)}


def test_nothing():
    assert near(np.zeros((4, 4), np.uint8), (1.0, 1.0)) == {}


def slow_gap(a: np.ndarray, b: np.ndarray, step: np.ndarray) -> float:
    apart = np.abs(np.argwhere(a)[:, None] - np.argwhere(b)[None])
    return float(np.sqrt(((np.maximum(apart - 1, 0) * step) ** 2).sum(axis=2)).min())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (2.0, 0.9)]))
def test_against_the_plain_search(seed: int, steps: tuple[float, ...]):
    rng = np.random.default_rng(seed)
    shape = (8, 14, 16) if len(steps) == 3 else (24, 24)
    labels = np.zeros(shape, np.uint8)
    for value in range(1, 7):
        low = [int(rng.integers(0, n - 1)) for n in shape]
        block = tuple(slice(a, a + int(rng.integers(1, 6))) for a in low)
        labels[block] = np.where(rng.random(labels[block].shape) < 0.6, value, labels[block])
    found = near(labels, steps)
    gaps = {}
    for a, b in combinations(sorted(found), 2):
        gaps[a, b] = gaps[b, a] = slow_gap(labels == ord(a) - 96, labels == ord(b) - 96, np.array(steps[::-1]))
    for name, names in found.items():
        expected = sorted((round(g, 6), b) for (a, b), g in gaps.items() if a == name and g <= NEAR)
        assert names == tuple(b for _, b in expected)


@pytest.mark.parametrize("steps", [(9.0, 9.0), (0.2, 9.0)])
def test_large_steps(steps: tuple[float, float]):
    labels = np.zeros((10, 10), np.uint8)
    labels[0], labels[2], labels[3] = 1, 2, 3
    assert near(labels, steps) == {"a": (), "b": ("c",), "c": ("b",)}
