"""A region holds what lies around a box, in grey levels of one byte, and finds its way back to the grid."""

from __future__ import annotations

import numpy as np
import pytest

from unireason.segment.classical import cut, strides_for

ONES = np.ones(2)


def region_of(pixels, low, high, *, spacing=ONES, margin=0.5, most=1 << 20):
    return cut(pixels, np.array(low, float), np.array(high, float), spacing=np.array(spacing, float), margin=margin, most=most)


def test_a_box_gets_its_margin_and_is_cut_off_at_the_border():
    region = region_of(np.arange(2000).reshape(40, 50), (10, 0), (20, 8))
    # Half of the sides of 10 and 8 is 5 and 4; the grid begins at column 0.
    assert region.block == (slice(5, 25), slice(0, 12))
    assert (region.low.tolist(), region.high.tolist()) == ([5, 0], [15, 8])
    assert region.levels.shape == (1, 20, 12)


def test_a_tiny_box_gets_three_voxels_at_least():
    region = region_of(np.zeros((40, 50)), (10, 10), (11, 11))
    assert region.block == (slice(7, 14), slice(7, 14))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_grey_levels_keep_the_order_and_use_the_whole_range(dtype):
    ramp = np.tile(np.arange(0, 200, dtype=dtype), (4, 1))
    levels = region_of(ramp, (0, 0), (4, 200)).levels[0, 0].astype(int)
    # Percentiles 0.5 and 99.5 of 0..199 lie at 1 and 198.
    assert levels[0] == levels[1] == 0
    assert levels[198] == levels[199] == 255
    assert (np.diff(levels[1:199]) >= 1).all()


def test_a_few_voxels_of_metal_do_not_flatten_the_rest():
    pixels = np.tile(np.arange(100.0), (100, 1))
    pixels[0, :20] = 1e6
    assert region_of(pixels, (0, 0), (100, 100)).levels[0, 50].max() > 250


def test_what_is_rare_still_counts_where_all_else_is_equal():
    pixels = np.zeros((100, 100))
    pixels[50, 50] = 7.0
    assert region_of(pixels, (40, 40), (60, 60), margin=3.0).levels.max() == 255


def test_voxels_without_a_number_are_unknown():
    pixels = np.ones((10, 10), np.float32)
    pixels[2, 3], pixels[4, 5], pixels[6, 7] = np.nan, np.inf, 2.0
    region = region_of(pixels, (0, 0), (10, 10))
    assert np.argwhere(~region.known).tolist() == [[2, 3], [4, 5]]
    assert region.levels[0, 6, 7] == 255


def test_nothing_known_gives_flat_levels():
    region = region_of(np.full((6, 6), np.nan), (1, 1), (5, 5))
    assert not region.known.any()
    assert not region.levels.any()


def test_colour_is_turned_so_that_its_channels_do_not_say_the_same_thing():
    rng = np.random.default_rng(0)
    common = rng.normal(0, 50, (60, 60, 1))
    colour = common + rng.normal(0, 5, (60, 60, 3))
    region = region_of(colour, (0, 0), (60, 60))
    assert region.levels.shape == (3, 60, 60)
    together = np.corrcoef(region.levels.reshape(3, -1).astype(float))
    assert np.abs(together - np.eye(3)).max() < 0.1


def test_a_large_block_is_thinned_and_a_mask_laid_out_on_all_of_it():
    pixels = np.arange(30 * 41).reshape(30, 41)
    region = region_of(pixels, (0, 0), (30, 41), most=400)
    assert region.strides == (2, 2)
    assert region.shape == (15, 21)
    assert region.spacing.tolist() == [2, 2]
    assert region.high.tolist() == [15, 20.5]
    mask = np.zeros(region.shape, bool)
    mask[3, 20] = True  # rows 6 and 7, the last column alone
    assert np.argwhere(region.laid_out(mask)).tolist() == [[6, 40], [7, 40]]


def test_a_part_knows_where_it_lies_in_the_grid():
    region = region_of(np.arange(40 * 40).reshape(40, 40), (10, 10), (30, 30), most=500)
    assert region.strides == (2, 2)
    part, inner = region.part(np.array([2.0, 18.5]), np.array([4.0, 99.0]))
    assert inner == (slice(2, 4), slice(18, 20))
    assert part.block == (slice(4, 8), slice(36, 40))
    assert part.laid_out(np.ones((2, 2), bool)).shape == (4, 4)
    assert part.low.tolist() == [5.0 - 2, 5.0 - 18]


@pytest.mark.parametrize(
    ("shape", "most", "strides"), [((10, 10), 100, (1, 1)), ((10, 100), 500, (1, 2)), ((1, 1, 9), 1, (1, 1, 9))]
)
def test_the_longest_axis_is_thinned_first(shape, most, strides):
    assert strides_for(shape, most) == strides
