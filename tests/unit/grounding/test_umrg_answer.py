import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D
from unireason.grounding import answer as umrg

coordinate = st.integers(-5000, 5000).map(float) | st.floats(-1e5, 1e5).filter(lambda v: v == 0 or abs(v) > 1e-6)
point = st.tuples(coordinate, coordinate)
plain_words = st.text(st.characters(blacklist_categories=("Cs",)), max_size=30).filter(lambda t: "<" not in t)
ANSWER = "{'bbox': [1, 2, 3.5, 4], 'points_1': [1, 2], 'points_2': [3, 4]}"


@given(plain_words, st.builds(Box2D, *[coordinate] * 4), point, point)
def test_write_then_read_is_identity(think, box, first, second):
    found = umrg.read(umrg.write(think, box, (first, second)))
    assert (found.think, found.box, found.points, found.problems) == (think, box, (first, second), ())


@given(plain_words, st.builds(Box3D, *[coordinate] * 6), st.tuples(*[coordinate] * 3), st.tuples(*[coordinate] * 3))
def test_a_cuboid_is_read_back_too(think, box, first, second):
    text = umrg.write(think, box, (first, second))
    found = umrg.read(text, dims=3)
    assert (found.think, found.box, found.points, found.problems) == (think, box, (first, second), ())
    assert [p.code for p in umrg.read(text).problems] == ["bad_box", "bad_points"]


def test_a_rectangle_is_no_cuboid():
    found = umrg.read(f"<think>x</think><answer>{ANSWER}</answer>", dims=3)
    assert (found.box, found.points, [p.code for p in found.problems]) == (None, None, ["bad_box", "bad_points"])


@pytest.mark.parametrize("quote", ["'", '"'])
def test_reads_both_kinds_of_quotes(quote):
    found = umrg.read(f"<think>x</think> <answer> {ANSWER.replace(chr(39), quote)} </answer>")
    assert (found.think, found.box, found.points) == ("x", Box2D(1, 2, 3.5, 4), ((1, 2), (3, 4)))


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", ["no_think", "no_answer"]),
        ("<think>x</think><answer>", ["no_answer"]),
        ("<think>x</think><answer></answer>", ["not_json"]),
        ("<think>x</think><answer>[1]</answer>", ["not_an_object"]),
        ("<think>x</think><answer>" + "[" * 3000 + "</answer>", ["not_json"]),
        ("<think>x</think><answer>" + " " * 5000 + "{}</answer>", ["not_an_object"]),
        ("<answer>{'bbox': [1,2,3,4]}</answer>", ["no_think", "missing_key", "missing_key", "bad_points"]),
        (f"<think></think><answer>{ANSWER.replace('3.5', 'NaN')}</answer>", ["bad_box"]),
        (f"<think></think><answer>{ANSWER.replace('3.5', 'true')}</answer>", ["bad_box"]),
        (f"<think></think><answer>{ANSWER.replace('3.5', '9' * 400)}</answer>", ["bad_box"]),
        (f"<think></think><answer>{ANSWER.replace('[3, 4]', '[3]')}</answer>", ["bad_points"]),
    ],
)
def test_problems(text, codes):
    assert [p.code for p in umrg.read(text).problems] == codes


@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", ANSWER, "{", "[", "x", "'", "NaN"]), max_size=12
    ).map("".join),
    st.sampled_from(["lenient", "strict", "published"]),
)
def test_any_text_gives_a_reading(text, way):
    found = umrg.read(text, way=way)
    if way == "published":
        assert (found.answer is None) == ("</answer>" not in text.partition("<answer>")[2])
    elif way == "strict" and found.answer is not None:
        assert f"<answer>{found.answer}</answer>" in text.rpartition("</think>")[2]
        assert "<think>" not in text.rpartition("</think>")[2]


def test_first_blocks_count():
    found = umrg.read(f"<think>a</think><think>b</think><answer>{ANSWER}</answer><answer>{{}}</answer>")
    assert found.think == "a"
    assert found.box is not None
    assert [p.code for p in found.problems] == ["several_answers"]


BOX = Box2D(1, 2, 3.5, 4)
OTHER = ANSWER.replace("[1, 2, 3.5, 4]", "[5, 6, 7, 8]")


