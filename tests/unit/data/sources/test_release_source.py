"""An imported release as its own source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.types import Source
from unireason.data.dataset import Dataset
from unireason.data.formats import unimed_cot
from unireason.data.formats.importer import Wanted, take_in
from unireason.data.formats.unimed_cot import ImageRow, RlRow
from unireason.data.frames import FrameRule, from_png, model_pictures, png
from unireason.data.sources.release import case_of

RULE = FrameRule(volume_shape=(3, 28, 56), min_pixels=784)


@pytest.fixture
def stack(tmp_path):
    """Three slices, and the data set that holds them as a volume."""
    slices = np.random.default_rng(0).integers(0, 256, (3, 28, 56), np.uint8)
    names = ("a", "b", "c")
    asked = (("user", "<image>" * 3 + "Where?\nA. left\nB. right"),)
    rows = [ImageRow(n, f"{n}.png", png(s)) for n, s in zip(names, slices, strict=True)]
    unimed_cot.write(tmp_path / "in", [*rows[::-1], RlRow(asked, names, reward_model={"ground_truth": "A"})])
    take_in("unimed-cot", tmp_path / "in", tmp_path / "out", wanted=Wanted(RULE))
    return slices, Dataset.open(tmp_path / "out")


def test_stored_slices_come_back_as_the_volume_that_was_shown(stack):
    slices, data = stack
    (case,), source = data.cases(), data.source()
    (item,) = source.items()
    loaded = source.load(item)
    assert (case.scene.kind, case.image, case.sha256) == ("volume", "", "")
    assert (source.name, source.root, item.id, item.patient) == ("unimed-cot", data.folder, case.item, "")
    assert np.array_equal(loaded.case.pixels, slices)
    # windows pass its grey levels on: what an evaluation shows is what training showed
    assert np.array_equal(np.stack(model_pictures(loaded.case, RULE)), slices)
    assert loaded.layers == ()


def test_slices_of_the_size_of_the_frame_are_stored_as_they_are(stack, tmp_path):
    slices, _ = stack
    # 32 x 60 becomes 28 x 56: resized to the size of the stack and back they would be blurred.
    take_in("unimed-cot", tmp_path / "in", tmp_path / "again", wanted=Wanted(replace(RULE, volume_shape=(3, 32, 60))))
    assert [from_png(image.png).tolist() for image in Dataset.open(tmp_path / "again").images()] == slices.tolist()


def test_damaged_pictures_are_clear_errors(stack):
    _, data = stack
    (path,) = data.files("images")
    table = pq.read_table(path)
    for column, value, words in (("png", [b"no picture"] * 3, "embedded picture"), ("slice", [0, 2, 1], "out of order|in order")):
        place = table.schema.get_field_index(column)
        pq.write_table(table.set_column(place, table.schema.field(place), pa.array(value, table.schema.field(place).type)), path)
        source = data.source()
        with pytest.raises(UniReasonError, match=words):
            source.load(next(iter(source.items())))
    with pytest.raises(FormatError, match="no pictures of other"):
        source.load(replace(next(iter(source.items())), id="other"))


def test_pictures_of_two_sizes_are_no_volume():
    with pytest.raises(ImageReadError, match="2 pictures of the sizes"):
        case_of([np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)], "volume", Source("x", "png", ""))
    with pytest.raises(ImageReadError, match="one image"):
        case_of([np.zeros((2, 3), np.uint8)] * 2, "image", Source("x", "png", ""))


def test_slices_that_are_no_pictures_of_8_bits_leave_the_row_out(tmp_path):
    Image.fromarray(np.full((28, 56), 999, np.uint16)).save(tmp_path / "deep.png")
    deep = (tmp_path / "deep.png").read_bytes()
    asked = (("user", "<image><image>Where?\nA. left\nB. right"),)
    flat = (("user", "<image>Where?\nA. left\nB. right"),)
    truth = {"ground_truth": "A"}
    rows = [RlRow(asked, ("a", "b"), reward_model=truth), RlRow(flat, ("a",), reward_model=truth)]
    unimed_cot.write(tmp_path / "in", [ImageRow("a", "a.png", deep), ImageRow("b", "b.png", deep), *rows])
    manifest = take_in("unimed-cot", tmp_path / "in", tmp_path / "out", wanted=Wanted(RULE))
    assert manifest["counts"]["dropped"] == {"its picture cannot be read": 1}
    assert manifest["counts"]["by_kind"] == {"image": 1}
