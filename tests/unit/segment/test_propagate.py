"""A structure is followed from one slice through a volume, both ways, and not beyond its ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from segment_cases import box_of, dice, ellipse, image, painted, volume

from unireason.core.errors import ModelError
from unireason.core.types import Box2D, Case
from unireason.segment.classical import Classical
from unireason.segment.expert import Prompt, Segmentation, finished
from unireason.segment.propagate import follow, on_slice, slice_case

SHAPE = (24, 64, 70)


def moving_disc(first: int = 4, last: int = 20) -> np.ndarray:
    """A disc that moves by 1.5 pixels a slice, from slice ``first`` to ``last`` - 1."""
    mask = np.zeros(SHAPE, bool)
    for z in range(first, last):
        mask[z] = ellipse(SHAPE[1:], (24 + z, 20 + 1.5 * z), (10, 8))
    return mask


class Threshold:
    """What is bright inside the box, and a record of what was asked."""

    name = "threshold"

    def __init__(self) -> None:
        self.asked: list[tuple[Case, Prompt]] = []

    def segment(self, case: Case, prompts: Sequence[Prompt]) -> list[Segmentation]:
        found = []
        for prompt in prompts:
            self.asked.append((case, prompt))
            mask = np.zeros(case.geometry.shape, bool)
            if isinstance(prompt.box, Box2D):
                x1, y1, x2, y2 = (round(v) for v in prompt.box.coords)
                mask[y1:y2, x1:x2] = case.pixels[y1:y2, x1:x2] > 50
            found.append(finished(mask, 0.5, ("seen",)))
        return found


def followed(pixels, mask, key, expert=None):
    expert = expert or Classical()
    return follow(expert, volume(pixels, (1.0, 1.0, 4.0)), Prompt(box_of(mask[key]), slice=key, propagate=True))


@pytest.mark.parametrize("key", [4, 11, 19])
def test_a_moving_disc_is_followed_from_any_slice_and_no_farther(key):
    mask = moving_disc()
    found = followed(painted(mask), mask, key)
    assert dice(found.mask, mask) > 0.97
    assert np.flatnonzero(found.mask.any(axis=(1, 2))).tolist() == list(range(4, 20))
    assert found.gaps == ()
    assert 0.8 < found.score <= 1


def test_a_shrinking_sphere_is_followed_to_its_tips():
    ball = ellipse(SHAPE, (12, 32, 35), (10, 20, 20))
    found = followed(painted(ball), ball, 12)
    assert dice(found.mask, ball) > 0.96
    held = np.flatnonzero(found.mask.any(axis=(1, 2)))
    true = np.flatnonzero(ball.any(axis=(1, 2)))
    assert abs(held[0] - true[0]) <= 1
    assert abs(held[-1] - true[-1]) <= 1


def test_the_volume_may_end_before_the_structure():
    mask = moving_disc(0, 24)
    found = followed(painted(mask), mask, 12)
    assert found.mask.any(axis=(1, 2)).all()


def test_values_that_are_not_finite_do_not_stop_it():
    mask = moving_disc()
    pixels = painted(mask)
    pixels[:, ::5, ::5] = np.nan  # inside and around
    pixels[:, 1::25, 1::25] = np.inf
    found = followed(pixels, mask, 11)
    assert dice(found.mask, mask) > 0.9
    assert np.flatnonzero(found.mask.any(axis=(1, 2))).tolist() == list(range(4, 20))


def test_it_does_not_run_into_another_structure_behind():
    mask, other = moving_disc(4, 12), moving_disc(12, 24)
    found = followed(painted(mask) + 45 * other.astype(np.float32), mask, 8)
    assert np.flatnonzero(found.mask.any(axis=(1, 2)))[-1] == 11


def test_prompting_through_the_expert_is_the_same():
    mask = moving_disc()
    case, prompt = volume(painted(mask), (1.0, 1.0, 4.0)), Prompt(box_of(mask[9]), slice=9, propagate=True)
    (found,) = Classical().segment(case, [prompt])
    assert np.array_equal(found.mask, follow(Classical(), case, prompt).mask)


def test_any_expert_of_images_will_do_and_is_asked_once_a_slice():
    mask, expert = moving_disc(), Threshold()
    found = followed(100.0 * mask, mask, 10, expert)
    # 16 slices, and one more at either end where nothing is found.
    assert len(expert.asked) == 18
    assert all(case.kind == "image" and prompt.slice is None and not prompt.propagate for case, prompt in expert.asked)
    assert found.score == 0.5
    assert found.notes == ("seen",)
    assert dice(found.mask, mask) > 0.8  # this one never leaves its box


def test_the_next_box_lies_around_the_last_mask():
    mask, expert = moving_disc(), Threshold()
    followed(100.0 * mask, mask, 10, expert)
    box = box_of(mask[10])
    second = expert.asked[1][1].box
    # Sides of 16 and 20 pixels grow by 3% at least half a pixel.
    assert second.coords == pytest.approx((box.x1 - 0.5, box.y1 - 0.6, box.x2 + 0.5, box.y2 + 0.6))


class Everywhere(Threshold):
    """All that is bright, wherever the box lies."""

    def segment(self, case: Case, prompts: Sequence[Prompt]) -> list[Segmentation]:
        return [finished(case.pixels > 50, 1.0) for _ in prompts]


def test_a_thin_structure_that_runs_askew_is_followed_whole():
    """Its pixels touch at corners only: by faces alone it would be a part a pixel, and one would be left."""
    mask = np.zeros(SHAPE, bool)
    steps = np.arange(30)
    mask[6:18, 10 + steps, 12 + steps] = True
    found = followed(100.0 * mask, mask, 10, Everywhere())
    assert np.array_equal(found.mask, mask)
    assert found.notes == ()


def test_parts_that_are_dropped_are_told():
    mask = np.zeros(SHAPE, bool)
    mask[:, 10:30, 10:30] = True
    specks = mask.copy()
    specks[4, 50, 50] = specks[20, 40:42, 60] = True
    found = followed(100.0 * specks, mask, 10, Everywhere())
    assert np.array_equal(found.mask, mask)
    assert any("2 smaller components were left out" in note for note in found.notes)


def test_a_score_that_is_not_finite_is_refused():
    for score in (float("nan"), float("inf")):
        with pytest.raises(ModelError, match="finite"):
            finished(np.ones((2, 2), bool), score)


def test_a_structure_that_jumps_is_not_followed():
    mask = np.zeros(SHAPE, bool)
    mask[:12] = ellipse(SHAPE[1:], (20, 20), (8, 8))
    mask[12:] = ellipse(SHAPE[1:], (31, 31), (8, 8))
    found = followed(100.0 * mask, mask, 5, Everywhere())
    assert np.flatnonzero(found.mask.any(axis=(1, 2))).tolist() == list(range(12))


def test_a_structure_that_bursts_is_not_followed():
    mask = np.zeros(SHAPE, bool)
    mask[:12] = ellipse(SHAPE[1:], (32, 35), (4, 4))
    mask[12:] = True
    assert not followed(100.0 * mask, mask, 5, Everywhere()).mask[12:].any()


def test_nothing_on_the_first_slice_gives_nothing():
    expert = Threshold()
    found = follow(expert, volume(np.zeros(SHAPE)), Prompt(Box2D(3, 3, 9, 9), slice=7, propagate=True))
    assert (found.mask.any(), found.score, len(expert.asked)) == (False, 0.0, 1)
    assert "slice 7" in found.notes[-1]


def test_points_alone_begin_as_well():
    mask = moving_disc()
    prompt = Prompt(points=((32.0, 34.0), (38.0, 34.0)), slice=10, propagate=True)
    assert dice(follow(Classical(), volume(painted(mask), (1.0, 1.0, 4.0)), prompt).mask, mask) > 0.95


def test_missing_numbers_and_colour_do_not_stop_it():
    mask = moving_disc()
    pixels = painted(mask)
    pixels[:, :, :5] = np.nan
    assert dice(followed(pixels, mask, 10).mask, mask) > 0.97
    colour = np.clip(painted(mask) + 60, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=3)
    assert dice(followed(colour, mask, 10).mask, mask) > 0.95


def test_a_slice_keeps_its_spacing_and_shares_memory():
    pixels = np.zeros((3, 5, 7), np.int16)
    flat = slice_case(volume(pixels, (1.0, 2.0, 3.0)), 2)
    assert (flat.kind, flat.geometry.shape, flat.geometry.source_shape) == ("image", (5, 7), (7, 5))
    assert flat.geometry.spacing_mm == (1.0, 2.0)
    assert np.shares_memory(flat.pixels, pixels)


def test_one_slice_alone_is_what_the_image_gives():
    mask = moving_disc()
    pixels = painted(mask)
    found = on_slice(Classical(), volume(pixels), Prompt(box_of(mask[9]), slice=9))
    (flat,) = Classical().segment(image(pixels[9], (1.0, 1.0)), [Prompt(box_of(mask[9]))])
    assert np.array_equal(found.mask[9], flat.mask)
    assert found.score == flat.score
    assert np.count_nonzero(found.mask) == np.count_nonzero(flat.mask)