@pytest.mark.parametrize("way", ["lenient", "strict"])
@pytest.mark.parametrize(
    ("text", "box"),
    [
        (f"<think>try <answer>{ANSWER}</answer></think><answer>{OTHER}</answer>", Box2D(5, 6, 7, 8)),
        (f"<think>try <answer>{ANSWER}</answer></think>", None),
        (f"<think>try <answer>{ANSWER}</answer></think>It is there.", None),
        (f"<think>try <answer>{ANSWER}</answer></think><answer></answer>", None),
        (f"<think>try <answer>{ANSWER}</answer>", None),
        (f"<answer>{ANSWER}</answer></think>", None),
        (f"<think>x</think><think><answer>{ANSWER}</answer>", None),
        (f"<think>between <answer></answer> I write</think><answer>{ANSWER}</answer>", BOX),
        (f"<think>between <answer> and </answer> I write</think> <answer>{ANSWER}</answer>", BOX),
        (f"<think>x</think><answer></answer><answer>{ANSWER}</answer>", BOX),
        (f"<think>x</think>I write <answer> then <answer>{ANSWER}</answer>", BOX),
        (f"<think>x</think></think><answer>{ANSWER}</answer>", BOX),
        (f"x</THINK><Answer>{ANSWER}</ANSWER>", BOX),
        (f"<answer>{ANSWER}</answer>", BOX),  # without reasoning all of it is the answer
    ],
)
def test_the_answer_is_what_stands_behind_the_reasoning(text, box, way):
    assert umrg.read(text, way=way).box == box


def test_the_published_reading_takes_a_draft():
    assert umrg.read(f"<think>try <answer>{ANSWER}</answer></think><answer>{OTHER}</answer>", way="published").box == BOX


@pytest.mark.parametrize("way", ["lenient", "strict"])
@pytest.mark.parametrize(
    "label",
    [
        """"label": "Meckel's diverticulum\"""",
        """'label': "Meckel's diverticulum\"""",
        """'label': 'Meckel\\'s diverticulum'""",
        """'label': 'Meckel's diverticulum'""",
        """'label': 'say "left"'""",
        """'labels': ['the patient's', "x"]""",
        """'more': {'a': 'b', "it's": 1}""",
    ],
)
@pytest.mark.parametrize("front", [True, False])
def test_further_keys_may_hold_an_apostrophe(label, front, way):
    inner = ANSWER[1:-1] if label.startswith("'") else ANSWER[1:-1].replace("'", '"')
    body = f"{{{label}, {inner}}}" if front else f"{{{inner}, {label}}}"
    found = umrg.read(f"<think>x</think><answer>{body}</answer>", way=way)
    assert (found.box, found.problems) == (BOX, ())


@pytest.mark.parametrize(
    "answer",
    [
        f"<answer>```json\n{ANSWER}\n```</answer>",
        f"<answer>```\n{ANSWER}```</answer>",
        f"<answer>```json{ANSWER}```</answer>",
        f"<answer>{ANSWER.replace('[1, 2, 3.5, 4]', chr(34).join(['[', '1', ', ', '2', ',', '3.5', ',', '4', ']']))}</answer>",
        f"<answer>{ANSWER.replace('}', ',}')}</answer>",
        f"<answer>{ANSWER.replace('4]', '4, ]')}</answer>",
        f"<answer>[{ANSWER}]</answer>",
        f"<answer>{ANSWER.replace('bbox', 'bbox_2d')}</answer>",
        ANSWER,
        f"```json\n{ANSWER}\n```<|im_end|>",
    ],
)
def test_leniency_is_told_and_not_for_rewards(answer):
    text = f"<think>x</think>{answer}"
    found = umrg.read(text)
    assert (found.box, found.points, {p.code for p in found.problems}) == (BOX, ((1, 2), (3, 4)), {"loose_answer"})
    strict = umrg.read(text, way="strict")
    assert strict.box is None or strict.points is None
    assert umrg.read(f"<think>{answer}</think>").box is None


@pytest.mark.parametrize(
    "numbers",
    [
        "[NaN,2,3,4]",
        "['Infinity',2,3,4]",
        "['1e3',2,3,4]",
        "[true,2,3,4]",
        "[1,[2,3,4]]",
        "[1,2,3,4,5]",
        "'[1,2,3,4]'",
        "['',1,2,3]",
    ],
)
def test_leniency_makes_no_numbers(numbers):
    text = f"<think>x</think><answer>{ANSWER.replace('[1, 2, 3.5, 4]', numbers)}</answer>"
    assert umrg.read(text).box is None


@pytest.mark.parametrize(("think", "x2"), [("a</think>", 3), ("a<answer>", 3), ("a", 1e10), ("a", float("nan"))])
def test_refuses_to_write_what_reads_back_differently(think, x2):
    with pytest.raises(FormatError):
        umrg.write(think, Box2D(1, 2, x2, 4), ((1, 2), (3, 4)))
