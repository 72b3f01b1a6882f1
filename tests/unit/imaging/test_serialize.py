import json
from pathlib import Path

import numpy as np
import pytest
from test_window import case_of

from unireason.core.errors import FormatError, GeometryError
from unireason.core.types import Frame, Stack
from unireason.imaging import native_region, published_serialize, serialize
from unireason.imaging.present import coverage


def test_shrinking_averages_exactly_what_is_covered() -> None:
    pixels = np.zeros((3, 2, 2), np.int16)
    pixels[0], pixels[1], pixels[2] = 0, 100, 200
    stack = serialize(case_of(pixels), depth=2, size=(1, 1), window="127.5,255")
    # slice 0 covers [0, 1.5): (1 * 0 + 0.5 * 100) / 1.5 = 33.3; slice 1 covers [1.5, 3): (50 + 200) / 1.5 = 166.7
    assert stack.slices.ravel().tolist() == [33, 167]
    assert stack.coverage == ((0, 2), (1, 3))


def test_growing_interpolates_between_centres() -> None:
    pixels = np.array([[[0]], [[100]]], np.int16)
    stack = serialize(case_of(pixels), depth=4, size=(1, 1), window="127.5,255")
    # centres at -0.25 (held at 0), 0.25, 0.75, 1.25 (held at 1)
    assert stack.slices.ravel().tolist() == [0, 25, 75, 100]
    assert stack.coverage == ((0, 1), (0, 1), (1, 2), (1, 2))


def test_window_comes_before_resampling() -> None:
    pixels = np.array([[[-1000, 1000]]], np.int16)
    stack = serialize(case_of(pixels, "CT"), depth=1, size=(1, 1))
    assert stack.slices.item() == 128  # black and white averaged; air and bone averaged would be 0 HU = 102


def test_fine_patterns_do_not_alias() -> None:
    stripes = np.zeros((4, 64, 64), np.int16)
    stripes[:, :, ::2] = 255
    stack = serialize(case_of(stripes), depth=4, size=(16, 16), window="127.5,255")
    assert set(np.unique(stack.slices)) <= {127, 128}


@pytest.mark.parametrize(("slices", "depth"), [(200, 32), (7, 32), (1, 5), (33, 32), (32, 32)])
def test_coverage_is_complete_and_never_empty(slices: int, depth: int) -> None:
    ranges = coverage(slices, depth)
    assert len(ranges) == depth
    assert all(0 <= low < high <= slices for low, high in ranges)
    assert set(range(slices)) == {n for low, high in ranges for n in range(low, high)}


def test_defaults_and_sizes() -> None:
    stack = serialize(case_of(np.zeros((5, 6, 7), np.int16)))
    assert stack.slices.shape == (32, 256, 256)
    assert stack.native.shape == (5, 6, 7)
    picture = np.arange(42, dtype=np.uint8).reshape(6, 7)
    image = serialize(case_of(picture))
    assert np.array_equal(image.slices[0], picture)
    assert not np.shares_memory(image.slices, image.native)
    assert serialize(case_of(np.zeros((6, 7, 3), np.uint8)), size=(3, 4)).slices.shape == (1, 3, 4, 3)
    for bad in ({"depth": 0}, {"size": (0, 5)}, {"size": (5, 99999)}):
        with pytest.raises(FormatError, match="size"):
            serialize(case_of(np.zeros((5, 6, 7), np.int16)), **bad)


def stack_of(native: np.ndarray, depth: int) -> Stack:
    return Stack(np.zeros((depth, 4, 4), np.uint8), "volume", "", coverage(len(native), depth), native)


def test_native_region_is_the_mean_of_what_the_slice_covers() -> None:
    native = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8) // 2
    stack, frame = stack_of(native, 2), Frame(4, 4, 2, "volume")
    region = native_region(stack, frame, 1, (1, 2, 3, 4))
    assert region.shape == (4, 4)
    expected = np.floor(native[2:4, 4:8, 2:6].mean(0) + 0.5)
    assert np.array_equal(region, expected)


@pytest.mark.parametrize("rect", [(0, 0, 0, 0), (4, 4, 4, 4), (9, 9, 10, 10), (-5, -5, -4, -4), (2.2, 2.2, 2.3, 2.3)])
def test_native_region_is_never_empty(rect: tuple[float, ...]) -> None:
    stack = stack_of(np.zeros((2, 5, 3), np.uint8), 2)
    assert native_region(stack, Frame(4, 4, 2, "volume"), 0, rect).size >= 1


def test_native_region_of_an_image_is_exact_and_a_copy() -> None:
    native = np.arange(30 * 10, dtype=np.int64).astype(np.uint8).reshape(10, 30)
    stack = Stack(native[None].copy(), "image", "", ((0, 1),), native)
    region = native_region(stack, Frame(10, 10, 1, "image"), 0, (3, 1, 6, 2))
    assert np.array_equal(region, native[1:2, 9:18])
    assert not np.shares_memory(region, native)
    with pytest.raises(GeometryError, match="slice 1"):
        native_region(stack, Frame(10, 10, 1, "image"), 1, (0, 0, 1, 1))


def test_published_scaling_by_hand() -> None:
    volume = np.array([[[0.0, 1.0], [2.0, 3.0]]] * 2)
    assert published_serialize(volume, (2, 2, 2), "minmax").tolist() == [[[0, 85], [170, 255]]] * 2
    with pytest.raises(FormatError, match="three axes"):  # an axis of one entry goes
        published_serialize(volume[:1], (1, 2, 2), "minmax")
    moved = published_serialize(np.arange(12.0).reshape(2, 3, 2), (3, 2, 2), "minmax")
    assert moved[:, 0, 0].tolist() == [0, 46, 92]  # the axis of length 3 came to the front: 0, 2, 4 of 11
    with pytest.raises(FormatError, match="three axes"):
        published_serialize(np.zeros((2, 2)), (1, 1, 1))
    with pytest.raises(FormatError, match="normalize"):
        published_serialize(volume, (2, 2, 2), "zscore")


def test_published_cases() -> None:
    """Recorded output of the published system, kept here in small."""
    cases = json.loads((Path(__file__).parent / "published_serialize.json").read_text())
    assert len(cases) == 4
    for case in cases:
        volume = np.array(case["volume"]).reshape(case["shape"])
        slices = published_serialize(volume, tuple(case["target_dhw"]), case["normalize"])
        assert np.abs(slices.astype(int) - np.array(case["slices_uint8"])).max() <= 1


def test_a_volume_as_published_keeps_its_axes() -> None:
    pixels = np.random.default_rng(3).integers(-900, 900, (5, 9, 7)).astype(np.int16)
    stack = serialize(case_of(pixels, modality="CT"), depth=4, size=(6, 6), window="published")
    low, high = np.percentile(pixels, [1, 99])
    assert stack.window == f"published (percentiles 1 to 99: {low:g} to {high:g})"
    assert np.abs(stack.slices.astype(int) - published_serialize(pixels, (4, 6, 6))).max() <= 1
    assert not np.array_equal(stack.slices, serialize(case_of(pixels), depth=4, size=(6, 6), window="percentile").slices)
    turned = serialize(case_of(pixels.transpose(2, 1, 0)), depth=4, size=(6, 6), window="published")
    assert turned.coverage[-1][1] == 7
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(serialize(case_of(grey), window="published").slices[0], grey)
