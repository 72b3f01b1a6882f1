"""Verdicts on answers: our reading, published readings with their defects, refusals."""

from dataclasses import replace

import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Frame, Trace
from unireason.evaluate.scoring import EXTRACTORS, breakdown, judge, judge_text, make_row
from unireason.evaluate.suites.base import Entry
from unireason.grounding.profile import letters_of
from unireason.grounding.trace import steps_from_text
from unireason.metrics.answers import answer_choice

OPTIONS = ("left kidney", "spleen", "liver", "right kidney")


def make_trace(text, *, options):
    steps, problems = steps_from_text(text, executions=[], choose=lambda answer: answer_choice(answer, letters_of(options)))
    return Trace("q", options, steps, Frame(252, 252, 1, "image"), "end_of_turn", problems, raw_text=text)


def choice(letter="B", options=OPTIONS):
    return Entry("q1", "c1", "p1", "What is it?", options, (options["ABCD".index(letter)],), letter)


def free(*answers):
    return Entry("q1", "c1", "p1", "What is it?", (), answers)


@pytest.mark.parametrize(
    ("answer", "said", "right"),
    [
        ("B. spleen", "B", True),
        ("(c) liver", "C", False),
        ("The spleen.", "B", True),  # word for word, without a letter
        ("spleen or liver", "", False),
        ("kidney", "", False),
        ("a mass", "", False),  # an article is no option
        ("", "", False),
        ("<think>B. spleen", "", False),  # unclosed
        ("<think>surely A.</think>B", "B", True),
    ],
)
def test_options(answer, said, right):
    found = judge_text(choice(), answer)
    assert (found.said, found.right) == (said, right)


def test_a_text_that_two_options_share_names_neither():
    options = ("cyst", "a cyst", "spleen")
    assert judge_text(choice("A", options), "cyst").said == ""
    assert judge_text(choice("C", options), "spleen").said == "C"


def test_a_letter_on_offer_goes_before_the_text_of_an_option():
    options = ("B", "C", "D")  # vitamins
    assert judge_text(choice("A", options), "B").said == "B"
    assert judge_text(choice("A", options), "D").said == "C"


@pytest.mark.parametrize(
    ("answer", "said", "right"),
    [
        ("<think>x</think> Left Kidney.\n", "Left Kidney.", True),
        ("kidney, left", "kidney, left", False),
        ("l. kidney", "l. kidney", True),  # the second of the right texts
        ("...", "", False),
        ("", "", False),
        ("<think>left kidney", "", False),
    ],
)
def test_open_questions(answer, said, right):
    found = judge_text(free("left kidney", "L. kidney"), answer)
    assert (found.said, found.right) == (said, right)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        # right letter B: inference pattern, reward pattern, occurrence of "B."
        ("B. spleen", (True, True, True)),
        ("(B) spleen", (False, True, False)),
        ("a large spleen: B.", (True, False, True)),  # the reward reads the article as option A
        ("C. liver, not B. spleen", (False, False, True)),  # any "B." counts for M3D
        ("<think>B. or C.</think>C.", (False, False, False)),
        ("<think>B. unclosed", (True, True, False)),
        ("B. rather <think>x</think> C.", (False, True, False)),  # a letter that ends the text goes before an earlier one
        ("", (False, False, False)),
    ],
)
def test_published_readings_of_options(answer, expected):
    found = judge_text(choice(), answer).published
    assert (found["unireason_med"], found["unireason_med_reward"], found["m3d"]) == expected
    assert found["llava_med_closed"] is None
    assert set(found) == set(EXTRACTORS)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("no", "No.", True),
        ("no", "Yes, a normal lung", True),  # "no" inside "normal"
        ("no", "Yes", None),  # wrong, and not counted
        ("no", "none", False),  # becomes "0" before it is read
        ("Yes", "no", None),
        ("yes", "present", False),
        ("yes", "<think>no</think>Yes", True),
        ("left", "left", None),
    ],
)
def test_published_reading_of_yes_and_no(gold, answer, expected):
    assert judge_text(free(gold), answer).published["llava_med_closed"] is expected
    assert judge_text(free(gold), answer).published["m3d"] is None


def test_traces():
    text = "<think>look <|box_start|>[1,2,30,40]<|box_end|> at A.</think>B. spleen<|im_end|>"
    found = judge(choice(), make_trace(text, options=OPTIONS))
    assert found.right
    assert found.said == "B"
    assert set(found.published.values()) == {True, None}
    assert not judge(choice(), make_trace("<think>B", options=OPTIONS)).right
    assert judge(free("spleen"), make_trace("<think>x</think>The spleen", options=())).right


def test_a_think_tag_of_the_prompt_comes_back():
    # The prompt opened the block: without its tag the published script would read the reasoning.
    found = judge(choice(), make_trace("surely A.</think>B. spleen", options=OPTIONS))
    assert found.published["unireason_med"] is True


@pytest.mark.parametrize(
    "entry",
    [
        Entry("q", "c", "p", "?", ("x", "y"), ("x",), ""),
        Entry("q", "c", "p", "?", ("x", "y"), ("x",), "C"),
        Entry("q", "c", "p", "?", ("x", "y"), ("x",), "AB"),
        Entry("q", "c", "p", "?", (), ()),
        Entry("q", "c", "p", "?", (), ("x",), "A"),
        Entry("q", "c", "p", "?", (), ("...",)),
    ],
)
def test_questions_without_a_truth_are_refused(entry):
    with pytest.raises(FormatError):
        judge_text(entry, "A")


def test_other_options_are_refused():
    with pytest.raises(FormatError, match="options"):
        judge(choice(), make_trace("B", options=OPTIONS[::-1]))


@pytest.mark.parametrize(("answer", "against"), [("A. spleen", True), ("A. left kidney", False), ("B", False), ("spleen", False)])
def test_letter_against_text_is_part_of_the_verdict_and_of_every_share(answer, against):
    found = judge_text(choice(), answer)
    assert found.mismatch is against
    rows = [make_row(choice(), found), replace(make_row(choice(), judge_text(choice(), "B")), id="q2")]
    assert breakdown(rows, seed=0)["all"]["mismatch_rate"] == against / 2
