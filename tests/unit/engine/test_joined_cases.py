"""Several cases through the network together: nobody sees another case, and what is asked alone comes out the same."""

from __future__ import annotations

import pytest
import torch

import tiny
from unireason.core.errors import ModelError
from unireason.core.types import Case, Geometry, Source
from unireason.engine import local
from unireason.engine.local import LocalEngine
from unireason.engine.reasoner import Question, Reasoner
from unireason.engine.sampling import Sampling

QUESTIONS = (Question("what?"), Question("where is it?", ("left", "right"), seed=7))


def case(n):
    pixels = tiny.stack("image", seed=n).slices[0]
    return Case(pixels, "image", Geometry((56, 56), (56, 56), (0, 1), (False, False)), "", Source(str(n), "npy", str(n)))


def ask(reasoner, cases, **how):
    return reasoner.ask_cases([(c, reasoner.encode(c), QUESTIONS) for c in cases], **how)


@pytest.fixture
def passes(monkeypatch):
    """Cases in every pass of the network."""
    counted = []
    real = local.step

    def step(network, fed):
        counted.append(len({id(row) for row, _ in fed}))
        return real(network, fed)

    monkeypatch.setattr(local, "step", step)
    return counted


def test_cases_go_together_and_answers_are_those_of_each_alone(passes):
    made = tiny.checkpoint()
    cases = [case(n) for n in range(3)]
    how = {"sampling": Sampling(temperature=1.0, seed=3), "samples": 2, "max_new_tokens": 12}
    together = ask(Reasoner(made), cases, **how)
    assert max(passes) == 3
    passes.clear()
    apart = ask(Reasoner(made, engine=LocalEngine(made, max_joined=1)), cases, **how)
    assert set(passes) == {1}
    alone = [Reasoner(made).ask_many(c, QUESTIONS, **how) for c in cases]
    texts = [[[t.raw_text for t in samples] for samples in own] for own in together]
    assert texts == [[[t.raw_text for t in samples] for samples in own] for own in alone]
    assert texts == [[[t.raw_text for t in samples] for samples in own] for own in apart]
    assert len({text for own in texts for samples in own for text in samples}) > 6
    assert [{t.source.name for samples in own for t in samples} for own in together] == [{"0"}, {"1"}, {"2"}]
    for own, single in zip(together, alone, strict=True):
        for samples, others in zip(own, single, strict=True):
            for one, other in zip(samples, others, strict=True):
                logprobs = torch.tensor([one.tokens.logprobs, other.tokens.logprobs])
                assert float((logprobs[0] - logprobs[1]).abs().max()) < 1e-3


def test_pictures_and_volumes_and_long_and_short_questions_go_together(passes):
    """Prefixes and questions of different lengths: every token keeps the position that it has alone."""
    made = tiny.checkpoint()
    slices = tiny.stack("volume", seed=5).slices
    sizes = Geometry(slices.shape, slices.shape[::-1], (0, 1, 2), (False,) * 3)
    volume = Case(slices, "volume", sizes, "", Source("v", "npy", "v"))
    long = Question("what is it that can be seen where the two of them meet?", ("left", "right", "neither of them"), seed=3)
    asked = [(case(0), [QUESTIONS[0]]), (volume, [long, QUESTIONS[1]]), (case(1), [long])]
    how = {"sampling": Sampling(temperature=1.0, seed=3), "samples": 2, "max_new_tokens": 12}
    together = Reasoner(made)
    found = together.ask_cases([(c, together.encode(c), own) for c, own in asked], **how)
    assert max(passes) == 3
    for (own, questions), traces in zip(asked, found, strict=True):
        alone = Reasoner(made).ask_many(own, questions, **how)
        for one, other in zip((t for s in traces for t in s), (t for s in alone for t in s), strict=True):
            assert one.raw_text == other.raw_text
            assert one.tokens.logprobs == pytest.approx(other.tokens.logprobs, abs=1e-4)


