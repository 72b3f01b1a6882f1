"""The local back end's manners: crops, streaming, budgets, what is never sampled, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Stack
from unireason.engine.case import Request, prepare_case, start_session
from unireason.engine.local import LocalEngine
from unireason.engine.reference import ReferenceEngine
from unireason.engine.sampling import Sampling
from unireason.engine.session import Budget
from unireason.imaging import native_region
from unireason.model import tokens


def ask(engine, case, **fields):
    made = engine.checkpoint
    messages = made.profile.parts(case.stack.kind, "what?", ["yes", "no"], n_slices=len(case.stack.slices))
    return Request(case, tokens.prompt_ids(made, messages, case.prepared.grid_thw), **fields)


@pytest.mark.parametrize("kind", ["volume", "image"])
def test_crops_are_cut_from_the_frame_or_from_native_pixels(kind):
    stack = tiny.stack(kind, side=60)  # the frame is 56 x 56
    box = (4, 8, 1, 40, 50, 3) if kind == "volume" else (4, 8, 40, 50)
    crops = {}
    for source in ("model", "native"):
        engine = LocalEngine(tiny.checkpoint(), picker=tiny.Script(tiny.plan([box])))
        case = engine.encode(stack)
        session = engine.generate([ask(engine, case, crop_source=source)])[0]
        crops[source] = session.crops
        assert [c.slice_index for c in session.crops] == ([1, 2] if kind == "volume" else [0])
        assert {c.box_model for c in session.crops} == {(4, 8, 40, 50)}
        assert {c.origin for c in session.crops} == {source}
    for low, high in zip(crops["model"], crops["native"], strict=True):
        assert np.array_equal(low.pixels, case.prepared.pictures[low.slice_index][8:50, 4:40])
        assert np.array_equal(high.pixels, native_region(stack, case.frame, high.slice_index, (4, 8, 40, 50)))
        # 36 x 42 model pixels are 36 * 180 / 56 = 115.7 and 135 native ones; partly touched pixels belong to the region
        assert low.pixels.shape == (42, 36)
        assert high.pixels.shape == (136, 117)
        assert high.grid_thw != low.grid_thw


@pytest.mark.parametrize("engine", [LocalEngine, ReferenceEngine])
def test_published_crops_come_from_a_bilinear_copy_for_boxes_of_either_kind(engine):
    made = tiny.checkpoint()
    made = replace(made, profile=replace(made.profile, crops="published"))
    stack = tiny.stack(side=60)  # seen at 56 x 56
    run = engine(made, picker=tiny.Script(tiny.plan([(4, 8, 1, 40, 50, 3), ("4e0", 8, 40, "+50")])))
    session = run.generate([ask(run, run.encode(stack), crop_source="published")])[0]
    assert session.finish == "end_of_turn"
    assert [crop.slice_index for crop in session.crops] == [1, 2, 0]
    for crop in session.crops:
        whole = Image.fromarray(stack.slices[crop.slice_index]).resize((56, 56), Image.Resampling.BILINEAR)
        assert np.array_equal(crop.pixels, np.asarray(whole)[8:50, 4:40])


def test_a_published_box_of_no_number_ends_the_response():
    made = LocalEngine(tiny.checkpoint(), picker=tiny.Script(tiny.plan([("nan", 8, 40, 50)])))
    session = made.generate([ask(made, made.encode(tiny.stack("image")), crop_source="published")])[0]
    assert (session.finish, session.looks) == ("invalid_box", [])


def test_the_published_frame_of_a_small_picture_differs_from_what_is_seen():
    made = tiny.checkpoint(max_pixels=168 * 168)
    small = np.zeros((1, 20, 150), np.uint8)
    stack = Stack(small, "image", "as stored", ((0, 1),), small[0])
    for crops, size in (("model", (140, 28)), ("published", (168, 28))):
        frame = prepare_case(replace(made, profile=replace(made.profile, crops=crops)), stack).frame
        assert (frame.width, frame.height) == size


@pytest.mark.parametrize("kind", [LocalEngine, ReferenceEngine])
def test_a_look_that_shows_nothing_stands_in_the_text(kind):
    engine = kind(tiny.checkpoint(), picker=tiny.Script(tiny.plan([(4, 8, 1, 40, 50, 3)])))
    session = engine.generate([ask(engine, engine.encode(tiny.stack()), crop_source="none")])[0]
    assert session.finish == "end_of_turn"
    assert session.crops == ()
    assert all(session.sampled)
    assert "[4,8,1,40,50,3]" in tokens.readable(engine.checkpoint, session.response)


def test_crop_source_is_checked():
    engine = LocalEngine(tiny.checkpoint())
    with pytest.raises(FormatError, match="crop source"):
        engine.generate([ask(engine, engine.encode(tiny.stack()), crop_source="other")])


@pytest.mark.parametrize("kind", [LocalEngine, ReferenceEngine])
def test_streaming_gives_every_sampled_token_and_the_whole_text(kind):
    text = "é läuft <|box_start|>[4,4,0,40,50,2]<|box_end|> 肝"
    plans = [[*tiny.spell(text), tiny.checkpoint().ids.im_end], [*tiny.spell("no"), tiny.checkpoint().ids.im_end]]
    engine = kind(tiny.checkpoint(), picker=tiny.Script(*plans))
    case = engine.encode(tiny.stack())
    heard = []
    sessions = engine.generate([ask(engine, case)] * 2, on_token=lambda *a: heard.append(a))
    for row, session in enumerate(sessions):
        sampled = [t for t, s in zip(session.response, session.sampled, strict=True) if s]
        assert [t for r, t, _ in heard if r == row] == sampled
    assert "".join(piece for r, _, piece in heard if r == 0) == text + "<|im_end|>"
    assert "".join(piece for r, _, piece in heard if r == 1) == "no<|im_end|>"
    assert not any("\ufffd" in piece for _, _, piece in heard)


def test_broken_bytes_do_not_hold_the_stream_back_forever():
    lone = tiny.spell("é")[0]
    plan = [lone] * 20 + [tiny.checkpoint().ids.im_end]
    engine = LocalEngine(tiny.checkpoint(), picker=tiny.Script(plan))
    heard = []
    engine.generate([ask(engine, engine.encode(tiny.stack()))], on_token=lambda *a: heard.append(a[2]))
    assert sum(map(bool, heard)) >= 2


class Lover:
    """A checkpoint's output layer that wants picture tokens above all."""

    def __init__(self, network, wanted):
        self.network, self.wanted = network, wanted

    def __enter__(self):
        def adore(module, args, out):
            out = out.clone()
            out[..., self.wanted] += 1e4
            return out

        self.handle = self.network.lm_head.register_forward_hook(adore)

    def __exit__(self, *rest):
        self.handle.remove()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", [LocalEngine, ReferenceEngine])
