"""What the trainers read is what the engine writes: prompt ids, regions and which tokens are the assistant's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from training import opened, shown
from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Box2D, Box3D, Frame, Look
from unireason.data.records import SampleRecord
from unireason.data.scene import IMPLICIT, DataQuestion
from unireason.engine.case import Request, known_case, prepare_case
from unireason.engine.local import LocalEngine
from unireason.engine.sampling import make_sampler
from unireason.engine.session import Budget
from unireason.imaging import serialize
from unireason.model import vision
from unireason.model.checkpoint import load
from unireason.train.cases import CaseSamples
from unireason.train.packing import PrefixTree, TokenRun
from unireason.train.policy import Encoder
from unireason.train.rollout import OpenedCase

IMAGE = Frame(84, 56, 1, "image")
VOLUME = Frame(56, 56, 3, "volume")


def sample(
    kind: str, *reasoning: str | Look, options: tuple[str, ...] = ("L", "R"), family: str = "lesion_analysis"
) -> SampleRecord:
    implicit = family == IMPLICIT
    question = DataQuestion(family, "side", (), "Side?", () if implicit else options, -1 if implicit else 1, (), ("x",))
    return SampleRecord(
        "s1", "c1", "p1", "train", kind, question, reasoning, "template",
        box=Box2D(1, 2, 30, 40) if implicit else None, points=((3, 4), (5, 6)) if implicit else None,
    )  # fmt: skip


def blank(frame: Frame) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (frame.height, frame.width), np.uint8) for _ in range(frame.depth)]


def letters(text: str, label: bool) -> list[tuple[str, bool]]:
    """Every byte is a token of the tiny tokenizer."""
    return [(letter, label) for letter in text]


def picture(pads: int) -> list[tuple[str, bool]]:
    return [("<|vision_start|>", False), *[("<|image_pad|>", False)] * pads, ("<|vision_end|>", False)]


def written(tree: PrefixTree) -> list[tuple[str, bool]]:
    """Tokens of the first row with their flags, prefix included."""
    tokenizer = tiny.make_tokenizer()
    ids = tree.prefix.ids + tree.rows[0].ids
    return list(zip((tokenizer.decode([i]) for i in ids), tree.prefix.labels + tree.rows[0].labels, strict=True))


# The prompt of both: the profile's system line, the pictures, the question with its options.
_HEAD = [("<|im_start|>", False), *letters("system\n", False)]
_BEFORE = [("<|im_end|>", False), *letters("\n", False), ("<|im_start|>", False), *letters("user\n", False)]
_ASKED = [
    *letters("Side?\nA. L\nB. R", False),
    *[("<|im_end|>", False), *letters("\n", False), ("<|im_start|>", False), *letters("assistant\n", False)],
]


def test_labels_of_a_look_at_an_image():
    looks = sample("image", "At", Look("x", Box2D(0, 0, 28, 28)), " it is R.")
    [tree] = Encoder.of(_plain()).trees([looks], IMAGE, blank(IMAGE))
    assert written(tree) == [
        *_HEAD, *letters("look", False), *_BEFORE,
        *picture(6),  # 84 x 56 pixels are 6 x 4 patches, 3 x 2 visual tokens
        *_ASKED,
        ("<think>", True), *letters("At", True),
        ("<|box_start|>", True), *letters("[0,0,28,28]", True), ("<|box_end|>", True),
        *picture(1),
        *letters(" it is R.", True), ("</think>", True), *letters("B. R", True),
        ("<|im_end|>", True),
    ]  # fmt: skip
    assert tree.prefix.pictures[0].shape == (56, 84)
    assert [p.shape for p in tree.rows[0].pictures] == [(28, 28)]


def test_labels_of_a_look_at_two_slices_of_a_volume():
    looks = sample("volume", "At", Look("x", Box3D(0, 0, 1, 56, 28, 3)), ".")
    pictures = blank(VOLUME)
    [tree] = Encoder.of(_plain()).trees([looks], VOLUME, pictures)
    assert written(tree) == [
        *_HEAD, *letters("look well", False), *_BEFORE,
        *picture(4), *picture(4), *picture(4),
        *_ASKED,
        ("<think>", True), *letters("At", True),
        ("<|box_start|>", True), *letters("[0,0,1,56,28,3]", True), ("<|box_end|>", True),
        *picture(2), *picture(2),
        *letters(".", True), ("</think>", True), *letters("B. R", True),
        ("<|im_end|>", True),
    ]  # fmt: skip
    for found, index in zip(tree.rows[0].pictures, (1, 2), strict=True):
        assert np.array_equal(found, pictures[index][:28])


def _plain():
    made = tiny.checkpoint()
    return replace(made, profile=replace(made.profile, chat="tokenizer"))


def test_samples_on_one_case_share_its_pictures():
    encoder, pictures = Encoder.of(_plain()), blank(IMAGE)
    one, two = sample("image", "Yes."), sample("image", "No, it is that.", options=("up", "down"))
    [tree] = encoder.trees([one, two], IMAGE, pictures)
    assert [len(r.pictures) for r in tree.rows] == [0, 0]
    assert tree.tags == ("lesion_analysis", "lesion_analysis")
    for row, member in zip(tree.rows, (one, two), strict=True):
        [alone] = encoder.trees([member], IMAGE, pictures)
        assert alone.prefix.ids == tree.prefix.ids
        assert (alone.rows[0].ids, alone.rows[0].labels, alone.rows[0].positions) == (row.ids, row.labels, row.positions)
    assert encoder.trees([], IMAGE, pictures) == []


def test_implicit_questions_are_asked_by_their_own_profile():
    encoder, pictures = Encoder.of(_plain()), blank(IMAGE)
    implicit = sample("image", "There.", family=IMPLICIT)
    both = encoder.trees([sample("image", "Yes."), implicit], IMAGE, pictures)
    assert [t.tags for t in both] == [("lesion_analysis",), (IMPLICIT,)]
    assert both[0].prefix.ids != both[1].prefix.ids
    assert encoder.profile(implicit).name == "umrg"


@pytest.mark.parametrize("how", [{"max_rounds": 0}, {"crops": "none"}])
def test_a_profile_without_looks_injects_nothing(how):
    made = _plain()
    encoder = Encoder.of(replace(made, profile=replace(made.profile, **how)))
    [tree] = encoder.trees([sample("image", "At", Look("x", Box2D(0, 0, 28, 28)), ".")], IMAGE, blank(IMAGE))
    assert tree.rows[0].pictures == []
    assert sum(tree.rows[0].labels) == 1 + 2 + 13 + 1 + 1 + 4 + 1


def test_the_opening_of_the_turn_is_no_label():
    """What the profile writes is not learned, and a response must begin with it."""
    made = _plain()
    opened = Encoder.of(replace(made, profile=replace(made.profile, assistant_prefix="<think>")))
    [tree] = opened.trees([sample("image", "Yes.")], IMAGE, blank(IMAGE))
    [plain] = Encoder.of(made).trees([sample("image", "Yes.")], IMAGE, blank(IMAGE))
    assert tree.rows[0].ids == plain.rows[0].ids
    assert sum(tree.rows[0].labels) == sum(plain.rows[0].labels) - 1
    other = Encoder.of(replace(made, profile=replace(made.profile, assistant_prefix="Well: ")))
    with pytest.raises(FormatError, match="the response of s1 begins with '<think>Yes"):
        other.trees([sample("image", "Yes.")], IMAGE, blank(IMAGE))


def test_a_frame_that_the_network_would_resize_is_refused():
    odd = Frame(60, 56, 1, "image")
    with pytest.raises(FormatError, match="a picture of 56 x 60 pixels"):
        Encoder.of(_plain()).trees([sample("image", "Yes.")], odd, blank(odd))


@pytest.mark.parametrize(
    ("pictures", "label", "came"),
    [(0, False, "do not fit its ids"), (2, False, "1 pictures too many"), (1, True, "do not fit its ids")],
)
def test_ids_that_do_not_fit_their_pictures_are_refused(pictures, label, came):
    ids, run = tiny.checkpoint().ids, TokenRun()
    shown_ids = [5, ids.vision_start, ids.image_pad, ids.vision_end, 6]
    given = [(np.zeros((28, 28), np.uint8), (1, 2, 2))] * pictures
    with pytest.raises(ModelError, match=came):
        run.tokens(shown_ids, [True, False, label, False, True], pictures=given, special=ids)


def forced(checkpoint, tree: PrefixTree, case: CaseSamples, pictures: list[np.ndarray], stack=None):
    """The engine's sessions when it is made to write what the rows say the assistant wrote."""
    encoder = Encoder.of(checkpoint)
    seen = vision.encode(checkpoint, vision.prepare(checkpoint, pictures))
    encoded = known_case(checkpoint, pictures, case.kind, seen, stack=stack)
    budget = Budget(max_looks=50, max_new_tokens=4000, max_round_tokens=4000, max_context=checkpoint.max_context)
    crops = checkpoint.profile.crops
    requests = [Request(encoded, encoder.prompt(s, case.frame), budget, crop_source=crops) for s in case.samples]
    responses = [[i for i, label in zip(row.ids, row.labels, strict=True) if label] for row in tree.rows]

    def picker(row, sampling, seed, forbidden):
        return OpenedCase(make_sampler(row, sampling, seed, forbidden), responses[row])

    return LocalEngine(checkpoint, picker=picker).generate(requests)


