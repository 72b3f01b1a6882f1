"""Structures followed through volumes: by a rule whose result can be told, and by the real network, whose wiring can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import max_pool2d
from transformers import Sam2Model, Sam2VideoInferenceSession

from segment_networks import SIZE, sam2_model, sam_model, volume_case
from unireason.core.errors import ModelError
from unireason.core.types import Box2D, Box3D
from unireason.segment.expert import Prompt
from unireason.segment.networks import NetworkExpert, Recipe
from unireason.segment.sam import Features, Sam2Network, SamMasks, SamPrompt

RECIPE = Recipe("squash", "bilinear", "minmax", "never")


class Bright:
    """Segments what is bright in the box, with points what is bright around them; no weights."""

    def __init__(self) -> None:
        self.size, self.model = 96, torch.nn.Identity()
        self.asked: list[SamPrompt] = []

    def encode(self, pixels: torch.Tensor) -> Features:
        return (pixels[0],)

    def decode(self, features: Features, ask: SamPrompt) -> SamMasks:
        self.asked.append(ask)
        bright = features[0] > 0.5
        inside = torch.zeros_like(bright)
        if ask.boxes is not None:
            x1, y1, x2, y2 = (int(v + 0.5) for v in ask.boxes[0])
            inside[y1:y2, x1:x2] = True
        elif ask.points is not None:
            x, y = (int(v + 0.5) for v in ask.points[0, 0])
            inside[max(y - 20, 0) : y + 20, max(x - 20, 0) : x + 20] = True
        return SamMasks(torch.where(bright & inside, 1.0, -1.0)[None], torch.tensor([0.75]))


class Following(Bright):
    """The same with a memory: what is bright and touches what was found last."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[list[int]] = []

    def follow(
        self, features: Callable[[int], Features], order: Sequence[int], *, frames: int, ask: SamPrompt
    ) -> Iterator[torch.Tensor]:
        self.orders.append([])
        last = self.decode(features(order[0]), ask).logits > 0
        for index in order:
            self.orders[-1].append(index)
            near = max_pool2d(last[None].float(), 9, 1, 4)[0] > 0
            last = (features(index)[0] > 0.5)[None] & near
            yield torch.where(last[0], 1.0, -1.0)


def disc_volume(*, depth: int = 20, empty: Sequence[int] = ()) -> tuple[Any, NDArray[np.bool_]]:
    """A bright disc that moves to the right by a pixel and a half a slice, on slices 4 to 15, and a bright square far off."""
    z, y, x = np.mgrid[:depth, :48, :64]
    truth = (x - (16 + 1.5 * z)) ** 2 + (y - 20) ** 2 <= 7**2
    truth &= (z >= 4) & (z <= 15)
    truth[list(empty)] = False
    pixels = np.where(truth, 150.0, -150.0)
    pixels[:, 40:46, 2:8] = 150.0
    return volume_case(pixels), truth


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


def expert(network: Any) -> NetworkExpert:
    return NetworkExpert("test", network, RECIPE)


CUBOID = Box3D(14, 12, 4, 48, 28, 16)


def test_a_moving_disc_is_followed_both_ways_within_its_cuboid():
    case, truth = disc_volume()
    network = Following()
    (found,) = expert(network).segment(case, [Prompt(CUBOID)])
    assert dice(found.mask, truth) > 0.95
    assert network.orders == [list(range(9, 16)), list(range(9, 3, -1))], "the middle of slices 4 to 15, up, then down"
    assert (found.score, found.gaps, found.notes) == (0.75, (), ())


def test_a_cuboid_that_is_too_short_is_not_left():
    case, truth = disc_volume()
    (found,) = expert(Following()).segment(case, [Prompt(Box3D(14, 12, 7, 48, 28, 11))])
    assert dice(found.mask[7:11], truth[7:11]) > 0.95
    assert not found.mask[:7].any()
    assert not found.mask[11:].any()


def test_the_key_slice_is_that_of_most_points():
    case, truth = disc_volume()
    network = Following()
    points = ((28.0, 20.0, 6.5), (34.0, 20.0, 12.2), (35.0, 21.0, 12.9))
    (found,) = expert(network).segment(case, [Prompt(CUBOID, points)])
    assert network.orders[0][0] == 12
    assert network.asked[0].points is not None
    assert network.asked[0].points.shape == (1, 2, 2)
    assert dice(found.mask, truth) > 0.95
    assert "1 points off the key slice 12 were not used" in found.notes


def test_a_rectangle_on_one_slice_is_followed_until_nothing_is_seen():
    case, truth = disc_volume(depth=30)
    network = Following()
    (found,) = expert(network).segment(case, [Prompt(Box2D(20, 10, 42, 30), slice=10, propagate=True)])
    assert dice(found.mask, truth) > 0.95
    assert network.orders == [list(range(10, 19)), list(range(10, 0, -1))], "three slices without it end a way"


def test_points_alone_in_a_volume():
    case, truth = disc_volume()
    (found,) = expert(Following()).segment(case, [Prompt(None, ((31.0, 20.0, 10.0),))])
    assert dice(found.mask, truth) > 0.95


