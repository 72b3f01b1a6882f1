import copy
import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import AnswerStep, Crop, Frame, LookStep, Problem, Source, TextStep, Tokens, Trace
from unireason.grounding import trace as trace_json

VALIDATOR = jsonschema.Draft202012Validator(trace_json.SCHEMA)


def full_trace():
    pixels = np.arange(4 * 5, dtype=np.uint8).reshape(4, 5)
    colour = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    crops = (Crop((1, 2, 6, 6), 3, pixels, (1, 2, 4), "model"), Crop((1, 2, 6, 6), 4, colour, None, "native"))
    return Trace(
        question="Which organ?",
        options=("liver", "left kidney"),
        steps=(
            TextStep("I look at"),
            LookStep(
                "<|box_start|>[1,2,3,6,6,5]<|box_end|>",
                (1, 2, 3, 6, 6, 5),
                (0.5, 1, 2, 3, 4, 5),
                (-1.5, 0, 0, 1, 1, 1),
                (3, 4),
                crops,
                True,
                "kidney",
            ),
            LookStep("<|box_start|>[9,9,1,1]<|box_end|>", (9, 9, 1, 1)),
            AnswerStep("B. left kidney", "B"),
        ),
        frame=Frame(252, 252, 32, "volume"),
        finish="end_of_turn",
        problems=(Problem("inverted_box", "[9,9,1,1]", 40), Problem("round_budget")),
        source=Source("scan.nii.gz", "nifti", "ab" * 32),
        provenance={"checkpoint": "phantom", "seed": 3, "sampling": {"temperature": 0.5}, "extras": [1, None, True]},
        tokens=Tokens((1, 2), (3, 4, 5), (True, False, True), (-0.5, 0.0, -1.25)),
        raw_text="<think>…",
    )


def same(a, b):
    """Equal traces: arrays and frozen values field by field."""
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b)
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(same(getattr(a, n), getattr(b, n)) for n in a.__dataclass_fields__)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_round_trip_with_pixels_is_lossless():
    data = json.loads(json.dumps(trace_json.to_json(full_trace(), crops="png"), allow_nan=False))
    VALIDATOR.validate(data)
    assert same(trace_json.from_json(data), full_trace())


def test_without_pixels_only_they_are_lost():
    data = json.loads(json.dumps(trace_json.to_json(full_trace()), allow_nan=False))
    VALIDATOR.validate(data)
    back = trace_json.from_json(data)
    assert [c.pixels.shape for c in back.looks[0].crops] == [(4, 5, 0), (6, 4, 0)]
    assert trace_json.to_json(back, crops="png") == data


def test_contract_of_the_top_level():
    data = trace_json.to_json(full_trace())
    assert data["schema"] == "unireason.trace/1"
    assert data["answer"] == {"choice": "B", "text": "B. left kidney"}
    look = data["steps"][1]
    assert [s["type"] for s in data["steps"]] == ["text", "look", "look", "answer"]
    assert look["box_model"] == [1, 2, 3, 6, 6, 5]
    assert look["box_voxel"] == [0.5, 1, 2, 3, 4, 5]
    assert look["box_world_mm"] == [-1.5, 0, 0, 1, 1, 1]
    assert look["slices"] == [3, 4]
    assert look["crops"][0] == {"slice": 3, "box_model": [1, 2, 6, 6], "origin": "model", "grid_thw": [1, 2, 4], "size": [4, 5]}


def test_a_trace_without_anything():
    empty = Trace("q", (), (), Frame(28, 28, 1, "image"), "context")
    data = trace_json.to_json(empty)
    VALIDATOR.validate(data)
    assert data["answer"] == {"choice": None, "text": ""}
    assert same(trace_json.from_json(data), empty)


def test_numpy_numbers_become_plain_ones():
    look = LookStep("x", tuple(np.float32([1, 2, 3, 4])), slices=(np.int64(2),), executed=np.bool_(True))
    trace = Trace("q", (), (look,), Frame(np.int64(28), 28, 1, "image"), "x", tokens=Tokens((np.int64(1),), (), ()))
    json.dumps(trace_json.to_json(trace))


@pytest.mark.parametrize(
    "trace",
    [
        Trace("q", (), (LookStep("x", (1, 2, 3, float("nan"))),), Frame(1, 1, 1, "image"), "x"),
        Trace("q", (), (), Frame(1, 1, 1, "image"), "x", provenance={"a": float("inf")}),
        Trace("q", (), (), Frame(1, 1, 1, "image"), "x", provenance={"a": object()}),
        Trace("q", (), (), Frame(1, 1, 1, "image"), "x", tokens=Tokens((1,), (2,), (True,), (float("-inf"),))),
    ],
)
def test_what_json_cannot_hold_is_refused(trace):
    with pytest.raises(FormatError):
        trace_json.to_json(trace)


def places(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


GOOD = json.loads(json.dumps(trace_json.to_json(full_trace(), crops="png")))
PLACES = sorted((p for p in places(GOOD) if p and p[0] != "provenance"), key=str)
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.just(10**400),
    st.floats(),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just([[1]]),
)


@given(st.sampled_from(PLACES), junk)
def test_any_broken_trace_gives_one_kind_of_error(path, value):
    data = copy.deepcopy(GOOD)
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    try:
        trace_json.from_json(data)
    except FormatError:
        return
    VALIDATOR.validate(data)  # whatever is read fits the schema


@pytest.mark.parametrize("path", [p for p in PLACES if isinstance(p[-1], str) and p[-1] not in ("png", "scope")])
def test_every_key_is_needed(path):
    data = copy.deepcopy(GOOD)
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    assert not VALIDATOR.is_valid(data)
    with pytest.raises(FormatError):
        trace_json.from_json(data)


@pytest.mark.parametrize("value", [None, [], 3, "x", {}, {"schema": "unireason.trace/2"}])
def test_other_documents_are_refused(value):
    with pytest.raises(FormatError):
        trace_json.from_json(value)


def test_unknown_keys_and_versions_are_refused():
    for key, value in (("colour", 1), ("schema", "unireason.trace/2")):
        with pytest.raises(FormatError, match=key):
            trace_json.from_json({**GOOD, key: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, True, "1"])
def test_numbers_must_be_finite_numbers(value):
    data = copy.deepcopy(GOOD)
    data["steps"][1]["box_model"][2] = value
    with pytest.raises(FormatError, match=r"steps\[1\]\.box_model\[2\]"):
        trace_json.from_json(data)


def test_the_answer_cannot_contradict_the_steps():
    with pytest.raises(FormatError, match="answer"):
        trace_json.from_json({**GOOD, "answer": {"choice": "A", "text": "B. left kidney"}})


@pytest.mark.parametrize(
    "png", ["", "!!", "aGVsbG8=", GOOD["steps"][1]["crops"][1]["png"], GOOD["steps"][1]["crops"][0]["png"][:40]]
)
def test_bad_pictures_are_refused(png):
    data = copy.deepcopy(GOOD)
    data["steps"][1]["crops"][0]["png"] = png
    with pytest.raises(FormatError, match="png"):
        trace_json.from_json(data)


def test_flags_and_ids_must_be_of_one_length():
    data = copy.deepcopy(GOOD)
    data["tokens"]["sampled"].pop()
    with pytest.raises(FormatError, match="tokens"):
        trace_json.from_json(data)


def test_schema_is_itself_valid():
    jsonschema.Draft202012Validator.check_schema(trace_json.SCHEMA)
