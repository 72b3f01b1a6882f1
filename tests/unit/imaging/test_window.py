import numpy as np
import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Case, Geometry, Source
from unireason.imaging import present
from unireason.imaging.geometry import volume_geometry


def case_of(pixels: np.ndarray, modality: str = "", stored: tuple[float, float] | None = None) -> Case:
    kind = "image" if pixels.ndim == 2 or pixels.shape[-1] == 3 else "volume"
    geometry = (
        volume_geometry(pixels.shape[::-1], None)
        if kind == "volume"
        else Geometry(pixels.shape[:2], pixels.shape[1::-1], (0, 1), (False, False))
    )
    return Case(pixels, kind, geometry, modality, Source("a", "test", ""), stored)


def test_grey_levels_by_hand() -> None:
    pixels = np.array([[-400, -160, 40], [140, 240, 999]], np.int16)
    grey = present.apply(pixels, present.choose(case_of(pixels, "CT"), "soft-tissue"))
    # level 40, width 400: -160 is black, 240 is white; 40 is 127.5, rounded up; 140 is 0.75 * 255 = 191.25
    assert grey.tolist() == [[0, 0, 128], [191, 255, 255]]
    assert grey.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("lung", "lung (level -600, width 1500)"),
        ("bone", "bone (level 400, width 1800)"),
        ("brain", "brain (level 40, width 80)"),
        ("12,34", "custom (level 12, width 34)"),
        ("minmax", "minmax (-5 to 9)"),
        ("stored", "stored (level 1, width 2)"),
    ],
)
def test_names(name: str, label: str) -> None:
    pixels = np.array([[-5, 9]], np.int16)
    assert present.choose(case_of(pixels, "MR", (1, 2)), name).label == label


@pytest.mark.parametrize("name", ["", "nonsense", "40", "40,0", "40,-1", "nan,3", "40,inf", "1,2,3"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match="window"):
        present.choose(case_of(np.zeros((2, 2), np.int16)), name)


def test_stored_needs_one() -> None:
    with pytest.raises(FormatError, match="stores no window"):
        present.choose(case_of(np.zeros((2, 2), np.int16)), "stored")


def test_automatic() -> None:
    ct_like = np.linspace(-1024, 1500, 60).astype(np.int16).reshape(3, 4, 5)
    assert present.choose(case_of(ct_like, "CT", (1, 2))).label == "soft-tissue (level 40, width 400)"
    assert "look like Hounsfield" in present.choose(case_of(ct_like)).label
    assert present.choose(case_of(ct_like, "MR")).label.startswith("percentile")
    assert present.choose(case_of(ct_like, "MR", (1, 2))).label.startswith("stored")
    assert present.choose(case_of(np.clip(ct_like, -800, 999))).label.startswith("percentile")
    assert present.choose(case_of(ct_like + np.float32(0.25))).label.startswith("percentile")


def test_pictures_pass_through() -> None:
    picture = np.array([[3, 200]], np.uint8)
    assert np.array_equal(present.apply(picture, present.choose(case_of(picture))), picture)
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    assert np.array_equal(present.apply(colour, present.choose(case_of(colour))), colour)
    assert present.apply(picture, present.choose(case_of(picture), "minmax")).tolist() == [[0, 255]]


def test_percentiles_ignore_outliers_and_non_finite_values() -> None:
    pixels = np.arange(10_000, dtype=np.float32).reshape(100, 100)
    pixels[0, 0], pixels[0, 1], pixels[99, 99] = np.nan, np.inf, 1e30
    chosen = present.choose(case_of(pixels), "percentile")
    assert chosen.low == pytest.approx(100, abs=3)
    assert chosen.high == pytest.approx(9899, abs=3)
    grey = present.apply(pixels, chosen)
    assert (grey[0, 0], grey[0, 1], grey[99, 99]) == (0, 255, 255)


def test_constant_and_empty_of_finite_values_become_black() -> None:
    for value in (5.0, np.nan):
        pixels = np.full((2, 3), value, np.float32)
        for name in ("minmax", "percentile"):
            assert present.apply(pixels, present.choose(case_of(pixels), name)).max() == 0


def test_memory_order_does_not_matter() -> None:
    pixels = np.random.default_rng(0).integers(-1000, 1000, (70, 80, 90)).astype(np.int16)
    chosen = present.choose(case_of(pixels), "lung")
    expected = present.apply(pixels, chosen)
    turned = np.ascontiguousarray(pixels[::-1].transpose(2, 0, 1))
    assert np.array_equal(present.apply(turned.transpose(1, 2, 0)[::-1], chosen), expected)


def test_extremes_of_wide_integers_do_not_overflow() -> None:
    pixels = np.array([[-(2**31), 2**31 - 1, 41]], np.int32)
    assert present.apply(pixels, present.choose(case_of(pixels), "40,400")).tolist() == [[0, 255, 128]]


@pytest.mark.parametrize("name", ["-40000,10", "40000,10", "0,200000", "0,65535", "0.5,3", "100,1", "-32768,2"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float64])
def test_windows_at_and_beyond_the_ends_of_a_type(name: str, dtype: type) -> None:
    pixels = np.array([[-32768, -32767, -1, 0, 1, 2, 99, 100, 32767]], dtype)
    chosen = present.choose(case_of(pixels), name)
    exact = np.clip((pixels.astype(float) - chosen.low) / (chosen.high - chosen.low), 0, 1) * 255
    assert np.abs(present.apply(pixels, chosen) - exact).max() <= 0.51


def test_finite_fills_holes_as_they_are_shown_and_leaves_the_rest() -> None:
    whole = np.array([[1, 2], [3, 4]], np.float32)
    assert present.finite(whole) is whole
    holed = np.array([[np.nan, 2, np.inf], [3, -np.inf, 5]], np.float32)
    assert present.finite(holed).tolist() == [[2, 2, 5], [3, 2, 5]]
    assert present.finite(np.full((2, 2), np.nan)).tolist() == [[0, 0], [0, 0]]
    assert present.finite(np.arange(3)).tolist() == [0, 1, 2]
