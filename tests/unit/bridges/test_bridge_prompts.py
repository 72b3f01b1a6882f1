"""Options are taken out of a prompt only where every line is accounted for. The prompts are in the forms that the kits use."""

from __future__ import annotations

import pytest

from unireason.bridges.answering import read_prompt
from unireason.engine.reasoner import Question

LIVER = Question("Which organ is it?", ("liver", "left kidney"))


@pytest.mark.parametrize(
    "text",
    [
        "Question: Which organ is it?\nOptions:\nA. liver\nB. left kidney\nPlease select the correct answer from the options above. \n",
        "\nQuestion: Which organ is it?\nOptions: \nA. liver\nB. left kidney\nAnswer with the option's letter directly.",
        "Which organ is it?\n(A) liver\n(B) left kidney",
        "Which organ is it?\n\nA.liver\nB.left kidney\n\nAnswer with the letter.",
        "Which organ is it?\nChoices:\n A: liver \n B: left kidney\n",
        "问题： Which organ is it?\n选项： \nA. liver\nB. left kidney\n请直接使用给定选项中的选项字母来回答该问题。",
    ],
)
def test_forms_of_the_kits(text):
    assert read_prompt(text) == LIVER


def test_a_hint_stays_in_the_question():
    found = read_prompt("Hint: seen from below\nQuestion: Which side?\nOptions:\nA. left\nB. right\n")
    assert found == Question("Hint: seen from below\nQuestion: Which side?", ("left", "right"))


@pytest.mark.parametrize(
    "text",
    [
        "Is there a mass?",
        "Is there a mass?\nAnswer the question using a single word or phrase.",
        "Which?\nA. one",
        "Which?\nA. one\nC. three",
        "Which?\nB. two\nC. three",
        "Which?\nA. one\nB) two",
        "Which?\nA. one\nwhich goes on\nB. two",
        "Which?\nA. one\nB. two\nIs the second one likely?",
        "A. one\nB. two",
        "Which?\nA. one\nB. two\nOr\nA. three\nB. four",
        "A: a chest film.\nWhich?\nA. one\nB. two",
    ],
)
def test_a_doubtful_text_is_an_open_question_as_it_stands(text):
    assert read_prompt(text) == Question(text)
    assert read_prompt(f"\n{text}\n") == Question(text)