def test_looks_of_one_case_leave_the_others_as_they_are():
    """Rows that look at other times, and end at other times: every logit is that of the row alone."""
    made = tiny.checkpoint()
    asked = [(case(0), QUESTIONS[:1]), (case(1), QUESTIONS), (case(2), QUESTIONS[:1])]
    near, far = (0, 0, 28, 28), (20, 20, 56, 56)
    plans = [tiny.plan([], tail=60), tiny.plan([near]), tiny.plan([far, near], free=7), tiny.plan([far], tail=30)]

    def logits(cases, own):
        script = tiny.Script(*own)
        reasoner = Reasoner(made, engine=LocalEngine(made, picker=script))
        reasoner.ask_cases([(c, reasoner.encode(c), questions) for c, questions in cases])
        return [script.logits(row) for row in range(len(own))]

    together = logits(asked, plans)
    alone = [*logits(asked[:1], plans[:1]), *logits(asked[1:2], plans[1:3]), *logits(asked[2:], plans[3:])]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_question_has_a_seed_of_its_own():
    reasoner = Reasoner(tiny.checkpoint())
    own, one = case(0), Sampling(temperature=1.0, seed=7)
    (seeded,) = reasoner.ask_many(own, [Question("what?", seed=7)], samples=2, max_new_tokens=12, sampling=Sampling(1.0, seed=1))
    (plain,) = reasoner.ask_many(own, [Question("what?")], samples=2, max_new_tokens=12, sampling=one)
    assert [t.raw_text for t in seeded] == [t.raw_text for t in plain]
    assert [t.provenance["seed"] for t in seeded] == [7, 8]


def test_what_is_shown_is_asked_with_the_seed_of_its_question():
    made = tiny.checkpoint()
    how = {"sampling": Sampling(temperature=1.0, seed=3), "max_new_tokens": 8}
    reasoner, (one, other) = Reasoner(made), (case(0), case(1))
    first, second = reasoner.encode(one), reasoner.encode(other)
    asked = [(one, first, QUESTIONS[0]), (other, second, QUESTIONS[1]), (one, first, QUESTIONS[1])]
    found = reasoner.ask_shown([(*own, None) for own in asked], **how)
    alone = [Reasoner(made).ask_many(own, [question], **how)[0][0] for own, _, question in asked]
    assert [t.raw_text for t in found] == [t.raw_text for t in alone]
    assert [t.provenance["seed"] for t in found] == [t.provenance["seed"] for t in alone] == [3, 7, 7]
    assert [t.source.name for t in found] == ["0", "1", "0"]


def test_samples_belong_to_their_question():
    reasoner, own = Reasoner(tiny.checkpoint()), case(0)
    how = {"sampling": Sampling(temperature=1.0, seed=3), "samples": 2, "max_new_tokens": 8}
    together = reasoner.ask_many(own, QUESTIONS, **how)
    alone = [reasoner.ask_many(own, [question], **how)[0] for question in QUESTIONS]
    assert [[t.raw_text for t in samples] for samples in together] == [[t.raw_text for t in samples] for samples in alone]


def test_a_case_is_never_joined_with_itself(passes):
    made = tiny.checkpoint()
    own = case(0)
    engine = LocalEngine(made, max_rows=2)
    how = {"samples": 3, "max_new_tokens": 5, "sampling": Sampling(temperature=1.0)}
    narrow = Reasoner(made, engine=engine).ask_many(own, QUESTIONS, **how)
    assert set(passes) == {1}
    wide = Reasoner(made).ask_many(own, QUESTIONS, **how)
    assert [[t.raw_text for t in s] for s in narrow] == [[t.raw_text for t in s] for s in wide]


def test_what_runs_together_is_bounded():
    groups = [(1, 100, 5), (2, 100, 5), (2, 100, 5), (3, 40_000, 5), (4, 100, 6), (5, 100, 5), (6, 100, 50)]
    assert local._joined(groups, 10) == [[0, 1], [2], [3], [4], [5], [6]]
    assert local._joined([], 10) == []
    with pytest.raises(ModelError):
        LocalEngine(tiny.checkpoint(), max_joined=0)
