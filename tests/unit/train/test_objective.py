from __future__ import annotations

import math

import torch

from unireason.train.loss import NumberSmoothing


def test_plain_tokens_have_plain_cross_entropy():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    loss = NumberSmoothing([2, 3], 4, sigma=1.0)(logits, torch.tensor([1]))
    assert math.isclose(loss.item(), math.log(sum(math.exp(v) for v in range(4))) - 1.0, rel_tol=1e-6)


def test_bell_over_neighbouring_numbers():
    # numbers 0, 1, 2 are tokens 0, 1, 2; target 1 with sigma 1 weighs its neighbours by exp(-1/2)
    logits = torch.zeros(1, 4)
    logits[0, 1] = 2.0
    side = math.exp(-0.5)
    weights = [side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side)]
    norm = math.log(3 + math.exp(2.0))
    expected = -(weights[0] * (0 - norm) + weights[1] * (2 - norm) + weights[2] * (0 - norm))
    loss = NumberSmoothing([0, 1, 2], 4, sigma=1.0)(logits, torch.tensor([1]))
    assert math.isclose(loss.item(), expected, rel_tol=1e-6)


def test_near_misses_cost_less_than_far_ones():
    objective = NumberSmoothing(list(range(50)), 60, sigma=0.8)
    near, far = torch.zeros(1, 60), torch.zeros(1, 60)
    near[0, 21], far[0, 40] = 8.0, 8.0
    target = torch.tensor([20])
    assert objective(near, target) < objective(far, target)


def test_no_sigma_is_cross_entropy():
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 3, 9, 2, 2])
    loss = NumberSmoothing([0, 1, 2], 10, sigma=0)(logits, targets)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))
