"""Options of the commands that outline places with a frozen expert."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unireason.segment.expert import Expert


def add_expert(group: Any) -> None:
    """Which expert, and its weights; ``expert_of`` understands them."""
    names = "classical (default, no weights), medsam, sam, sam2, medsam2 or sam-med2d"
    group.add_argument("--expert", metavar="NAME", default="classical", help=f"what outlines the place: {names}")
    group.add_argument("--weights", metavar="REF", help="weights of the expert: a folder or a hub id")


def expert_of(args: argparse.Namespace) -> Expert:
    """The expert that was asked for.

    Raises:
        ModelError: If there is no such expert, or its weights cannot be used.
    """
    from unireason.segment.catalogue import make_expert

    return make_expert(args.expert, weights=args.weights, device=args.device)