def test_picture_tokens_and_unused_rows_are_never_sampled(kind, temperature):
    made = tiny.checkpoint()
    unused = list(range(len(made.tokenizer), made.network.lm_head.weight.shape[0]))
    assert unused
    engine = kind(made)
    with Lover(made.network, [*made.ids.forbidden, *unused]):
        request = ask(engine, engine.encode(tiny.stack()), budget=Budget(max_new_tokens=20))
        session = engine.generate([request], Sampling(temperature=temperature))[0]
    assert not set(session.response) & {*made.ids.forbidden, *unused}
    assert all(np.isfinite(session.logprobs))


def test_budget_ends_free_generation():
    engine = LocalEngine(tiny.checkpoint())
    case = engine.encode(tiny.stack())
    request = ask(engine, case, budget=Budget(max_new_tokens=7))
    session = engine.generate([request])[0]
    assert session.finish in ("token_budget", "end_of_turn")
    assert len(session.response) <= 7


def test_prompt_longer_than_the_context():
    engine = LocalEngine(tiny.checkpoint())
    case = engine.encode(tiny.stack())
    with pytest.raises(ModelError, match="context of 50"):
        engine.generate([ask(engine, case, budget=Budget(max_context=50))])


def test_prompt_of_another_case_is_refused():
    engine = LocalEngine(tiny.checkpoint())
    four, three = engine.encode(tiny.stack()), engine.encode(tiny.stack(depth=3))
    with pytest.raises(ModelError, match="pictures"):
        engine.generate([Request(three, ask(engine, four).prompt)])


def test_prompt_must_not_end_with_a_picture():
    engine = LocalEngine(tiny.checkpoint())
    case = engine.encode(tiny.stack())
    prompt = ask(engine, case).prompt
    cut = len(prompt) - prompt[::-1].index(engine.checkpoint.ids.vision_end)
    with pytest.raises(ModelError, match="ends with a picture"):
        engine.generate([Request(case, prompt[:cut])])


def test_nothing_asked_nothing_done():
    assert LocalEngine(tiny.checkpoint()).generate([]) == []
    with pytest.raises(ModelError):
        LocalEngine(tiny.checkpoint(), max_rows=0)


def test_attention_is_as_before_also_after_an_error():
    made = tiny.checkpoint()
    config = made.network.model.language_model.config
    assert config._attn_implementation == "sdpa"

    def fail(*rest):
        raise RuntimeError("stop")

    engine = LocalEngine(made, picker=tiny.Script(tiny.plan([])))
    case = engine.encode(tiny.stack())
    with pytest.raises(RuntimeError):
        engine.generate([ask(engine, case)], on_token=fail)
    assert config._attn_implementation == "sdpa"
    assert case.prefix.cache.get_seq_length() == len(case.prefix.ids)
    assert engine.generate([ask(engine, case)])[0].finish == "end_of_turn"


def test_weights_are_not_changed():
    made = tiny.checkpoint()
    before = {k: v.clone() for k, v in made.network.state_dict().items()}
    engine = LocalEngine(made, picker=tiny.Script(tiny.plan([(4, 4, 0, 40, 50, 2)])))
    engine.generate([ask(engine, engine.encode(tiny.stack()))])
    assert all(torch.equal(before[k], v) for k, v in made.network.state_dict().items())


def test_session_reads_boxes_by_ids_only():
    """Tags that are spelled letter by letter cannot open or close a box."""
    made = tiny.checkpoint()
    case = prepare_case(made, tiny.stack())
    session = start_session(made, ask(LocalEngine(made), case))
    letters = [made.tokenizer.convert_tokens_to_ids(c) for c in "<|box_end|>"]
    for token in [made.ids.box_start, *tiny.spell("[1,2,0,20,30,2]"), *letters]:
        session.feed(token)
    session.feed(made.ids.box_end)
    assert session.finish == "invalid_box"
    assert session.looks == []


@pytest.mark.parametrize("kind", ["volume", "image"])
def test_both_back_ends_weaken_repetition_alike(kind):
    checkpoint, stack = tiny.checkpoint(), tiny.stack(kind, side=60)
    said = {}
    for penalty in (1.0, 1.8):
        how = Sampling(repetition_penalty=penalty)
        made = []
        for engine in (LocalEngine(checkpoint), ReferenceEngine(checkpoint)):
            request = ask(engine, engine.encode(stack), budget=Budget(max_new_tokens=24))
            made.append(engine.generate([request], how)[0].response)
        assert made[0] == made[1]
        said[penalty] = made[0]
    assert said[1.0] != said[1.8]
    assert len(set(said[1.8])) > len(set(said[1.0]))
