"""What the suites in folders share: order, identifiers, what is left out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tests.trees import write_json, write_picture

from unireason.core.errors import FormatError, UniReasonError
from unireason.data.item import Skipped
from unireason.evaluate.suites.base import NAMES, open_suite
from unireason.evaluate.suites.listed import About, cell, choice, short

ABOUT = About("a.png", tags={"family": "x", "modality": ""})


def test_yes_and_no_become_options_and_all_else_is_open():
    entry = short("1", "Is it?", answer="No.", about=ABOUT)
    assert (entry.options, entry.letter, entry.answers) == (("yes", "no"), "B", ("no",))
    assert dict(entry.tags) == {"family": "x"}
    assert entry.patient == "a.png"
    entry = short("2", "What?", answer="Left lung", about=ABOUT)
    assert (entry.options, entry.letter, entry.answers) == ((), "", ("Left lung",))


@pytest.mark.parametrize(("question", "answer"), [("", "lung"), ("What?", ""), ("What?", "..."), ("", "yes")])
def test_what_cannot_be_scored_is_no_question(question, answer):
    assert isinstance(short("1", question, answer=answer, about=ABOUT), Skipped)


def test_options_with_their_letter():
    entry = choice("1", "Which?", options=(" a ", "b", "c", ""), letter="C", about=ABOUT)
    assert (entry.options, entry.letter, entry.answers) == (("a", "b", "c"), "C", ("c",))


@pytest.mark.parametrize(
    ("options", "letter"),
    [(("a",), "A"), (("a", "", "c"), "A"), (("a", "b"), "C"), (("a", "b"), ""), (("a", "b"), "AB"), (("a", "b", "A"), "C")],
)
def test_options_that_make_no_question(options, letter):
    assert isinstance(choice("1", "Which?", options=options, letter=letter, about=ABOUT), Skipped)


def test_cells():
    assert cell({"a": " 3 "}, "a", "row") == "3"
    assert cell({"a": 3}, "a", "row") == "3"
    assert cell({}, "a", "row") == ""
    for row in (["a"], {"a": ["x"]}, {"a": True}, {"a": "x" * 20_001}):
        with pytest.raises(FormatError):
            cell(row, "a", "row")


def slake(folder, rows):
    for name in {row["img_name"] for row in rows}:
        if ".." not in name and "gone" not in name:
            write_picture(folder / "imgs" / name, np.zeros((8, 8), np.uint8))
    write_json(folder / "test.json", rows)
    return folder


def row(image, question, **more):
    return {"img_name": f"{image}/source.png", "question": question, "answer": "lung", "q_lang": "en", "qid": 1, **more}


def test_questions_on_one_case_come_together_and_equal_identifiers_are_told_apart(tmp_path):
    rows = [row("b", "1?"), row("a", "2?"), row("b", "3?", qid=2), row("a", "4?")]
    found = list(open_suite("slake", slake(tmp_path, rows)).entries())
    assert [entry.question for entry in found] == ["1?", "3?", "2?", "4?"]
    assert [entry.id for entry in found] == ["1", "2", "1~2", "1~3"]


def test_files_that_are_not_there_are_an_error_or_left_out_as_asked(tmp_path):
    slake(tmp_path, [row("a", "1?"), row("gone", "2?"), row("gone", "3?"), row("a", "")])
    with pytest.raises(FormatError, match=r"gone/source\.png.*missing=skip"):
        list(open_suite("slake", tmp_path).entries())
    suite = open_suite("slake", tmp_path, options={"missing": "skip"})
    assert [entry.question for entry in suite.entries()] == ["1?"]
    assert suite.left_out == {"its file is not there": 2, "it has no text": 1}


def test_paths_stay_inside_the_folder(tmp_path):
    write_picture(tmp_path / "source.png", np.zeros((8, 8), np.uint8))
    folder = slake(tmp_path / "data", [row("../..", "1?")])
    with pytest.raises(FormatError, match="relative path inside"):
        list(open_suite("slake", folder).entries())


def test_a_suite_without_a_question_says_so(tmp_path):
    with pytest.raises(UniReasonError, match="no question"):
        list(open_suite("slake", slake(tmp_path, [row("a", "")])).entries())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "phantom"])
def test_every_suite_refuses_what_it_does_not_know_and_states_its_rule(tmp_path, name):
    for root in (None, tmp_path / "nowhere"):
        with pytest.raises(UniReasonError):
            open_suite(name, root)
    with pytest.raises(FormatError, match="no option 'colour'"):
        open_suite(name, tmp_path, options={"colour": "red"})
    if name != "built":
        with pytest.raises(FormatError, match="no split"):
            open_suite(name, tmp_path, split="holdout")
    if name not in ("built", "unimed-cot"):  # these open a data set
        suite = open_suite(name, tmp_path)
        assert suite.name == name
        assert suite.rule.endswith(".")
        with pytest.raises(FormatError):
            list(suite.entries())


def test_unknown_names_list_the_known_ones():
    with pytest.raises(FormatError, match="phantom, built, slake"):
        open_suite("imagenet")
