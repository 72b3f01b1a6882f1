"""Experts by name. Nothing heavy is imported before a network is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unireason.errors import ModelError

from .expert import Expert

DEFAULT = "classical"
EXPERTS = (DEFAULT, "medsam", "sam", "sam2", "medsam2", "sam-med2d")
"""Names that `make_expert` knows; all but the first need weights."""


def make_expert(name: str, *, weights: str | Path | None = None, device: Any = None) -> Expert:
    """An expert by its name.

    Args:
        name: One of `EXPERTS`.
        weights: A folder or a hub id; none for "classical".
        device: Torch device of a network; None takes CUDA where there is one, else the CPU.

    Raises:
        ModelError: If there is no such expert, weights are missing or given in vain, or they cannot be used.
    """
    if name not in EXPERTS:
        raise ModelError(f"there is no expert '{name}'", f"one of {', '.join(EXPERTS)}")
    if name != DEFAULT:
        from .networks.catalogue import make_network_expert

        return make_network_expert(name, weights=weights, device=device)
    if weights is not None:
        raise ModelError(f"the expert '{name}' was given the weights '{weights}'", "none: it has learned nothing")
    from .classical.expert import Classical

    return Classical()
