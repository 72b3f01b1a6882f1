"""Prompt ids, picture ids and readable text."""

import pytest

import tiny
from unireason.core.errors import ModelError
from unireason.grounding.profile import Picture, Profile
from unireason.model import tokens
from unireason.model.checkpoint import assemble


def profiled(**values):
    base = tiny.checkpoint()
    profile = Profile(name="p", system_2d="s", system_3d="s", **values)
    return assemble(base.network, base.tokenizer, base.image_processor, profile=profile)


def test_picture_ids_by_hand():
    ids = tiny.checkpoint().ids
    assert tokens.picture_ids(ids, (1, 4, 6)) == (ids.vision_start, *[ids.image_pad] * 6, ids.vision_end)


@pytest.mark.parametrize("chat", ["tokenizer", "chatml"])
def test_prompt_equals_the_whole_text_tokenised_with_pads_expanded(chat):
    made = profiled(chat=chat, slice_label="z{index}: ", assistant_prefix="<think>")
    grids = [(1, 4, 4), (1, 4, 6), (1, 6, 2)]
    messages = made.profile.parts("volume", "Wo ist die Läsion?", ["a", "b"], n_slices=3)
    seen = tokens.prompt_ids(made, messages, grids)
    places = "".join(f"z{i}: <|vision_start|>{'<|image_pad|>' * n}<|vision_end|>" for i, n in enumerate((4, 6, 3)))
    text = (
        f"<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n{places}Wo ist die Läsion?\nA. a\nB. b<|im_end|>\n"
        "<|im_start|>assistant\n<think>"
    )
    assert list(seen) == tokens.encode_text(made, text)
    assert tokens.decode(made, seen) == text


def test_tokenizer_without_template_falls_back_to_chatml():
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = None
    base = tiny.checkpoint()
    made = assemble(base.network, tokenizer, base.image_processor, profile=tiny.PROFILE)
    messages = tiny.PROFILE.parts("image", "q")
    assert tokens.prompt_ids(made, messages, [(1, 4, 4)]) == tokens.prompt_ids(base, messages, [(1, 4, 4)])


def test_pictures_must_be_shown_once_and_in_order():
    made = tiny.checkpoint()
    for places in ([0], [0, 0], [1, 0], [0, 1, 2]):
        messages = [("user", (*(Picture(i) for i in places), "q"))]
        with pytest.raises(ModelError, match="pictures"):
            tokens.prompt_ids(made, messages, [(1, 4, 4), (1, 4, 4)])


def test_templates_that_fail_or_lose_pictures_are_reported():
    base = tiny.checkpoint()
    for template in ("{% for m in messages %}{{ m['role'] }}{% endfor %}", "{{ raise_exception('no') }}", "{% if %}"):
        tokenizer = tiny.make_tokenizer()
        tokenizer.chat_template = template
        made = assemble(base.network, tokenizer, base.image_processor, profile=tiny.PROFILE)
        with pytest.raises(ModelError, match="chat template"):
            tokens.prompt_ids(made, tiny.PROFILE.parts("image", "q"), [(1, 4, 4)])


def test_decode_gives_the_very_text_back():
    made = tiny.checkpoint()
    text = "<think>  é \n<|box_start|>[1 , 2]<|box_end|></think> ."
    assert tokens.decode(made, tokens.encode_text(made, text)) == text
    assert tokens.decode(made, []) == ""


def test_spelled_out_tags_do_not_read_as_tags():
    made = tiny.checkpoint()
    spelled = [made.tokenizer.convert_tokens_to_ids(c) for c in "<|box_end|>"]
    ids = [made.ids.box_start, *spelled, made.ids.box_end]
    assert tokens.decode(made, ids) == "<|box_start|><|box_end|><|box_end|>"
    assert tokens.readable(made, ids) == "<|box_start|>< |box_end|><|box_end|>"


def test_collapse_pads_by_hand():
    assert tokens.collapse_pads([1, 9, 9, 9, 2, 9, 3, 3], 9) == [1, 9, 2, 9, 3, 3]
    assert tokens.collapse_pads([9, 9], 9) == [9]
    assert tokens.collapse_pads([], 9) == []
