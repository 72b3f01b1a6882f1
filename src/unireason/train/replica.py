"""Whole weights for rollouts beside weights that are sharded for training."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch

from unireason.model.checkpoint import Checkpoint
from unireason.model.weights import whole

from .crew import Crew


class Replica:
    """A copy of a checkpoint that serves and never learns; it takes over the trained weights before each use.

    Attributes:
        checkpoint: The copy, with the weights of the last time it was filled.
    """

    def __init__(self, checkpoint: Checkpoint, crew: Crew) -> None:
        """Copy a checkpoint whose weights are still whole; bfloat16 on a GPU, the same type on a CPU."""
        network = copy.deepcopy(checkpoint.network).requires_grad_(False).eval()
        kind = torch.bfloat16 if crew.device.type == "cuda" else checkpoint.dtype
        self.checkpoint = replace(checkpoint, network=network.to(crew.device, kind))

    def filled(self, network: Any) -> Checkpoint:
        """The copy with the present weights of a sharded network. All processes call this together.

        Args:
            network: The network in training.
        """
        mine = dict(self.checkpoint.network.named_parameters())
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                mine[name].copy_(whole(parameter.detach()))
        return self.checkpoint
