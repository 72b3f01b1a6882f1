"""What can be known of a question from its texts alone."""

from __future__ import annotations

import pytest
from layout_dataset import dataset

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Look
from unireason.data.formats.tables import entries, pose
from unireason.data.formats.unimed_cot import RlRow, SftRow, from_entry, from_rl, from_sft, read_prompt

ASKED = "<image>\nWhat is shown in the box?\nA. left kidney\nB. liver\nAnswer with the letter."


def sft(response, asked=ASKED, ids=("a",)):
    return SftRow((("system", "You look."), ("user", asked), ("assistant", response)), ids)


@pytest.mark.parametrize(
    ("said", "question", "options"),
    [
        (ASKED, "What is shown in the box?", ("left kidney", "liver")),
        ("Where?\n(A) left\n(B) right\n(C) both", "Where?", ("left", "right", "both")),
        ("Where?\nA) left\n B) right", "Where?", ("left", "right")),
        ("Describe it.", "Describe it.", ()),
        ("A. is no option alone", "A. is no option alone", ()),
        ("Two lines.\nAnd more?\nA: 1\nB: 2\nC: 3\nD: 4\n", "Two lines.\nAnd more?", ("1", "2", "3", "4")),
        ("Odd\nA. 1\nC. 2\nA. x\nB. y", "Odd\nA. 1\nC. 2", ("x", "y")),
    ],
)
def test_question_and_options(said, question, options):
    assert read_prompt([("user", said)]) == (question, options)


def test_without_a_user_there_is_no_question():
    assert read_prompt([("system", "x")]) == ("", ())


def test_a_supervised_row_tells_answer_and_looks():
    found = from_sft(
        sft("<think>I see the liver at<|box_start|>[1,2,30,40]<|box_end|><image> it is big.</think>B. liver", ids=("a", "b")),
        "sft-0",
    )
    assert (found.kind, found.letter, found.image_ids) == ("image", "B", ("a",))
    assert found.looks == (Look("liver", Box2D(1, 2, 30, 40)),)
    assert found.problems == ()


def test_a_look_without_words_has_no_label():
    assert from_sft(sft("<think><|box_start|>(1,2,3,4,5,6)<|box_end|></think>A"), "x").looks == (
        Look("", Box3D(1, 2, 3, 4, 5, 6)),
    )


def test_rows_without_pictures_are_volumes_unless_their_boxes_are_flat():
    cuboid = sft("<think>x<|box_start|>[1,2,3,4,5,6]<|box_end|></think>A. x", asked=ASKED[7:], ids=())
    assert from_sft(cuboid, "x").kind == "volume"
    flat = sft("<think>x<|box_start|>[1,2,3,4]<|box_end|></think>A. x", asked=ASKED[7:], ids=())
    assert from_sft(flat, "x").kind == "image"
    assert from_sft(sft("A. x", asked="<image><image>Where?", ids=("a", "b")), "x").kind == "volume"


def test_odd_texts_are_data():
    found = from_sft(sft("<think>x<|box_start|>[1,2]<|box_end|><|box_start|>[9,9,1,1]<|box_end|> never closed"), "x")
    assert found.letter == ""
    assert {"bad_number_count", "inverted_box", "unclosed_think", "no_answer"} <= set(found.problems)


def test_an_rl_row_tells_its_answer_in_several_spellings():
    for truth in ("B", "B. liver", "(B)", "The answer is B."):
        found = from_rl(RlRow((("user", ASKED),), ("a",), reward_model={"ground_truth": truth}), "rl-0")
        assert (found.letter, found.question, found.sample) == ("B", "What is shown in the box?", None)
    assert from_rl(RlRow((("user", ASKED),), reward_model={"ground_truth": 3}), "rl-0").problems == ("no_answer",)


def test_our_rows_give_back_what_was_posed(tmp_path):
    for entry in entries(dataset(tmp_path), "train"):
        asked = [s for s in entry.samples if s.task == "vqa"]
        rows = list(from_entry(entry))
        found = [from_sft(row, "x") for row in rows if isinstance(row, SftRow)]
        for sample, one in zip(asked, found, strict=True):
            assert (one.question, one.options, one.letter) == (
                sample.question.text,
                sample.question.options,
                sample.question.letter,
            )
            assert one.kind == sample.kind
            assert [look.box for look in one.looks] == [p.box for p in sample.reasoning if isinstance(p, Look)]
            assert one.response == pose(sample, entry.frame).response
            assert len(one.image_ids) == entry.frame.depth


def test_a_kept_sample_that_contradicts_itself_is_refused(tmp_path):
    entry = next(entries(dataset(tmp_path), "train"))
    row = next(row for row in from_entry(entry) if isinstance(row, RlRow))
    row.extra_info["sample"]["letter"] = "D"
    with pytest.raises(FormatError, match="contradicts"):
        from_rl(row, "x")
