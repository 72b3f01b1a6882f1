from __future__ import annotations

import dataclasses
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.train.config import PolicySettings
from unireason.train.loss import LossMeasured, SampledTokens, loss_denominator, policy_loss

F64 = torch.float64


def one(
    ratio: float, advantage: float, policy: PolicySettings, reference: float | None = None
) -> tuple[float, float, LossMeasured]:
    """Loss, gradient and measurements of one token with that probability ratio; the reference as a ratio to the policy."""
    logp = torch.tensor([math.log(ratio) - 1.0], dtype=F64, requires_grad=True)
    ref = None if reference is None else logp.detach() + math.log(reference)
    sampled = SampledTokens(
        torch.tensor([-1.0], dtype=F64), torch.tensor([advantage], dtype=F64), torch.tensor([0]), torch.tensor([1]), ref
    )
    loss, measured = policy_loss(logp, sampled, policy, denominator=1.0)
    (gradient,) = torch.autograd.grad(loss, logp)
    return loss.item(), gradient.item(), measured


FREE = PolicySettings(clip_low=0.2, clip_high=0.3, beta=0.0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "low", "high"),
    [
        (1.0, 2.0, -2.0, -2.0, 0, 0),  # first update: the plain policy gradient
        (1.1, 2.0, -2.2, -2.2, 0, 0),
        (1.5, 2.0, -2.6, 0.0, 0, 1),  # good and already likelier: held at 1.3
        (0.5, 2.0, -1.0, -1.0, 0, 0),  # good but less likely: pulled back up
        (0.5, -2.0, 1.6, 0.0, 1, 0),  # bad and already less likely: held at 0.8
        (0.9, -2.0, 1.8, 1.8, 0, 0),
        (1.5, -2.0, 3.0, 3.0, 0, 0),  # bad but likelier: pushed down
        (1.5, 0.0, 0.0, 0.0, 0, 0),
        (0.5, 0.0, 0.0, 0.0, 0, 0),
    ],
)
def test_clipped_loss_by_hand(ratio, advantage, loss, gradient, low, high):
    value, slope, measured = one(ratio, advantage, FREE)
    assert value == pytest.approx(loss)
    assert slope == pytest.approx(gradient)
    assert (measured.clip_ratio_low, measured.clip_ratio_high) == (low, high)
    assert measured.ratio == measured.ratio_max == pytest.approx(ratio)
    # KL(sampling policy | present policy), one sample: w - 1 - log w
    assert measured.approx_kl == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-12)


def test_divergence_by_hand():
    # the reference is twice as likely: 2 - log 2 - 1; d/dlogp = 1 - 2
    k3 = 2 - math.log(2) - 1
    value, slope, measured = one(1.0, 1.0, PolicySettings(beta=0.1), reference=2.0)
    assert value == pytest.approx(-1 + 0.1 * k3)
    assert slope == pytest.approx(-1 - 0.1)
    assert measured.kl == pytest.approx(k3)
    # and half as likely: 1/2 + log 2 - 1; d/dlogp = 1 - 1/2
    value, slope, _ = one(1.0, 0.0, PolicySettings(beta=0.1), reference=0.5)
    assert (value, slope) == (pytest.approx(0.1 * (math.log(2) - 0.5)), pytest.approx(0.05))


def test_divergence_is_measured_even_where_it_has_no_weight():
    value, slope, measured = one(1.0, 0.0, FREE, reference=2.0)
    assert (value, slope) == (0, 0)
    assert measured.kl > 0.3


def batch(counts=(3, 1), advantage=(1.0, -2.0)):
    """Responses with ratio 1: token losses are minus the advantage."""
    response = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    logp = torch.full((len(response),), -1.0, dtype=F64, requires_grad=True)
    return logp, SampledTokens(
        logp.detach(), torch.tensor(advantage, dtype=F64)[response], response, torch.tensor(counts), logp.detach()
    )


