"""The published U-MRG-14K layout."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layout_dataset import dataset, mask, pixels
from PIL import Image

from unireason.core.errors import FormatError
from unireason.data.formats import umrg
from unireason.data.formats.tables import FormatEntry, entries

TRUTH = {"bbox_2d": [1, 2, 30.5, 40], "point_2d": [[3, 4], [20.5, 30]]}


def stored(**changes):
    row = {
        "images": [{"bytes": b"picture", "path": "x/a.jpg"}],
        "masks": [{"bytes": b"mask", "path": None}],
        "prompt": [{"role": "user", "content": "What is that?"}],
        "reward_model": {"style": "rule", "ground_truth": json.dumps(TRUTH)},
        "extra_info": {"id": "17", "supercategory": "abdomen", "category": "liver"},
    }
    return {key: value for key, value in (row | changes).items() if value is not ...}


def table(folder, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "train-00000-of-00001.parquet")


def read(tmp_path, **changes):
    table(tmp_path, stored(**changes))
    return next(umrg.read(tmp_path))


def test_a_published_row(tmp_path):
    assert read(tmp_path) == umrg.UmrgRow(
        images=(umrg.Stored(b"picture", "a.jpg"),), masks=(umrg.Stored(b"mask"),), question="What is that?",
        box=(1, 2, 30.5, 40), points=((3, 4), (20.5, 30)), id="17", supercategory="abdomen", category="liver",
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"images": {"bytes": b"picture", "path": "a.jpg"}},
        {"masks": [b"mask"]},
        {"extra_info": json.dumps({"id": 17, "supercategory": "abdomen", "category": "liver"})},
        {"reward_model": json.dumps({"ground_truth": TRUTH})},
    ],
)
def test_variants_give_the_same_row(tmp_path, changes):
    assert read(tmp_path / "variant", **changes) == read(tmp_path / "plain")


def test_rows_survive_read_write_read(tmp_path):
    table(tmp_path / "old", stored(), stored(data_source="u", ability="a", images=[{"bytes": b"1", "path": "q"}] * 2))
    first = list(umrg.read(tmp_path / "old"))
    assert umrg.write(tmp_path / "new" / "data", first) == 2
    assert list(umrg.read(tmp_path / "new")) == first
    assert list(umrg.read(tmp_path / "new" / "data" / "train-00000.parquet")) == first


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"masks": ...}, "Missing: masks"),
        ({"height": 3}, "unknown: height"),
        ({"images": []}, "no picture"),
        ({"images": [{"bytes": None, "path": "/etc/passwd"}]}, "without bytes"),
        ({"prompt": []}, "no question"),
        ({"reward_model": {"ground_truth": "{}"}}, "no ground truth"),
        ({"reward_model": {"ground_truth": "not json"}}, "JSON object"),
        ({"reward_model": {"ground_truth": json.dumps(TRUTH | {"bbox_2d": [1, 2, 3]})}}, "no ground truth"),
        ({"reward_model": {"ground_truth": json.dumps(TRUTH | {"bbox_2d": [1, 2, 3, "4"]})}}, "four numbers"),
        ({"reward_model": {"ground_truth": json.dumps(TRUTH | {"bbox_2d": [1, 2, 3, float("nan")]})}}, "four numbers"),
        ({"images": [{"bytes": b"x", "path": "a/.."}]}, "picture path"),
    ],
)
def test_other_columns_and_values_are_clear_errors(tmp_path, changes, says):
    with pytest.raises(FormatError, match=says):
        read(tmp_path, **changes)


def test_a_folder_without_tables_is_an_error(tmp_path):
    with pytest.raises(FormatError, match="no Parquet"):
        list(umrg.read(tmp_path))


def test_our_implicit_samples_carry_picture_and_mask(tmp_path):
    drawn = [row for entry in entries(dataset(tmp_path / "data"), "train") for row in umrg.from_entry(entry)]
    umrg.write(tmp_path / "out", drawn)
    (row,) = umrg.read(tmp_path / "out")
    assert [row] == drawn
    assert (row.box, row.points, row.category, row.supercategory) == ((20, 8, 30, 16), ((22, 10), (27, 13)), "liver", "abdomen")
    assert row.question == "What stores the bile's maker? Show it."
    shown, target = (np.asarray(Image.open(io.BytesIO(s.bytes))) for s in (row.images[0], row.masks[0]))
    assert np.array_equal(shown, pixels(entry_frame(tmp_path), 1)[0])
    assert np.array_equal(target, mask())
    ys, xs = np.nonzero(target)
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == row.box


def entry_frame(tmp_path):
    return next(dataset(tmp_path / "again").cases("train")).scene.frame


def test_a_target_without_its_mask_is_an_error(tmp_path):
    entry = next(entries(dataset(tmp_path), "train"))
    with pytest.raises(FormatError, match="no mask of 'liver'"):
        list(umrg.from_entry(FormatEntry(entry.case, entry.samples, entry.pngs)))


def test_the_table_says_which_columns_are_pictures(tmp_path):
    umrg.write(tmp_path, [])
    told = json.loads(pq.read_schema(tmp_path / "train-00000.parquet").metadata[b"huggingface"])["info"]["features"]
    assert told["images"] == {"feature": {"_type": "Image"}, "_type": "Sequence"}
    assert set(told) == set(pq.read_schema(tmp_path / "train-00000.parquet").names)
