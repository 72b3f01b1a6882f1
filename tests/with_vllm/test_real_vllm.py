"""The same ids and log-probabilities from a real vLLM as from the weights in this process: over the network and inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here: make vllm")

import torch

from unireason.core.types import Tokens
from unireason.engine.case import Request
from unireason.engine.local import LocalEngine
from unireason.engine.reasoner import Reasoner, load
from unireason.engine.sampling import Sampling
from unireason.engine.session import Budget

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
TOLERANCE = 1e-4


def answers(reasoner: Reasoner, asked: Any, **how: Any) -> list[Any]:
    """All traces."""
    found = reasoner.ask_cases([(case, reasoner.encode(case), questions) for case, questions in asked], **how)
    return [trace for case in found for samples in case for trace in samples]


def held(traces: list[Any], others: list[Any]) -> Counter[int]:
    """Ids are equal, log-probabilities nearly; how many traces have how many looks."""
    assert [t.tokens.response for t in traces] == [t.tokens.response for t in others]
    for one, other in zip(traces, others, strict=True):
        assert one.tokens.logprobs == pytest.approx(other.tokens.logprobs, abs=TOLERANCE)
    return Counter(sum(step.type == "look" for step in trace.steps) for trace in traces)


@pytest.fixture(scope="module")
def remote(url: str) -> Iterator[Reasoner]:
    reasoner = load("phantom", engine=[url])
    yield reasoner
    reasoner.engine.close()


@pytest.mark.parametrize(
    "how",
    [{}, {"crop_source": "native"}, {"crop_source": "none"}, {"max_looks": 0}, {"sampling": Sampling(repetition_penalty=1.1)}],
    ids=str,
)
def test_answers_are_those_of_the_weights_here(remote: Reasoner, local: Reasoner, asked: Any, how: dict[str, Any]) -> None:
    """Many cases at once, pictures and volumes mixed; a penalty is applied before log-probabilities here and after them there."""
    if "sampling" in how:
        ours, theirs = answers(local, asked, **how), answers(remote, asked, **how)
        assert [t.tokens.response for t in theirs] == [t.tokens.response for t in ours]
        return
    looks = held(answers(remote, asked, **how), answers(local, asked, **how))
    if not how:
        assert {1, 2} <= set(looks)


def test_four_samples_are_of_the_models_own_probabilities(remote: Reasoner, local: Reasoner, asked: Any) -> None:
    """What vLLM draws is fed to the weights here: its log-probabilities are theirs, and samples differ."""
    sampling = Sampling(temperature=1.0, seed=5)
    drawn = answers(remote, asked[:6], sampling=sampling, samples=4)
    again = answers(remote, asked[:6], sampling=sampling, samples=4)
    assert [t.tokens.response for t in drawn] == [t.tokens.response for t in again]
    assert len({t.tokens.response for t in drawn}) > len(drawn) // 2
    by_source = {case.source: case for case, _ in asked}
    for trace in drawn:
        engine = LocalEngine(local.checkpoint, picker=lambda *rest, tokens=trace.tokens: Given(tokens, rest[3]))
        case = engine.encode(local.stack(by_source[trace.source]))
        profile, kind = local.checkpoint.profile, trace.frame.kind
        budget = Budget(profile.max_rounds, profile.max_new_tokens, profile.max_round_tokens(kind), local.checkpoint.max_context)
        (session,) = engine.generate([Request(case, trace.tokens.prompt, budget)])
        assert tuple(session.response) == trace.tokens.response
        assert trace.tokens.logprobs == pytest.approx(session.logprobs, abs=TOLERANCE)


class Given:
    """Takes the tokens of a trajectory."""

    def __init__(self, tokens: Tokens, never: torch.Tensor) -> None:
        self._left = [i for i, flag in zip(tokens.response, tokens.sampled, strict=True) if flag][::-1]
        self._never = never

    def pick(self, logits: torch.Tensor) -> tuple[int, float]:
        """The next one and its log-probability among those that may be drawn."""
        token = self._left.pop()
        return token, float(logits.float().masked_fill(self._never, float("-inf")).log_softmax(0)[token])


def test_tokens_are_told_as_they_come(remote: Reasoner, local: Reasoner, asked: Any) -> None:
    case, questions = asked[0]
    told: list[int] = []
    trace = remote.ask(
        case, questions[0].text, options=questions[0].options, on_token=lambda place, token, text: told.append(token)
    )
    assert trace.tokens.response == local.ask(case, questions[0].text, options=questions[0].options).tokens.response
    assert told == [i for i, flag in zip(trace.tokens.response, trace.tokens.sampled, strict=True) if flag]


def test_in_this_process(local: Reasoner, asked: Any) -> None:
    inside = load("phantom", dtype="fp32", engine=["vllm"])
    try:
        held(answers(inside, asked), answers(local, asked))
        native = {"crop_source": "native"}
        held(answers(inside, asked[:8], **native), answers(local, asked[:8], **native))
        told: list[int] = []
        case, questions = asked[0]
        inside.ask(case, questions[0].text, on_token=lambda place, token, text: told.append(token))
        assert told
    finally:
        inside.engine.close()