@pytest.mark.parametrize(
    ("average", "denominator", "loss", "gradient"),
    [
        ("dapo", 4, (-3 + 2) / 4, [-1 / 4] * 3 + [2 / 4]),
        ("grpo", 2, (-1 + 2) / 2, [-1 / 6] * 3 + [2 / 2]),
        ("dr_grpo", 20, (-3 + 2) / 20, [-1 / 20] * 3 + [2 / 20]),
    ],
)
def test_averages_by_hand(average, denominator, loss, gradient):
    logp, sampled = batch()
    policy = PolicySettings(loss_type=average)
    assert loss_denominator(sampled.counts, policy, max_new_tokens=10) == denominator
    value, _ = policy_loss(logp, sampled, policy, denominator=denominator)
    assert value.item() == pytest.approx(loss)
    value.backward()
    assert logp.grad.tolist() == pytest.approx(gradient)


def test_a_response_left_out_counts_as_a_response_without_tokens():
    counts = torch.tensor([3, 0, 2])
    assert [loss_denominator(counts, PolicySettings(loss_type=a), 10) for a in ("dapo", "grpo", "dr_grpo")] == [5, 3, 30]
    assert loss_denominator(counts[:0], PolicySettings(), 10) == 0


def random_step(seed: int, n: int = 40, responses: int = 6):
    random = torch.Generator().manual_seed(seed)
    response = torch.randint(responses, (n,), generator=random).sort().values
    logp = torch.randn(n, generator=random, dtype=F64) - 2
    sampled = SampledTokens(
        old_logp=logp + torch.randn(n, generator=random, dtype=F64) * 0.4,
        advantage=torch.randn(responses, generator=random, dtype=F64)[response],
        response=response,
        counts=torch.bincount(response, minlength=responses),
        ref_logp=logp + torch.randn(n, generator=random, dtype=F64) * 0.4,
        entropy=torch.rand(n, generator=random, dtype=F64),
    )
    return logp.requires_grad_(), sampled


def part(sampled: SampledTokens, where: torch.Tensor) -> SampledTokens:
    values = {f.name: getattr(sampled, f.name) for f in dataclasses.fields(sampled)}
    return SampledTokens(**{name: v if name == "counts" or v is None else v[where] for name, v in values.items()})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["dapo", "grpo", "dr_grpo"]), st.lists(st.integers(0, 40), max_size=4))
def test_micro_batches_add_up_to_the_whole(seed, average, cuts):
    logp, sampled = random_step(seed)
    policy = PolicySettings(loss_type=average, beta=0.05, clip_high=0.28)
    denominator = loss_denominator(sampled.counts, policy, 50)
    whole, measured = policy_loss(logp, sampled, policy, denominator=denominator)
    (expected,) = torch.autograd.grad(whole, logp)
    loss, summed = torch.zeros((), dtype=F64), LossMeasured()
    for where in torch.tensor_split(torch.arange(40), sorted(cuts)):
        value, sums = policy_loss(logp[where], part(sampled, where), policy, denominator=denominator)
        loss, summed = loss + value, summed + sums
    torch.testing.assert_close(loss, whole)
    torch.testing.assert_close(torch.autograd.grad(loss, logp)[0], expected)
    assert dataclasses.astuple(summed) == pytest.approx(dataclasses.astuple(measured))
    assert summed.means() == pytest.approx(measured.means())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_denominators_of_processes_add_up(seed):
    _, sampled = random_step(seed)
    for average in ("dapo", "grpo", "dr_grpo"):
        policy = PolicySettings(loss_type=average)
        parts = [loss_denominator(c, policy, 7) for c in sampled.counts.split(2)]
        assert sum(parts) == loss_denominator(sampled.counts, policy, 7)


@given(st.floats(0.05, 20), st.floats(-3, 3))
def test_clipping_never_flatters(ratio, advantage):
    """The clipped loss is never below the unclipped one, and equal to it inside the clips."""
    value, _, _ = one(ratio, advantage, FREE)
    assert value >= -ratio * advantage - 1e-9
    if 0.8 < ratio < 1.3:
        assert value == pytest.approx(-ratio * advantage)


@given(st.floats(0.01, 100))
def test_divergence_is_never_negative_and_pulls_towards_the_reference(reference):
    value, slope, _ = one(1.0, 0.0, PolicySettings(beta=1.0), reference=reference)
    assert value >= 0
    assert slope == pytest.approx(1 - reference, abs=1e-9)


