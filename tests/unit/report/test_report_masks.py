"""Pictures of masks: the colour lies where the mask lies, in true proportions, with the box and points that asked for it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Box2D, Box3D, Case, Geometry, Source
from unireason.report.pictures import SIDE, mask_montage, mask_picture, write_mask_picture

BLUE, AMBER = (76, 194, 255), (255, 176, 46)


def volume(shape=(12, 20, 20), spacing_mm=(1.0, 1.0, 5.0), affine_lps=None):
    pixels = np.full(shape, 40, np.int16)
    geometry = Geometry(shape, shape[::-1], (0, 1, 2), (False,) * 3, affine_lps, spacing_mm)
    return Case(pixels, "volume", geometry, "CT", Source("a", "test", ""))


def image(shape=(20, 20), spacing_mm=None, value=128):
    geometry = Geometry(shape, shape[::-1], (0, 1), (False, False), None, spacing_mm)
    return Case(np.full(shape, value, np.uint8), "image", geometry, "", Source("a", "test", ""))


def masked(case, *region):
    mask = np.zeros(case.geometry.shape, bool)
    if region:
        mask[region] = True
    return mask


def where(picture, colour):
    """(x1, y1, x2, y2) around the pixels of a colour, half-open; None if there are none."""
    y, x = np.nonzero((picture == colour).all(axis=-1))
    return (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1) if len(x) else None


def test_outline_and_fill_lie_where_the_mask_lies():
    case = image()
    picture = mask_picture(case, masked(case, slice(5, 10), slice(2, 8)))
    assert picture.shape == (SIDE, SIDE, 3)
    assert picture.dtype == np.uint8
    unit = SIDE // 20
    assert where(picture, BLUE) == (2 * unit, 5 * unit, 8 * unit, 10 * unit)
    assert tuple(picture[5 * unit + 1, 5 * unit]) == BLUE
    inside = picture[5 * unit + 2, 5 * unit].astype(float)
    assert inside == pytest.approx(0.72 * 128 + 0.28 * np.array(BLUE), abs=1)
    assert tuple(picture[5 * unit - 1, 5 * unit]) == (8, 9, 11)  # a dark rim outside
    assert tuple(picture[15 * unit, 15 * unit]) == (128, 128, 128)


def test_true_proportions():
    case = image((20, 40), spacing_mm=(1.0, 4.0))
    picture = mask_picture(case, masked(case, slice(0, 10), slice(0, 20)))
    assert picture.shape == (SIDE, SIDE // 2, 3)
    assert where(picture, BLUE) == (0, 0, SIDE // 4, SIDE // 2)


def test_box_and_point_are_drawn():
    case = image()
    picture = mask_picture(case, masked(case), boxes=[Box2D(4, 6, 10, 16)], points=[(15.5, 3.0)])
    unit = SIDE // 20
    assert where(picture[4 * unit :, : 14 * unit], AMBER) == (4 * unit, 2 * unit, 10 * unit, 12 * unit)
    x1, y1, x2, y2 = where(picture[: 5 * unit, 14 * unit :], AMBER)
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((1.5 * unit, 3 * unit), abs=1)


def test_fullest_slice_of_a_volume():
    case = volume()
    mask = masked(case, slice(2, 9), slice(4, 6), slice(4, 6)) | masked(case, 7, slice(4, 12), slice(4, 12))
    assert np.array_equal(mask_picture(case, mask), mask_picture(case, mask, at=7))
    assert not np.array_equal(mask_picture(case, mask), mask_picture(case, mask, at=6))


@pytest.mark.parametrize(
    ("prompt", "z"),
    [({"boxes": [Box3D(1, 1, 2, 5, 5, 6)]}, 4), ({"points": [(3, 3, 9.5)]}, 9), ({}, 6), ({"boxes": [Box2D(1, 1, 2, 2)]}, 6)],
)
def test_slice_of_an_empty_mask(prompt, z):
    case = volume()
    assert np.array_equal(mask_picture(case, masked(case), **prompt), mask_picture(case, masked(case), at=z, **prompt))


def test_cuboid_and_points_on_their_slices_only():
    case = volume()
    box, point = Box3D(2, 2, 3.5, 10, 10, 6.0), (15.0, 15.0, 8.2)
    drawn = {z: where(mask_picture(case, masked(case), boxes=[box], at=z), AMBER) is not None for z in range(12)}
    assert [z for z, seen in drawn.items() if seen] == [3, 4, 5]
    drawn = {z: where(mask_picture(case, masked(case), points=[point], at=z), AMBER) is not None for z in range(12)}
    assert [z for z, seen in drawn.items() if seen] == [8]


def test_a_sliver_is_still_seen():
    case = image((2000, 2000))
    assert where(mask_picture(case, masked(case, 1001, 1501)), BLUE) is not None


def test_sides_are_told_where_they_are_known():
    empty = np.zeros((12, 20, 20), bool)
    known, unknown = (mask_picture(volume(affine_lps=affine), empty)[:30, -30:] for affine in (np.eye(4), None))
    assert (known == 255).all(axis=-1).any()
    assert not (unknown == 255).all(axis=-1).any()


def test_window_is_taken():
    case = volume()
    assert mask_picture(case, masked(case))[100, 100].tolist() == [128] * 3
    assert mask_picture(case, masked(case), window="lung")[100, 100, 0] == round(255 * (40 + 1350) / 1500)


@pytest.mark.parametrize(("slices", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (9, 3, 3), (12, 3, 3)])
def test_montage_has_at_most_nine_tiles(slices, columns, rows):
    case = volume()
    sheet = mask_montage(case, masked(case, slice(12 - slices, 12), slice(5, 9), slice(5, 9)))
    assert sheet.shape == (rows * 324 - 4, columns * 324 - 4, 3)
    seen = [
        (sheet[y : y + 320, x : x + 320] == BLUE).all(-1).any()
        for y in range(0, rows * 324, 324)
        for x in range(0, columns * 324, 324)
    ]
    assert sum(seen) == min(slices, 9)


def test_montage_of_an_empty_mask_shows_the_volume():
    case = volume()
    assert mask_montage(case, masked(case)).shape == (3 * 324 - 4, 3 * 324 - 4, 3)


def test_written_files(tmp_path):
    for case, draw in ((image(), mask_picture), (volume(), mask_montage)):
        mask = masked(case, 3)
        path = write_mask_picture(tmp_path / "deep" / f"{case.kind}.png", case, mask)
        assert np.array_equal(np.asarray(Image.open(path)), draw(case, mask))
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match="cannot be written"):
        write_mask_picture(tmp_path / "file" / "a.png", image(), masked(image()))


def test_colour_pictures():
    case = image()
    colour = Case(np.zeros((20, 20, 3), np.uint8), "image", case.geometry, "", case.source)
    assert mask_picture(colour, masked(case, slice(2, 4))).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize(
    ("case", "mask", "options"),
    [
        (image(), np.zeros((20, 20), np.uint8), {}),
        (image(), np.zeros((20, 21), bool), {}),
        (image(), np.zeros((20, 20), bool), {"boxes": [Box3D(0, 0, 0, 1, 1, 1)]}),
        (image(), np.zeros((20, 20), bool), {"points": [(1, 2, 3)]}),
        (image(), np.zeros((20, 20), bool), {"points": [(1, float("nan"))]}),
        (volume(), np.zeros((12, 20, 20), bool), {"at": 12}),
        (volume(), np.zeros((12, 20, 20), bool), {"window": "soup"}),
    ],
)
def test_what_does_not_fit(case, mask, options):
    with pytest.raises(FormatError):
        mask_picture(case, mask, **options)


def test_no_montage_of_an_image():
    with pytest.raises(FormatError, match="montage of an image"):
        mask_montage(image(), masked(image()))
