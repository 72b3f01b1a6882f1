"""Pictures as addresses: exact while small, bounded when large."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from unireason.core.errors import FormatError
from unireason.report.html import addresses, fit


def decoded(link: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(link.split(",", 1)[1]))))


def test_small_pictures_are_kept_exactly() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (5, 7), dtype=np.uint8), rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)]
    for link, picture in zip(addresses(pictures), pictures, strict=True):
        assert link.startswith("data:image/png;base64,")
        np.testing.assert_array_equal(decoded(link), picture)


def test_pictures_above_the_budget_become_jpeg_all_together() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    links = addresses(list(noise), budget=5000)
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert decoded(links[0]).shape == (64, 64)


def test_no_pictures_give_no_addresses() -> None:
    assert addresses([]) == []


def test_fit_averages_and_never_enlarges() -> None:
    picture = np.array([[0, 100, 200, 100], [100, 0, 100, 200]], np.uint8)
    np.testing.assert_array_equal(fit(picture, 2), [[50, 150]])
    assert fit(picture, 4) is picture


@pytest.mark.parametrize("shape", [(0, 3), (2, 2, 4), (2, 2, 2, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match="uint8 of"):
        addresses([np.zeros(shape, np.uint8)])
    with pytest.raises(FormatError, match="float"):
        fit(np.zeros((2, 2)), 1)  # type: ignore[arg-type]
