"""LLaMA-Factory, verl and VLMEvalKit exports, read back the way those programs read them."""

from __future__ import annotations

import ast
import base64
import csv
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from layout_dataset import COLOUR, DEEP, GREY, dataset, pixels
from PIL import Image

from unireason.core.errors import FormatError
from unireason.data.formats import exporters
from unireason.data.formats.exporters import export
from unireason.data.formats.tables import entries


def picture(path):
    return np.asarray(Image.open(path))


def llamafactory_rows(folder, name):
    """As its parser and its converter for the ShareGPT form do it, with every check they make."""
    info = json.loads((folder / "dataset_info.json").read_text())[name]
    assert info["formatting"] == "sharegpt"
    tags, columns = info["tags"], info["columns"]
    for line in (folder / info["file_name"]).read_text().splitlines():
        example = json.loads(line)
        messages = example[columns["messages"]]
        assert messages[0][tags["role_tag"]] == tags["system_tag"]
        rest = [(m[tags["role_tag"]], m[tags["content_tag"]]) for m in messages[1:]]
        assert [role for role, _ in rest] == [tags["user_tag"], tags["assistant_tag"]]
        images = example[columns["images"]]
        assert sum(content.count("<image>") for _, content in rest) == len(images)
        yield rest, [folder / image for image in images]


def test_llamafactory_has_a_picture_for_every_placeholder_in_order(tmp_path):
    out = tmp_path / "out"
    done = export(dataset(tmp_path / "data"), "llamafactory", out)
    assert done.rows == {"train": 5, "test": 5}
    assert set(json.loads((out / "dataset_info.json").read_text())) == {"unireason_train", "unireason_test"}
    rows = list(llamafactory_rows(out, "unireason_train"))
    assert len(rows) == 5
    grey, deep = pixels(GREY, 1)[0], pixels(DEEP, 3)
    (asked, answered), files = [content for _, content in rows[0][0]], rows[0][1]
    assert (asked.count("<image>"), answered.count("<image>")) == (1, 1)
    assert np.array_equal(picture(files[0]), grey)
    assert np.array_equal(picture(files[1]), grey[8:16, 20:30])
    assert [picture(f).shape for f in rows[1][1]] == [(56, 84), (10, 10), (4, 4)]
    assert "<answer>" in rows[2][0][1][1]
    assert len(rows[2][1]) == 1
    assert np.array_equal(picture(rows[3][1][1]), pixels(COLOUR, 2, colour=True)[0][4:12, 4:12])
    shown = [picture(f) for f in rows[4][1]]
    assert [np.array_equal(a, b) for a, b in zip(shown[:4], deep, strict=True)] == [True] * 4
    assert np.array_equal(shown[4], deep[1][4:12, 2:10])
    assert np.array_equal(shown[5], deep[2][4:12, 2:10])


def test_llamafactory_texts_are_the_responses_with_placeholders(tmp_path):
    data = dataset(tmp_path / "data")
    export(data, "llamafactory", tmp_path / "out", split="train")
    said = [rest[1][1].replace("<image>", "") for rest, _ in llamafactory_rows(tmp_path / "out", "unireason_train")]
    assert said == [sample.response for sample in data.samples("train")]


def test_verl_rows_have_what_its_data_set_class_takes(tmp_path):
    data, out = dataset(tmp_path / "data"), tmp_path / "out"
    done = export(data, "verl", out)
    assert (done.rows, done.pictures) == ({"train": 5, "test": 5}, 12)
    rows = pq.read_table(out / "train-00000.parquet").to_pylist()
    for number, (row, sample) in enumerate(zip(rows, data.samples("train"), strict=True)):
        assert set(row) == {"data_source", "agent_name", "prompt", "images", "ability", "reward_model", "extra_info"}
        assert [m["role"] for m in row["prompt"]] == ["system", "user"]
        assert sum(m["content"].count("<image>") for m in row["prompt"]) == len(row["images"])
        assert all((out / image["image"]).is_file() for image in row["images"])
        assert row["reward_model"]["style"] == "rule"
        assert (row["extra_info"]["index"], row["extra_info"]["split"], row["extra_info"]["id"]) == (number, "train", sample.id)
        assert row["data_source"] == f"unireason/{sample.task}"
    assert [row["reward_model"]["ground_truth"] for row in rows if row["ability"] == "medical_vqa"] == ["B", "B", "A", "D"]
    truth = json.loads(rows[2]["reward_model"]["ground_truth"])
    assert truth == {"bbox_2d": [20, 8, 30, 16], "point_2d": [[22, 10], [27, 13]]}
    assert rows[4]["extra_info"]["frame"] == [28, 56, 4]


