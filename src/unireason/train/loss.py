"""What training minimises: next-token losses for SFT; advantages, token log-probabilities and the clipped loss for GRPO."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from unireason.core.errors import FormatError

from .config import PolicySettings

# --- The clipped policy loss of GRPO on flat tokens, and what is measured on the way.


LARGEST = 20.0
"""Log-ratios are held below this before they are exponentiated: ``exp(20)`` is 4.9e8. There is no gradient beyond."""


@dataclass(frozen=True, slots=True, eq=False)
class SampledTokens:
    """Sampled tokens of some responses, one after the other. Injected tokens and responses left out of the loss are not in here."""

    old_logp: torch.Tensor
    advantage: torch.Tensor
    response: torch.Tensor
    counts: torch.Tensor
    ref_logp: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    sampled_logp: torch.Tensor | None = None
    """What the sampler itself gave the tokens, as it drew them; ``old_logp`` is what the trainer gives them before the update."""


@dataclass(frozen=True, slots=True)
class LossMeasured:
    """Sums over tokens; ``a + b`` is what would have been measured on both together."""

    tokens: float = 0.0
    kl: float = 0.0
    approx_kl: float = 0.0
    clip_ratio_low: float = 0.0
    clip_ratio_high: float = 0.0
    ratio: float = 0.0
    entropy: float = 0.0
    sampling_weight: float = 0.0
    sampling_capped: float = 0.0
    ratio_max: float = 0.0

    def __add__(self, other: LossMeasured) -> LossMeasured:
        """Both together."""
        mine, theirs = asdict(self), asdict(other)
        merged = {name: mine[name] + theirs[name] for name in mine}
        return LossMeasured(**{**merged, "ratio_max": max(self.ratio_max, other.ratio_max)})

    def means(self) -> dict[str, float]:
        """Means over tokens by name, without ``tokens``; ``ratio_max`` as it is. All 0 where there was no token."""
        sums = asdict(self)
        tokens = sums.pop("tokens")
        return {name: value if name == "ratio_max" else value / max(tokens, 1.0) for name, value in sums.items()}


def loss_denominator(counts: torch.Tensor, policy: PolicySettings, max_new_tokens: int) -> float:
    """What the token losses of a mini-batch are divided by. Those of several processes add up to that of all."""
    if policy.loss_type == "dapo":
        return float(counts.sum())
    return float(len(counts)) * (max_new_tokens if policy.loss_type == "dr_grpo" else 1)


def policy_loss(
    logp: torch.Tensor, sampled: SampledTokens, policy: PolicySettings, *, denominator: float
) -> tuple[torch.Tensor, LossMeasured]:
    r"""Loss of the tokens of a micro-batch, to be minimised.

    With ``w = exp(logp - old_logp)`` and the divergence estimate ``k3(d) = exp(d) - d - 1`` of ``d = ref_logp - logp``::

        loss = 1 / denominator * sum_t  c_t * ( -s_t min(w_t A_t, clip(w_t, 1 - clip_low, 1 + clip_high) A_t) + beta * k3(d_t) )

    where ``c_t`` is 1, or 1 / (tokens of the response) for the loss type "grpo", and ``s_t`` is 1. With ``delta`` the first ``w_t`` is
    at most that; with ``importance_sampling_cap`` ``s_t = min(exp(old_logp - sampled_logp), cap)``, without gradient; with
    ``use_bias_correction_kl`` ``k3(d_t)`` is multiplied by ``w_t``, whose gradient counts.

    Args:
        logp: float (n,), log-probabilities of the sampled tokens under the present policy; the gradient goes through these alone.
        sampled: What was sampled.
        policy: Clips, weight of the divergence, type of the loss.
        denominator: The sum of ``loss_denominator()`` over all processes; above 0.

    Returns:
        A scalar, and the sums that were measured. The losses of all parts of a mini-batch add up to its loss. No tokens give 0,
        still differentiable.

    Raises:
        FormatError: If shapes do not fit, the reference or what the sampler recorded is missing, or the denominator is not above 0.

    Source: DeepSeekMath, arXiv 2402.03300, equations 3 and 4; two clips and the token average: DAPO, arXiv 2503.14476, equation 8;
    the constant: Dr. GRPO, arXiv 2503.20783, section 3.2; the options: ``PolicySettings``.
    """
    _check(logp, sampled, policy, denominator)
    logp = logp.to(torch.promote_types(logp.dtype, torch.float32))
    log_ratio = (logp - sampled.old_logp.detach()).clamp(max=LARGEST)
    ratio, advantage = log_ratio.exp(), sampled.advantage.detach()
    held = ratio.clamp(max=policy.delta) if policy.delta else ratio
    losses = -torch.minimum(held * advantage, ratio.clamp(1 - policy.clip_low, 1 + policy.clip_high) * advantage)
    weight = None
    if policy.importance_sampling_cap and sampled.sampled_logp is not None:
        weight = (sampled.old_logp - sampled.sampled_logp).detach().clamp(max=LARGEST).exp()
        losses = losses * weight.clamp(max=policy.importance_sampling_cap)
    kl = torch.zeros_like(losses)
    if sampled.ref_logp is not None:
        kl = _k3(sampled.ref_logp.detach() - logp)
        kl = ratio * kl if policy.use_bias_correction_kl else kl
    if policy.beta:
        losses = losses + policy.beta * kl
    if policy.loss_type == "grpo":
        losses = losses / sampled.counts[sampled.response]
    with torch.no_grad():
        measured = _measure(log_ratio, kl, weight, sampled, policy)
    return losses.sum() / denominator if len(logp) else losses.sum(), measured


def _k3(log_ratio: torch.Tensor) -> torch.Tensor:
    """``exp(d) - d - 1``: unbiased for the divergence, never below 0, without the spread of ``-d``."""
    held = log_ratio.clamp(max=LARGEST)
    return held.expm1() - held


def _measure(
    log_ratio: torch.Tensor, kl: torch.Tensor, weight: torch.Tensor | None, sampled: SampledTokens, policy: PolicySettings
) -> LossMeasured:
    ratio, advantage = log_ratio.exp(), sampled.advantage
    if not len(ratio):
        return LossMeasured()
    entropy = torch.zeros_like(ratio) if sampled.entropy is None else sampled.entropy
    cap = policy.importance_sampling_cap
    weight = torch.ones_like(ratio) if weight is None else weight
    tokens = {
        "kl": kl,
        "approx_kl": _k3(log_ratio),
        "clip_ratio_low": (ratio < 1 - policy.clip_low) & (advantage < 0),
        "clip_ratio_high": (ratio > 1 + policy.clip_high) & (advantage > 0),
        "ratio": ratio,
        "entropy": entropy,
        "sampling_weight": weight.clamp(max=cap) if cap else weight,
        "sampling_capped": weight > cap if cap else torch.zeros_like(ratio),
    }
    # One transfer from the device for all of them.
    *sums, largest = torch.stack([*(v.double().sum() for v in tokens.values()), ratio.double().max()]).tolist()
    return LossMeasured(float(len(ratio)), **dict(zip(tokens, sums, strict=True)), ratio_max=largest)


def _check(logp: torch.Tensor, sampled: SampledTokens, policy: PolicySettings, denominator: float) -> None:
    if logp.ndim != 1:
        raise FormatError(f"log-probabilities of shape {tuple(logp.shape)}", "(n,)")
    for field in fields(sampled):
        value = getattr(sampled, field.name)
        if field.name != "counts" and value is not None and value.shape != logp.shape:
            raise FormatError(f"{field.name} of shape {tuple(value.shape)} for {len(logp)} tokens", f"({len(logp)},)")
    if policy.beta and sampled.ref_logp is None:
        raise FormatError(
            f"the weight of the divergence is {policy.beta} without a reference", "log-probabilities of the reference"
        )
    if policy.importance_sampling_cap and sampled.sampled_logp is None:
        raise FormatError(
            f"importance sampling is capped at {policy.importance_sampling_cap} without log-probabilities of the sampler",
            "what the sampler recorded",
        )
    if not (math.isfinite(denominator) and (denominator > 0 or not len(logp))):
        raise FormatError(f"the loss was to be divided by {denominator}", "a number above 0")


# --- Log-probabilities of the tokens that were sampled, and the entropy around them, without a second table of the vocabulary.


CHUNK = 2**24
"""Logits that are in float32 at one time (64 MB a table)."""


def log_probs(
    logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0, forbidden: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Natural log-probability of each target, and the entropy of the distribution it came from."""
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise FormatError(
            f"logits of shape {tuple(logits.shape)} and targets of shape {tuple(targets.shape)}", "(n, vocabulary) and (n,)"
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise FormatError(f"the temperature is {temperature}", "a number above 0")
    if forbidden is not None and forbidden.shape != logits.shape[1:]:
        raise FormatError(f"{tuple(forbidden.shape)} marks of forbidden tokens", f"one for each of {logits.shape[1]} tokens")
    closed = None if forbidden is None else forbidden.to(logits.device)
    _check_targets(targets, logits.shape[1], closed)
    result: tuple[torch.Tensor, torch.Tensor] = _LogProbs.apply(logits, targets, temperature, closed)  # type: ignore[no-untyped-call]
    return result


def _check_targets(targets: torch.Tensor, vocabulary: int, forbidden: torch.Tensor | None) -> None:
    bad = (targets < 0) | (targets >= vocabulary)
    if forbidden is not None:
        bad = bad | forbidden[targets.clamp(0, vocabulary - 1)]
    if bool(bad.any()):
        token = int(targets[bad][0])
        raise FormatError(
            f"token {token} was to be scored", "a token that can be sampled", "score sampled tokens only, not injected ones"
        )


def _log_softmax(
    logits: torch.Tensor, temperature: float, forbidden: torch.Tensor | None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Some rows at a time: which, and their log-softmax, at least in float32."""
    rows = max(1, CHUNK // max(1, logits.shape[1]))
    for start in range(0, logits.shape[0], rows):
        where = slice(start, start + rows)
        scores = logits[where].to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        if forbidden is not None:
            scores = scores.masked_fill_(forbidden, -math.inf)
        yield where, torch.log_softmax(scores, dim=1)


class _LogProbs(torch.autograd.Function):
    """``d logp / d logits = (onehot(target) - softmax) / temperature``, computed again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, targets: torch.Tensor, temperature: float, forbidden: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(logits, targets, forbidden)
        ctx.temperature = temperature
        logp = logits.new_empty(len(targets), dtype=torch.promote_types(logits.dtype, torch.float32))
        entropy = torch.empty_like(logp)
        for where, table in _log_softmax(logits, temperature, forbidden):
            logp[where] = table.gather(1, targets[where, None])[:, 0]
            entropy[where] = torch.special.entr(table.exp_()).sum(dim=1)
        ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        logits, targets, forbidden = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for where, table in _log_softmax(logits, ctx.temperature, forbidden):
            share = slope[where, None] / ctx.temperature
            table = table.exp_().mul_(-share)
            gradient[where] = table.scatter_add_(1, targets[where, None], share)
        return gradient, None, None, None


# --- How much better a response is than its siblings: rewards of a group of responses to one question become advantages.


EPSILON = 1e-4
"""Added to the standard deviation, as in TRL: rewards that hardly differ do not become advantages of 1."""

EQUAL = 1e-6
"""Rewards of a group that lie within this of each other, times the largest of them if that is above 1, are equal: what is left
between 0.3 and 0.1 + 0.2 is rounding."""


def advantages(rewards: torch.Tensor | Sequence[Sequence[float]], scale: Literal["group", "none"] = "group") -> torch.Tensor:
    """Advantages of responses within the group of their question.

    Source: GRPO, arXiv 2402.03300, section 4.1.2; without the division Dr. GRPO, arXiv 2503.20783, section 3.2.
    """
    if scale not in ("group", "none"):
        raise FormatError(f"the scale of advantages is {scale!r}", "'group' or 'none'")
    if not isinstance(rewards, torch.Tensor):
        parts = [_of_group(torch.tensor(group, dtype=torch.float64), scale) for group in rewards]
        return torch.cat(parts) if parts else torch.empty(0)
    if rewards.ndim != 2:
        raise FormatError(f"rewards of shape {tuple(rewards.shape)}", "(prompts, samples)")
    groups = [_of_group(group, scale) for group in rewards.detach().cpu().double()]
    return torch.stack(groups).to(rewards.device) if groups else torch.empty(rewards.shape, device=rewards.device)


def _of_group(rewards: torch.Tensor, scale: str) -> torch.Tensor:
    """Advantages, float32 (n,), of rewards, float64 (n,), of one question."""
    if not bool(rewards.isfinite().all()):
        bad = next(r for r in rewards.tolist() if not math.isfinite(r))
        raise FormatError(f"a reward is {bad}", "a finite number", "look for the reward part that divides by 0 or has no value")
    if len(rewards) == 0 or float(rewards.max() - rewards.min()) <= EQUAL * max(1.0, float(rewards.abs().max())):
        return torch.zeros(len(rewards))
    centred = rewards - rewards.mean()
    return (centred if scale == "none" else centred / (rewards.std() + EPSILON)).float()


# --- Next-token loss on what the assistant wrote; a whole number is also a little right when it is nearly right.


class NumberSmoothing:
    """Cross-entropy in which the target of a number token is a narrow bell over its neighbours."""

    def __init__(self, number_ids: list[int], vocabulary: int, *, sigma: float) -> None:
        self.sigma = sigma
        self.ids = torch.tensor(number_ids)
        self.value = torch.full((vocabulary,), -1)
        self.value[self.ids] = torch.arange(len(number_ids))
        n = torch.arange(len(number_ids), dtype=torch.float32)
        self.bell = torch.softmax(-0.5 * ((n[None] - n[:, None]) / max(sigma, 1e-6)) ** 2, dim=1)

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of every position."""
        if self.value.device != targets.device:
            self.ids, self.value, self.bell = (table.to(targets.device) for table in (self.ids, self.value, self.bell))
        value = self.value[targets]
        numeric = value >= 0
        if self.sigma == 0 or not bool(numeric.any()):
            return F.cross_entropy(logits, targets, reduction="none")
        log_probs = F.log_softmax(logits, dim=-1)
        plain = -log_probs.gather(1, targets[:, None])[:, 0]
        smooth = -(log_probs[numeric][:, self.ids] * self.bell[value[numeric]]).sum(dim=1)
        return plain.masked_scatter(numeric, smooth)
