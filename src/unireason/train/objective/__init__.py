"""What training minimises: next-token losses for SFT; advantages, token log-probabilities and the clipped loss for GRPO."""

from .smoothing import NumberSmoothing

__all__ = ["NumberSmoothing"]
