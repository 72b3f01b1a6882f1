import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.grounding import profile as prompts
from unireason.grounding.profile import Picture, Profile

PLAIN = Profile(
    name="plain",
    system_2d="See 2D.",
    system_3d="See 3D.",
    closing_choice_2d="Choose.",
    closing_choice_3d="One of {letters}.",
    closing_open_2d="Say.",
    closing_open_3d="Tell.",
)


def test_image_question_with_options():
    assert PLAIN.parts("image", " Which? ", ["liver", "left\nkidney"]) == [
        ("system", ("See 2D.",)),
        ("user", (Picture(0), "Which?\nA. liver\nB. left kidney\nChoose.")),
    ]


def test_volume_question_with_slice_labels():
    profile = replace(PLAIN, slice_label="Slice {index}:")
    assert profile.parts("volume", "Which?", ["a", "b", "c"], n_slices=2) == [
        ("system", ("See 3D.",)),
        ("user", ("Slice 0:", Picture(0), "Slice 1:", Picture(1), "Which?\nA. a\nB. b\nC. c\nOne of A, B, C.")),
    ]


@pytest.mark.parametrize(("kind", "closing"), [("image", "Say."), ("volume", "Tell.")])
def test_open_questions_have_their_own_closing_line(kind, closing):
    assert PLAIN.parts(kind, "Why?")[-1] == ("user", (Picture(0), f"Why?\n{closing}"))


def test_the_scale_is_shown_in_front_of_the_question_by_a_profile_that_says_so():
    told = replace(PLAIN, scale=True)
    assert told.parts("image", "Why?", scale="Scale: large.")[-1] == ("user", (Picture(0), "Scale: large.\nWhy?\nSay."))
    assert told.parts("image", "Why?") == PLAIN.parts("image", "Why?", scale="Scale: large.") == PLAIN.parts("image", "Why?")
    assert prompts.BUILT_IN["default"].scale
    assert not prompts.from_toml('name = "older"').scale
    assert told.sha256 != PLAIN.sha256
    with pytest.raises(FormatError, match="scale"):
        replace(PLAIN, scale="yes")


def test_an_image_has_no_slice_label():
    assert replace(PLAIN, slice_label="Slice {index}:").parts("image", "Why?") == PLAIN.parts("image", "Why?")


def test_empty_system_text_and_closing_leave_nothing_behind():
    profile = Profile(name="bare", system_2d="", system_3d="")
    assert profile.parts("image", "Why?") == [("user", (Picture(0), "Why?"))]


def test_render_is_chatml_with_one_pad_a_picture():
    text = prompts.render(PLAIN.parts("image", "Why?"), assistant_prefix="<think>")
    assert text == (
        "<|im_start|>system\nSee 2D.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Why?\nSay.<|im_end|>\n"
        "<|im_start|>assistant\n<think>"
    )


@pytest.mark.parametrize("kind", ["image", "volume"])
def test_questions_on_one_case_share_everything_up_to_the_last_picture(kind):
    count = 1 if kind == "image" else 5
    first, second = (prompts.render(PLAIN.parts(kind, q, o, n_slices=count)) for q, o in (("Why?", []), ("Where?", ["x", "y"])))
    end = first.rindex("<|vision_end|>") + len("<|vision_end|>")
    assert first[:end] == second[:end]
    assert first.count("<|image_pad|>") == count


@pytest.mark.parametrize(
    "token",
    ["<|im_end|>", "<|im_start|>", "<|image_pad|>", "<|vision_start|>", "<|box_start|>", "<|endoftext|>", "<think>", "</think>"],
)
def test_special_tokens_of_the_user_are_refused(token):
    with pytest.raises(FormatError, match=re.escape(token)):
        PLAIN.parts("image", f"a {token} b")
    with pytest.raises(FormatError, match=re.escape(token)):
        PLAIN.parts("image", "Which?", ["a", f"x{token}"])


@pytest.mark.parametrize("question", ["", "  \n", "x" * 20_001, "half a pair \ud800"])
def test_unusable_questions_are_refused(question):
    with pytest.raises(FormatError):
        PLAIN.parts("image", question)


@pytest.mark.parametrize("options", [["only one"], ["a", ""], ["a", " \n "], ["x"] * 27])
def test_unusable_options_are_refused(options):
    with pytest.raises(FormatError):
        PLAIN.parts("image", "Which?", options)


@pytest.mark.parametrize(("kind", "count"), [("image", 2), ("image", 0), ("volume", 0)])
def test_number_of_pictures_must_fit(kind, count):
    with pytest.raises(FormatError):
        PLAIN.parts(kind, "Which?", n_slices=count)


def test_braces_of_the_user_stay_as_they_are():
    assert PLAIN.parts("image", "{letters}?", ["{text}", "{0}"])[-1][1][1] == "{letters}?\nA. {text}\nB. {0}\nChoose."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", 3),
        ("system_2d", "x<|im_end|>"),
        ("slice_label", "<|image_pad|>"),
        ("slice_label", "Slice {number}"),
        ("option", "{letter}"),
        ("closing_choice_2d", "{what}"),
        ("system_3d", "\udc00"),
        ("volume_shape", (32, 256)),
        ("volume_shape", (32, 256, 0)),
        ("volume_shape", (32, 256, 2.5)),
        ("volume_shape", None),
        ("image_size", (1, 2, 3)),
        ("image_size", (True, 2)),
        ("max_rounds", -1),
        ("max_new_tokens", 0),
        ("max_round_tokens_2d", "256"),
        ("chat", "jinja"),
        ("crops", "all"),
    ],
)
def test_bad_fields_are_refused(field, value):
    with pytest.raises(FormatError, match=field):
        replace(PLAIN, **{field: value})


