from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.engine.sampling import Sampler, Sampling
from unireason.train import loss
from unireason.train.loss import log_probs


def plain(logits, targets, temperature=1.0, forbidden=None):
    """By the library's own log-softmax over the whole table."""
    scores = logits.float() / temperature if logits.dtype != torch.float64 else logits / temperature
    if forbidden is not None:
        scores = scores.masked_fill(forbidden, -math.inf)
    table = scores.log_softmax(1)
    entropy = torch.distributions.Categorical(logits=table.detach()).entropy()
    return table.gather(1, targets[:, None])[:, 0], entropy


def make(n=7, vocabulary=11, seed=0, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)
    logits = (torch.randn(n, vocabulary, generator=random) * 3).to(dtype)
    return logits.requires_grad_(), torch.randint(vocabulary - 3, (n,), generator=random)


def test_by_hand():
    # odds 1 : 2 : 5
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    logp, entropy = log_probs(logits, torch.tensor([1]))
    assert logp.item() == pytest.approx(math.log(2 / 8), rel=1e-6)
    assert entropy.item() == pytest.approx(-sum(p * math.log(p) for p in (1 / 8, 2 / 8, 5 / 8)), rel=1e-6)
    # at temperature 1/2 the odds are squared: 1 : 4 : 25
    assert log_probs(logits, torch.tensor([1]), 0.5)[0].item() == pytest.approx(math.log(4 / 30), rel=1e-6)
    # without the third token 1 : 2
    logp, entropy = log_probs(logits, torch.tensor([1]), 1.0, torch.tensor([False, False, True]))
    assert logp.item() == pytest.approx(math.log(2 / 3), rel=1e-6)
    assert entropy.item() == pytest.approx(-(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("chunk", [1, 25, 2**24])
def test_equals_log_softmax_with_its_gradient(monkeypatch, temperature, closed, chunk):
    monkeypatch.setattr(loss, "CHUNK", chunk)
    logits, targets = make()
    forbidden = torch.arange(11) >= 8 if closed else None
    weights = torch.linspace(-2, 3, 7)
    logp, entropy = log_probs(logits, targets, temperature, forbidden)
    expected, spread = plain(logits, targets, temperature, forbidden)
    torch.testing.assert_close(logp, expected)
    torch.testing.assert_close(entropy, spread, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad((logp * weights).sum(), logits)
    (reference,) = torch.autograd.grad((expected * weights).sum(), logits)
    torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-7)


def test_gradient_by_differences():
    logits, targets = make(3, 5, dtype=torch.float64)
    forbidden = torch.tensor([False, False, False, True, False])
    assert torch.autograd.gradcheck(lambda x: log_probs(x, targets, 0.7, forbidden)[0], (logits,))


def test_large_logits_neither_overflow_nor_lose_digits():
    logits = torch.tensor([[3e4, 3e4 + 1, -3e4], [-3e4, 0.0, 3e4]], requires_grad=True)
    logp, entropy = log_probs(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(logp, torch.tensor([-math.log(1 + math.e), -6e4]))
    assert entropy.isfinite().all()
    assert torch.autograd.grad(logp.sum(), logits)[0].isfinite().all()


def test_bfloat16_is_computed_in_float32_and_the_gradient_comes_back_in_bfloat16():
    logits, targets = make(dtype=torch.bfloat16)
    logp, entropy = log_probs(logits, targets)
    assert logp.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(logp, plain(logits, targets)[0])
    (gradient,) = torch.autograd.grad(logp.sum(), logits)
    assert gradient.dtype == torch.bfloat16


def test_agrees_with_what_the_sampler_records():
    logits, _ = make(20, 9, seed=3)
    forbidden = torch.tensor([False, True] + [False] * 6 + [True])
    sampler = Sampler(Sampling(temperature=1.0), 5, forbidden)
    drawn = [sampler.pick(row) for row in logits.detach()]
    logp, _ = log_probs(logits, torch.tensor([token for token, _ in drawn]), 1.0, forbidden)
    torch.testing.assert_close(logp, torch.tensor([recorded for _, recorded in drawn]), rtol=1e-5, atol=1e-6)


def test_entropy_carries_no_gradient():
    logits, targets = make()
    logp, entropy = log_probs(logits, targets)
    assert logp.requires_grad
    assert not entropy.requires_grad


def test_nothing_of_the_size_of_the_table_is_kept():
    logits, targets = make(64, 50)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        log_probs(logits, targets)
    assert [t.data_ptr() for t in kept if t.numel() >= logits.numel()] == [logits.data_ptr()]


def test_no_tokens():
    logits = torch.empty(0, 5, requires_grad=True)
    logp, entropy = log_probs(logits, torch.empty(0, dtype=torch.long))
    assert logp.shape == entropy.shape == (0,)
    logp.sum().backward()
    assert logits.grad is not None


@pytest.mark.parametrize("target", [-100, 5, 4])
def test_tokens_that_cannot_be_sampled_are_refused(target):
    with pytest.raises(FormatError, match=f"token {target}"):
        log_probs(torch.zeros(2, 5), torch.tensor([0, target]), 1.0, torch.arange(5) == 4)


def test_wrong_arguments_are_refused():
    logits, targets = torch.zeros(2, 5), torch.zeros(2, dtype=torch.long)
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(FormatError, match="temperature"):
            log_probs(logits, targets, temperature)
    with pytest.raises(FormatError, match="targets"):
        log_probs(logits, targets[:1])
    with pytest.raises(FormatError, match="5 tokens"):
        log_probs(logits, targets, 1.0, torch.zeros(6, dtype=torch.bool))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 40), st.floats(0.2, 3))
def test_probabilities_of_all_tokens_add_up_to_one(seed, n, vocabulary, temperature):
    logits = torch.randn(n, vocabulary, generator=torch.Generator().manual_seed(seed)) * 5
    every = torch.stack([log_probs(logits, torch.full((n,), t), temperature)[0] for t in range(vocabulary)], 1)
    torch.testing.assert_close(every.exp().sum(1), torch.ones(n))
    entropy = log_probs(logits, torch.zeros(n, dtype=torch.long), temperature)[1]
    torch.testing.assert_close(entropy, -(every.exp() * every).sum(1), rtol=1e-4, atol=1e-5)
