"""Suites written for other kits, read back the way those kits read them."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.trees import write_json, write_picture

from unireason.bridges.export import export
from unireason.cli import main
from unireason.core.errors import FormatError, UniReasonError
from unireason.data.frames import rule
from unireason.evaluate.suites.base import open_suite
from unireason.imaging.present import serialize

FRAME = rule("phantom")


def table(path):
    """As VLMEvalKit's ``ImageBaseDataset`` reads a table: a short picture field names the row that has it."""
    data = pd.read_csv(path, sep="\t")
    fields = {str(row["index"]): str(row["image"]) for row in data.to_dict("records")}
    for row in data.to_dict("records"):
        text = fields[str(row["index"])]
        text = fields[text] if len(text) <= 64 else text
        row["pictures"] = [png(part) for part in (ast.literal_eval(text) if text.startswith("[") else [text])]
        names = row["image_path"]
        row["names"] = ast.literal_eval(names) if names.startswith("[") else [names]
        row["options"] = tuple(str(row[c]) for c in "ABCDEFGHIJ" if c in row and not pd.isna(row[c]))
        yield row


def png(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def shown(suite, entry):
    case = suite.read(entry.case)
    depth, *size = FRAME.volume_shape
    return serialize(case).slices if case.kind == "image" else serialize(case, depth=depth, size=tuple(size)).slices


def functions(folder):
    """The ``utils.py`` of a task, loaded from its place as lmms-eval does it."""
    spec = importlib.util.spec_from_file_location("utils", folder / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def slake(root):
    write_picture(root / "imgs" / "xmlab1" / "source.jpg", np.full((20, 30), 90, np.uint8))
    common = {"img_name": "xmlab1/source.jpg", "q_lang": "en", "modality": "CT", "location": "Chest"}
    rows = [
        {"qid": 1, "question": "Which organ?", "answer": "Lung", "answer_type": "OPEN", "content_type": "Organ"},
        {"qid": 2, "question": "Is it big?", "answer": "No", "answer_type": "CLOSED", "content_type": "Size"},
    ]
    write_json(root / "test.json", [common | row for row in rows])
    return open_suite("slake", root)


def test_tables_of_phantoms(tmp_path, phantoms):
    done = export(phantoms, "vlmevalkit", tmp_path / "out", frame=FRAME)
    entries = list(phantoms.entries())
    assert (done.name, done.questions) == ("unireason_phantom", {"choice": 6})
    rows = list(table(tmp_path / "out" / "unireason_phantom.tsv"))
    assert [row["index"] for row in rows] == list(range(6))
    for row, entry in zip(rows, entries, strict=True):
        assert (row["question"], row["options"], row["answer"]) == (entry.question, entry.options, entry.letter)
        assert (row["category"], row["l2-category"], row["split"]) == (entry.tags["family"], entry.tags["kind"], "test")
        assert np.array_equal(row["pictures"], shown(phantoms, entry))
        assert len(set(row["names"])) == len(row["pictures"])
    assert {len(row["pictures"]) for row in rows} == {1, FRAME.volume_shape[0]}
    assert done.pictures == len({name for row in rows for name in row["names"]})


def test_open_questions_stand_in_a_table_of_their_own(tmp_path):
    done = export(slake(tmp_path / "data"), "vlmevalkit", tmp_path / "out", frame=rule("published"))
    assert (done.name, done.questions, done.pictures) == ("unireason_slake_test", {"choice": 1, "open": 1}, 1)
    (choice,) = table(tmp_path / "out" / "unireason_slake_test.tsv")
    (open_one,) = table(tmp_path / "out" / "unireason_slake_test_openended.tsv")
    assert (choice["options"], choice["answer"], choice["category"], choice["split"]) == (("yes", "no"), "B", "Size", "test")
    assert (open_one["answer"], open_one["options"], "A" in open_one) == ("Lung", (), False)
    assert open_one["pictures"][0].shape == (20, 30)
    assert "same words" in (tmp_path / "out" / "README.md").read_text()


def test_other_pixels_have_another_file_name(tmp_path):
    names = []
    for value in (10, 200):
        suite = slake(tmp_path / str(value))
        write_picture(tmp_path / str(value) / "imgs" / "xmlab1" / "source.jpg", np.full((20, 30), value, np.uint8))
        export(suite, "vlmevalkit", tmp_path / f"out{value}", frame=FRAME)
        names += [row["image_path"] for row in table(tmp_path / f"out{value}" / "unireason_slake_test.tsv")]
    assert len(set(names)) == 2


def test_a_task_folder(tmp_path, phantoms):
    out = tmp_path / 'a: "b" \U0001f600 \u00e4 \x7f #'
    done = export(phantoms, "lmms-eval", out, frame=FRAME)

    class Loader(yaml.SafeLoader):
        """Reads ``!function module.name`` as that text."""

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    task = yaml.load((out / f"{done.name}.yaml").read_text("utf-8"), Loader)
    assert (task["task"], task["dataset_path"], task["output_type"]) == (done.name, "json", "generate_until")
    assert task["metadata"] == {"version": 1.0}  # a list of it, as of older tasks, leaves lmms-eval 0.7.3 without a version
    use = functions(out)
    for key in ("doc_to_visual", "doc_to_text", "doc_to_target", "process_results"):
        module, name = task[key].split(".")
        assert (module, callable(getattr(use, name))) == ("utils", True)
    with open(task["dataset_kwargs"]["data_files"][task["test_split"]], encoding="utf-8") as file:
        docs = [json.loads(line) for line in file]
    for doc, entry in zip(docs, phantoms.entries(), strict=True):
        pictures = use.doc_to_visual(doc)
        assert {picture.mode for picture in pictures} == {"RGB"}
        assert np.array_equal([np.asarray(picture)[..., 0] for picture in pictures], shown(phantoms, entry))
        assert use.doc_to_target(doc) == entry.letter
        wrong = next(letter for letter in "ABCD" if letter != entry.letter)
        assert use.process_results(doc, [f"{entry.letter}. so"]) == {"accuracy": 1.0}
        assert use.process_results(doc, [f"{wrong}. so"]) == {"accuracy": 0.0}
    assert len({path for doc in docs for path in doc["pictures"]}) == done.pictures


def test_prompts_and_scores_of_open_questions(tmp_path):
    done = export(slake(tmp_path / "data"), "lmms-eval", tmp_path / "out", frame=FRAME)
    use = functions(tmp_path / "out")
    lines = (tmp_path / "out" / "questions.jsonl").read_text().splitlines()
    docs = {doc["question"]: doc for doc in map(json.loads, lines)}
    open_one, choice = docs["Which organ?"], docs["Is it big?"]
    assert done.name == "unireason_slake_test"
    assert use.doc_to_text(open_one) == "Which organ?\nAnswer in a few words."
    assert use.doc_to_text(choice) == "Is it big?\nA. yes\nB. no\nAnswer with the letter of the right option."
    assert use.doc_to_text(choice, {"pre_prompt": "Look. ", "post_prompt": "So?"}) == "Look. Is it big?\nA. yes\nB. no\nSo?"
    assert (use.doc_to_target(open_one), use.doc_to_target(choice)) == ("Lung", "B")
    assert use.process_results(open_one, ["The lung."]) == {"accuracy": 1.0}
    assert use.process_results(open_one, ["The liver."]) == {"accuracy": 0.0}


def test_what_cannot_be_exported(tmp_path, phantoms):
    with pytest.raises(FormatError, match="other"):
        export(phantoms, "other", tmp_path / "out", frame=FRAME)
    with pytest.raises(FormatError, match="at least 1"):
        export(phantoms, "vlmevalkit", tmp_path / "out", frame=FRAME, count=0)
    suite = slake(tmp_path / "data")
    (tmp_path / "data" / "imgs" / "xmlab1" / "source.jpg").unlink()
    with pytest.raises(UniReasonError):
        export(suite, "lmms-eval", tmp_path / "out", frame=FRAME)
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, capsys):
    slake(tmp_path / "data")
    given = ["eval", "export", "--suite", "slake", "--data", str(tmp_path / "data"), "--questions", "1"]
    assert main([*given, "--to", "lmms-eval", "--out", str(tmp_path / "a"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["kit"], said["name"], said["pictures"]) == ("lmms-eval", "unireason_slake_test", 1)
    assert sum(said["questions"].values()) == 1
    assert main([*given, "--to", "vlmevalkit", "--out", str(tmp_path / "b")]) == 0
    assert "1 pictures" in capsys.readouterr().out
    phantom = ["eval", "export", "--questions", "1", "--to", "vlmevalkit", "--out", str(tmp_path / "c")]
    assert main([*phantom, "--option", "kind=volume"]) == 0
    rows = list(table(tmp_path / "c" / "unireason_phantom.tsv"))
    assert [row["l2-category"] for row in rows] == ["volume"]
