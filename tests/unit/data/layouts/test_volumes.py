"""Volumes found by name in a folder of the user's."""

from __future__ import annotations

import numpy as np
import pytest

from unireason import imaging
from unireason.core.errors import UniReasonError
from unireason.data.formats.unimed_cot import Index, RlRow, SftRow, names_of

ASKED = (("user", "Where?"),)


def place(folder, *names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((2, 3, 4), number, np.float32))


def found(folder, *rows):
    index = Index.of(folder)
    paths = [index.find(names_of(row)) for row in rows]
    return [(path.relative_to(folder).as_posix() if path else None, reason) for path, reason in paths]


def row(ids=(), **extra):
    return RlRow(ASKED, tuple(ids), extra_info=extra)


def test_volumes_are_found_by_base_name_stem_and_folder(tmp_path):
    place(tmp_path, "a/case_001.npy", "a/case_002.npy", "b/000017/scan.npy")
    assert found(
        tmp_path,
        row(image="data/ct/case_001.npy"),
        row(image="C:\\data\\CASE_002.nii.gz"),
        row(meta={"case": ["case_002"]}),
        row(ids=["000017"]),
        SftRow(ASKED, ("x/case_001.nii",)),
    ) == [
        ("a/case_001.npy", ""),
        ("a/case_002.npy", ""),
        ("a/case_002.npy", ""),
        ("b/000017/scan.npy", ""),
        ("a/case_001.npy", ""),
    ]


def test_equal_names_are_told_apart_by_their_folders(tmp_path):
    place(tmp_path, "ct_case/0001/series.npy", "ct_quizze/0001/series.npy", "ct_quizze/0002/series.npy")
    assert found(
        tmp_path, row(p="M3D/ct_quizze/0001/series.npy"), row(p="0002/series.npy"), row(p="0001/series.npy"), row(p="series.npy")
    ) == [("ct_quizze/0001/series.npy", ""), ("ct_quizze/0002/series.npy", ""), (None, "ambiguous"), (None, "ambiguous")]


def test_a_volume_of_another_patient_is_never_taken(tmp_path):
    place(tmp_path, "ct_case/0012/series.npy", "other.npy")
    assert found(tmp_path, row(p="ct_case/0013/series.npy"), row(p="ct_case/0012/series.npy")) == [
        (None, "not found"),
        ("ct_case/0012/series.npy", ""),
    ]


def test_what_is_missing_is_said(tmp_path):
    place(tmp_path, "train/only.npy")
    assert found(tmp_path, row(split="train"), row(ids=["nothing.npy"]), SftRow(ASKED)) == [
        (None, "no name"),
        (None, "not found"),
        (None, "no name"),
    ]


def test_names_are_compared_and_never_opened(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    place(inside, "one.npy")
    place(outside, "secret.npy")
    (inside / "link.npy").symlink_to(outside / "secret.npy")
    assert (
        found(inside, row(p="../out/secret.npy"), row(p=str(outside / "secret.npy")), row(p="link.npy"))
        == [(None, "not found")] * 3
    )


def test_a_volume_of_m3d_with_its_channel_is_read(tmp_path):
    (tmp_path / "ct_case" / "000012").mkdir(parents=True)
    stored = np.arange(8 * 6 * 5, dtype=np.float32).reshape(1, 8, 6, 5) / 240
    np.save(tmp_path / "ct_case" / "000012" / "series.npy", stored)
    path, _ = Index.of(tmp_path).find(names_of(row(image="M3D_Cap/ct_case/000012/series.npy")))
    case = imaging.read(path)
    assert np.array_equal(case.pixels, stored[0])
    assert "a channel axis of one dropped" in case.notes


def test_a_folder_without_volumes_is_an_error(tmp_path):
    with pytest.raises(UniReasonError, match="no volume"):
        Index.of(tmp_path)
    with pytest.raises(UniReasonError, match="not a folder"):
        Index.of(tmp_path / "none")


def test_names_are_bounded():
    assert names_of(row(a="x1\ny", b="9" * 400, c="ok 1", d={"e": {"f": "deep2.npy"}})) == ("deep2.npy", "ok 1")
    assert len(names_of(row(many=[f"n{i}" for i in range(500)]))) == 64
