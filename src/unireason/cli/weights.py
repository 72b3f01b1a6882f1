"""``unireason weights convert``: published checkpoints of segmentation networks in the form that the experts load."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unireason.files import json_text

KINDS = ("medsam", "sam-med2d", "medsam2")  # those of segment.networks.convert, which would import torch


def add_parser(subparsers: Any) -> None:
    """Add the command and its subcommand to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "weights",
        help="convert weights of segmentation networks",
        description="Bring original checkpoints of segmentation networks into the form that the experts load.",
    )
    below = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    convert = below.add_parser(
        "convert",
        help="an original .pt file becomes a folder",
        description=(
            "Write config.json and model.safetensors from an original checkpoint. No code of the file is run: anything in it but tensors, "
            "numbers and plain containers is refused. Every tensor must be known, present and of its shape."
        ),
    )
    convert.add_argument("original", metavar="ORIGINAL.pt", type=Path, help="the published file (.pt, .pth)")
    convert.add_argument("--kind", choices=KINDS, required=True, help="which network it is")
    convert.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write; then: --weights DIR")
    convert.add_argument("--json", action="store_true", help="print one JSON object")
    convert.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the folder is written."""
    from unireason.segment.networks.convert import convert

    done = convert(args.original, args.kind, args.out)
    if args.json:
        print(json_text({"kind": args.kind, **done}))
    else:
        print(f"{done['read']} tensors read, {done['written']} written ({done['parameters']:,} parameters): {done['folder']}")
    return 0
