"""Cases made of the pictures that kits hand over."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.trees import write_picture, write_volume

from unireason.bridges.answering import ASSUMED, case_of
from unireason.core.errors import FormatError, ImageReadError
from unireason.imaging.present import serialize

GREY = np.random.default_rng(0).integers(40, 90, (4, 6, 5), dtype=np.uint8)


def test_a_path_a_pillow_picture_and_an_array_are_the_same_image(tmp_path):
    path = write_picture(tmp_path / "a.png", GREY[0])
    given = [
        str(path),
        path,
        Image.fromarray(GREY[0]),
        Image.fromarray(GREY[0]).convert("RGB"),
        GREY[0],
        np.dstack([GREY[0]] * 3),
    ]
    for case in (case_of([picture]) for picture in given):
        assert (case.kind, case.pixels.dtype, case.notes) == ("image", np.uint8, ())
        assert np.array_equal(case.pixels, GREY[0])
        assert case.geometry.shape == (6, 5)


def test_colour_stays_in_an_image():
    colour = np.dstack(list(GREY[:3]))
    assert np.array_equal(case_of([Image.fromarray(colour)]).pixels, colour)


def test_colour_that_differs_in_one_channel_stays():
    """Red and green alike, as of a yellow picture, are not grey."""
    yellow = np.dstack([GREY[0], GREY[0], GREY[1]])
    assert np.array_equal(case_of([yellow]).pixels, yellow)


def test_several_pictures_are_slices_in_order_with_their_grey_levels():
    case = case_of([Image.fromarray(picture).convert("RGB") for picture in GREY])
    assert (case.kind, case.modality, case.notes) == ("volume", "", (ASSUMED,))
    assert np.array_equal(case.pixels, GREY)
    assert (case.geometry.shape, case.geometry.source_shape) == ((4, 6, 5), (5, 6, 4))
    assert case.geometry.spacing_mm is None
    assert case.geometry.affine_lps is None
    assert np.array_equal(serialize(case, depth=4, size=(6, 5)).slices, GREY)


def test_of_coloured_slices_the_luminance_is_taken():
    red, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    red[..., 0] = 200
    assert case_of([red, white]).pixels[:, 0, 0].tolist() == [60, 255]


def test_other_pixels_are_another_case():
    once, again, other = case_of(list(GREY)), case_of(list(GREY)), case_of(list(GREY[::-1]))
    assert once.source.sha256 == again.source.sha256 != other.source.sha256
    assert case_of([GREY[0]]).source.sha256 != case_of([GREY[0].reshape(5, 6)]).source.sha256


def test_a_volume_file_is_read_as_it_is(tmp_path):
    path = write_volume(tmp_path / "v.nii.gz", GREY.astype(np.int16))
    assert case_of([path]).geometry.spacing_mm == (2.0, 2.0, 5.0)
    with pytest.raises(FormatError, match="one of them a volume"):
        case_of([path, GREY[0]])


def test_what_cannot_be_a_case(tmp_path):
    with pytest.raises(FormatError, match="without a picture"):
        case_of([])
    with pytest.raises(FormatError, match="5 x 6 x uint8, 6 x 5 x uint8"):
        case_of([GREY[0], GREY[0].T])
    with pytest.raises(FormatError, match="float64"):
        case_of([GREY[0] / 2])
    with pytest.raises(FormatError, match="type dict"):
        case_of([{}])
    with pytest.raises(ImageReadError):
        case_of([tmp_path / "none.png"])
