"""Published releases verified, listed and turned into questions."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layout_dataset import dataset

from unireason.cli import main
from unireason.data.layouts.export import export
from unireason.data.layouts.intake import take_in
from unireason.errors import FormatError

ASK_2D = [{"role": "user", "content": "<image>Where?\nA. left\nB. right"}]
ASK_3D = [{"role": "user", "content": "Which slice?\nA. low\nB. high"}]
SAID_2D = {"role": "assistant", "content": "<think>The liver<|box_start|>[1,2,3,4]<|box_end|><image>.</think>A. left"}
SAID_3D = {"role": "assistant", "content": "<think>The liver<|box_start|>[1,2,3,4,5,6]<|box_end|>.</think>B. high"}


def rl(prompt, ids, **extra):
    info = {"reward_model": json.dumps({"ground_truth": "B"}), "extra_info": json.dumps(extra)}
    return {"prompt": prompt, "image_ids": ids, "data_source": "x", "agent_name": "a", "ability": "m", **info}


@pytest.fixture
def release(tmp_path):
    """Two 2D and one 3D row a table, two pictures of one name."""
    folder = tmp_path / "release"
    rows = {
        "sft": [{"messages": [*ASK_2D, SAID_2D], "image_ids": ["p", "q"]}, {"messages": [*ASK_3D, SAID_3D], "image_ids": []}],
        "rl": [rl(ASK_2D, ["p"]), rl(ASK_3D, [], image="ct_case/12/v.npy"), rl(ASK_3D, [], image="ct_case/13/v.npy")],
        "images": [
            {"image_id": "p", "path": "one/a.png", "bytes": b"first"},
            {"image_id": "q", "path": "two/A.png", "bytes": b"second"},
        ],
    }
    for name, values in rows.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(values), folder / name / "train.parquet")
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]


def test_a_release_is_listed(release, tmp_path):
    volumes = tmp_path / "volumes"
    (volumes / "12").mkdir(parents=True)
    np.save(volumes / "12" / "v.npy", np.zeros((2, 3, 4), np.float32))
    np.save(volumes / "w.npy", np.zeros((2, 3, 4), np.float32))
    told = []
    report = take_in("unimed-cot", release, tmp_path / "out", volumes=volumes, progress=told.append)
    assert told == list(range(1, 8))
    assert report == json.loads((tmp_path / "out" / "release.json").read_text())
    assert (report["ok"], report["rows"]) == (True, {"rl": 3, "sft": 2, "images": 2})
    assert report["kinds"] == {"image": 2, "volume": 3}
    assert report["without_pictures"] == {"found": 1, "no name": 1, "not found": 1}
    assert report["volumes_missing"] == {"count": 2, "first": ["sft-1", "rl-2"]}
    found = lines(tmp_path / "out")
    assert [line["id"] for line in found] == ["sft-0", "sft-1", "rl-0", "rl-1", "rl-2"]
    assert found[0]["looks"] == [{"label": "liver", "box": [1, 2, 3, 4]}]
    assert [line["letter"] for line in found] == ["A", "B", "B", "B", "B"]
    assert found[0]["images"] == ["images/a.png"]
    assert found[3]["volume"] == "12/v.npy"
    assert sorted(p.read_bytes() for p in (tmp_path / "out" / "images").iterdir()) == [b"first", b"second"]


def test_a_missing_picture_makes_the_release_not_ok(release, tmp_path, capsys):
    rows = [{"messages": [*ASK_2D, SAID_2D], "image_ids": ["p", "gone"]}]
    pq.write_table(pa.Table.from_pylist(rows), release / "sft" / "train.parquet")
    assert main(["data", "import", "unimed-cot", str(release), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "pictures missing: 1, such as gone" in said
    assert "rows without a volume: 2" in said


def test_two_pictures_of_one_identifier_are_refused(release, tmp_path):
    path = release / "images" / "train.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(path)] * 2), path)
    with pytest.raises(FormatError, match="two pictures have the identifier 'p'"):
        take_in("unimed-cot", release, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_our_own_export_comes_back(tmp_path, capsys):
    data = dataset(tmp_path / "data")
    export(data, "unimed-cot", tmp_path / "release")
    command = ["data", "import", "unimed-cot", str(tmp_path / "release"), "--out", str(tmp_path / "out"), "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["whole_samples"], report["problems"]) == (True, 4, {})
    asked = [s for s in data.samples("train") if s.task == "vqa"]
    found = [line for line in lines(tmp_path / "out") if line["table"] == "rl"]
    assert [line["id"] for line in found] == [s.id for s in asked]
    assert [line["question"] for line in found] == [s.question.text for s in asked]
    assert [len(line["images"]) for line in found] == [1, 1, 1, 4]
    assert all((tmp_path / "out" / image).is_file() for line in found for image in line["images"])


def test_implicit_questions_are_listed(tmp_path, capsys):
    export(dataset(tmp_path / "data"), "umrg", tmp_path / "release")
    assert main(["data", "import", "umrg", str(tmp_path / "release"), "--out", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["categories"]) == ({"umrg": 2}, {"liver": 2})
    (first, _) = lines(tmp_path / "out")
    assert (first["box"], first["points"], first["category"]) == ([20, 8, 30, 16], [[22, 10], [27, 13]], "liver")
    assert all((tmp_path / "out" / first[what]).is_file() for what in ("image", "mask"))


def test_odd_ground_truth_is_counted(tmp_path):
    export(dataset(tmp_path / "data", splits=("train",)), "umrg", tmp_path / "release")
    path = tmp_path / "release" / "data" / "train-00000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["reward_model"]["ground_truth"] = json.dumps({"bbox_2d": [9, 9, 9, 12], "point_2d": [[1, 1], [1, 1]]})
    pq.write_table(pa.Table.from_pylist(rows), path)
    report = take_in("umrg", tmp_path / "release", tmp_path / "out")
    assert (report["ok"], report["problems"]) == (False, {"empty_box": 1, "point_outside_box": 1, "same_points": 1})


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(FormatError, match="'verl' is unknown"):
        take_in("verl", tmp_path, tmp_path / "out")
    assert main(["data", "import", "umrg", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
