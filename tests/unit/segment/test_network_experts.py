"""Every expert with a tiny random network: shapes, what the network is given, one look a picture, nothing learned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segment_networks import MODELS, SIZE, image_case, saved, volume_case
from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Box2D, Box3D
from unireason.segment.expert import WHERE, Prompt, make_expert, make_network_expert

BOX = Box2D(10, 12, 50, 30)
PLACES = ((20.0, 20.0), (30.0, 24.5))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: saved(name, tmp_path_factory.mktemp(name)) for name in MODELS}


@pytest.fixture(params=list(MODELS))
def expert(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Any:
    return make_expert(request.param, weights=folders[request.param], device="cpu")


def picture(seed: int = 0, shape: tuple[int, ...] = (40, 90)) -> Any:
    return image_case(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def volume(shape: tuple[int, int, int] = (9, 30, 50)) -> Any:
    return volume_case(np.random.default_rng(0).normal(40, 100, shape))


def test_masks_lie_on_the_picture(expert: Any):
    prompts = [Prompt(BOX), Prompt(BOX, PLACES), Prompt(None, PLACES), Prompt(None, PLACES[:1])]
    found = expert.segment(picture(), prompts)
    assert [(f.mask.shape, f.mask.dtype) for f in found] == [((40, 90), bool)] * 4
    assert all(0 <= f.score <= 1 for f in found)
    assert len({f.mask.tobytes() for f in found}) == 4, "box and points matter"
    assert expert.segment(picture(), []) == []
    (colour,) = expert.segment(picture(shape=(30, 20, 3)), [Prompt(Box2D(2, 3, 9, 9))])
    assert colour.mask.shape == (30, 20)


def test_prompts_together_are_prompts_apart_and_the_picture_is_seen_once(expert: Any, monkeypatch: pytest.MonkeyPatch):
    seen: list[torch.Tensor] = []
    encode = expert.network.encode
    monkeypatch.setattr(expert.network, "encode", lambda pixels: (seen.append(pixels), encode(pixels))[1])
    boxes = [Prompt(Box2D(x, 5, x + 20, 30)) for x in range(0, 50, 10)]
    prompts = [*boxes, Prompt(BOX, PLACES), Prompt(None, PLACES), Prompt(BOX, PLACES[:1]), Prompt(None, PLACES[1:]), Prompt(BOX)]
    case = picture()
    together = expert.segment(case, prompts)
    apart = [expert.segment(case, [prompt])[0] for prompt in prompts]
    assert len(seen) == 1
    alone = expert.segment(picture(), prompts[5:6])[0]  # another case with the same intensities is the same picture
    assert len(seen) == 1
    assert (alone.mask == together[5].mask).all()
    for one, other in zip(together, apart, strict=True):
        assert np.count_nonzero(one.mask != other.mask) <= 2  # sums in another order
        assert one.score == pytest.approx(other.score, abs=1e-3)


def test_an_array_that_is_filled_again_is_another_picture(expert: Any):
    first, second = picture(1).pixels, picture(2).pixels
    (alone,) = expert.segment(image_case(second.copy()), [Prompt(BOX)])
    buffer = first.copy()
    case = image_case(buffer)
    expert.segment(case, [Prompt(BOX)])
    buffer[:] = second
    for asked in (case, image_case(buffer)):
        (found,) = expert.segment(asked, [Prompt(BOX)])
        assert (found.mask == alone.mask).all()
        assert found.score == pytest.approx(alone.score, abs=1e-5)


@pytest.mark.parametrize("part", ["output_hypernetworks_mlps", "iou_prediction_head"])
def test_damaged_weights_are_no_empty_mask(expert: Any, part: str):
    with torch.no_grad():
        for parameter in getattr(expert.network.model.mask_decoder, part).parameters():
            parameter.fill_(math.nan)
    for prompt in (Prompt(BOX), Prompt(BOX, PLACES), Prompt(None, PLACES[:1])):
        with pytest.raises(ModelError, match="finite"):
            expert.segment(picture(), [prompt])
    with pytest.raises(ModelError, match="finite"):
        expert.segment(volume(), [Prompt(Box3D(5, 5, 2, 30, 25, 7))])


def test_features_that_are_not_finite_are_not_kept(expert: Any):
    with torch.no_grad():
        next(p for name, p in expert.network.model.named_parameters() if "patch_embed" in name).fill_(math.nan)
    for _ in range(2):
        with pytest.raises(ModelError, match="finite"):
            expert.segment(picture(), [Prompt(BOX)])
    assert len(expert.cache) == 0


def test_an_object_score_that_is_not_finite_is_no_empty_slice(folders: dict[str, Path]):
    """The library reads a NaN there as "not seen", and the mask of the slice as empty."""
    expert = make_expert("medsam2", weights=folders["medsam2"], device="cpu")
    with torch.no_grad():
        expert.network.model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(math.nan)
    with pytest.raises(ModelError, match="finite"):
        expert.segment(volume(), [Prompt(Box3D(5, 5, 2, 30, 25, 7))])


def test_nothing_is_learned(expert: Any):
    model = expert.network.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.enable_grad():
        expert.segment(picture(), [Prompt(BOX, PLACES)])
        expert.segment(volume(), [Prompt(Box3D(5, 5, 2, 40, 25, 5))])
    assert not model.training
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert all((before[name] == tensor).all() for name, tensor in model.state_dict().items())
    with pytest.raises(RuntimeError, match="does not require grad"):
        model(**_any_input(expert)).iou_scores.sum().backward() if "2" not in expert.name else _features(expert).backward()


def _any_input(expert: Any) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.zeros(1, 3, SIZE, SIZE), "input_boxes": torch.tensor([[[1.0, 1, 9, 9]]])}


def _features(expert: Any) -> torch.Tensor:
    return expert.network.encode(torch.zeros(3, SIZE, SIZE))[0].sum()


def test_the_network_is_given_the_places_in_its_own_pixels(expert: Any, monkeypatch: pytest.MonkeyPatch):
    given: list[dict[str, Any]] = []
    encoder = expert.network.model.prompt_encoder
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda **kw: (given.append(kw), forward(**kw))[1])
    expert.segment(picture(), [Prompt(BOX, PLACES)])
    (asked,) = given
    x, y = (SIZE / 90, 28 / 40 if expert.name == "sam" else SIZE / 40)  # the longest side, or a squashed square
    box = [v * s - 0.5 for v, s in zip(BOX.coords, (x, y, x, y), strict=True)]
    assert asked["input_boxes"].flatten().tolist() == pytest.approx(box, abs=1e-4)
    points = [c * s - 0.5 for place in PLACES for c, s in zip(place, (x, y), strict=True)]
    assert asked["input_points"].flatten().tolist() == pytest.approx(points, abs=1e-4)
    assert asked["input_labels"].flatten().tolist() == [1, 1]


def test_the_network_is_given_grey_levels_of_its_range(expert: Any, monkeypatch: pytest.MonkeyPatch):
    seen: list[torch.Tensor] = []
    encode = expert.network.encode
    monkeypatch.setattr(expert.network, "encode", lambda pixels: (seen.append(pixels), encode(pixels))[1])
    slab = np.full((3, 20, 20), -1000.0)
    slab[1, :, 10:] = 140.0  # half of slice 1 is three quarters up the soft-tissue window of -160 to 240
    expert.segment(volume_case(slab), [Prompt(Box2D(2, 2, 18, 18), slice=1)])
    left, right = seen[0][0, 30, 5].item(), seen[0][0, 30, 60].item()
    if expert.name == "medsam":
        assert (seen[0].min(), seen[0].max()) == (0, 1)
        assert left == 0.0
        assert right > 0.9  # cubic interpolation overshoots beside the edge
    else:
        assert left == pytest.approx((0 - 0.485) / 0.229, abs=1e-3)
        assert right == pytest.approx((191 / 255 - 0.485) / 0.229, abs=1e-2)


def test_one_slice_of_a_volume(expert: Any):
    case = volume()
    (found,) = expert.segment(case, [Prompt(BOX, slice=3)])
    assert found.mask.shape == (9, 30, 50)
    assert set(np.flatnonzero(found.mask.any((1, 2)))) <= {3}
    flat = image_case(np.clip((case.pixels[3] + 160) / 400 * 255 + 0.5, 0, 255).astype(np.uint8))
    assert (expert.segment(flat, [Prompt(BOX)])[0].mask == found.mask[3]).mean() > 0.999


def test_a_cuboid_stays_within_its_slices(expert: Any):
    found = expert.segment(volume(), [Prompt(Box3D(10, 10, 2, 40, 25, 7), ((20.0, 20.0, 3.5),)), Prompt(BOX, slice=8)])
    assert set(np.flatnonzero(found[0].mask.any((1, 2)))) <= set(range(2, 7))
    assert not found[1].mask[:8].any()


def test_prompts_that_do_not_fit(expert: Any):
    for prompt in (Prompt(), Prompt(Box3D(0, 0, 0, 5, 5, 1)), Prompt(BOX, slice=0), Prompt(Box2D(200, 0, 210, 5))):
        with pytest.raises(FormatError):
            expert.segment(picture(), [prompt])
    with pytest.raises(FormatError, match="slice"):
        expert.segment(volume(), [Prompt(BOX)])


@pytest.mark.parametrize("name", list(WHERE))
def test_without_weights_the_remedy_names_them(name: str):
    with pytest.raises(ModelError, match="has no weights") as caught:
        make_network_expert(name, weights=None)
    assert WHERE[name] in str(caught.value)


def test_weights_that_cannot_be_used(folders: dict[str, Path], tmp_path: Path):
    with pytest.raises(ModelError, match="there is no expert"):
        make_network_expert("unet", weights=tmp_path)
    with pytest.raises(ModelError, match="holds no network"):
        make_network_expert("sam", weights=tmp_path)
    with pytest.raises(ModelError, match="there is no folder"):
        make_network_expert("sam", weights=tmp_path / "sam")
    (tmp_path / "config.json").write_bytes((folders["sam"] / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="pickled weights are not opened"):
        make_network_expert("sam", weights=tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        make_network_expert("sam", weights=tmp_path)
    with pytest.raises(ModelError, match="of model type 'sam'"):
        make_network_expert("sam2", weights=folders["sam"])
    with pytest.raises(ModelError, match=r"12 tensors are missing.*adapter"):
        make_network_expert("sam-med2d", weights=folders["sam"])


def test_a_hub_id_is_fetched_without_pickles(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    asked: list[tuple[str, list[str]]] = []

    def snapshot(ref: str, allow_patterns: list[str]) -> str:
        asked.append((ref, allow_patterns))
        return str(folders["medsam"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert make_network_expert("medsam", weights="wanglab/medsam-vit-base", device="cpu").name == "medsam"
    assert asked == [("wanglab/medsam-vit-base", ["*.safetensors", "*.json"])]
