"""Features of a frozen tower: those of the tower, whatever the cache held and whatever was computed along with them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiny
from unireason.core.errors import ModelError
from unireason.model import vision
from unireason.model import vision as patches
from unireason.model.checkpoint import Checkpoint
from unireason.model.files import make_processor
from unireason.train import features as module
from unireason.train.features import DiskCache, Features

OFF = DiskCache(None, 0)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return frozen(tiny.checkpoint())


def frozen(checkpoint: Checkpoint) -> Checkpoint:
    """A copy of its own with a frozen tower."""
    own = replace(checkpoint, network=copy.deepcopy(checkpoint.network))
    own.network.model.visual.requires_grad_(False)
    return own


def pictures(*shapes: tuple[int, ...], seed: int = 0) -> list[NDArray[np.uint8]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, shape, np.uint8) for shape in shapes]


def plainly(checkpoint: Checkpoint, shown: list[NDArray[np.uint8]]) -> list[torch.Tensor]:
    return [f.bfloat16() for f in vision.encode(checkpoint, vision.prepare(checkpoint, shown))]


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return len(one) == len(two) and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_features_are_those_of_the_tower(checkpoint):
    shown = pictures((56, 56), (56, 56, 3), (28, 84), (56, 56), (60, 50), (28, 56, 3), (56, 84))
    found = Features(checkpoint, OFF).of(shown)
    assert [tuple(f.shape) for f in found] == [(4, 64), (4, 64), (3, 64), (4, 64), (4, 64), (2, 64), (6, 64)]
    assert not any(f.requires_grad for f in found)
    for one, expected in zip(found, plainly(checkpoint, shown), strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one, expected, rtol=2**-7, atol=1e-5)  # one step of bfloat16


def test_several_lists_at_once_are_as_one_by_one(checkpoint):
    lists = [pictures((56, 56), (28, 28)), [], pictures((28, 28), seed=1), pictures((56, 84, 3), (28, 28), seed=2)]
    lists.append(lists[0])
    together = Features(checkpoint, OFF, memory_bytes=0)
    found = together.of_many(lists)
    assert found[1] == []
    assert together.misses == 3  # the empty list needs nothing, and the one that comes twice is computed once
    for shown, got in zip(lists, found, strict=True):
        assert same(got, Features(checkpoint, OFF).of(shown))
    assert same(found[0], found[4])


shapes = st.sampled_from([(28, 28), (28, 56), (56, 28), (56, 56), (84, 56), (28, 28, 3), (56, 84, 3)])


@settings(max_examples=25)
@given(st.lists(st.lists(shapes, min_size=1, max_size=4), min_size=1, max_size=5), st.sampled_from(["fp32", "bf16"]))
def test_what_is_computed_along_changes_no_bit(checkpoint, listed, precision):
    lists = [pictures(*wanted, seed=i) for i, wanted in enumerate(listed)]
    found = Features(checkpoint, OFF, precision=precision, kept=torch.float32).of_many(lists)
    alone = [Features(checkpoint, OFF, precision=precision, kept=torch.float32).of(shown) for shown in lists]
    assert all(same(a, b) for a, b in zip(found, alone, strict=True))


def test_a_half_filled_cache_gives_the_same_bits(checkpoint, tmp_path):
    lists = [pictures((28, 28), seed=i) for i in range(6)] + [pictures((56, 56), (56, 56), seed=9)]
    whole = Features(checkpoint, OFF).of_many(lists)
    Features(checkpoint, DiskCache(tmp_path, 1 << 30)).of_many(lists[1:4])
    resumed = Features(checkpoint, DiskCache(tmp_path, 1 << 30))
    found = resumed.of_many(lists)
    assert (resumed.hits, resumed.misses) == (3, 4)
    assert all(same(a, b) for a, b in zip(found, whole, strict=True))


def test_the_disk_and_the_memory_are_asked_before_the_tower(checkpoint, tmp_path, monkeypatch):
    runs = []
    encode = vision.encode
    monkeypatch.setattr(vision, "encode", lambda c, prepared: runs.append(len(prepared.pictures)) or encode(c, prepared))
    shown = pictures((56, 56), (28, 84), (56, 84, 3), (56, 84))
    disk = DiskCache(tmp_path, 1 << 30)
    one = Features(checkpoint, disk)
    first = one.of(shown)
    assert len(runs) == 1
    assert same(one.of(shown), first)
    assert (one.hits, one.misses, disk.hits) == (1, 1, 0)  # memory
    two = Features(checkpoint, disk, memory_bytes=0)
    assert same(two.of(shown), first)
    assert same(two.of(shown), first)
    assert (two.hits, two.misses, disk.hits) == (2, 0, 2)
    assert len(runs) == 1
    assert two.of([]) == []


@pytest.mark.parametrize("change", ["value", "shape", "order", "count", "colour"])
def test_other_pictures_are_another_entry(checkpoint, change):
    features = Features(checkpoint, OFF)
    shown = pictures((56, 56), (56, 56))
    features.of(shown)
    other = [p.copy() for p in shown]
    if change == "value":
        other[1][55, 55] ^= 1
    elif change == "shape":
        other[1] = other[1].reshape(28, 112)
    elif change == "order":
        other = other[::-1]
    elif change == "count":
        other = other[:1]
    else:
        other[1] = np.repeat(other[1][..., None], 3, axis=2)
    features.of(other)
    assert (features.hits, features.misses) == (0, 2)


def test_another_tower_processor_or_precision_is_another_entry(checkpoint, tmp_path):
    disk = DiskCache(tmp_path, 1 << 30)
    shown = pictures((56, 56))
    first = Features(checkpoint, disk).of(shown)
    again = frozen(checkpoint)
    assert same(Features(again, disk).of(shown), first)
    assert disk.hits == 1
    moved = frozen(checkpoint)
    moved.network.model.visual.merger.mlp[2].bias.data[0] += 1
    table = {"min_pixels": 784, "max_pixels": 56 * 84}
    darker = replace(checkpoint, image_processor=make_processor(table | {"image_mean": [0.4, 0.4, 0.4]}))
    for features in (Features(moved, disk), Features(darker, disk), Features(checkpoint, disk, precision="bf16")):
        assert not same(features.of(shown), first)
        assert features.misses == 1
    exact = Features(checkpoint, disk, kept=torch.float32).of(shown)
    assert exact[0].dtype == torch.float32
    assert torch.equal(exact[0].bfloat16(), first[0])


def test_an_entry_of_another_form_is_computed_anew(checkpoint, tmp_path):
    disk = DiskCache(tmp_path, 1 << 30)
    shown = pictures((56, 56))
    first = Features(checkpoint, disk).of(shown)
    (key,) = [Features(checkpoint, disk)._key(shown)]
    good = disk.get(key)
    tokens = torch.tensor([4])
    for bad in (
        {"features": good["features"]},
        {"features": good["features"][:3], "tokens": tokens},
        {"features": good["features"][:, :3], "tokens": tokens},
        {"features": good["features"].float(), "tokens": tokens},
        {"features": good["features"], "tokens": torch.tensor([2, 2])},
    ):
        disk.put(key, bad)
        features = Features(checkpoint, disk)
        assert same(features.of(shown), first)
        assert features.misses == 1


def test_many_pictures_go_in_portions(checkpoint, monkeypatch):
    sizes = []
    encode = vision.encode
    monkeypatch.setattr(vision, "encode", lambda c, prepared: sizes.append(len(prepared.pixel_values)) or encode(c, prepared))
    monkeypatch.setattr(module, "_MOST_PATCHES", 100)
    lists = [pictures((56, 56), (28, 28), (56, 84), seed=i) for i in range(10)]
    found = Features(checkpoint, OFF).of_many(lists)
    assert all(n <= 100 for n in sizes)
    assert len(sizes) == 5  # 440 patches
    monkeypatch.setattr(module, "_MOST_PATCHES", 10**6)
    assert all(same(a, b) for a, b in zip(found, Features(checkpoint, OFF).of_many(lists), strict=True))


def test_ambient_autocast_changes_nothing(checkpoint):
    shown = pictures((56, 56))
    with torch.autocast("cpu", torch.bfloat16):
        found = Features(checkpoint, OFF, kept=torch.float32).of(shown)
    assert same(found, Features(checkpoint, OFF, kept=torch.float32).of(shown))


def test_a_tower_that_is_trained_is_refused(checkpoint):
    own = frozen(checkpoint)
    own.network.model.visual.merger.mlp[0].weight.requires_grad_(True)
    with pytest.raises(ModelError, match="merger"):
        Features(own, OFF)


@pytest.mark.parametrize("picture", [np.zeros((56, 56), np.float32), np.zeros((56, 56, 2), np.uint8), np.zeros((56,), np.uint8)])
def test_what_is_no_picture(checkpoint, picture):
    with pytest.raises(ModelError, match="shape"):
        Features(checkpoint, OFF).of([picture])


def test_the_fast_way_is_the_way_of_the_image_processor(checkpoint):
    for shape in ((28, 28), (56, 84), (84, 56)):
        shown = pictures(*[shape] * 5)
        prepared = vision.prepare(checkpoint, shown)
        assert torch.equal(patches.patchify(np.stack(shown)), prepared.pixel_values)
        assert [tuple(g) for g in patches.grid(5, *shape).tolist()] == list(prepared.grid_thw)


def test_the_fast_way_is_taken_where_it_fits_alone(checkpoint, monkeypatch):
    prepared = []
    prepare = vision.prepare
    monkeypatch.setattr(vision, "prepare", lambda c, some: prepared.append(len(some)) or prepare(c, some))
    grey, colour = pictures((56, 56), (28, 28)), pictures((56, 56, 3))
    Features(checkpoint, OFF).of(grey)
    assert prepared == []
    Features(checkpoint, OFF).of(grey + colour)
    assert prepared == [1]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, True),
        ({"image_mean": [0.5, 0.5, 0.5]}, False),
        ({"image_std": [0.5, 0.5, 0.5]}, False),
        ({"patch_size": 16}, False),
        ({"merge_size": 1}, False),
        ({"temporal_patch_size": 1}, False),
        ({"rescale_factor": 1 / 256}, False),
    ],
)
def test_processors_that_the_fast_way_fits(table: dict[str, Any], expected: bool):
    assert patches.fits(make_processor(table)) is expected