def test_divergence_is_unbiased_over_samples():
    p, q = torch.tensor([0.7, 0.2, 0.1], dtype=F64), torch.tensor([0.3, 0.3, 0.4], dtype=F64)
    exact = float((p * (p / q).log()).sum())
    # each token as often as the policy samples it
    token = torch.repeat_interleave(torch.arange(3), torch.tensor([7, 2, 1]))
    sampled = SampledTokens(p.log()[token], torch.zeros(10), torch.zeros(10).long(), torch.tensor([10]), q.log()[token])
    _, measured = policy_loss(p.log()[token], sampled, PolicySettings(), denominator=10)
    assert measured.means()["kl"] == pytest.approx(exact)


@pytest.mark.parametrize("gap", [-1000.0, -25.0, 25.0, 1000.0])
def test_extreme_ratios_stay_finite_without_a_wrong_gradient(gap):
    """float32; old policy and reference are both that far away."""
    for advantage in (-1.0, 1.0):
        logp = torch.tensor([-1.0 if gap < 0 else -1.0 - gap], requires_grad=True)
        other = logp.detach() + gap
        sampled = SampledTokens(other, torch.tensor([advantage]), torch.tensor([0]), torch.tensor([1]), other)
        loss, measured = policy_loss(logp, sampled, PolicySettings(beta=0.04), denominator=1)
        (gradient,) = torch.autograd.grad(loss, logp)
        assert loss.isfinite()
        assert gradient.isfinite()
        assert all(math.isfinite(v) for v in measured.means().values())
        # the ratio's gradient has ended; the divergence pulls down, where the reference is smaller, or has ended too
        assert gradient.item() == pytest.approx(0.04 if gap < 0 else 0.0, abs=1e-6)


def test_gradient_goes_through_the_policy_alone():
    logp, sampled = random_step(0)
    assert sampled.ref_logp is not None
    for tensor in (sampled.old_logp, sampled.advantage, sampled.ref_logp):
        tensor.requires_grad_()
    loss, _ = policy_loss(logp, sampled, PolicySettings(), denominator=40)
    loss.backward()
    assert sampled.old_logp.grad is sampled.advantage.grad is sampled.ref_logp.grad is None
    assert logp.grad is not None


def test_bfloat16_is_computed_in_float32():
    logp, old = torch.tensor([-1.0]).bfloat16(), torch.tensor([-1.1]).bfloat16()
    rest = torch.ones(1).bfloat16(), torch.tensor([0]), torch.tensor([1])
    loss, _ = policy_loss(logp, SampledTokens(old, *rest), PolicySettings(beta=0), denominator=1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-math.exp(-1.0 - old.item()), rel=1e-6)


def test_no_tokens_give_a_differentiable_zero():
    logp, sampled = random_step(0)
    none = torch.arange(0)
    loss, measured = policy_loss(logp[none], part(sampled, none), PolicySettings(), denominator=0)
    loss.backward()
    assert loss.item() == 0
    assert measured == LossMeasured()
    assert set(measured.means().values()) == {0.0}
    assert logp.grad.abs().sum() == 0


def test_measured_travels_and_takes_the_larger_maximum():
    a = LossMeasured(tokens=2, kl=1.0, ratio=3.0, ratio_max=2.5)
    b = LossMeasured(tokens=6, kl=3.0, ratio=5.0, ratio_max=1.5)
    both = pickle.loads(pickle.dumps(a)) + b
    assert both == b + a == LossMeasured(tokens=8, kl=4.0, ratio=8.0, ratio_max=2.5)
    assert both.means() == {
        "kl": 0.5, "approx_kl": 0, "clip_ratio_low": 0, "clip_ratio_high": 0, "ratio": 1.0, "entropy": 0, "ratio_max": 2.5,
        "sampling_weight": 0, "sampling_capped": 0,
    }  # fmt: skip


