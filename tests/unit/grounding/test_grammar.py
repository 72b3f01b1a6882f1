import gc
import math
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D
from unireason.grounding import grammar

PIECES = [
    "<|box_start|>",
    "<|box_end|>",
    "<think>",
    "</think>",
    "[1,2,3,4]",
    "(1,2,3,4,5,6)",
    "[",
    "]",
    "(",
    ")",
    ",",
    "1",
    "-2.5",
]
PIECES += [" ", "\n", "abc", "A.", "1e5", "nan", "<|box_", "|>", "٣", "<|vision_start|>"]
model_text = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40).map("".join)
coordinate = st.one_of(
    st.integers(-(10**9), 10**9).map(float),
    st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-6),
)
boxes = st.one_of(st.builds(Box2D, *[coordinate] * 4), st.builds(Box3D, *[coordinate] * 6))


def box(body):
    return f"<|box_start|>{body}<|box_end|>"


def codes(text):
    return [p.code for p in grammar.parse(text).problems]


def test_reads_both_kinds_in_order_with_offsets():
    text = f"left {box('[1,2,3,4]')} then {box('( 1.5 , -2 ,3,4,5,6)')}."
    parsed = grammar.parse(text)
    assert [b.box for b in parsed.boxes] == [Box2D(1, 2, 3, 4), Box3D(1.5, -2, 3, 4, 5, 6)]
    assert [b.text for b in parsed.boxes] == [text[b.start : b.end] for b in parsed.boxes]
    assert parsed.boxes[0].start == 5
    assert parsed.problems == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (box("[1,2,3]"), ["bad_number_count"]),
        (box("[1,2,3,4,5]"), ["bad_number_count"]),
        (box("[1,2,3,4,5,6,7]"), ["bad_number_count"]),
        (box("[1,,3,4]"), ["not_a_number"]),
        (box("[1,2,3,4,]"), ["not_a_number"]),
        (box("[]"), ["not_a_number"]),
        (box("[1,2,3,nan]"), ["not_a_number"]),
        (box("[1,2,3,1e3]"), ["not_a_number"]),
        (box("[1,2,3,٣]"), ["not_a_number"]),
        (box(f"[1,2,3,{'9' * 33}]"), ["not_a_number"]),
        (box("1,2,3,4"), ["missing_bracket"]),
        (box(""), ["missing_bracket"]),
        (box("see [1,2,3,4]"), ["missing_bracket"]),
        (box("[1,2,3,4]" + " " * 250), ["long_box"]),
        ("<|box_start|>[1,2,3,4]", ["unclosed_box"]),
        ("[1,2,3,4]<|box_end|>", ["stray_box_end"]),
        ("<|box_end|><|box_start|>", ["stray_box_end", "unclosed_box"]),
    ],
)
def test_malformed_boxes_are_problems(text, expected):
    assert grammar.parse(text).boxes == ()
    assert codes(text) == expected


@pytest.mark.parametrize(
    ("body", "code"), [("[5,2,3,4]", "inverted_box"), ("[1,2,1,4]", "empty_box"), ("[1,2,3,4)", "mixed_brackets")]
)
def test_odd_but_readable_boxes_are_read_and_reported(body, code):
    assert len(grammar.parse(box(body)).boxes) == 1
    assert codes(box(body)) == [code]


def test_empty_cuboid_is_seen_along_z():
    assert grammar.box_flaws(Box3D(0, 0, 3, 5, 5, 3)) == ("empty_box",)
    assert grammar.box_flaws(Box3D(0, 0, 3, 5, 5, 4)) == ()


def test_nested_start_drops_the_outer_box_only():
    parsed = grammar.parse("<|box_start|>[9,9,<|box_start|>[1,2,3,4]<|box_end|>")
    assert [b.box for b in parsed.boxes] == [Box2D(1, 2, 3, 4)]
    assert [(p.code, p.start, p.text) for p in parsed.problems] == [("unclosed_box", 0, "<|box_start|>[9,9,")]


def test_last_box_is_the_one_just_closed():
    text = f"x {box('[9,9,10,10]')} y {box('[1,2,3,4]')} \n"
    found = grammar.last_box(text)
    assert found is not None
    assert (found.box, text[found.start : found.end]) == (Box2D(1, 2, 3, 4), box("[1,2,3,4]"))


@pytest.mark.parametrize(
    "text", ["", "no box", f"{box('[1,2,3,4]')} more", f"{box('[1,2,3,4]')} {box('[1,2,3]')}", f"{box('[1,2,3,4]')}<|box_end|>"]
)
def test_last_box_never_brings_back_an_older_one(text):
    assert grammar.last_box(text) is None


def test_writes_whole_numbers_without_point_and_decimals_in_full():
    assert grammar.write(Box2D(1.0, -2.0, 3.25, 0.1)) == "<|box_start|>[1,-2,3.25,0.1]<|box_end|>"
    assert grammar.write(Box3D(0, 0, 1, 12, 30, 2)) == "<|box_start|>[0,0,1,12,30,2]<|box_end|>"
    assert grammar.number_text(1e-5) == "0.00001"


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e40, 1e-40])
def test_refuses_to_write_what_cannot_be_read(value):
    with pytest.raises(FormatError):
        grammar.write(Box2D(0, 0, value, 1))