@pytest.mark.parametrize("crops", ["model", "native", "published"])
@pytest.mark.parametrize("kind", ["image", "volume"])
def test_prompts_responses_and_crops_are_those_of_the_engine(start, phantoms, kind, crops):
    checkpoint = load(str(start), device="cpu", dtype="fp32")
    checkpoint = replace(checkpoint, profile=replace(checkpoint.profile, crops=crops))
    stacks = opened(start, phantoms)
    stacks.cases("train")
    looked = finer = 0
    for case, pictures in [c for c in shown(start, phantoms) if c[0].kind == kind][:2]:
        vqa = replace(case, samples=tuple(s for s in case.samples if s.task == "vqa"))
        stack = None if crops == "model" else stacks.stack(case)
        [tree] = Encoder.of(checkpoint).trees(vqa.samples, case.frame, pictures, stack=stack)
        for row, session in zip(tree.rows, forced(checkpoint, tree, vqa, pictures, stack), strict=True):
            asked = row.labels.index(True)
            assert session.finish == "end_of_turn"
            assert session.problems == []
            assert list(session.prompt) == tree.prefix.ids + row.ids[:asked]
            assert session.response == row.ids[asked:]
            assert session.sampled == row.labels[asked:]
            assert not any(row.labels[:asked])
            fed = [vision.resized(checkpoint, crop.pixels) for crop in session.crops]
            assert [(p.shape, p.tobytes()) for p in fed] == [(p.shape, p.tobytes()) for p in row.pictures]
            assert [c.grid_thw for c in session.crops] == [vision.grid_of(checkpoint, *p.shape) for p in row.pictures]
            looked += len(session.crops)
            finer += sum(
                c.pixels.shape != (c.box_model[3] - c.box_model[1], c.box_model[2] - c.box_model[0]) for c in session.crops
            )
            assert {c.origin for c in session.crops} <= {"native" if crops == "native" else "model"}
    assert looked >= 5
    assert (finer > 0) is (crops == "native")


def test_pictures_of_a_volume_are_those_that_the_engine_prepares(start, phantoms):
    checkpoint = load(str(start), device="cpu", dtype="fp32")
    case, pictures = next(c for c in shown(start, phantoms) if c[0].kind == "volume")
    source = phantoms.source()
    item = next(i for i in source.items() if i.id == case.place.item)
    depth, *size = checkpoint.profile.volume_shape
    stack = serialize(source.load(item).case, depth=depth, size=tuple(size))
    prepared = prepare_case(checkpoint, stack).prepared
    assert torch.equal(prepared.pixel_values, vision.prepare(checkpoint, pictures).pixel_values)
