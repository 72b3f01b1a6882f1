"""Drawing tokens: against counted frequencies and hand-computed probabilities."""

import math
from collections import Counter

import pytest
import torch

from unireason.core.errors import FormatError, ModelError
from unireason.engine.sampling import Repetition, Sampler, Sampling

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
FREE = torch.zeros(4, dtype=torch.bool)


def frequencies(sampling, forbidden=FREE, n=4000):
    sampler = Sampler(sampling, 0, forbidden)
    counted = Counter(sampler.pick(LOGITS)[0] for _ in range(n))
    return [counted[i] / n for i in range(4)]


def test_greedy_takes_the_best_allowed_token():
    assert Sampler(Sampling(), 0, FREE).pick(LOGITS)[0] == 0
    assert Sampler(Sampling(), 0, torch.tensor([True, False, False, False])).pick(LOGITS)[0] == 1


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1.0), [0.5, 0.3, 0.15, 0.05]),
        (Sampling(0.5), [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        (Sampling(1.0, top_k=2), [0.625, 0.375, 0, 0]),
        (Sampling(1.0, top_p=0.79), [0.625, 0.375, 0, 0]),
        (Sampling(1.0, top_p=0.81), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        (Sampling(1.0, top_p=1e-9), [1, 0, 0, 0]),
    ],
)
def test_frequencies(sampling, expected):
    assert frequencies(sampling) == pytest.approx(expected, abs=0.03)
    zero = [i for i, e in enumerate(expected) if e == 0]
    assert all(frequencies(sampling, n=500)[i] == 0 for i in zero)


def test_forbidden_tokens_leave_their_share_to_the_others():
    out = frequencies(Sampling(1.0), torch.tensor([True, False, False, False]))
    assert out == pytest.approx([0, 0.6, 0.3, 0.1], abs=0.03)


def test_logprob_is_the_networks_own_whatever_the_temperature():
    for sampling in (Sampling(), Sampling(3.0, top_k=1)):
        token, logprob = Sampler(sampling, 0, FREE).pick(LOGITS)
        assert (token, logprob) == (0, pytest.approx(math.log(0.5), abs=1e-6))
    _, logprob = Sampler(Sampling(), 0, torch.tensor([True, False, False, False])).pick(LOGITS)
    assert logprob == pytest.approx(math.log(0.6), abs=1e-6)


@pytest.mark.parametrize(
    ("sampling", "chances"),
    [
        (Sampling(1.0, logprobs="processed"), [0.5, 0.3, 0.15, 0.05]),
        (Sampling(0.5, logprobs="processed"), [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        (Sampling(1.0, top_k=2, logprobs="processed"), [0.625, 0.375]),
        (Sampling(1.0, top_p=0.81, logprobs="processed"), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95]),
        (Sampling(0.5, top_k=3, top_p=0.9, logprobs="processed"), [0.25 / 0.34, 0.09 / 0.34]),  # 0.0225 of 0.365 is beyond
    ],
)
def test_processed_logprobs_are_those_of_the_distribution_that_was_drawn_from(sampling, chances):
    sampler = Sampler(sampling, 0, FREE)
    seen = dict(sampler.pick(LOGITS) for _ in range(200))
    assert len(seen) == len(chances)
    assert [math.exp(seen[token]) for token in range(len(chances))] == pytest.approx(chances, abs=1e-6)


def test_greedy_logprobs_are_raw():
    assert Sampler(Sampling(logprobs="processed"), 0, FREE).pick(LOGITS) == (0, pytest.approx(math.log(0.5), abs=1e-6))
    with pytest.raises(FormatError, match="processed"):
        Sampling(logprobs="other")


def test_seeds():
    def draw(seed):
        sampler = Sampler(Sampling(1.0), seed, FREE)
        return [sampler.pick(LOGITS)[0] for _ in range(30)]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_random_numbers_of_others_play_no_role():
    sampler = Sampler(Sampling(1.0), 3, FREE)
    first = [sampler.pick(LOGITS)[0] for _ in range(10)]
    torch.manual_seed(99)
    torch.rand(5)
    sampler = Sampler(Sampling(1.0), 3, FREE)
    assert [sampler.pick(LOGITS)[0] for _ in range(10)] == first


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}, {"top_k": 1.5}, {"seed": -1}],
)
def test_ranges(wrong):
    with pytest.raises(FormatError):
        Sampling(**wrong)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0), Sampling(1.0, top_p=0.5), Sampling(1.0, top_k=2)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_no_token(sampling, value):
    for place in range(4):
        with pytest.raises(ModelError, match="finite"):
            Sampler(sampling, 0, FREE).pick(LOGITS.index_fill(0, torch.tensor(place), value))
    with pytest.raises(ModelError, match="finite"):
        Sampler(sampling, 0, FREE).pick(torch.full((4,), -math.inf))
    # A token that can never come is no damage, nor is anything at tokens that must not be chosen.
    assert Sampler(sampling, 0, FREE).pick(LOGITS.index_fill(0, torch.tensor(3), -math.inf))[0] < 3
    assert Sampler(sampling, 0, torch.tensor([True, False, False, False])).pick(LOGITS.index_fill(0, torch.tensor(0), value))[0]


def test_repetition_is_weakened_as_the_library_does_it():
    from transformers import RepetitionPenaltyLogitsProcessor

    prompt, said = [3, 5, 5], [7, 2]
    logits = torch.randn(12, generator=torch.Generator().manual_seed(0))
    repetition = Repetition(Sampling(repetition_penalty=1.3), prompt, torch.zeros(12, dtype=torch.bool))
    repetition.saw(said)
    theirs = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([prompt + said]), logits[None].clone())[0]
    assert torch.equal(repetition.apply(logits), theirs)
    assert Repetition(Sampling(), prompt, torch.zeros(12, dtype=torch.bool)).apply(logits) is logits
    with pytest.raises(FormatError, match="repetition penalty"):
        Sampling(repetition_penalty=0)
