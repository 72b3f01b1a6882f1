"""Where pictures, places and masks lie in a network's square, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from unireason.segment.networks import Placement, Recipe, place, prepare

PAD = Recipe("pad", "bilinear", "imagenet", "point")
SQUASH = Recipe("squash", "bicubic", "minmax", "never")
NEAREST = Recipe("squash", "nearest", "imagenet", "always")
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def test_the_longest_side_fills_the_square_and_the_rest_is_padded():
    assert place(40, 90, size=64, recipe=PAD) == Placement(40, 90, 28, 64, 64)  # 40 * 64 / 90 = 28.4
    assert place(90, 40, size=64, recipe=PAD) == Placement(90, 40, 64, 28, 64)
    assert place(40, 90, size=64, recipe=SQUASH) == Placement(40, 90, 64, 64, 64)
    assert place(1, 5000, size=64, recipe=PAD).inner_height == 1


def test_places_are_scaled_and_half_a_pixel_is_taken_for_the_one_the_network_adds():
    padded = place(40, 90, size=64, recipe=PAD)
    # x: 45 * 64 / 90 - 0.5; y: 20 * 28 / 40 - 0.5
    assert padded.coordinates([(45.0, 20.0), (0.0, 0.0)]).tolist() == [[31.5, 13.5], [-0.5, -0.5]]
    squashed = place(40, 90, size=64, recipe=SQUASH)
    assert squashed.coordinates([(90.0, 40.0)]).tolist() == [[63.5, 63.5]]
    assert squashed.coordinates([]).shape == (0, 2)


@pytest.mark.parametrize("recipe", [PAD, Recipe("squash", "bilinear", "imagenet", "point")], ids=["pad", "squash"])
@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (64, 64), (30, 20)])
def test_a_place_lies_on_the_same_intensity_before_and_after(recipe: Recipe, shape: tuple[int, int]):
    """The picture tells its own coordinates: red is x, green is y; read where the network would read."""
    height, width = shape
    ys, xs = np.mgrid[:height, :width]
    picture = np.stack([2 * xs, 2 * ys, 0 * xs], -1).astype(np.uint8)
    spot = place(height, width, size=128, recipe=recipe)
    pixels = prepare(picture, spot, recipe)
    for x, y in ((11.0, 17.0), (7.25, 12.5)):
        at = (spot.coordinates([(x, y)])[0] + 0.5) / 128 * 2 - 1  # the network's half pixel, then the range of grid_sample
        read = grid_sample(pixels[None], at.view(1, 1, 1, 2), align_corners=False)[0, :, 0, 0].numpy()
        colour = (read * DEVIATION + MEAN) * 255
        assert colour[:2] == pytest.approx([2 * (x - 0.5), 2 * (y - 0.5)], abs=0.6)  # pixel n has its middle at n + 0.5


def test_intensities_follow_the_recipe():
    grey = np.full((10, 20), 100, np.uint8)
    pixels = prepare(grey, place(10, 20, size=40, recipe=PAD), PAD)
    assert pixels.shape == (3, 40, 40)
    assert pixels[:, 5, 5].numpy() == pytest.approx((100 / 255 - MEAN) / DEVIATION, abs=1e-5)
    assert (pixels[:, 20:] == 0).all(), "padding is 0 after normalising"
    ramp = np.tile(np.arange(50, 90, dtype=np.uint8), (40, 1))
    scaled = prepare(ramp, place(40, 40, size=40, recipe=SQUASH), SQUASH)
    assert (scaled.min(), scaled.max()) == (0, 1)
    assert (scaled[0] == scaled[2]).all()
    assert not prepare(grey, place(10, 20, size=40, recipe=SQUASH), SQUASH).isnan().any(), "a picture of one grey"


def test_nearest_takes_pixels_as_they_are():
    picture = np.arange(16, dtype=np.uint8).reshape(4, 4) * 10
    pixels = prepare(picture, place(4, 4, size=2, recipe=NEAREST), NEAREST)
    assert (pixels[0].numpy() * DEVIATION[0] + MEAN[0]) * 255 == pytest.approx(np.array([[0, 20], [80, 100]]), abs=1e-3)


@pytest.mark.parametrize("recipe", [PAD, SQUASH], ids=["pad", "squash"])
def test_a_mask_comes_back_on_the_picture(recipe: Recipe):
    """Logits that are a rectangle in the square are the same rectangle on the picture."""
    spot = place(40, 80, size=64, recipe=recipe)
    low = torch.full((32, 32), -1.0)  # half the square's resolution
    rows, columns = ((4, 8), (8, 24)) if recipe is PAD else ((8, 16), (8, 24))
    low[rows[0] : rows[1], columns[0] : columns[1]] = 1.0
    expected = np.zeros((40, 80), bool)
    expected[10:20, 20:60] = True  # x: 8 / 32 * 80; y: 4 / 16 * 40 padded, 8 / 32 * 40 squashed
    mask = spot.mask(low)
    assert mask.shape == (40, 80)
    assert mask.dtype == bool
    assert np.count_nonzero(mask != expected) <= 4, "corners are rounded by the interpolation"
    assert mask[10, 21:59].all()
    assert not mask[9].any()
    assert not mask[:, 60].any()


def test_what_is_found_in_the_padding_is_dropped():
    spot = place(20, 80, size=64, recipe=PAD)
    low = torch.full((64, 64), -1.0)
    low[20:] = 1.0  # below the 16 rows that the picture fills
    assert not spot.mask(low).any()


def test_when_the_best_of_several_masks_is_taken():
    assert PAD.takes_best(boxed=False, points=1)
    assert not PAD.takes_best(boxed=True, points=1)
    assert not PAD.takes_best(boxed=False, points=2)
    assert NEAREST.takes_best(boxed=True, points=2)
    assert not SQUASH.takes_best(boxed=False, points=1)
