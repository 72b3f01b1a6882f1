"""Messages with a placeholder a picture: prompt pictures first, then the crops of every executed box."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_dataset import COLOUR, DEEP, GREY, case, implicit, sample

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Frame, Look
from unireason.data.formats.tables import IMAGE, picture_id, pose, with_crops
from unireason.grounding import grammar
from unireason.grounding.profile import load_profile


def test_an_image_is_posed_in_the_words_of_the_default_profile():
    posed = pose(sample(case("c", GREY), 0, ("The liver", Look("liver", Box2D(20, 8, 30, 16)), " is large.")), GREY)
    (system, words), (user, asked) = posed.prompt
    assert (system, words) == ("system", load_profile("default").system_2d)
    assert user == "user"
    assert asked == "<image>Which is the largest, seen in c?\nA. left kidney\nB. liver\nC. spleen\nD. heart"
    assert posed.response == "<think>The liver<|box_start|>[20,8,30,16]<|box_end|><image> is large.</think>B. liver"
    assert posed.shown == ((0, None),)
    assert posed.cuts == ((0, (20, 8, 30, 16)),)
    assert [role for role, _ in posed.messages] == ["system", "user", "assistant"]


def test_a_volume_has_a_placeholder_a_slice_and_a_look_one_a_slice_it_cuts():
    posed = pose(sample(case("c", DEEP), 0, ("See", Look("liver", Box3D(2, 4, 1, 10, 12, 3)), ".")), DEEP)
    assert posed.prompt[1][1].startswith(IMAGE * 4 + "Which")
    assert posed.prompt[1][1].endswith("Answer with one letter out of A, B, C, D.")
    assert posed.response.startswith("<think>See<|box_start|>[2,4,1,10,12,3]<|box_end|><image><image>.")
    assert posed.cuts == ((1, (2, 4, 10, 12)), (2, (2, 4, 10, 12)))


def test_a_tiny_look_is_cut_as_the_engine_cuts_it():
    # 1 x 1 pixel at (40, 20) widens to 4 x 4 around it: 40 - 3 // 2 = 39.
    assert with_crops("<think>x<|box_start|>[40,20,41,21]<|box_end|></think>", GREY)[1] == ((0, (39, 19, 43, 23)),)


def test_boxes_behind_the_reasoning_inject_nothing():
    text = "<think>a</think>B. <|box_start|>[1,1,9,9]<|box_end|>"
    assert with_crops(text, GREY) == (text, ())


def test_a_profile_that_shows_nothing_poses_boxes_without_crops():
    one = sample(case("c", GREY), 0, ("The liver", Look("liver", Box2D(20, 8, 30, 16)), " is large."))
    posed = pose(one, GREY, replace(load_profile("default"), crops="none"))
    assert (posed.response, posed.cuts) == (one.response, ())


def test_implicit_questions_are_posed_without_crops():
    posed = pose(implicit(case("c", GREY)), GREY)
    assert posed.prompt[0][1] == load_profile("umrg").system_2d
    assert posed.cuts == ()
    assert posed.response.endswith('<answer>{"bbox": [20,8,30,16], "points_1": [22,10], "points_2": [27,13]}</answer>')


def test_what_cannot_be_posed_is_refused():
    good = sample(case("c", GREY), 0, ("See",))
    with pytest.raises(FormatError, match="placeholder"):
        pose(replace(good, question=replace(good.question, text="What is <image>?")), GREY)
    with pytest.raises(FormatError, match="box_2d_on_volume"):
        pose(sample(case("c", DEEP), 0, (Look("liver", Box2D(1, 1, 9, 9)),)), DEEP)
    with pytest.raises(FormatError, match="special token"):
        pose(replace(good, question=replace(good.question, text="<|im_end|>")), GREY)


numbers = st.integers(0, 56)
words = st.text("abc ,.", max_size=8)


@given(st.lists(st.tuples(words, numbers, numbers, numbers, numbers), min_size=0, max_size=5))
@settings(max_examples=40)
def test_placeholders_and_pictures_always_agree_and_taking_them_out_gives_the_response_back(looks):
    text = "<think>" + "".join(w + grammar.write(Box2D(a, b, c, d)) for w, a, b, c, d in looks) + "</think>A. x"
    posed, cuts = with_crops(text, COLOUR)
    assert posed.count(IMAGE) == len(cuts) == len(looks)
    assert posed.replace(IMAGE, "") == text
    assert all(0 <= x1 < x2 <= 56 and 0 <= y1 < y2 <= 56 for _, (x1, y1, x2, y2) in cuts)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9))
@settings(max_examples=30)
def test_a_cuboid_has_as_many_crops_as_slices(z1, z2, depth):
    frame = Frame(28, 28, depth, "volume")
    _, cuts = with_crops(f"<think>{grammar.write(Box3D(1, 1, z1, 9, 9, z2))}</think>A. x", frame)
    first = min(z1, depth - 1)
    assert [z for z, _ in cuts] == list(range(first, min(max(z2, first + 1), depth)))


def test_names_of_pictures_tell_slice_and_rectangle():
    assert picture_id("c-1", (3, None)) == "c-1-003"
    assert picture_id("c-1", (3, (1, 2, 30, 40))) == "c-1-003-1-2-30-40"