def test_what_is_parted_is_left_out_and_told():
    case, truth = disc_volume(empty=(12,))

    class Leaping(Following):
        def follow(self, features, order, *, frames, ask):  # type: ignore[no-untyped-def]
            for index in order:
                yield self.decode(features(index), ask).logits[0]

    (found,) = expert(Leaping()).segment(case, [Prompt(CUBOID)])
    assert not found.mask[12:].any()
    assert dice(found.mask[:12], truth[:12]) > 0.9
    assert found.gaps == ()
    assert "no voxel on 1 slices in between" in found.notes
    assert "1 smaller components were left out" in found.notes


def test_without_a_memory_a_cuboid_is_asked_slice_by_slice():
    case, truth = disc_volume()
    network = Bright()
    (found,) = expert(network).segment(case, [Prompt(CUBOID, ((31.0, 20.0, 10.5),))])
    assert dice(found.mask, truth) > 0.95
    assert [ask.points is not None for ask in network.asked] == [z == 10 for z in range(4, 16)]
    assert found.score == 0.75


@pytest.mark.parametrize(
    "prompt",
    [Prompt(Box2D(20, 10, 42, 30), slice=10, propagate=True), Prompt(None, ((31.0, 20.0, 10.5), (32.0, 20.0, 3.0)))],
    ids=["slice", "points"],
)
def test_without_a_memory_the_box_around_the_last_mask_goes_on(prompt: Prompt):
    case, truth = disc_volume()
    (found,) = expert(Bright()).segment(case, [prompt])
    assert dice(found.mask, truth) > 0.85  # the disc moves out of the last box a little


def test_slices_of_a_volume_share_its_window_and_its_features():
    """A volume whose slices differ in brightness keeps one window, and a slice seen flat is not seen again when it is followed."""
    case, _ = disc_volume()
    other = volume_case(case.pixels * np.linspace(0.5, 1, 20)[:, None, None], "MR")
    seen: list[float] = []

    class Counting(Bright):
        def encode(self, pixels: torch.Tensor) -> Features:
            seen.append(float(pixels.mean()))
            return super().encode(pixels)

    one = expert(Counting())
    flat = Prompt(Box2D(20, 10, 42, 30), slice=10)
    one.segment(other, [flat])
    assert len(seen) == 1
    one.segment(other, [Prompt(flat.box, slice=10, propagate=True)])
    count = len(seen)
    assert count == 14, "slices 4 to 15 and one at either end; slice 10 was at hand"
    one.segment(other, [Prompt(flat.box, slice=10, propagate=True), flat])
    assert len(seen) == count


def test_the_real_network_follows_as_its_own_session_does():
    """Features that come from a cache, slice by slice, are those of a session that holds the whole film."""
    model = sam2_model()
    network = Sam2Network(model)
    film = torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    corners, inside = [[10.0, 12.0], [40.0, 44.0]], [[20.0, 22.0]]
    ask = SamPrompt(torch.tensor(corners).view(1, 4), torch.tensor([inside]), False)
    with torch.inference_mode():
        held = [network.encode(frame) for frame in film]
        for order in (range(2, 6), range(2, -1, -1)):
            ours = [logits.clone() for logits in network.follow(held.__getitem__, order, frames=6, ask=ask)]
            session = Sam2VideoInferenceSession(video=film, dtype=torch.float32)
            places = {"point_coords": torch.tensor([[corners + inside]]), "point_labels": torch.tensor([[[2, 3, 1]]])}
            session.add_point_inputs(session.obj_id_to_idx(1), 2, places)
            session.obj_with_new_inputs = [1]
            reverse = order.step < 0
            theirs = list(model.propagate_in_video_iterator(session, start_frame_idx=2, reverse=reverse))
            assert [out.frame_idx for out in theirs] == list(order)
            assert all(torch.allclose(out.pred_masks[0, 0], logits) for out, logits in zip(theirs, ours, strict=True))
            alone = network.decode(held[order[1]], ask).logits[0]
            assert not torch.allclose(alone, ours[1], rtol=0.1), "what is remembered matters"
        first = next(iter(network.follow(held.__getitem__, range(2, 6), frames=6, ask=ask)))
        assert torch.allclose(network.decode(held[2], ask).logits[0], first, rtol=1e-4, atol=0.1)


def test_a_network_without_a_memory_says_so():
    video = sam2_model()
    settings = video.config.to_dict()
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    model = Sam2Model(Sam2Model.config_class(**{part: settings[part] for part in parts}))
    with pytest.raises(ModelError, match="no memory"):
        expert(Sam2Network(model)).segment(disc_volume()[0], [Prompt(CUBOID)])
    (found,) = expert(Sam2Network(model)).segment(disc_volume()[0], [Prompt(Box2D(2, 2, 20, 20), slice=1)])
    assert found.mask.shape == (20, 48, 64)


def test_a_real_network_without_memory_on_a_cuboid():
    from unireason.segment.sam import SamNetwork

    (found,) = expert(SamNetwork(sam_model())).segment(disc_volume()[0], [Prompt(CUBOID)])
    assert set(np.flatnonzero(found.mask.any((1, 2)))) <= set(range(4, 16))
