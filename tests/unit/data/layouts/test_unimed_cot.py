"""The published UniMed-CoT layout: both variants are read, one is written, nothing gets lost, nothing is trusted."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_dataset import dataset

from unireason.core.errors import FormatError
from unireason.data.formats import unimed_cot as cot
from unireason.data.formats.tables import IMAGE, entries
from unireason.data.formats.unimed_cot import from_rl

MESSAGES = [
    {"role": "user", "content": "<image>Where?\nA. left\nB. right"},
    {"role": "assistant", "content": "<think>x</think>A"},
]


def table(folder, name, rows, part="train-00000-of-00001"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / name / f"{part}.parquet")


def rl_row(**changes):
    row = {
        "prompt": MESSAGES[:1],
        "image_ids": ["a"],
        "data_source": "samed2d",
        "agent_name": "urm_single_assistant",
        "ability": "medical_vqa",
        "reward_model": json.dumps({"style": "rule", "ground_truth": "A"}),
        "extra_info": json.dumps({"index": 7, "nested": {"list": [1, 2.5, None, "ü"]}}),
    }
    row |= changes
    return {key: value for key, value in row.items() if value is not ...}


def test_the_variants_of_the_rl_table_give_the_same_rows(tmp_path):
    plain = {"reward_model": {"style": "rule", "ground_truth": "A"}, "extra_info": {"index": 7, "nested": {"list": ["1"]}}}
    texts = {name: json.dumps(value) for name, value in plain.items()}
    variants = [
        rl_row(**texts),
        rl_row(**plain),
        rl_row(**plain, data_source=..., source_dataset="samed2d"),
        rl_row(**texts, data_source=..., source_dataset="samed2d"),
    ]
    read = []
    for number, row in enumerate(variants):
        table(tmp_path / str(number), "rl", [row])
        read += cot.read(tmp_path / str(number), "rl")
    assert len(read) == 4
    assert all(row == read[0] for row in read)
    assert read[0].data_source == "samed2d"
    assert read[0].reward_model["ground_truth"] == "A"
    assert read[0].extra_info == plain["extra_info"]


def test_rows_of_every_variant_survive_read_write_read(tmp_path):
    old = tmp_path / "old"
    table(old, "sft", [{"messages": MESSAGES, "image_ids": ["a", "b"]}, {"messages": MESSAGES, "image_ids": []}])
    table(old, "rl", [rl_row(), rl_row(image_ids=None, ability=None, extra_info=None)])
    table(old, "rl", [rl_row(data_source=..., source_dataset="m3d", extra_info={"path": "ct/1.npy", "n": 1})], part="other")
    table(
        old, "images", [{"image_id": "a", "path": "images/x/a.png", "bytes": b"1"}, {"image_id": "b", "path": "", "bytes": b"2"}]
    )
    first = [*cot.read(old, "sft"), *cot.read(old, "rl"), *cot.read(old, "images")]
    assert cot.write(tmp_path / "new", first) == {"sft": 2, "rl": 3, "images": 2}
    assert [*cot.read(tmp_path / "new", "sft"), *cot.read(tmp_path / "new", "rl"), *cot.read(tmp_path / "new", "images")] == first
    cot.write(tmp_path / "again", first)
    assert all(
        (tmp_path / "again" / f.relative_to(tmp_path / "new")).read_bytes() == f.read_bytes()
        for f in (tmp_path / "new").rglob("*.parquet")
    )


def test_what_is_written_has_exactly_the_published_columns(tmp_path):
    cot.write(tmp_path, [])
    columns = {name: pq.read_schema(tmp_path / name / "part-00000.parquet") for name in ("sft", "rl", "images")}
    assert columns["sft"].names == ["messages", "image_ids"]
    assert columns["sft"].field("messages").type.value_type.names == ["role", "content"]
    assert columns["sft"].field("image_ids").type == pa.list_(pa.string())
    names = {"prompt", "image_ids", "data_source", "agent_name", "ability", "reward_model", "extra_info"}
    assert set(columns["rl"].names) == names
    assert {columns["rl"].field(n).type for n in names - {"prompt", "image_ids"}} == {pa.string()}
    assert columns["images"].names == ["image_id", "path", "bytes"]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
messages = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), text), min_size=1, max_size=3).map(tuple)
ids = st.lists(text, max_size=3).map(tuple)
plain = st.dictionaries(text, st.recursive(st.none() | st.booleans() | st.integers() | text, st.lists, max_leaves=3), max_size=3)


@given(
    st.lists(
        st.builds(cot.RlRow, messages, ids, text, text, text, plain, plain) | st.builds(cot.SftRow, messages, ids), max_size=4
    )
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows_survive(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    cot.write(folder, rows)
    back = [*cot.read(folder, "sft"), *cot.read(folder, "rl")]
    assert back == [r for r in rows if isinstance(r, cot.SftRow)] + [r for r in rows if isinstance(r, cot.RlRow)]


def test_only_the_base_name_of_a_picture_path_is_kept(tmp_path):
    paths = ["/etc/passwd", "../../a.png", "..\\..\\b.png", "C:\\c.png", "images/d.png", ""]
    table(tmp_path, "images", [{"image_id": f"i/{n}", "path": p, "bytes": b"x"} for n, p in enumerate(paths)])
    found = [row.path for row in cot.read(tmp_path, "images")]
    assert found[:5] == ["passwd", "a.png", "b.png", "c.png", "d.png"]
    assert found[5].startswith("i-5-")
    assert "/" not in "".join(found)


@pytest.mark.parametrize("path", ["images/..", "a\0b", ".", "x" * 300])
def test_paths_without_a_file_name_are_refused(tmp_path, path):
    table(tmp_path, "images", [{"image_id": "i", "path": path, "bytes": b"x"}])
    with pytest.raises(FormatError, match="picture path"):
        list(cot.read(tmp_path, "images"))


@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("sft", {"messages": MESSAGES}, "Missing: image_ids"),
        ("sft", {"messages": MESSAGES, "image_ids": [], "images": []}, "unknown: images"),
        ("rl", rl_row(data_source=...), "Missing: data_source or source_dataset"),
        ("rl", rl_row(reward_model="{"), "JSON object"),
        ("rl", rl_row(extra_info="[1]"), "JSON object"),
        ("rl", rl_row(prompt="text"), "list of"),
        ("sft", {"messages": [], "image_ids": []}, "no messages"),
        ("sft", {"messages": [{"role": "user", "content": None}], "image_ids": []}, "no messages"),
        ("images", {"image_id": "", "path": "a", "bytes": b"x"}, "no identifier"),
        ("images", {"image_id": "a", "path": "a", "bytes": None}, "no bytes"),
    ],
)
def test_other_columns_and_values_are_clear_errors(tmp_path, name, row, says):
    table(tmp_path, name, [row])
    with pytest.raises(FormatError, match=says):
        list(cot.read(tmp_path, name))


def test_unknown_columns_may_be_left_unread(tmp_path):
    table(tmp_path, "sft", [{"messages": MESSAGES, "image_ids": [], "id": 3}])
    assert len(list(cot.read(tmp_path, "sft", strict=False))) == 1


def test_empty_and_damaged_folders_are_clear_errors(tmp_path):
    with pytest.raises(FormatError, match="no UniMed-CoT tables"):
        list(cot.read(tmp_path, "sft"))
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(FormatError, match="cannot be read"):
        list(cot.read(tmp_path, "sft"))


def test_pictures_go_to_files_of_bounded_size(tmp_path):
    rows = [cot.ImageRow(f"i{n}", f"{n}.png", bytes([n]) * 1000) for n in range(10)]
    cot.write(tmp_path, rows, max_bytes=3000)
    files = sorted((tmp_path / "images").glob("*.parquet"))
    assert [pq.read_metadata(f).num_rows for f in files] == [3, 3, 3, 1]
    assert list(cot.read(tmp_path, "images")) == rows


def test_our_samples_come_back_whole(tmp_path):
    data = dataset(tmp_path / "data")
    cot.write(tmp_path / "out", (row for entry in entries(data, "train") for row in cot.from_entry(entry)))
    back = [from_rl(row, "x").sample for row in cot.read(tmp_path / "out", "rl")]
    assert back == [s for s in data.samples("train") if s.task == "vqa"]


def test_every_placeholder_of_ours_has_a_picture(tmp_path):
    data = dataset(tmp_path / "data")
    cot.write(tmp_path / "out", (row for entry in entries(data, "train") for row in cot.from_entry(entry)))
    images = list(cot.read(tmp_path / "out", "images"))
    known = {row.image_id for row in images}
    assert len(known) == len(images)
    # Grey image: itself and three looks; colour: itself and one look; volume: four slices and two crops.
    assert len(images) == 4 + 2 + 6
    for row in cot.read(tmp_path / "out", "sft"):
        assert sum(content.count(IMAGE) for _, content in row.messages) == len(row.image_ids)
        assert set(row.image_ids) <= known
    for row in cot.read(tmp_path / "out", "rl"):
        assert row.prompt[-1][1].count(IMAGE) == len(row.image_ids)
        assert row.agent_name == "urm_single_assistant"
        assert row.reward_model == {"style": "rule", "ground_truth": row.extra_info["sample"]["letter"]}


def test_missing_names_are_the_published_ones(tmp_path):
    table(tmp_path, "rl", [rl_row(data_source=None, agent_name=None, ability=None)])
    (row,) = cot.read(tmp_path, "rl")
    assert (row.data_source, row.agent_name, row.ability) == ("unireason_med", "urm_single_assistant", "medical_vqa")