def evalkit_rows(path):
    """As ``ImageBaseDataset`` does it: pandas, then pictures looked up by index where the field is short."""
    data = pd.read_csv(path, sep="\t")
    data["index"] = [str(x) for x in data["index"]]
    fields = dict(zip(data["index"], (str(x) for x in data["image"]), strict=True))
    for key in fields:
        if len(fields[key]) <= 64:
            assert len(fields[fields[key]]) > 64
            fields[key] = fields[fields[key]]
    for line in data.to_dict("records"):
        texts = fields[line["index"]]
        encoded = ast.literal_eval(texts) if texts.startswith("[") else [texts]
        names = ast.literal_eval(line["image_path"]) if line["image_path"].startswith("[") else [line["image_path"]]
        assert len(names) == len(encoded) == len(set(names))
        options = {letter: line[letter] for letter in "ABCD" if not pd.isna(line[letter])}
        yield line, options, [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in encoded]


def test_vlmevalkit_reads_pictures_options_and_answers(tmp_path):
    data = dataset(tmp_path / "data")
    assert export(data, "vlmevalkit", tmp_path / "out").rows == {"train": 4, "test": 4}
    asked = [sample for sample in data.samples("train") if sample.task == "vqa"]
    rows = list(evalkit_rows(tmp_path / "out" / "unireason_train.tsv"))
    for (line, options, _), sample in zip(rows, asked, strict=True):
        assert tuple(options.values()) == sample.question.options
        assert (line["question"], line["answer"]) == (sample.question.text, sample.question.letter)
        assert (line["category"], line["l2-category"], line["split"]) == ("size_comparison", sample.kind, "train")
    assert [len(pictures) for _, _, pictures in rows] == [1, 1, 1, 4]
    for number in (0, 1):
        assert np.array_equal(rows[number][2][0], pixels(GREY, 1)[0])
    assert np.array_equal(rows[2][2][0], pixels(COLOUR, 2, colour=True)[0])
    assert all(np.array_equal(a, b) for a, b in zip(rows[3][2], pixels(DEEP, 3), strict=True))
    assert sorted(rows[2][1]) == ["A", "B"]


def changed(entry, **values):
    first = entry.samples[0]
    return replace(entry, samples=(replace(first, question=replace(first.question, **values)),))


def test_vlmevalkit_keeps_options_that_pandas_would_lose_and_lines_whole(tmp_path):
    entry = next(entries(dataset(tmp_path / "data"), "train"))
    odd = changed(entry, options=("None", "NA", 'a "quoted"\ttab', "nan"), text="Two\nlines?")
    exporters.write_vlmevalkit(tmp_path, "train", [odd])
    (row,) = evalkit_rows(tmp_path / "unireason_train.tsv")
    assert row[1] == {"A": "None.", "B": "NA.", "C": 'a "quoted" tab', "D": "nan."}
    assert row[0]["question"] == "Two lines?"
    with (tmp_path / "unireason_train.tsv").open(newline="") as file:
        assert [len(line) for line in csv.reader(file, dialect="excel-tab")] == [12, 12]


def test_vlmevalkit_knows_four_options(tmp_path):
    entry = next(entries(dataset(tmp_path / "data"), "train"))
    with pytest.raises(FormatError, match="5 options"):
        exporters.write_vlmevalkit(tmp_path, "train", [changed(entry, options=("a", "b", "c", "d", "e"))])
