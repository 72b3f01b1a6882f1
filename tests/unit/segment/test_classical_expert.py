"""The expert without weights on drawn structures: every kind of input, and what it promises of the result."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from segment_cases import box_of, dice, ellipse, image, painted, volume

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D
from unireason.segment import classical as searching
from unireason.segment.classical import Classical
from unireason.segment.expert import Prompt

DISC = ellipse((80, 90), (40, 45), (14, 18))
BALL = ellipse((20, 60, 64), (10, 30, 32), (5, 15, 15))
SPACING = (1.0, 1.0, 3.0)  # x, y, z: the ball is round in the patient


def outline(case, **prompt):
    (found,) = Classical().segment(case, [Prompt(**prompt)])
    assert found.mask.shape == case.geometry.shape
    assert found.mask.dtype == bool
    assert 0 <= found.score <= 1
    return found


@pytest.mark.parametrize("shift", [-0.12, 0.0, 0.12])
def test_a_disc_is_outlined_though_its_box_is_off(shift):
    found = outline(image(painted(DISC)), box=box_of(DISC, shift))
    assert dice(found.mask, DISC) > 0.98
    assert found.score > 0.95


@pytest.mark.parametrize("shift", [-0.12, 0.0, 0.12])
def test_a_ball_is_outlined_at_once_in_thick_slices(shift):
    found = outline(volume(painted(BALL), SPACING), box=box_of(BALL, shift))
    assert dice(found.mask, BALL) > 0.97
    assert found.gaps == ()


def test_darker_structures_are_found_as_well():
    assert dice(outline(image(painted(DISC, contrast=-100)), box=box_of(DISC, 0.1)).mask, DISC) > 0.98


def test_a_slice_of_a_volume_is_like_an_image():
    pixels = painted(BALL)
    box = box_of(BALL[10])
    found = outline(volume(pixels, SPACING), box=box, slice=10)
    assert np.array_equal(found.mask[10], outline(image(pixels[10], (1.0, 1.0)), box=box).mask)
    assert not np.delete(found.mask, 10, axis=0).any()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_number_types_do_not_matter(dtype):
    pixels = np.clip(np.round(painted(DISC, contrast=90) + 60), 0, 255)
    expected = outline(image(pixels), box=box_of(DISC)).mask
    assert np.array_equal(outline(image(pixels.astype(dtype)), box=box_of(DISC)).mask, expected)


def test_scale_and_offset_of_intensities_do_not_matter():
    pixels = np.round(painted(DISC) * 4).astype(np.float64)
    expected = outline(image(pixels), box=box_of(DISC)).mask
    assert dice(outline(image(pixels * 1e-6 + 5), box=box_of(DISC)).mask, expected) > 0.999


def test_colour_alone_tells_structures_apart():
    rng = np.random.default_rng(0)
    common = rng.normal(120, 25, (*DISC.shape, 1))  # brightness says nothing
    colour = common + DISC[..., None] * np.array([30.0, -30.0, 0.0]) + rng.normal(0, 4, (*DISC.shape, 3))
    found = outline(image(np.clip(colour, 0, 255).astype(np.uint8)), box=box_of(DISC, 0.1))
    assert dice(found.mask, DISC) > 0.98


def test_a_grey_picture_in_three_channels_gives_the_grey_result():
    pixels = np.clip(painted(DISC) + 60, 0, 255).astype(np.uint8)
    colour = np.repeat(pixels[..., None], 3, axis=2)
    grey = outline(image(pixels), box=box_of(DISC)).mask
    assert dice(outline(image(colour), box=box_of(DISC)).mask, grey) > 0.995


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_picture_gives_an_ellipse_within_the_box_and_says_so(value):
    box = ellipse((50, 50), (20, 25), (10, 15))
    found = outline(image(np.full((50, 50), value, np.uint8)), box=box_of(box))
    assert dice(found.mask, box) > 0.85
    assert any("nothing apart" in note for note in found.notes)


@pytest.mark.parametrize("case", [image(painted(DISC)), image(np.zeros((80, 90), np.uint8))], ids=["noise", "constant"])
def test_a_box_of_one_pixel_gives_that_pixel(case):
    assert np.argwhere(outline(case, box=Box2D(5, 6, 6, 7)).mask).tolist() == [[6, 5]]


def test_one_bright_pixel_is_found_in_a_larger_box():
    pixels = np.zeros((20, 20))
    pixels[10, 11] = 50
    assert np.argwhere(outline(image(pixels), box=Box2D(10, 9, 13, 12)).mask).tolist() == [[10, 11]]


def test_a_pixel_that_its_neighbours_outvote_is_found_all_the_same():
    assert np.argwhere(outline(image(np.eye(20)), box=Box2D(10, 10, 11, 11)).mask).tolist() == [[10, 10]]


def test_a_box_of_a_fraction_of_a_pixel_is_no_error():
    outline(image(painted(DISC)), box=Box2D(5.2, 6.2, 5.4, 6.4))


def test_an_image_of_one_pixel():
    assert outline(image(np.ones((1, 1), np.float32)), box=Box2D(0, 0, 1, 1)).mask.all()


def test_a_box_of_one_slice_in_a_volume():
    found = outline(volume(painted(BALL), SPACING), box=Box3D(17, 15, 10, 47, 45, 11))
    assert dice(found.mask[10], BALL[10]) > 0.95
    assert np.count_nonzero(found.mask.any(axis=(1, 2))) <= 3


def test_a_box_of_everything():
    large = ellipse((60, 60), (30, 30), (29, 29))
    assert dice(outline(image(painted(large)), box=Box2D(0, 0, 60, 60)).mask, large) > 0.97
    outline(volume(painted(BALL), SPACING), box=Box3D(0, 0, 0, 64, 60, 20))


def test_voxels_without_a_number_are_left_out():
    pixels = painted(DISC)
    pixels[:, 60:] = np.nan
    found = outline(image(pixels), box=box_of(DISC))
    assert not found.mask[:, 60:].any()
    assert dice(found.mask[:, :60], DISC[:, :60]) > 0.97


def test_a_picture_without_any_number_gives_nothing():
    found = outline(image(np.full((20, 20), np.nan)), box=Box2D(3, 3, 12, 12))
    assert (found.mask.any(), found.score) == (False, 0.0)


def test_the_score_falls_with_the_contrast():
    scores = [outline(image(painted(DISC, contrast=c)), box=box_of(DISC)).score for c in (100, 20, 0)]
    assert scores[0] > scores[1] > scores[2]


def test_what_is_read_is_not_written_to_and_twice_is_the_same():
    pixels = painted(BALL)
    pixels.setflags(write=False)
    first, second = (outline(volume(pixels, SPACING), box=box_of(BALL)) for _ in range(2))
    assert np.array_equal(first.mask, second.mask)
    assert first.score == second.score


def two_discs() -> tuple[np.ndarray, np.ndarray]:
    return ellipse((60, 100), (30, 30), (14, 14)), ellipse((60, 100), (30, 72), (10, 10))


def test_the_larger_part_is_kept_and_the_other_told():
    left, right = two_discs()
    found = outline(image(painted(left | right)), box=box_of(left | right))
    assert dice(found.mask, left) > 0.95
    assert any("left out" in note for note in found.notes)


def test_points_choose_parts():
    left, right = two_discs()
    case, box = image(painted(left | right)), box_of(left | right)
    assert dice(outline(case, box=box, points=((72.0, 30.0),)).mask, right) > 0.9
    assert dice(outline(case, box=box, points=((72.0, 30.0), (30.0, 30.0))).mask, left | right) > 0.95


def test_points_lie_in_the_mask_and_hold_it_together():
    points = ((33.5, 40.5), (58.5, 45.5))
    found = outline(image(painted(DISC, contrast=30)), box=box_of(DISC), points=points)
    assert all(found.mask[int(y), int(x)] for x, y in points)
    assert found.notes == () or "left out" in found.notes[0]


@pytest.mark.parametrize("pixels", [painted(DISC), np.zeros((80, 90), np.uint8)], ids=["noise", "constant"])
def test_a_point_far_outside_of_the_box_is_not_believed(pixels):
    case, near = image(pixels), (45.0, 40.0)
    found = outline(case, box=box_of(DISC), points=((2.0, 2.0), near))
    assert np.array_equal(found.mask, outline(case, box=box_of(DISC), points=(near,)).mask)
    assert any("far outside" in note for note in found.notes)


def test_a_point_on_the_far_border_belongs_to_the_last_pixel():
    found = outline(image(painted(ellipse((40, 40), (30, 30), (10, 10)))), points=((40.0, 30.0), (25.0, 30.0)))
    assert found.mask[30, 39]


@pytest.mark.parametrize("reach", [0.3, 0.5, 0.8])
def test_two_points_alone_find_the_disc(reach):
    points = ((45.0 - reach * 18, 40.0), (45.0 + reach * 18, 40.0))
    assert dice(outline(image(painted(DISC)), points=points).mask, DISC) > 0.95


def test_two_points_alone_find_the_ball():
    found = outline(volume(painted(BALL), SPACING), points=((24.0, 30.0, 10.0), (40.0, 30.0, 10.0)))
    assert dice(found.mask, BALL) > 0.95


def test_one_point_alone_finds_a_small_disc():
    small = ellipse((80, 90), (40, 45), (8, 8))
    assert dice(outline(image(painted(small)), points=((46.0, 41.0),)).mask, small) > 0.95


def test_the_same_point_twice_is_one_point():
    case, point = image(painted(DISC)), (46.0, 41.0)
    one, two = (outline(case, points=(point,) * n).mask for n in (1, 2))
    assert np.array_equal(one, two)


def test_points_without_any_number_around_them_give_those_points_at_most():
    found = outline(image(np.full((20, 20), np.nan)), points=((3.0, 3.0), (9.0, 9.0)))
    assert np.count_nonzero(found.mask) <= 2


def test_prompts_are_answered_in_order_and_none_gives_none():
    left, right = two_discs()
    case = image(painted(left | right))
    first, second = Classical().segment(case, [Prompt(box_of(right)), Prompt(box_of(left))])
    assert dice(first.mask, right) > 0.95
    assert dice(second.mask, left) > 0.95
    assert Classical().segment(case, []) == []


@pytest.mark.parametrize("prompt", [Prompt(), Prompt(Box3D(0, 0, 0, 1, 1, 1)), Prompt(Box2D(0, 0, 3, 3), slice=0)])
def test_a_prompt_that_does_not_fit_is_an_error(prompt):
    with pytest.raises(FormatError):
        Classical().segment(image(painted(DISC)), [prompt])


def test_memory_follows_the_box_and_not_the_volume():
    shape = (700, 512, 512)
    pixels = np.broadcast_to(np.float32(1), shape)  # four bytes in all
    case = volume(pixels)
    tracemalloc.start()
    try:
        found = outline(case, box=Box3D(200, 200, 300, 260, 260, 330))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.mask.any()
    assert peak - found.mask.nbytes < 40 << 20


def test_a_region_beyond_the_bound_is_judged_on_fewer_voxels(monkeypatch):
    monkeypatch.setattr(searching, "JUDGED", 2000)
    found = outline(image(painted(DISC)), box=box_of(DISC))
    assert dice(found.mask, DISC) > 0.9
    assert any("large region" in note for note in found.notes)


def test_a_thinned_region_gives_nearly_the_same(monkeypatch):
    whole = outline(volume(painted(BALL), SPACING), box=box_of(BALL)).mask
    monkeypatch.setattr(searching, "_LEARNED_ON", {2: 1 << 14, 3: 5000})
    assert dice(outline(volume(painted(BALL), SPACING), box=box_of(BALL)).mask, whole) > 0.97


def test_no_network_is_loaded():
    code = (
        "import sys; from unireason.segment.expert import make_expert; make_expert('classical'); "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_points_tell_a_structure_that_fills_little_of_its_box():
    # Two bright places joined by a thin one; most of the box is the head around them, and a brighter skull lies beside it.
    mask = ellipse((90, 90), (30, 30), (7, 9)) | ellipse((90, 90), (60, 58), (9, 7)) | ellipse((90, 90), (45, 44), (18, 3))
    head = ellipse((90, 90), (45, 45), (44, 44))
    pixels = painted(mask, contrast=60) - 100 * ~head + 300 * (np.arange(90) > 82)
    assert dice(outline(image(pixels), box=box_of(mask), points=((30.5, 30.5), (58.5, 60.5))).mask, mask) > 0.75


def test_levels_of_points_are_read_in_colour_and_beside_voxels_without_a_number():
    pixels = painted(DISC)
    pixels[40, 46] = np.nan
    assert dice(outline(image(pixels), box=box_of(DISC), points=((46.5, 40.5), (40.5, 38.5))).mask, DISC) > 0.97
    colour = np.clip(np.repeat(painted(DISC)[..., None], 3, axis=2) + 60, 0, 255).astype(np.uint8)
    assert dice(outline(image(colour), box=box_of(DISC, 0.1), points=((46.5, 40.5),)).mask, DISC) > 0.97
