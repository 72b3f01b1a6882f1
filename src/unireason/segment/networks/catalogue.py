"""Experts with learned weights by name. Nothing heavy is imported before one is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unireason.errors import ModelError
from unireason.segment.expert import Expert

WHERE: dict[str, str] = {
    "sam": "facebook/sam-vit-base",
    "medsam": "wanglab/medsam-vit-base",
    "sam2": "facebook/sam2.1-hiera-tiny",
    "medsam2": "MedSAM2_latest.pt of wanglab/MedSAM2, converted by: unireason weights convert --kind medsam2",
    "sam-med2d": "sam-med2d_b.pth of OpenGVLab/SAM-Med2D, converted by: unireason weights convert --kind sam-med2d",
}
"""Names of the experts, and for each a hub id, or the original file and how it is converted."""


def make_network_expert(name: str, *, weights: str | Path | None, device: Any = None) -> Expert:
    """A frozen expert with learned weights.

    Args:
        name: One of :data:`WHERE`.
        weights: A folder with config.json and safetensors, or a hub id, which is fetched once.
        device: Torch device; None takes CUDA where there is one, else the CPU.

    Raises:
        ModelError: If the name is unknown, no weights are given, or they cannot be used.
    """
    if name not in WHERE:
        raise ModelError(f"there is no expert '{name}'", f"one of {', '.join(WHERE)}")
    if weights is None:
        raise ModelError(f"the expert '{name}' has no weights", "a folder or a hub id", f"take {WHERE[name]}")
    from .expert import NetworkExpert
    from .loading import load_network
    from .recipe import Recipe

    recipes = {
        "sam": Recipe("pad", "bilinear", "imagenet", "point"),
        "medsam": Recipe("squash", "bicubic", "minmax", "never"),
        "sam2": Recipe("squash", "bilinear", "imagenet", "point"),
        "medsam2": Recipe("squash", "bicubic", "imagenet", "point"),
        "sam-med2d": Recipe("squash", "nearest", "imagenet", "always"),
    }
    kinds = {"medsam": "sam", "medsam2": "sam2"}
    return NetworkExpert(name, load_network(weights, kinds.get(name, name), device), recipes[name])
