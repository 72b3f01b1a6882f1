"""Log-probabilities of the tokens that were sampled, and the entropy around them, without a second table of the vocabulary.

With 150,000 tokens in the vocabulary the logits are the largest tensor of a step; a plain ``log_softmax`` keeps another one in
float32 for the backward pass. Here the softmax of a few rows at a time is computed, used and dropped, in both passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from unireason.errors import FormatError

CHUNK = 2**24
"""Logits that are in float32 at one time (64 MB a table)."""


def log_probs(
    logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0, forbidden: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Natural log-probability of each target, and the entropy of the distribution it came from.

    Args:
        logits: float (n, vocabulary), of any float type; kept as they are for the backward pass.
        targets: int64 (n,).
        temperature: Logits are divided by it. The sampler records log-probabilities at 1.
        forbidden: bool (vocabulary,), True for tokens that the sampler never draws; they have no share in the distribution. None for
            none.

    Returns:
        Log-probabilities (n,), differentiable, and entropies (n,) in nats, without gradient; float32 (float64 for float64 logits).
        Empty for n = 0.

    Raises:
        FormatError: If shapes do not fit, the temperature is not above 0, or a target is forbidden or not in the vocabulary.
    """
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