def test_wrong_arguments_are_refused():
    logp, sampled = random_step(0)
    with pytest.raises(FormatError, match="advantage of shape"):
        policy_loss(logp, dataclasses.replace(sampled, advantage=sampled.advantage[:, None]), PolicySettings(), denominator=1)
    with pytest.raises(FormatError, match="shape"):
        policy_loss(logp[:, None], sampled, PolicySettings(), denominator=1)
    with pytest.raises(FormatError, match="without a reference"):
        policy_loss(logp, dataclasses.replace(sampled, ref_logp=None), PolicySettings(beta=0.01), denominator=1)
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(FormatError, match="divided by"):
            policy_loss(logp, sampled, PolicySettings(), denominator=bad)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (4.0, -2.0, 8.0, 8.0),  # below the bound nothing changes
        (6.0, -2.0, 10.0, 0.0),  # 5 x 2, and no gradient
        (6.0, 2.0, -2.6, 0.0),  # a positive advantage was held at 1.3 before
    ],
)
def test_the_ratio_of_a_bad_token_is_bounded(ratio, advantage, loss, gradient):
    value, slope, measured = one(ratio, advantage, PolicySettings(clip_low=0.2, clip_high=0.3, beta=0.0, delta=5.0))
    assert (value, slope) == (pytest.approx(loss), pytest.approx(gradient))
    assert measured.ratio_max == pytest.approx(ratio)  # what is measured is not held


def test_a_bound_that_the_clip_makes_idle_is_refused():
    with pytest.raises(FormatError, match="delta"):
        PolicySettings(clip_high=0.28, delta=1.2)


def test_a_weighted_divergence_by_hand():
    """The loss is beta w k3; its gradient beta w log(policy / reference), that of the reverse divergence."""
    policy = PolicySettings(beta=0.1, use_bias_correction_kl=True)
    for ratio, reference in ((1.0, 2.0), (1.1, 0.5)):
        value, slope, measured = one(ratio, 0.0, policy, reference=reference)
        k3 = reference - math.log(reference) - 1
        assert value == pytest.approx(0.1 * ratio * k3)
        assert slope == pytest.approx(-0.1 * ratio * math.log(reference))
        assert measured.kl == pytest.approx(ratio * k3)  # what is told is the unbiased estimate, too


def test_importance_weights_by_hand():
    """Trainer over sampler: 1/2, 1 and 4, the last held at 2; the policy has moved by 1.1. The divergence is not weighted."""
    policy = PolicySettings(clip_low=0.2, clip_high=0.3, beta=0.1, importance_sampling_cap=2.0)
    old = torch.tensor([-1.0, -2.0, -3.0], dtype=F64)
    sampled = SampledTokens(
        old_logp=old,
        advantage=torch.tensor([2.0, -1.0, 3.0], dtype=F64),
        response=torch.tensor([0, 0, 1]),
        counts=torch.tensor([2, 1]),
        ref_logp=old + math.log(1.1) + math.log(2),
        sampled_logp=old - torch.tensor([math.log(0.5), 0.0, math.log(4.0)], dtype=F64),
    )
    logp = (old + math.log(1.1)).requires_grad_()
    loss, measured = policy_loss(logp, sampled, policy, denominator=3.0)
    k3 = 2 - math.log(2) - 1
    assert loss.item() == pytest.approx((-0.5 * 2.2 + 1.1 - 2 * 3.3 + 0.1 * 3 * k3) / 3)
    (slope,) = torch.autograd.grad(loss, logp)
    assert slope.tolist() == pytest.approx([(-0.5 * 2.2 - 0.1) / 3, (1.1 - 0.1) / 3, (-2 * 3.3 - 0.1) / 3])
    assert (measured.sampling_weight, measured.sampling_capped) == (pytest.approx(3.5), 1)
    with pytest.raises(FormatError, match="sampler"):
        policy_loss(logp, dataclasses.replace(sampled, sampled_logp=None), policy, denominator=3.0)
    # Off: the weight is 1 for all.
    plain, off = policy_loss(logp, sampled, dataclasses.replace(policy, importance_sampling_cap=0.0), denominator=3.0)
    assert plain.item() == pytest.approx((-2.2 + 1.1 - 3.3 + 0.1 * 3 * k3) / 3)
    assert (off.sampling_weight, off.sampling_capped) == (3, 0)
