"""Centres, main axes and components against numpy's own slower ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.data.measure import components, elongation, main_axes, moments


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(9, 11), (5, 6, 7)]))
def test_moments(seed: int, shape: tuple[int, ...]):
    mask = np.random.default_rng(seed).random(shape) < 0.3
    mask[0, 0] = True
    steps = (0.5, 2.0, 3.0)[: len(shape)]
    centre, scatter = moments(mask, steps)
    places = np.argwhere(mask)[:, ::-1]
    assert centre == pytest.approx(places.mean(axis=0) + 0.5)
    own = np.diag(np.array(steps) ** 2 / 12)
    assert scatter == pytest.approx(np.atleast_2d(np.cov((places * steps).T, bias=True)) + own)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
def test_main_axes(seed: int, n: int):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(20, n)) * rng.uniform(0.01, 100, n)
    scatter = np.cov((points @ np.linalg.qr(rng.normal(size=(n, n)))[0]).T)
    values, vectors = main_axes(scatter)
    assert values == pytest.approx(np.linalg.eigvalsh(scatter)[::-1], rel=1e-9, abs=1e-12 * values[0])
    for value, vector in zip(values, vectors, strict=True):
        assert scatter @ vector == pytest.approx(value * np.array(vector), abs=1e-9 * values[0])
        assert np.linalg.norm(vector) == pytest.approx(1)
        assert max(vector, key=abs) > 0


def test_elongation_by_hand():
    for mask, steps, expected in (
        (np.ones((4, 12), bool), (1.0, 1.0), 3.0),
        (np.ones((4, 12), bool), (1.0, 3.0), 1.0),
        (np.ones((1, 1), bool), (1.0, 1.0), 1.0),
        (np.ones((2, 3, 9), bool), (1.0, 1.0, 3.0), 3.0),
    ):
        assert elongation(moments(mask, steps)[1]) == expected


def test_components():
    mask = np.zeros((6, 10), bool)
    mask[0, 0:2] = mask[1, 2] = True  # joined at a corner
    mask[3:6, 5:10] = True
    mask[3, 0] = True
    blocks, counts = components(mask, 2)
    assert blocks == [((slice(3, 6), slice(5, 10)), 15), ((slice(0, 2), slice(0, 3)), 3)]
    assert counts.tolist() == [15, 3, 1]
    assert components(np.zeros((3, 3), bool), 5)[0] == []
    assert components(np.zeros((3, 3), bool), 5)[1].tolist() == []
    assert components(np.ones((2, 3), bool), 5)[0] == [((slice(0, 2), slice(0, 3)), 6)]
