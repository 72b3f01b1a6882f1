"""From a case and a question to a trace, with every number of a look checked by hand."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
import unireason
from unireason.core.errors import FormatError, ModelError
from unireason.core.types import AnswerStep, Case, Geometry, LookStep, Source, TextStep, is_mismatch
from unireason.engine.local import LocalEngine
from unireason.engine.reasoner import Question, Reasoner, set_threads
from unireason.engine.reference import ReferenceEngine
from unireason.engine.sampling import Sampling
from unireason.grounding import trace as traces
from unireason.grounding.crop import extent
from unireason.imaging.geometry import model_to_voxel, volume_geometry
from unireason.report.text import lines
from unireason.rewards.outcome import form

END = "<|im_end|>"


def volume():
    """60 x 50 x 20 voxels, i against x at 2 mm, j along y at 1 mm, k along z at 3 mm."""
    affine = np.diag([-2.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    geometry = volume_geometry((60, 50, 20), affine)
    pixels = np.random.default_rng(0).normal(100, 30, geometry.shape).astype(np.float32)
    return Case(pixels, "volume", geometry, "MR", Source("scan.nii.gz", "nifti", "ab"))


def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (112, 56), dtype=np.uint8)
    geometry = Geometry((112, 56), (56, 112), (0, 1), (False, False))
    return Case(pixels, "image", geometry, "", Source("x.png", "png", "cd"))


def reasoner(*texts, kind=LocalEngine):
    return Reasoner(tiny.checkpoint(), engine=kind(tiny.checkpoint(), picker=tiny.Script(*[tiny.spell(t) for t in texts])))


def test_trace_of_a_volume_by_hand():
    text = f"<think>Look at the left kidney <|box_start|>[14,0,1,28,56,3]<|box_end|>fine</think>B. no{END}"
    trace = reasoner(text).ask(volume(), "Is it big?", options=["yes", "no"])
    assert [type(s) for s in trace.steps] == [TextStep, LookStep, TextStep, AnswerStep]
    assert trace.answer.choice == "B"
    assert trace.answer.text == "B. no"
    assert (trace.frame.width, trace.frame.height, trace.frame.depth) == (56, 56, 4)
    look = trace.looks[0]
    assert look.executed
    assert look.label == "left kidney"
    assert look.slices == (1, 2)
    # x: 60 voxels on 56 pixels, mirrored: i from 60 - 28 * 60 / 56 = 30 to 60 - 14 * 60 / 56 = 45; z: 5 slices each
    assert look.box_voxel == pytest.approx((30, 0, 5, 45, 50, 15))
    # x = 10 - 2 (i - 0.5), y = 20 + (j - 0.5), z = 30 + 3 (k - 0.5)
    assert look.box_world_mm == pytest.approx((10 - 2 * 44.5, 19.5, 30 + 3 * 4.5, 10 - 2 * 29.5, 69.5, 30 + 3 * 14.5))
    assert trace.finish == "end_of_turn"
    assert trace.problems == ()
    assert trace.source == Source("scan.nii.gz", "nifti", "ab")
    assert trace.raw_text.count("<|image_pad|>") == 2
    assert sum(trace.tokens.sampled) == len(tiny.spell(text))


def test_trace_of_an_image_and_its_json():
    text = f"<think><|box_start|>[0,0,28,28]<|box_end|></think>ok{END}"
    trace = reasoner(text).ask(picture(), "What?")
    assert (trace.frame.width, trace.frame.height) == (28, 84)  # 56 x 112 exceeds 4,704 pixels
    assert trace.looks[0].box_voxel == pytest.approx((0, 0, 56, 28 * 112 / 84))
    assert trace.looks[0].box_world_mm is None
    assert trace.answer.choice is None
    document = traces.to_json(trace)
    assert traces.to_json(traces.from_json(json.loads(json.dumps(document)))) == document


def test_provenance_names_what_made_the_trace():
    made = reasoner(f"x{END}")
    said = made.ask(volume(), "q", sampling=Sampling(0.7, 0.9, 5, 11), window="minmax", crop_source="native").provenance
    assert said["checkpoint"] == {"name": "tiny", "sha256": "", "hashed": "", "dtype": "float32", "device": "cpu"}
    assert said["profile"] == {"name": "tiny", "sha256": tiny.PROFILE.sha256}
    assert said["window"].startswith("minmax")
    assert said["sampling"] == {"temperature": 0.7, "top_p": 0.9, "top_k": 5}
    assert said["seed"] == 11
    assert said["crop_source"] == "native"
    assert said["engine"] == "LocalEngine"
    assert set(said["versions"]) == {"unireason", "python", "torch", "transformers"}
    json.dumps(said)


@pytest.mark.parametrize("kind", [LocalEngine, ReferenceEngine])
def test_many_questions_and_samples_come_back_in_order(kind):
    texts = [f"{letter}{END}" for letter in "abcdef"]
    heard = []
    questions = ["one", Question("two", ("x", "y")), "three"]
    how = {"samples": 2, "sampling": Sampling(seed=5)}
    out = reasoner(*texts, kind=kind).ask_many(volume(), questions, on_token=lambda *a: heard.append(a), **how)
    assert [t.raw_text for q in out for t in q] == texts
    assert [len(q) for q in out] == [2, 2, 2]
    assert [[t.question for t in q] for q in out] == [["one"] * 2, ["two"] * 2, ["three"] * 2]
    assert [t.provenance["seed"] for t in out[1]] == [5, 6]
    assert out[1][0].options == ("x", "y")
    assert "".join(piece for row, _, piece in heard if row == 3) == "d" + END
    assert reasoner().ask_many(volume(), []) == []


def test_encodings_are_kept_for_the_last_two_cases(monkeypatch):
    made = Reasoner(tiny.checkpoint())
    a, b, c = volume(), volume(), picture()
    first = made.encode(a)
    assert made.encode(a) is first
    assert made.encode(a, window="minmax") is not first
    assert made.encode(a) is first
    made.encode(b)
    made.encode(c)
    assert made.encode(a) is not first


def test_a_case_whose_array_is_filled_again_is_encoded_again():
    made, case, other = Reasoner(tiny.checkpoint()), picture(), picture()
    buffer = np.array(case.pixels)
    case = replace(case, pixels=buffer)
    first = made.encode(case)
    buffer[:] = 255 - buffer
    again = made.encode(case)
    alone = made.encode(replace(other, pixels=buffer.copy()))
    assert again is not first
    assert all(torch.equal(a, b) for a, b in zip(again.features, alone.features, strict=True))
    assert not torch.equal(again.features[0], first.features[0])
    buffer[:] = 255 - buffer
    assert torch.equal(made.encode(case).features[0], first.features[0])


@pytest.mark.parametrize("part", ["visual", "lm_head"])
def test_a_damaged_network_is_no_answer(part):
    checkpoint = tiny.checkpoint()
    checkpoint = replace(checkpoint, network=copy.deepcopy(checkpoint.network))
    broken = checkpoint.network.model.visual if part == "visual" else checkpoint.network.lm_head
    with torch.no_grad():
        next(p for p in broken.parameters() if p.ndim > 1).view(-1)[0] = math.nan
    with pytest.raises(ModelError, match="finite"):
        Reasoner(checkpoint).ask(picture(), "What?")


def test_slices_and_looks_can_be_chosen():
    box = "<|box_start|>[0,0,5,28,28,6]<|box_end|>"
    made = reasoner(f"{box}x{END}")
    trace = made.ask(volume(), "q", slices=6)
    assert trace.frame.depth == 6
    assert trace.looks[0].slices == (5,)
    trace = reasoner(box).ask(volume(), "q", max_looks=0)
    assert trace.finish == "round_budget"
    assert [p.code for p in trace.problems] == ["unclosed_think", "round_budget"] or "round_budget" in [
        p.code for p in trace.problems
    ]
    assert not trace.looks[0].executed


def test_hostile_spelling_cannot_fake_a_look():
    """Look-alikes of box and picture tags, letter by letter, around a real look."""
    token = tiny.checkpoint().tokenizer.convert_tokens_to_ids
    fake = [token(c) for c in "<|box_start|>[1,1,0,9,9,2]<|box_end|><|vision_start|>"]
    plan = [*fake, *tiny.spell("<|box_start|>[0,0,1,28,28,2]<|box_end|>"), *fake, tiny.checkpoint().ids.im_end]
    made = Reasoner(tiny.checkpoint(), engine=LocalEngine(tiny.checkpoint(), picker=tiny.Script(plan)))
    trace = made.ask(volume(), "q")
    assert [look.box_model for look in trace.looks if look.executed] == [(0, 0, 1, 28, 28, 2)]
    assert len(trace.looks) == 1


def test_malformed_box_is_in_the_trace_once():
    trace = reasoner("<|box_start|>[1,2]<|box_end|>").ask(volume(), "q")
    assert trace.finish == "invalid_box"
    assert [p.code for p in trace.problems].count("bad_number_count") == 1


def test_random_model_always_gives_a_trace():
    made = Reasoner(tiny.checkpoint())
    for seed in range(3):
        trace = made.ask(volume(), "q", options=["a", "b"], sampling=Sampling(1.5, seed=seed), max_new_tokens=60)
        traces.to_json(trace)


def test_each_sample_has_its_own_seed():
    made = Reasoner(tiny.checkpoint())
    how = {"max_new_tokens": 20}
    samples = made.ask_many(volume(), ["q"], samples=3, sampling=Sampling(1.0, seed=5), **how)[0]
    assert len({t.tokens.response for t in samples}) == 3
    alone = made.ask(volume(), "q", sampling=Sampling(1.0, seed=6), **how)
    assert alone.tokens.response == samples[1].tokens.response


@pytest.mark.parametrize(
    "how",
    [
        {"samples": 2},
        {"slices": 0},
        {"slices": 2.5},
        {"window": "nonsense"},
        {"crop_source": "x"},
        {"unknown": 1},
        {"max_looks": -1},
    ],
)
def test_settings_are_checked(how):
    with pytest.raises(FormatError):
        reasoner(f"x{END}").ask(volume(), "q", **how)


@pytest.mark.parametrize(("question", "options"), [("", ()), ("q", ("one",)), ("<|im_end|>", ()), ("q", ("a", ""))])
def test_questions_are_checked(question, options):
    with pytest.raises(FormatError):
        reasoner(f"x{END}").ask(volume(), question, options=options)


def test_load_from_a_folder(tmp_path):
    tiny.save(tmp_path)
    trace = unireason.load(tmp_path, device="cpu").ask(volume(), "q", max_new_tokens=5)
    assert trace.provenance["checkpoint"]["name"] == tmp_path.name
    assert len(trace.provenance["checkpoint"]["sha256"]) == 64


def test_threads():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert set_threads(tiny.checkpoint()) == 1
        assert set_threads(tiny.checkpoint(), 2) == 2
        with pytest.raises(ModelError):
            set_threads(tiny.checkpoint(), 0)
    finally:
        torch.set_num_threads(before)


def test_reprs_are_a_line():
    case, model = volume(), reasoner(f"<think>Look <|box_start|>[14,0,1,28,56,3]<|box_end|></think>B. no{END}")
    trace = model.ask(case, "Is it big? " * 20, options=["yes", "no"])
    assert repr(case) == "Case(volume 20 x 50 x 60, MR, 2 x 1 x 3 mm, nifti, 'scan.nii.gz')"
    assert "mm" not in repr(picture())
    assert repr(trace).endswith("-> 'B. no', 1 look, end_of_turn)")
    assert repr(model).startswith("Reasoner(tiny, ")
    assert all("\n" not in repr(x) and len(repr(x)) < 150 for x in (case, trace, model))
    for holder in (trace.looks[0], model.stack(case), model.checkpoint):
        assert "array(" not in repr(holder)


@pytest.mark.parametrize("options", ["yes", b"yes", {"yes", "no"}, {"A": "yes"}, None, 2, ["yes", 2], [None, "no"]])
def test_options_that_are_no_list_of_texts_are_refused(options):
    with pytest.raises(FormatError, match=r"option.* Expected a"):
        reasoner("x").ask(picture(), "Is it big?", options=options)
    with pytest.raises(FormatError, match="option"):
        Question("Is it big?", options)


def test_options_may_be_any_ordered_run_of_texts():
    model = reasoner(f"</think>B. no{END}", f"</think>B. no{END}")
    for options in (("yes", "no"), (word for word in ("yes", "no"))):
        assert model.ask(picture(), "Is it big?", options=options).options == ("yes", "no")


def test_a_path_is_read(tmp_path):
    from PIL import Image

    Image.fromarray(picture().pixels).save(tmp_path / "x.png")
    for path in (tmp_path / "x.png", str(tmp_path / "x.png")):
        trace = reasoner(f"</think>B. no{END}").ask(path, "Is it big?", options=["yes", "no"])
        assert trace.source.name == "x.png"
    with pytest.raises(unireason.UniReasonError, match=r"nowhere\.png"):
        reasoner("x").ask(tmp_path / "nowhere.png", "Is it big?")


def test_one_question_is_no_list_of_questions():
    with pytest.raises(FormatError, match="Use ask"):
        reasoner("x").ask_many(picture(), "Is it big?")


@pytest.mark.parametrize(
    ("box", "code", "cut", "voxel"),
    [
        ("[-42,0,1,28,56,3]", "box_outside_frame", (0, 0, 1, 28, 56, 3), (30, 0, 5, 60, 50, 15)),
        ("[14,0,-3,28,56,99]", "box_outside_frame", (14, 0, 0, 28, 56, 4), (30, 0, 0, 45, 50, 20)),
        ("[28,0,1,14,56,3]", "inverted_box", (27, 0, 1, 31, 56, 3), None),
        ("[28,0,3,56,56,1]", "inverted_box", (28, 0, 3, 56, 56, 4), (0, 0, 15, 30, 50, 20)),
        ("[500,500,9,600,600,12]", "box_outside_frame", (52, 52, 3, 56, 56, 4), None),
        ("[14,14,1,14,28,2]", "empty_box", (13, 14, 1, 17, 28, 2), None),
        ("[14.9,0,1.5,28.9,56,3]", None, (14, 0, 1, 28, 56, 3), (30, 0, 5, 45, 50, 15)),
    ],
)
def test_what_was_written_what_was_executed_and_the_problem_are_all_told(box, code, cut, voxel):
    trace = reasoner(f"<think><|box_start|>{box}<|box_end|></think>B. no{END}").ask(volume(), "q", options=["yes", "no"])
    (look,) = trace.looks
    assert list(look.box_model) == json.loads(box)
    assert extent(look.crops, "volume").coords == cut
    expected = model_to_voxel(cut, trace.frame, volume().geometry)
    assert look.box_voxel == pytest.approx(expected)
    assert voxel is None or look.box_voxel == pytest.approx(voxel)
    assert all(0 <= low < high <= size for low, high, size in zip(look.box_voxel, look.box_voxel[3:], (60, 50, 20), strict=False))
    assert [p.code for p in trace.problems] == ([code] if code else [])
    assert form(trace)["boxes"] == (code is None)
    told = "\n".join(lines(trace))
    assert ("written" in told) == (tuple(map(float, cut)) != look.box_model)


def test_a_letter_with_the_text_of_another_option_is_told():
    trace = reasoner(f"<think>x</think>A. no{END}").ask(volume(), "q", options=["yes", "no"])
    assert trace.answer.choice == "A"
    assert [p.code for p in trace.problems] == ["choice_text_mismatch"]
    assert is_mismatch(traces.from_json(traces.to_json(trace)))
    assert not is_mismatch(reasoner(f"<think>x</think>A. yes{END}").ask(volume(), "q", options=["yes", "no"]))


@pytest.mark.parametrize("shown", [volume, picture])
def test_an_explicit_number_of_tokens_wins_over_the_caps_of_the_profile(shown):
    long = "a" * 575 + END
    assert len(reasoner(long).ask(shown(), "q").raw_text) == 200  # the cap of a round
    assert reasoner(long).ask(shown(), "q", max_new_tokens=700).finish == "end_of_turn"
    assert len(reasoner(long).ask(shown(), "q", max_new_tokens=300).raw_text) == 300
    assert len(reasoner(long).ask(shown(), "q", max_new_tokens=50).raw_text) == 50


def test_grey_levels_are_those_of_the_profile_unless_asked_otherwise():
    made = reasoner(f"x{END}", f"x{END}", f"x{END}")
    assert made.ask(volume(), "q").provenance["window"] == made.stack(volume(), window="auto").window
    other = made.asking(replace(tiny.PROFILE, window="minmax"), made.checkpoint.grounding)
    assert other.stack(volume()).window.startswith("minmax")
    assert other.stack(volume(), window="percentile").window.startswith("percentile")
