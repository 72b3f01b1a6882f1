"""The state machine alone: hand-written ids, no network."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Box2D, Box3D, Crop, Frame
from unireason.engine.session import Budget, Finished, GoOn, Inject, Session, SessionScene
from unireason.model.checkpoint import SpecialIds

IDS = SpecialIds(
    box_start=200, box_end=201, vision_start=202, image_pad=203, vision_end=204, video_pad=205, im_start=206, im_end=207,
    stop=frozenset({207, 208}),
)  # fmt: skip
NAMES = {200: "<|box_start|>", 201: "<|box_end|>", 207: "<|im_end|>"}


def decode(ids):
    return "".join(NAMES.get(i) or chr(i) for i in ids)


def cut(plan):
    """One visual token a crop: a grid of 2 x 2 patches."""
    return tuple(Crop(rect, z, np.zeros((rect[3] - rect[1], rect[2] - rect[0]), np.uint8), (1, 2, 2)) for z, rect in plan)


def start(kind="volume", prompt=(1, 2, 3), cutter=cut, **budget):
    depth = 1 if kind == "image" else 8
    return Session(prompt, SessionScene(Frame(50, 40, depth, kind), cutter, decode), ids=IDS, budget=Budget(**budget))


def box(text):
    return [IDS.box_start, *map(ord, text), IDS.box_end]


def drive(session, ids):
    decision = None
    for token in ids:
        decision = session.feed(token, -0.25)
    return decision


def test_cuboid_is_injected_slice_by_slice():
    session = start()
    decision = drive(session, [*map(ord, "a "), *box("[1,2,3,20,30,6]")])
    picture = (202, 203, 204)
    assert isinstance(decision, Inject)
    assert decision.token_ids == picture * 3
    assert [(c.slice_index, c.box_model) for c in decision.crops] == [(z, (1, 2, 20, 30)) for z in (3, 4, 5)]
    assert session.response == [*map(ord, "a "), *box("[1,2,3,20,30,6]"), *picture * 3]
    assert session.sampled == [True] * 19 + [False] * 9
    assert session.logprobs == [-0.25] * 19 + [0.0] * 9
    assert session.looks[0].box == Box3D(1, 2, 3, 20, 30, 6)
    assert session.crops == decision.crops
    assert session.finish is None
    assert drive(session, [65, 207]) == Finished("end_of_turn")
    tokens = session.tokens()
    assert tokens.prompt == (1, 2, 3)
    assert len(tokens.response) == len(tokens.sampled) == len(tokens.logprobs) == 30


def test_rectangle_on_an_image_and_round_brackets():
    session = start("image")
    assert isinstance(drive(session, box("(1, 2, 20.5, 30)")), Inject)
    assert session.looks[0].box == Box2D(1, 2, 20.5, 30)
    assert session.crops[0].box_model == (1, 2, 20, 30)


@pytest.mark.parametrize("stop", [207, 208])
def test_every_stop_id_ends_the_turn(stop):
    assert drive(start(), [65, stop]) == Finished("end_of_turn")


@pytest.mark.parametrize(
    ("text", "code"),
    [("[1,2,3]", "bad_number_count"), ("[1,2,3,x,5,6]", "not_a_number"), ("1,2,3,4,5,6", "missing_bracket"),
     ("[1,2,20,30]", "box_2d_on_volume")],
)  # fmt: skip
def test_box_that_cannot_be_executed_ends_the_turn(text, code):
    session = start()
    assert drive(session, box(text)) == Finished("invalid_box")
    assert [p.code for p in session.problems] == [code]
    assert session.looks == []
    assert all(session.sampled)


def test_end_without_start_and_start_in_an_earlier_round():
    session = start()
    assert drive(session, [65, IDS.box_end]) == Finished("invalid_box")
    assert [p.code for p in session.problems] == ["stray_box_end"]
    session = start()
    drive(session, box("[1,2,3,20,30,4]"))
    assert drive(session, [65, IDS.box_end]) == Finished("invalid_box")
    assert len(session.looks) == 1


def test_last_start_counts():
    session = start()
    assert isinstance(drive(session, [IDS.box_start, *map(ord, "[9,"), *box("[1,2,3,20,30,4]")]), Inject)
    assert session.looks[0].box == Box3D(1, 2, 3, 20, 30, 4)


def test_looks_are_limited_and_the_last_is_followed_by_text():
    session = start(max_looks=2)
    for _ in range(2):
        assert isinstance(drive(session, box("[1,2,3,20,30,4]")), Inject)
    assert session.feed(65) == GoOn()
    assert drive(session, box("[1,2,3,20,30,4]")) == Finished("round_budget")
    assert len(session.looks) == 2
    assert [p.code for p in session.problems] == ["round_budget"]
    assert drive(start(max_looks=0), box("[1,2,3,20,30,4]")) == Finished("round_budget")


def test_token_budget_counts_sampled_tokens_over_all_rounds():
    length = len(box("[1,2,3,20,30,4]"))
    session = start(max_new_tokens=length + 2)
    assert isinstance(drive(session, box("[1,2,3,20,30,4]")), Inject)
    assert session.feed(65) == GoOn()
    assert session.feed(65) == Finished("token_budget")
    assert sum(session.sampled) == length + 2


def test_no_picture_when_no_token_could_follow():
    session = start(max_new_tokens=len(box("[1,2,3,20,30,4]")))
    assert drive(session, box("[1,2,3,20,30,4]")) == Finished("token_budget")
    assert all(session.sampled)


def test_round_budget_of_tokens_starts_anew_behind_a_look():
    length = len(box("[1,2,3,20,30,4]"))
    session = start(max_round_tokens=length + 1)
    assert isinstance(drive(session, box("[1,2,3,20,30,4]")), Inject)
    assert drive(session, [65] * length) == GoOn()
    assert session.feed(65) == Finished("token_budget")


@pytest.mark.parametrize("room", range(1, 30))
def test_context_never_leaves_half_a_picture(room):
    """Whatever the room: the response ends within it, and injected ids are whole pictures, all of a look or none."""
    session = start(max_context=3 + room)
    ids = iter(box("[1,2,3,20,30,6]") + [65] * 100)
    while session.finish is None:
        session.feed(next(ids))
    assert len(session.response) <= room
    injected = [t for t, s in zip(session.response, session.sampled, strict=True) if not s]
    assert injected in ([], [202, 203, 204] * 3)
    assert bool(injected) == bool(session.looks) == (room > 17 + 9)
    assert session.finish == "context"


def test_region_that_cannot_be_fed_is_a_problem_not_an_error():
    def refuse(plan):
        raise FormatError("a picture of 1 x 900 pixels")

    session = start(cutter=refuse)
    assert drive(session, box("[1,2,3,20,30,6]")) == Finished("invalid_box")
    assert [p.code for p in session.problems] == ["uncut_region"]


@pytest.mark.parametrize("token", [202, 203, 204, 205, 206])
def test_picture_tokens_are_never_accepted_as_sampled(token):
    session = start()
    with pytest.raises(ModelError, match=str(token)):
        session.feed(token)
    assert session.response == []


def test_misuse():
    session = start()
    session.feed(207)
    with pytest.raises(ModelError, match="ended"):
        session.feed(65)
    with pytest.raises(ModelError, match="empty"):
        start(prompt=())
    with pytest.raises(ModelError, match="3 tokens"):
        start(max_context=3)
    with pytest.raises(ModelError, match="grid"):
        drive(start(cutter=lambda plan: (Crop((0, 0, 4, 4), 0, np.zeros((4, 4), np.uint8)),)), box("[1,2,3,20,30,6]"))


@pytest.mark.parametrize("budget", [{"max_looks": -1}, {"max_new_tokens": 0}, {"max_round_tokens": 1.5}, {"max_context": True}])
def test_budget_ranges(budget):
    with pytest.raises(FormatError):
        Budget(**budget)


PIECES = [box("[1,2,3,20,30,6]"), box("[1,2,3,20,30,4]"), box("[9,9]"), [65], [65, 66, 67], [IDS.box_start], [IDS.im_end]]


@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=12),
    looks=st.integers(0, 3),
    new=st.integers(1, 80),
    in_round=st.integers(1, 60),
    context=st.integers(4, 120),
)
def test_whatever_is_sampled_the_budgets_hold(pieces, looks, new, in_round, context):
    """Ids in any order: limits are kept, pictures are whole, and the record stays consistent."""
    session = start(max_looks=looks, max_new_tokens=new, max_round_tokens=in_round, max_context=context)
    fed = []
    for token in (t for piece in pieces for t in piece):
        decision = session.feed(token)
        fed.append(token)
        assert (session.finish is None) == (not isinstance(decision, Finished))
        if session.finish:
            break
    sampled = [t for t, s in zip(session.response, session.sampled, strict=True) if s]
    injected = [t for t, s in zip(session.response, session.sampled, strict=True) if not s]
    assert sampled == fed
    assert injected == [202, 203, 204] * len(session.crops)
    assert len(session.looks) <= looks
    assert len(sampled) <= new
    assert len(session.prompt) + len(session.response) <= context
    assert len(session.logprobs) == len(session.response)
    if session.finish is None and session.response:
        assert len(session.prompt) + len(session.response) < context  # one more token always fits


def test_imports_without_torch():
    code = "import sys, unireason.engine.session; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_look_may_be_shown_nothing():
    session = start(cutter=lambda plan: (), max_looks=2, max_round_tokens=20)
    assert drive(session, box("[1,2,3,20,30,6]")) == GoOn()
    assert drive(session, box("[1,2,3,20,30,6]")) == GoOn()  # rounds begin anew, as behind a look
    assert session.looks == []
    assert session.crops == ()
    assert all(session.sampled)
    assert drive(session, box("[1,2,3,20,30,6]")) == Finished("round_budget")


def published(reread=None, *, rollout=False, **budget):
    """A response on a picture, its boxes read and its looks shown as the published code does it."""
    scene = SessionScene(Frame(50, 40, 1, "image"), cut, decode, released=True, reread=reread, rollout=rollout)
    return Session((1, 2, 3), scene, ids=IDS, budget=Budget(**budget))


def test_a_round_read_anew_stands_in_place_of_the_sampled_ids():
    session = published(lambda ids: [99, *ids[2:]])
    decision = drive(session, [65, 66, *box("[1,2,20,30]")])
    assert decision.anew
    assert session.response == [99, *box("[1,2,20,30]"), 202, 203, 204]
    assert session.sampled == [True] * 14 + [False] * 3
    assert session.replaced == [(0, (65, 66, *box("[1,2,20,30]")), (99, *box("[1,2,20,30]")))]
    drive(session, box("[1,2,20,30]"))
    assert session.response[17:] == [99, *box("[1,2,20,30]")[2:], 202, 203, 204]


def test_reading_anew_never_makes_a_picture():
    session = published(lambda ids: [IDS.image_pad, *ids])
    assert not drive(session, box("[1,2,20,30]")).anew
    assert (session.response[:13], session.replaced) == (box("[1,2,20,30]"), [])


def test_roll_outs_show_the_last_look_and_one_that_just_fits():
    session = published(rollout=True, max_looks=1)
    assert drive(session, box("[1,2,20,30]")) == Finished("round_budget")
    assert (len(session.looks), session.response[-3:]) == (1, [202, 203, 204])
    for room, looks in ((2, 0), (3, 1)):
        session = published(rollout=True, max_context=3 + 13 + room)
        assert drive(session, box("[1,2,20,30]")) == Finished("context")
        assert len(session.looks) == looks


@pytest.mark.parametrize("text", ["[1,2,20,30)", "[1,2,0,20,30,1]"])
def test_roll_outs_take_no_mixed_brackets_and_no_cuboid(text):
    assert isinstance(drive(published(), box(text)), Inject)
    assert drive(published(rollout=True), box(text)) == Finished("invalid_box")
