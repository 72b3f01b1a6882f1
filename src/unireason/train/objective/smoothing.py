"""Next-token loss on what the assistant wrote; a whole number is also a little right when it is nearly right."""

from __future__ import annotations

import torch
from torch.nn import functional as F


class NumberSmoothing:
    """Cross-entropy in which the target of a number token is a narrow bell over its neighbours.

    A box that is one pixel off is almost the right box, which plain cross-entropy cannot know. All other tokens have their plain
    one-hot target.

    Args:
        number_ids: Token ids of 0, 1, 2, ... in order.
        vocabulary: Number of logits.
        sigma: Width of the bell in units of the number; 0 gives plain cross-entropy.
    """

    def __init__(self, number_ids: list[int], vocabulary: int, *, sigma: float) -> None:
        self.sigma = sigma
        self.ids = torch.tensor(number_ids)
        self.value = torch.full((vocabulary,), -1)
        self.value[self.ids] = torch.arange(len(number_ids))
        n = torch.arange(len(number_ids), dtype=torch.float32)
        self.bell = torch.softmax(-0.5 * ((n[None] - n[:, None]) / max(sigma, 1e-6)) ** 2, dim=1)

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of every position.

        Args:
            logits: (n, vocabulary) float.
            targets: int64 (n,).

        Returns:
            (n,) losses; for a number, minus the expected log-probability under its bell.
        """
        value = self.value[targets]
        numeric = value >= 0
        if self.sigma == 0 or not bool(numeric.any()):
            return F.cross_entropy(logits, targets, reduction="none")
        log_probs = F.log_softmax(logits, dim=-1)
        plain = -log_probs.gather(1, targets[:, None])[:, 0]
        smooth = -(log_probs[numeric][:, self.ids] * self.bell[value[numeric]]).sum(dim=1)
        return plain.masked_scatter(numeric, smooth)
