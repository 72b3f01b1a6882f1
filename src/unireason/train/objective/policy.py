"""The clipped policy loss of GRPO on flat tokens, and what is measured on the way.

One step is spread over micro-batches and processes. Each knows its own tokens only, so the number by which the whole step is divided
is given from outside: then losses, gradients and measurements of the parts add up to those of the whole.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import torch

from unireason.errors import FormatError
from unireason.train.settings.grpo import Policy

LARGEST = 20.0
"""Log-ratios are held below this before they are exponentiated: ``exp(20)`` is 4.9e8. There is no gradient beyond."""


@dataclass(frozen=True, slots=True, eq=False)
class SampledTokens:
    """Sampled tokens of some responses, one after the other. Injected tokens and responses left out of the loss are not in here.

    Attributes:
        old_logp: float (n,), log-probabilities under the policy that sampled.
        advantage: float (n,), the advantage of the token's response.
        response: int64 (n,), the token's response, an index into ``counts``.
        counts: int64 (responses,), tokens of each whole response.
        ref_logp: float (n,), log-probabilities under the frozen reference; None without a divergence.
        entropy: float (n,), entropies of the policy in nats, to be measured; None if not known.
    """

    old_logp: torch.Tensor
    advantage: torch.Tensor
    response: torch.Tensor
    counts: torch.Tensor
    ref_logp: torch.Tensor | None = None
    entropy: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Sums over tokens; ``a + b`` is what would have been measured on both together.

    Attributes:
        tokens: Number of tokens.
        kl: Divergence from the reference, low-variance estimate, nats; 0 without a reference.
        approx_kl: Divergence of the sampling policy from the present one, the same estimate.
        clipped_low: Tokens whose gradient the lower clip stopped: a fallen ratio and a negative advantage.
        clipped_high: Tokens whose gradient the upper clip stopped: a risen ratio and a positive advantage.
        ratio: Probability ratio.
        entropy: Entropy, nats; 0 if it was not given.
        ratio_max: Largest probability ratio: not a sum; of two parts the larger one counts.
    """

    tokens: float = 0.0
    kl: float = 0.0
    approx_kl: float = 0.0
    clipped_low: float = 0.0
    clipped_high: float = 0.0
    ratio: float = 0.0
    entropy: float = 0.0
    ratio_max: float = 0.0

    def __add__(self, other: Measured) -> Measured:
        """Both together."""
        mine, theirs = asdict(self), asdict(other)
        merged = {name: mine[name] + theirs[name] for name in mine}
        return Measured(**{**merged, "ratio_max": max(self.ratio_max, other.ratio_max)})

    def means(self) -> dict[str, float]:
        """Means over tokens by name, without ``tokens``; ``ratio_max`` as it is. All 0 where there was no token."""
        sums = asdict(self)
        tokens = sums.pop("tokens")
        return {name: value if name == "ratio_max" else value / max(tokens, 1.0) for name, value in sums.items()}


def loss_denominator(counts: torch.Tensor, policy: Policy, max_new_tokens: int) -> float:
    """What the token losses of a mini-batch are divided by. Those of several processes add up to that of all.

    A response left out of the loss counts here as 0 tokens, but still as a response, so that the weight of its siblings does not
    depend on how many were cut off.

    Args:
        counts: int64 (responses,), sampled tokens of every response of the mini-batch, 0 for those left out.
        policy: ``average`` decides: "token" all tokens, "response" responses, "constant" responses x ``max_new_tokens``.
        max_new_tokens: Sampled tokens at most a response.

    Returns:
        The number; 0 on no responses.
    """
    if policy.average == "token":
        return float(counts.sum())
    return float(len(counts)) * (max_new_tokens if policy.average == "constant" else 1)


