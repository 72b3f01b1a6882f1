"""Order, names and bounded indexes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.data.sources import base
from unireason.data.sources.base import entries, images, natural, read_json, relative, stem, streamed_pairs, subject


def test_numbers_in_names_count_as_numbers() -> None:
    assert sorted(["case10", "case2", "case02", "Case1", "a"], key=natural) == ["Case1", "a", "case02", "case2", "case10"]


def test_numbers_of_any_length_are_compared() -> None:
    assert natural("9" * 9000) < natural("1" + "0" * 9000)


@settings(max_examples=50)
@given(st.lists(st.text(max_size=8), max_size=6))
def test_the_order_is_total_and_does_not_depend_on_the_start(names: list[str]) -> None:
    turned = names[1:] + names[:1]
    assert sorted(names, key=natural) == sorted(turned, key=natural)


def test_hidden_entries_are_no_part_of_a_data_set(tmp_path: Path) -> None:
    for name in ("b10.png", "b9.png", "._b9.png", ".DS_Store", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in entries(tmp_path, "x")] == ["b9.png", "b10.png", "notes.txt"]
    assert list(images(tmp_path, "x")) == ["b9", "b10"]


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "a.jpg").touch()
    with pytest.raises(FormatError, match="one file a case"):
        images(tmp_path, "x")


def test_stems() -> None:
    assert [stem(n) for n in ("a.b.nii.gz", "A.PNG", "x.txt", "noend")] == ["a.b", "A", "", ""]


@pytest.mark.parametrize(
    ("case", "pattern", "patient"),
    [
        ("patient001_frame01", "", "patient001"),
        ("case_7", "", "case_7"),
        ("frame01", "", "frame01"),
        ("p12_scan3", r"^(p\d+)_", "p12"),
        ("p12_scan3", r"p\d+", "p12"),
    ],
)
def test_patients_behind_case_names(case: str, pattern: str, patient: str) -> None:
    assert subject(case, pattern) == patient


def test_a_patient_pattern_that_cannot_be_used() -> None:
    with pytest.raises(FormatError, match="regular expression"):
        subject("a", "(")
    with pytest.raises(FormatError, match="does not match"):
        subject("a", "b")


@pytest.mark.parametrize("text", ["[1, 2]", "{", "", "\x00", '{"a": 1' * 5, "[" * 100_000, "9" * 5000])
def test_json_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(FormatError):
        read_json(tmp_path / "x.json")


def test_json_beyond_the_bound_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(300 * 2**20)
    with pytest.raises(FormatError, match="bytes"):
        read_json(tmp_path / "x.json")


def test_paths_of_indexes_are_spelled_plainly() -> None:
    assert relative("./imagesTr/a.nii.gz") == "imagesTr/a.nii.gz"
    assert relative("a\\b.png") == "a/b.png"
    for bad in (None, 3, "", ["a"]):
        with pytest.raises(FormatError):
            relative(bad)


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=4), max_size=3) | st.integers(), max_size=8), st.booleans())
def test_streamed_entries_are_those_of_json(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object], wide: bool
) -> None:
    path = tmp_path_factory.mktemp("s") / "x.json"
    path.write_text(json.dumps(table, indent=2 if wide else None))
    old, base._CHUNK = base._CHUNK, 3  # every token is cut
    try:
        assert dict(streamed_pairs(path)) == table
    finally:
        base._CHUNK = old


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a"', '{"a": [1}', '{"a": [], }', "{1: 2}", '{"a": [] "b": []}', '{"a": ' + "[" * 50_000]
)
def test_streamed_indexes_that_are_broken(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(FormatError):
        list(streamed_pairs(tmp_path / "x.json"))


def test_an_entry_without_end_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ["' + "x" * (6 << 20))
    with pytest.raises(FormatError, match="too long"):
        list(streamed_pairs(tmp_path / "x.json"))


def test_indexes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'{"\xff": []}')
    for read in (read_json, lambda p: list(streamed_pairs(p))):
        with pytest.raises(FormatError, match="UTF-8"):
            read(tmp_path / "x.json")