def test_toml_round_trip_keeps_everything():
    profile = replace(
        PLAIN, system_2d='a "quote" \\ \n\t\x7f é 肝', image_size=(512, 640), assistant_prefix="<think>", max_rounds=0
    )
    assert prompts.from_toml(profile.to_toml()) == profile
    assert prompts.from_toml(profile.to_toml()).sha256 == profile.sha256


@given(st.text(max_size=60))
def test_toml_round_trip_of_any_wording(text):
    try:
        profile = replace(PLAIN, system_3d=text)
    except FormatError:
        return
    assert prompts.from_toml(profile.to_toml()) == profile


def test_hash_changes_with_every_wording():
    others = (replace(PLAIN, system_2d="See."), replace(PLAIN, max_rounds=9), replace(PLAIN, crops="none"))
    assert len({p.sha256 for p in (PLAIN, *others, replace(PLAIN, crops="native"))}) == 5


def test_the_hash_of_the_built_in_wording_is_that_of_recorded_results():
    """A field that came later must not make old results those of another profile."""
    assert prompts.BUILT_IN["umrg"].sha256 == "abaddd708ebfcb3a6103f5c9433f73a45e3d7737c86e918e6bf875af258d6a56"


@pytest.mark.parametrize(
    ("rounds", "crops", "injects"), [(1, "model", True), (1, "native", True), (1, "none", False), (0, "model", False)]
)
def test_what_injects_crops(rounds, crops, injects):
    assert replace(PLAIN, max_rounds=rounds, crops=crops).injects is injects


@pytest.mark.parametrize(
    "text",
    [
        "name = 'x'\ncolour = 'red'",
        "system_2d = 'no name'",
        "name = ",
        "name = 'x'\nmax_rounds = 1.5",
        "name = 'x'\nchat = ['tokenizer']",
    ],
)
def test_bad_toml_is_refused(text):
    with pytest.raises(FormatError):
        prompts.from_toml(text)


def test_fields_left_out_are_the_default_profile_s():
    profile = prompts.from_toml("name = 'mine'\nmax_rounds = 2")
    assert (profile.max_rounds, profile.volume_shape, profile.system_3d) == (
        2,
        (32, 256, 256),
        prompts.BUILT_IN["default"].system_3d,
    )


def test_load_by_name_file_and_folder(tmp_path):
    (tmp_path / "profile.toml").write_text(PLAIN.to_toml(), encoding="utf-8")
    assert prompts.load_profile(tmp_path) == PLAIN
    assert prompts.load_profile(tmp_path / "profile.toml") == PLAIN
    assert prompts.load_profile("umrg").name == "umrg"


def test_load_reports_what_cannot_be_read(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "big.toml").write_text("#" * ((1 << 20) + 1))
    for ref in (tmp_path / "none.toml", tmp_path, tmp_path / "binary.toml", tmp_path / "big.toml", "nul\0byte"):
        with pytest.raises(FormatError):
            prompts.load_profile(ref)


def test_built_in_profiles_explain_the_grammar():
    default, umrg = prompts.BUILT_IN["default"], prompts.BUILT_IN["umrg"]
    assert "<|box_start|>[x1,y1,x2,y2]<|box_end|>" in default.system_2d
    assert "<|box_start|>[x1,y1,z1,x2,y2,z2]<|box_end|>" in default.system_3d
    assert '<answer>{"bbox": [x1,y1,x2,y2], "points_1": [x,y], "points_2": [x,y]}</answer>' in umrg.system_2d
    assert (default.max_rounds, default.max_new_tokens) == (10, 512)
    assert (default.max_round_tokens("image"), default.max_round_tokens("volume")) == (256, 128)


def test_letters():
    assert prompts.letters_of(["x"] * 4) == "ABCD"
    assert prompts.letters_of([]) == ""


def test_generations_leave_one_look_less_than_they_are():
    assert [replace(PLAIN, max_rounds=n, rounds="generations").max_looks for n in (0, 1, 10)] == [0, 0, 9]
    assert replace(PLAIN, max_rounds=10).max_looks == 10
    assert not replace(PLAIN, max_rounds=1, rounds="generations").injects


def test_profiles_of_the_published_systems_lay_out_as_they_do():
    text = prompts.BUILT_IN["unireason-med"].parts("volume", "Where?", ["left", "right"], n_slices=2)[-1][1][-1]
    assert text.startswith("Where?\n\nA. left\nB. right\n\n")
    assert prompts.BUILT_IN["unireason-med"].max_looks == 9
    ((role, parts),) = prompts.BUILT_IN["medreasoner"].parts("image", "Which shadow?")
    assert role == "user"
    assert ": Which shadow?\n\n" in parts[-1]
    assert parts[-1].endswith("</answer>")


def test_a_system_tail_is_for_supervised_training_alone():
    profile = replace(PLAIN, system_2d="Look.", system_3d="", system_tail="Off.")
    assert profile.parts("image", "q")[0] == ("system", ("Look.",))
    assert profile.taught.parts("image", "q")[0] == ("system", ("Look.\nOff.",))
    assert profile.taught.parts("volume", "q", n_slices=2)[0][0] == "user"
    assert profile.taught.taught == profile.taught
    assert PLAIN.taught is PLAIN
