"""Options of the commands that outline places with a frozen expert."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unireason.segment.expert import Expert


# What `segment.catalogue` offers; written out so that help loads nothing, and held against it by a test.
EXPERTS = ("classical", "medsam", "sam", "sam2", "medsam2", "sam-med2d")


def add_expert(group: Any) -> None:
    """Which expert, and its weights; ``expert_of`` understands them."""
    group.add_argument("--expert", metavar="NAME", default=EXPERTS[0], help=f"{', '.join(EXPERTS)} (default {EXPERTS[0]})")
    group.add_argument("--weights", metavar="REF", help="folder or hub id of the expert's weights; classical has none")


def expert_of(args: argparse.Namespace) -> Expert:
    """The expert that was asked for.

    Raises:
        ModelError: If there is no such expert, or its weights cannot be used.
    """
    from unireason.segment.catalogue import make_expert

    return make_expert(args.expert, weights=args.weights, device=args.device)
