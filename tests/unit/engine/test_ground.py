"""Implicit questions through the engine: the wording of the grounding profile, and an answer that is a place."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from unireason.core.errors import FormatError
from unireason.core.types import AnswerStep, Case, Geometry, Source, TextStep
from unireason.engine.local import LocalEngine
from unireason.engine.masks import target
from unireason.engine.reasoner import Reasoner
from unireason.engine.reference import ReferenceEngine
from unireason.engine.sampling import Sampling
from unireason.grounding import trace as traces
from unireason.grounding.profile import BUILT_IN
from unireason.imaging.geometry import volume_geometry

END = "<|im_end|>"
GOOD = '<think>dark and round</think><answer>{"bbox": [7,14,21,42], "points_1": [10,20], "points_2": [14,35]}</answer>' + END


def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (112, 56), dtype=np.uint8)
    return Case(pixels, "image", Geometry((112, 56), (56, 112), (0, 1), (False, False)), "", Source("x.png", "png", "cd"))


def scripted(*texts, kind=LocalEngine):
    made = tiny.checkpoint()
    return Reasoner(made, engine=kind(made, picker=tiny.Script(*[tiny.spell(t) for t in texts])))


def test_the_grounding_profile_asks_and_the_answer_is_kept():
    trace = scripted(GOOD).ground(picture(), "Which dark round thing is it?")
    assert [type(s) for s in trace.steps] == [TextStep, AnswerStep]
    assert trace.steps[0].text == "dark and round"
    assert trace.finish == "end_of_turn"
    assert trace.problems == ()
    assert trace.provenance["profile"] == {"name": "umrg", "sha256": BUILT_IN["umrg"].sha256}
    prompt = tiny.checkpoint().tokenizer.decode(list(trace.tokens.prompt))
    assert BUILT_IN["umrg"].system_2d in prompt
    assert traces.to_json(traces.from_json(traces.to_json(trace))) == traces.to_json(trace)


def test_a_checkpoint_brings_its_own_profile():
    own = replace(BUILT_IN["umrg"], name="own", system_2d="mark it", max_new_tokens=3)
    made = replace(tiny.checkpoint(), grounding=own)
    trace = Reasoner(made, engine=LocalEngine(made, picker=tiny.Script(tiny.spell("abcdef")))).ground(picture(), "q")
    assert trace.raw_text == "abc"
    assert trace.finish == "token_budget"
    assert trace.provenance["profile"]["name"] == "own"


@pytest.mark.parametrize("kind", [LocalEngine, ReferenceEngine])
def test_many_questions_and_samples_in_order(kind):
    texts = [f"{letter}{END}" for letter in "abcd"]
    out = scripted(*texts, kind=kind).ground_many(picture(), ["one", "two"], samples=2, sampling=Sampling(seed=5))
    assert [t.raw_text for q in out for t in q] == texts
    assert [t.provenance["seed"] for t in out[0]] == [5, 6]
    assert [q[0].question for q in out] == ["one", "two"]
    assert scripted().ground_many(picture(), []) == []


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (f"nothing{END}", {"no_think", "no_answer"}),
        (f"<think>a</think><answer>[1]</answer>{END}", {"not_an_object"}),
        (f'<think>a</think><answer>{{"bbox": [1,2]}}</answer>{END}', {"missing_key", "bad_box", "bad_points"}),
    ],
)
def test_a_bad_answer_is_among_the_problems(text, codes):
    trace = scripted(text).ground(picture(), "q")
    assert codes <= {p.code for p in trace.problems}


def test_no_regions_are_shown():
    trace = scripted("<|box_start|>[0,0,28,28]<|box_end|>").ground(picture(), "q", max_looks=0)
    assert trace.finish == "round_budget"
    assert not trace.looks[0].executed


def test_asking_and_grounding_keep_their_own_encodings():
    made = scripted(*[f"x{END}"] * 1)
    case = picture()
    made.ground(case, "q")
    plain = made.encode(case)
    made.ground(case, "q")
    assert made.encode(case) is plain
    assert made.ask(case, "q").provenance["profile"]["name"] == "tiny"


def test_settings_and_kinds_are_checked():
    with pytest.raises(FormatError, match="samples"):
        scripted().ground(picture(), "q", samples=2)
    with pytest.raises(FormatError):
        scripted().ground(picture(), "")


def test_looks_are_shown_before_the_answer():
    trace = scripted("<think>here<|box_start|>[0,0,28,28]<|box_end|> it is" + GOOD[len("<think>dark and round") :]).ground(
        picture(), "q"
    )
    assert trace.looks[0].executed
    assert trace.problems == ()
    assert target(trace, picture()).model.box == (7, 14, 21, 42)


def test_a_volume_is_answered_by_a_cuboid():
    """A cuboid of the model frame and two points, in voxels of a file of other size; the expert gets both."""
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    volume = Case(
        np.zeros((64, 112, 112), np.float32), "volume", volume_geometry((112, 112, 64), affine), "CT", Source("v", "nifti", "")
    )
    said = '<think>x</think><answer>{"bbox": [7,14,2,21,42,6], "points_1": [10,20,3], "points_2": [14,35,5]}</answer>' + END
    trace = scripted(said).ground(volume, "Which one is it?", slices=32)
    assert trace.problems == ()
    assert trace.frame.kind == "volume"
    across, deep = 112 / trace.frame.width, 64 / trace.frame.depth
    found = target(trace, volume)
    assert found.model.box == (7, 14, 2, 21, 42, 6)
    low, high = found.canonical.box[:3], found.canonical.box[3:]
    assert low == pytest.approx((7 * across, 14 * across, 2 * deep))
    assert high == pytest.approx((21 * across, 42 * across, 6 * deep))
    assert found.canonical.points[0] == pytest.approx((10.5 * across, 20.5 * across, 3.5 * deep))
    flat = scripted(GOOD).ground(volume, "Which one is it?", slices=32)
    assert {p.code for p in flat.problems} == {"bad_box", "bad_points"}


@pytest.mark.parametrize(
    ("box", "points", "codes"),
    [
        ("[21,14,7,42]", "[14,35]", ["inverted_box"]),
        ("[7,14,7,42]", "[14,35]", ["empty_box"]),
        ("[7,14,2100,42]", "[14,35]", ["box_outside_frame"]),
        ("[7,14,21,42]", "[-14,35]", ["point_outside_frame"]),
        ("[7,14,21,42]", "[14,35]", []),
    ],
)
def test_an_unusable_place_is_told(box, points, codes):
    text = GOOD.replace("[7,14,21,42]", box).replace("[14,35]", points)
    assert [p.code for p in scripted(text).ground(picture(), "q").problems] == codes
