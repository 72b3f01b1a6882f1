"""Still pictures: sizes, colours at hand-computed places, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

import report_samples as samples
from unireason.core.errors import FormatError
from unireason.report import pictures
from unireason.report.pictures import TONES

FIRST = ImageColor.getrgb(TONES[0])


def parts(sample: samples.Sample) -> tuple:  # type: ignore[type-arg]
    return sample.trace, sample.case, sample.stack


def test_thumbnail_draws_the_box_where_box_model_says() -> None:
    # frame 84 x 56 drawn at 168 x 112: factor 2; box 28,19..56,37 covers pixels 56..111 x 38..73
    pixels = np.asarray(pictures.thumbnail(*parts(samples.image()), height=112))
    assert pixels.shape == (112, 168, 3)
    line = np.all(pixels == FIRST, axis=2)
    line[:37] = False  # the number stands above the box
    rows, columns = np.nonzero(line)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (56, 38, 111, 73)
    assert not line[45:65, 62:105].any(), "the inside stays free"


def test_thumbnail_of_a_volume_keeps_true_proportions() -> None:
    assert pictures.thumbnail(*parts(samples.volume()), height=100).size == (96, 100)


def test_overlay_shows_slices_crops_and_grows_with_its_content(tmp_path: Path) -> None:
    sample = samples.volume()
    path = pictures.write_overlay(*parts(sample), tmp_path / "trace.png", width=900)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == 900
        colours = {colour for _, colour in picture.getcolors(1 << 20) or []}
        height = picture.height
    assert ImageColor.getrgb(TONES[0]) in colours
    assert ImageColor.getrgb(TONES[1]) in colours
    longer = replace(sample.trace, question=sample.trace.question * 8)
    assert pictures.overlay(longer, sample.case, sample.stack, width=900).height > height


def test_overlay_without_looks_shows_the_middle_slice() -> None:
    sample = samples.volume()
    bare = replace(sample.trace, steps=())
    picture = np.asarray(pictures.overlay(bare, sample.case, sample.stack, width=600))
    assert picture.shape[1] == 600
    assert not any(np.all(picture == ImageColor.getrgb(tone), axis=2).any() for tone in TONES)


def test_hostile_text_and_endless_words_are_drawn_inside_the_picture() -> None:
    sample = samples.hostile()
    trace = replace(sample.trace, question="w" * 3000)
    pixels = np.asarray(pictures.overlay(trace, sample.case, sample.stack, width=500))
    assert (pixels[:, 474:] == 255).all(), "the right margin stays empty"


def test_senseless_sizes_are_refused() -> None:
    sample = samples.volume()
    with pytest.raises(FormatError, match="at least 400"):
        pictures.overlay(*parts(sample), width=100)
    with pytest.raises(FormatError, match="at least 32"):
        pictures.thumbnail(*parts(sample), height=3)