@pytest.mark.parametrize(
    ("body", "coords"),
    [
        ("[+1,2e1,.5,4_0]", (1, 20, 0.5, 40)),
        ("( 1, 2 ,3,4,5,6]", (1, 2, 3, 4, 5, 6)),
        (" [1,2,3,4]", None),
        ("[1,2,3]", None),
        ("[1,2,3,x]", None),
    ],
)
def test_the_published_reading_takes_the_numbers_of_python(body, coords):
    read = grammar.parse(box(body), released=True)
    assert [found.box.coords for found in read.boxes] == ([coords] if coords else [])
    if coords:
        assert read.boxes[0].text == box(body)
        assert "not_a_number" not in {problem.code for problem in read.problems}
    assert math.isnan(grammar.parse(box("[nan,2,3,4]"), released=True).boxes[0].box.x1)


@given(boxes)
@example(Box2D(0.1 + 0.2, -0.0, 1e9, 3.0000000000000004))
def test_write_then_parse_is_identity(found):
    assert [b.box for b in grammar.parse(f"a {grammar.write(found)} b").boxes] == [found]


@given(model_text)
def test_any_text_gives_a_reading(text):
    parsed = grammar.parse(text)
    for b in parsed.boxes:
        assert text[b.start : b.end] == b.text
        assert all(math.isfinite(v) for v in b.box.coords)
    opened, closed = text.count("<|box_start|>"), text.count("<|box_end|>")
    refused = [p for p in parsed.problems if p.code in ("long_box", "missing_bracket", "not_a_number", "bad_number_count")]
    unpaired = [p.code for p in parsed.problems]
    assert opened == len(parsed.boxes) + len(refused) + unpaired.count("unclosed_box")
    assert closed == len(parsed.boxes) + len(refused) + unpaired.count("stray_box_end")
    last = grammar.last_box(text)
    assert last is None or last == parsed.boxes[-1]
    grammar.tag_problems(text)


@given(model_text, st.booleans())
def test_think_and_answer_are_pieces_of_the_text(text, opened):
    think, answer, problems = grammar.split_think(text, opened=opened)
    assert think in text
    assert text.endswith(answer)
    if not opened and not problems:
        assert text == answer or text.lstrip() == f"<think>{think}</think>{answer}"


@pytest.mark.parametrize(
    ("text", "think", "answer", "expected"),
    [
        ("", "", "", []),
        ("B. Liver", "", "B. Liver", []),
        ("<think>a</think>B", "a", "B", []),
        ("<think></think>", "", "", []),
        ("<think>A is here", "A is here", "", ["unclosed_think"]),
        ("a</think>B", "a", "B", ["stray_think_end"]),
        ("<think>A?</think></think>B", "A?", "B", ["stray_think_end"]),
        ("<think>a<think>b</think>B", "a<think>b", "B", ["repeated_think"]),
        ("hm <think>a</think>B", "a", "B", ["text_before_think"]),
        ("<think>a</think>B<think>c", "a</think>B<think>c", "", ["repeated_think", "unclosed_think"]),
    ],
)
def test_split_think(text, think, answer, expected):
    got_think, got_answer, problems = grammar.split_think(text)
    assert (got_think, got_answer, [p.code for p in problems]) == (think, answer, expected)


@pytest.mark.parametrize(
    ("text", "think", "answer", "expected"),
    [
        ("a</think>B", "a", "B", []),
        ("a", "a", "", ["unclosed_think"]),
        ("<think>a</think>B", "<think>a", "B", ["repeated_think"]),
        ("a</think>b</think>C", "a", "C", ["stray_think_end"]),
    ],
)
def test_split_think_inside_a_block_opened_by_the_prompt(text, think, answer, expected):
    got_think, got_answer, problems = grammar.split_think(text, opened=True)
    assert (got_think, got_answer, [p.code for p in problems]) == (think, answer, expected)


def test_tag_problems_are_the_unpaired_tags_in_order():
    text = f"<|box_end|><think>{box('[1,2]')} <|box_start|>[1,2</think></think>"
    assert [p.code for p in grammar.tag_problems(text)] == [
        "text_before_think",
        "stray_box_end",
        "unclosed_box",
        "stray_think_end",
    ]
    assert grammar.tag_problems(f"<think>{box('[1,2,3,4]')}</think>B") == ()


@pytest.mark.parametrize(
    "piece", ["<|box_start|>", "<|box_end|>", "<|box_start|>[1,", "<think>", "</think>", "[" * 50, " " * 50, "1,"]
)
def test_reading_takes_linear_time(piece):
    read = [grammar.parse, grammar.last_box, grammar.split_think, grammar.tag_problems]

    def seconds(n):
        text = "<|box_start|>" + piece * n + "<|box_end|>"
        return min(timed(text) for _ in range(3))

    def timed(text):
        gc.disable()  # its passes over the problems found are not the reader's
        start = time.process_time()
        for function in read:
            function(text)
        seconds = time.process_time() - start
        gc.enable()
        return seconds

    # A quadratic reader would need 100 times the time for 10 times the text.
    assert seconds(40_000) < 50 * max(seconds(4_000), 1e-3)