def policy_loss(
    logp: torch.Tensor, sampled: SampledTokens, policy: Policy, *, denominator: float
) -> tuple[torch.Tensor, Measured]:
    r"""Loss of the tokens of a micro-batch, to be minimised.

    With ``w = exp(logp - old_logp)`` and the divergence estimate ``k3(d) = exp(d) - d - 1`` of ``d = ref_logp - logp``::

        loss = 1 / denominator * sum_t  c_t * ( -min(w_t A_t, clip(w_t, 1 - clip_low, 1 + clip_high) A_t) + kl * k3(d_t) )

    where ``c_t`` is 1, or 1 / (tokens of the response) for the average "response".

    Args:
        logp: float (n,), log-probabilities of the sampled tokens under the present policy; the gradient goes through these alone.
        sampled: What was sampled.
        policy: Clips, weight of the divergence, average.
        denominator: The sum of ``loss_denominator()`` over all processes; above 0.

    Returns:
        A scalar, and the sums that were measured. The losses of all parts of a mini-batch add up to its loss. No tokens give 0,
        still differentiable.

    Raises:
        FormatError: If shapes do not fit, the reference is missing, or the denominator is not above 0.

    Source: DeepSeekMath, arXiv 2402.03300, equations 3 and 4; two clips and the token average: DAPO, arXiv 2503.14476, equation 8;
    the constant: Dr. GRPO, arXiv 2503.20783, section 3.2.
    """
    _check(logp, sampled, policy, denominator)
    logp = logp.to(torch.promote_types(logp.dtype, torch.float32))
    log_ratio = (logp - sampled.old_logp.detach()).clamp(max=LARGEST)
    ratio, advantage = log_ratio.exp(), sampled.advantage.detach()
    losses = -torch.minimum(ratio * advantage, ratio.clamp(1 - policy.clip_low, 1 + policy.clip_high) * advantage)
    kl = torch.zeros_like(losses)
    if sampled.ref_logp is not None:
        kl = _k3(sampled.ref_logp.detach() - logp)
    if policy.kl:
        losses = losses + policy.kl * kl
    if policy.average == "response":
        losses = losses / sampled.counts[sampled.response]
    with torch.no_grad():
        measured = _measure(log_ratio, kl, sampled, policy)
    return losses.sum() / denominator if len(logp) else losses.sum(), measured


def _k3(log_ratio: torch.Tensor) -> torch.Tensor:
    """``exp(d) - d - 1``: unbiased for the divergence, never below 0, without the spread of ``-d``.

    ``d`` as a whole is held below the limit: with the exponential alone held, the gradient would turn round beyond it.
    """
    held = log_ratio.clamp(max=LARGEST)
    return held.expm1() - held


def _measure(log_ratio: torch.Tensor, kl: torch.Tensor, sampled: SampledTokens, policy: Policy) -> Measured:
    ratio, advantage = log_ratio.exp(), sampled.advantage
    if not len(ratio):
        return Measured()
    entropy = torch.zeros_like(ratio) if sampled.entropy is None else sampled.entropy
    tokens = {
        "kl": kl,
        "approx_kl": _k3(log_ratio),
        "clipped_low": (ratio < 1 - policy.clip_low) & (advantage < 0),
        "clipped_high": (ratio > 1 + policy.clip_high) & (advantage > 0),
        "ratio": ratio,
        "entropy": entropy,
    }
    # One transfer from the device for all of them.
    *sums, largest = torch.stack([*(v.double().sum() for v in tokens.values()), ratio.double().max()]).tolist()
    return Measured(float(len(ratio)), **dict(zip(tokens, sums, strict=True)), ratio_max=largest)


def _check(logp: torch.Tensor, sampled: SampledTokens, policy: Policy, denominator: float) -> None:
    if logp.ndim != 1:
        raise FormatError(f"log-probabilities of shape {tuple(logp.shape)}", "(n,)")
    for field in fields(sampled):
        value = getattr(sampled, field.name)
        if field.name != "counts" and value is not None and value.shape != logp.shape:
            raise FormatError(f"{field.name} of shape {tuple(value.shape)} for {len(logp)} tokens", f"({len(logp)},)")
    if policy.kl and sampled.ref_logp is None:
        raise FormatError(
            f"the weight of the divergence is {policy.kl} without a reference", "log-probabilities of the reference"
        )
    if not (math.isfinite(denominator) and (denominator > 0 or not len(logp))):
        raise FormatError(f"the loss was to be divided by {denominator}", "a number above 0")
