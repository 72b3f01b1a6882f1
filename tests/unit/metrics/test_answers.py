import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.metrics.answers import answer_choice, published_inference_choice, published_reward_choice
from unireason.metrics.open_answers import same_text


@pytest.mark.parametrize(
    ("response", "choice"),
    [
        # statements
        ("The answer is B.", "B"),
        ("the answer is b.", "B"),
        ("Answer: c", "C"),
        ("**Answer:** B", "B"),
        ("**Answer**: b.", "B"),
        ("Answer:\nB", "B"),
        ('The answer is "B".', "B"),
        ("The answer is: **B. Left kidney**", "B"),
        ("The correct answer to the question is (c).", "C"),
        ("The right option is B, the left kidney", "B"),
        ("I would pick the letter D", "D"),
        ("The answer is A because of the mass", "A"),
        ("I think C. Right lung", "C"),
        ("B is correct", "B"),
        ("Option B is wrong; option C is correct", "C"),
        ("answer: D. Wait, the answer is B", "B"),
        ("The answer is not A. It is B.", "B"),
        ("Not A. The correct option is D", "D"),
        ("I would not choose B", None),
        # leading letters
        ("B. Left kidney", "B"),
        ("(b) right kidney", "B"),
        ("**C**", "C"),
        ("**A** Left kidney", "A"),
        ("C: Spleen", "C"),
        ("D - Spleen", "D"),
        ("[C]", "C"),
        ("b", "B"),
        ("A. A mass lies anterior to the cord.", "A"),
        ("B<|im_end|>", "B"),
        ("Because it is big.\n\nB. Left kidney", "B"),
        # wrapped and mentioned
        ("<answer>B. Left kidney</answer>", "B"),
        (r"\boxed{\text{D}}", "D"),
        (r"\boxed{A}, no: \boxed{C}", "C"),
        (r"\boxed{B. spleen}", "B"),
        (r"\boxed{\textbf{(c)}}", "C"),
        (r"\boxed{\mathrm{D}}", "D"),
        (r"\boxed{a mass} It is option B", "B"),
        ("$B$", "B"),
        ("The answer is $C$.", "C"),
        ("My choice is C", "C"),
        ("Choice: c", "C"),
        ("Answer - B", "B"),
        ("Final answer \u2013 D", "D"),
        ("Answer - a mass", None),
        ("Choice: a mass or option B", "B"),
        ("My choice is a mass", None),
        ("Final answer: the left kidney (B)", "B"),
        ("So option c fits", "C"),
        ("It is not option A. Option B fits", "B"),
        # nothing
        ("", None),
        ("Neither", None),
        ("It is a cyst.", None),
        ("The answer is a cyst.", None),
        ("Answer: A large mass", None),
        ("I think a cyst is there", None),
        ("It is hepatitis B.", None),
        ("A mass is present. B cells are seen.", None),
        ("A-line artefacts", None),
        ("The T-shaped one is correct", None),
        ("The answer is B or C", None),
        ("A and C", None),
        ("A, B, or C?", None),
        ("A. x\nB. y\nC. z", None),
        ("option A, option B", None),
        ("E. none of these", None),
        ("The answer is E", None),
    ],
)
@pytest.mark.parametrize("prefix", ["", "<think>A is first, so the answer is D.</think>", "reasoning with option D</think>"])
def test_answer_choice(prefix, response, choice):
    assert answer_choice(prefix + response, "ABCD") == choice


@pytest.mark.parametrize("response", ["<think>the answer is B", "<think>x</think>B<think>hm"])
def test_an_unclosed_block_names_nothing(response):
    assert answer_choice(response, "ABCD") is None


def test_letters_on_offer_decide():
    assert answer_choice("E. none", "ABCDE") == "E"
    assert answer_choice("B", "ab") == "B"
    assert answer_choice("B", "") is None


words = st.sampled_from(
    [
        "A",
        "b",
        "a",
        "the answer is",
        "option",
        ".",
        "\n",
        "(",
        ")",
        "**",
        "not",
        "or",
        "<think>",
        "</think>",
        " ",
        "is correct",
        "E",
    ]
)


@given(st.lists(words | st.text(max_size=4), max_size=20).map("".join))
def test_any_text_gives_an_offered_letter_or_none(response):
    assert answer_choice(response, "ABC") in ("A", "B", "C", None)
    assert published_inference_choice(response) in ("A", "B", "C", "D", None)
    assert published_reward_choice(response) in ("A", "B", "C", "D", "")


@pytest.mark.parametrize(
    ("response", "inference", "reward"),
    [
        ("**A** D. A large mass", "D", "A"),
        ("a mass in the liver", None, "A"),
        ("(D)", None, "D"),
        ("B. Left. Final answer: A. Right", "A", "B"),
        ("<think>C.</think> both, D", "D", "D"),
        ("<THINK>C.</THINK>", None, ""),
        ("<think>C. open", "C", "C"),
        ("", None, ""),
    ],
)
def test_published_extractors_keep_their_defects(response, inference, reward):
    assert published_inference_choice(response) == inference
    assert published_reward_choice(response) == reward


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        ("Left kidney.", "left kidney", True),
        ("  the\nLEFT   kidney<|im_end|>", "left kidney", True),
        ("<answer>left kidney</answer>", "Left-Kidney", True),
        ("left kidneys", "left kidney", True),
        ("left kidney or right kidney", "left kidney", False),
        ("kidney", "left kidney", False),
        ("kidney left", "left kidney", False),
        ("", "left kidney", False),
        ("...", "left kidney", False),
        ("vitamin A", "vitamin", False),
        ("a", "a", True),
        ("A cyst", "cyst", True),
        ("3.5 cm.", "3.5 cm", True),
        ("35 cm", "3.5 cm", False),
        ("-3", "3", False),
        ("< 5 mm", "<5mm", True),
        ("<5 mm", ">5 mm", False),
        ("5 %", "5", False),
        ("\uff2d\uff32\uff29", "MRI", True),
        ("stra\u00dfe", "STRASSE", True),
    ],
)
def test_same_text(answer, gold, same):
    assert same_text(answer, gold) is same


@pytest.mark.parametrize("gold", ["", " ", "...", "<|im_end|>"])
def test_a_gold_text_needs_a_word(gold):
    with pytest.raises(FormatError):
        same_text("x", gold)


@given(st.text())
def test_a_text_is_the_same_as_itself(text):
    try:
        assert same_text(text, text)
    except FormatError:
        assert not any(c.isalnum() for c in text) or "<" in text


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "answer ", "answer is a ", "not ", "A\n", "(", " ", "\\boxed{", "option "]
)
def test_reading_takes_linear_time(piece):
    def seconds(n):
        return min(timed(piece * n) for _ in range(2))

    def timed(text):
        start = time.process_time()
        answer_choice(text, "ABCD")
        published_inference_choice(text)
        published_reward_choice(text)
        same_text(text, "x")
        return time.process_time() - start

    # A quadratic reader would need 100 times the time for 10 times the text.
    assert seconds(40_000) < 40 * max(seconds(4_000), 1e-3)
