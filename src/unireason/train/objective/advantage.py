"""How much better a response is than its siblings: rewards of a group of responses to one question become advantages.

The mean of the group takes the place of a learned value function. Every scored response counts in the mean and in the standard
deviation, also one that was cut off and is then left out of the loss: it is evidence of what the policy does on this question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch

from unireason.errors import FormatError

EPSILON = 1e-4
"""Added to the standard deviation, as in TRL: rewards that hardly differ do not become advantages of 1."""

EQUAL = 1e-6
"""Rewards of a group that lie within this of each other, times the largest of them if that is above 1, are equal: what is left
between 0.3 and 0.1 + 0.2 is rounding."""


def advantages(rewards: torch.Tensor | Sequence[Sequence[float]], scale: Literal["group", "none"] = "group") -> torch.Tensor:
    """Advantages of responses within the group of their question.

    ``group``: ``(r - mean(r)) / (std(r) + 1e-4)``, with the standard deviation of a sample (over n - 1). ``none``: ``r - mean(r)``,
    which does not lift questions that are almost always or almost never solved.

    Args:
        rewards: float (prompts, samples), or one sequence of rewards a prompt, of any lengths.
        scale: "group" divides by the group's standard deviation, "none" does not.

    Returns:
        float32: the shape of a tensor that came; for sequences flat, (responses,), group after group. A group whose rewards are all
        equal, or that has one response, gets exactly 0. No groups give an empty tensor.

    Raises:
        FormatError: If a reward is not a finite number, or a tensor is not (prompts, samples).

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
