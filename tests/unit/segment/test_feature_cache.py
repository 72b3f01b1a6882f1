"""Features are made once a picture, belong to it alone, and are bounded."""

from __future__ import annotations

import numpy as np
import torch

from unireason.imaging.present import Window
from unireason.segment.sam import FeatureCache

WINDOW = Window(0.0, 1.0, "")


class Maker:
    def __init__(self, floats: int = 25) -> None:
        self.calls, self.floats = 0, floats

    def __call__(self) -> tuple[torch.Tensor, ...]:
        self.calls += 1
        return (torch.full((self.floats,), float(self.calls)),)


def test_a_picture_is_seen_once_wherever_it_lies():
    cache, make, volume = FeatureCache(), Maker(), np.arange(36.0).reshape(4, 3, 3)
    for _ in range(3):
        assert cache.get(volume[1], WINDOW, make)[0][0] == 1
    assert cache.get(volume[1].copy(), WINDOW, make)[0][0] == 1
    assert cache.get(volume[2], WINDOW, make)[0][0] == 2
    assert cache.get(volume[:, 1], WINDOW, make)[0][0] == 3, "another plane through the same memory"
    assert cache.get(volume[1], Window(0.0, 2.0, ""), make)[0][0] == 4, "other grey levels"
    assert cache.get(volume[1].reshape(1, 9), WINDOW, make)[0][0] == 5, "the same bytes in another shape"
    assert cache.get(volume[1].view(np.int64), WINDOW, make)[0][0] == 6, "the same bytes of another type"
    assert cache.get(volume[1, ::-1], WINDOW, make)[0][0] == 7
    assert make.calls == 7


def test_an_array_that_is_filled_again_is_another_picture():
    cache, make, buffer = FeatureCache(), Maker(), np.zeros((3, 3))
    cache.get(buffer, WINDOW, make)
    buffer[1, 1] = 5
    assert cache.get(buffer, WINDOW, make)[0][0] == 2
    buffer[1, 1] = 0
    assert cache.get(buffer, WINDOW, make)[0][0] == 1


def test_the_least_recently_used_goes_first():
    cache, make = FeatureCache(limit_bytes=200), Maker(25)  # two of 100 bytes
    a, b, c = (np.full((2, 2), v) for v in range(3))
    cache.get(a, WINDOW, make)
    cache.get(b, WINDOW, make)
    cache.get(a, WINDOW, make)
    cache.get(c, WINDOW, make)  # b goes
    assert (make.calls, len(cache), cache.held_bytes) == (3, 2, 200)
    cache.get(a, WINDOW, make)
    assert make.calls == 3
    cache.get(b, WINDOW, make)
    assert make.calls == 4


def test_one_picture_is_kept_even_if_it_is_too_large():
    cache, make, picture = FeatureCache(limit_bytes=10), Maker(25), np.zeros((2, 2))
    cache.get(picture, WINDOW, make)
    cache.get(picture, WINDOW, make)
    assert make.calls == 1
    cache.get(np.ones((2, 2)), WINDOW, make)
    assert (len(cache), cache.held_bytes) == (1, 100)
