from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_traces import SHOWN, make_trace

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D
from unireason.grounding import answer as umrg
from unireason.rewards.compose import Letter, RewardTexts, Scores, Weights, score, with_evidence, with_mask
from unireason.rewards.spatial import Gold, Gold3D, umrg_reward

BOX = "<|box_start|>[0,0,20,50]<|box_end|>" + SHOWN
LOOKED, BLIND = f"<think>see {BOX}</think>B", "<think>see</think>B"
GOLD = Gold(Box2D(0, 0, 100, 100), ((20, 20), (80, 80)))
GOLD_3D = Gold3D(Box3D(0, 0, 0, 100, 100, 8), ((20, 20, 2), (80, 80, 6)))
TRUE = umrg.write("x", GOLD.box, GOLD.points)
TRUE_3D = umrg.write("x", GOLD_3D.box, GOLD_3D.points)
NEAR = umrg.write("x", Box2D(0, 0, 80, 80), GOLD.points)


def implicit(text, truth=GOLD, kind="image", **weights):
    return score(make_trace(text, options=(), kind=kind), truth, Weights(**weights))


@pytest.mark.parametrize(
    ("text", "reward", "answer", "form"),
    [
        (LOOKED, 1.0, 0.8, 0.2),
        (BLIND, 0.9, 0.8, 0.1),
        (LOOKED.replace("</think>B", "</think>C"), 0.2, 0, 0.2),
        ("", 0, 0, 0),
    ],
)
def test_questions_with_options(text, reward, answer, form):
    found = score(make_trace(text), Letter("b"))
    assert found.reward == pytest.approx(reward)
    assert found.terms == pytest.approx({"answer": answer, "format": form, "looks": 0, "length": 0, "evidence": 0})
    assert found.right is (answer > 0)
    assert found.parts["answer"] == (answer > 0)


def test_a_question_that_needs_no_look_is_not_asked_for_one():
    found = score(make_trace(BLIND), Letter("B"), Weights(looks=0.1), grounded=False)
    assert found.reward == pytest.approx(1)
    assert score(make_trace(LOOKED), Letter("B"), Weights(looks=0.1), grounded=False).terms["looks"] == 0
    assert score(make_trace(BLIND), Letter("B"), Weights(must_look=False)).reward == pytest.approx(1)


def test_open_questions():
    trace = make_trace(f"<think>see {BOX}</think>The left kidney.", options=())
    assert score(trace, RewardTexts(("spleen", "left kidney"))).reward == pytest.approx(1)
    assert score(trace, RewardTexts(("spleen",))).reward == pytest.approx(0.2)


def test_all_weights():
    weights = Weights(answer=2, format=1, looks=0.5, length=0.25, evidence=4)
    found = score(make_trace(LOOKED, sampled=60), Letter("B"), weights)
    assert found.terms == pytest.approx({"answer": 2, "format": 1, "looks": 0.5, "length": -0.15, "evidence": 0})
    assert found.measures.sampled_tokens == 60
    final = with_evidence(found, 0.5, weights)
    assert final.terms["evidence"] == 2
    assert final.reward == pytest.approx(found.reward + 2) == pytest.approx(5.35)
    assert (final.parts, final.measures, found.terms["evidence"]) == (found.parts, found.measures, 0)


def test_a_look_behind_the_reasoning_gets_no_bonus():
    weights = Weights(looks=0.5)
    assert score(make_trace(f"<think>x</think>B{BOX}"), Letter("B"), weights).terms["looks"] == 0
    assert score(make_trace(BLIND), Letter("B"), weights).terms["looks"] == 0


@pytest.mark.parametrize(("mode", "most"), [("soft", 4), ("hard", 8), ("base", 5)])
def test_implicit_grounding_is_a_share_of_its_maximum(mode, most):
    full, near = (implicit(text, spatial=mode) for text in (TRUE, NEAR))
    assert full.reward == pytest.approx(1, abs=1e-4)
    assert near.parts == umrg_reward(NEAR, GOLD, mode=mode)
    assert near.reward == pytest.approx(near.parts["score"] / most)
    assert set(near.terms) == {"spatial", "looks", "length", "evidence"}
    assert implicit("", spatial=mode).reward == 0
    assert full.right is False


def test_implicit_grounding_in_a_volume():
    found = implicit(TRUE_3D, GOLD_3D, "volume")
    assert found.reward == pytest.approx(1)
    assert found.parts["score"] == pytest.approx(4)
    assert implicit(TRUE, GOLD_3D, "volume").reward == pytest.approx((1 + 0.4) / 4)
    with pytest.raises(FormatError, match="soft"):
        implicit(TRUE_3D, GOLD_3D, "volume", spatial="hard")


def test_bad_truths_and_missing_tokens():
    trace = make_trace(LOOKED)
    for truth in (Letter("E"), Letter(""), RewardTexts(()), RewardTexts(("",))):
        with pytest.raises(FormatError):
            score(trace, truth)
    with pytest.raises(FormatError, match="tokens"):
        score(trace, Letter("B"), Weights(length=0.1))


@pytest.mark.parametrize(
    "change",
    [
        {"answer": -1},
        {"format": float("nan")},
        {"evidence": float("inf")},
        {"length": -0.1},
        {"spatial": "strict"},
        {"mask": 1.5},
    ],
)
def test_bad_weights(change):
    with pytest.raises(FormatError):
        Weights(**change)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_bad_contrast(value):
    with pytest.raises(FormatError):
        with_evidence(score(make_trace(LOOKED), Letter("B")), value, Weights())


def test_the_weights_are_those_of_a_run():
    from unireason.train.config import Reward

    assert [f.name for f in fields(Reward)] == [f.name for f in fields(Weights)]
    assert Weights(**asdict(Reward())) == Weights()


PIECES = ("<think>", "</think>", BOX, "B", " ", "x", "<answer>", "</answer>", "{'bbox': [0,0,9,9]}", TRUE, TRUE_3D, "<|box_end|>")


@given(
    st.lists(st.sampled_from(PIECES), max_size=9).map("".join), st.sampled_from([Letter("B"), RewardTexts(("b",)), GOLD, GOLD_3D])
)
def test_the_default_reward_lies_between_0_and_1(text, truth):
    try:
        trace = make_trace(text, options="abcd" if isinstance(truth, Letter) else ())
    except FormatError:  # a picture behind a box that a loose tag swallowed: no engine makes that
        return
    found = score(trace, truth)
    assert isinstance(found, Scores)
    assert 0 <= found.reward <= 1 + 1e-12
    assert found.reward == pytest.approx(sum(found.terms.values()))


@pytest.mark.parametrize(("share", "reward"), [(0.0, 1.0), (0.25, 0.85), (1.0, 0.4)])
def test_the_mask_takes_its_share_of_the_spatial_reward(share, reward):
    found = implicit(TRUE)
    final = with_mask(found, 0.4, Weights(mask=share))
    assert final.reward == pytest.approx(reward)
    assert final.parts == {**found.parts, "mask_dice": 0.4}
    assert "mask" not in found.terms


def test_a_mask_belongs_to_an_implicit_question():
    with pytest.raises(FormatError, match="implicit"):
        with_mask(score(make_trace(LOOKED), Letter("B")), 0.5, Weights(mask=1))
    with pytest.raises(FormatError, match="0 to 1"):
        with_mask(implicit(TRUE), 1.5, Weights(mask=1))
