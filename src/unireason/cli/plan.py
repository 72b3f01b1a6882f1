"""``unireason plan CONFIG``: what a run will cost, before it is started."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unireason.errors import FormatError
from unireason.files import json_text

MARK = "Estimate of `unireason plan"


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "plan",
        help="tell what a training run will cost",
        description=(
            "Tokens, operations, memory and hours of a run of train sft or train grpo, from its run file alone. Sizes of the data come "
            "from the data sets where they are at hand, else from the table [plan]. Exits 1 if the run does not fit the device."
        ),
    )
    parser.add_argument("config", metavar="FILE.toml", type=Path, help="run file")
    parser.add_argument("--gpu", metavar="NAME", help="A100-80, H100-80, H200 or cpu-core (default: plan.gpu of the file)")
    parser.add_argument(
        "--gpus", metavar="N", type=int, help="how many of them, one process each (default: plan.gpus of the file)"
    )
    parser.add_argument(
        "--flops", metavar="TFLOPS", type=float, default=0.0, help="measured matrix products, 10^12 operations a second"
    )
    parser.add_argument("--memory", metavar="GB", type=float, default=0.0, help="memory of a device")
    parser.add_argument("--bandwidth", metavar="GB/S", type=float, default=0.0, help="measured memory bandwidth of a device")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="one setting in place of the file's"
    )
    parser.add_argument("--assumed", action="store_true", help="take the sizes of [plan] even where data sets are at hand")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--write-header", action="store_true", help="write the assumed estimate into the comments at the file's head"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 if the run fits the device, 1 if it does not."""
    from dataclasses import asdict

    from unireason.train.estimate.at_hand import at_hand, sizes
    from unireason.train.estimate.machine import machine
    from unireason.train.estimate.plan import plan
    from unireason.train.estimate.text import lines
    from unireason.train.settings.load import read_any, resolved

    settings, planned = read_any(args.config, args.overrides)
    here = not (args.assumed or args.write_header) and at_hand(settings)
    planned = sizes(settings, planned) if here else planned
    count = planned.gpus if args.gpus is None else args.gpus
    on = machine(args.gpu or planned.gpu, count, teraflops=args.flops, gigabytes=args.memory, bandwidth=args.bandwidth)
    estimate, origin = plan(settings, planned, on), "measured" if here else "assumed"
    told = lines(estimate, planned, origin=origin)
    if args.write_header:
        if args.overrides or args.gpu or args.gpus or args.flops or args.memory or args.bandwidth:
            raise FormatError("--write-header was given together with other values", "the file's own", "write them into the file")
        write_header(args.config, told)
    if args.json:
        print(json_text({"settings": resolved(settings), "plan": asdict(planned), "sizes": origin, **estimate.to_json()}))
    else:
        print("\n".join(told))
    return 0 if estimate.fits else 1


def write_header(path: Path, told: list[str]) -> None:
    """Put an estimate into the comments at the head of a run file, in place of an older one.

    Args:
        path: Run file.
        told: Lines of the estimate.

    Raises:
        UniReasonError: If the file cannot be written.
    """
    from unireason.files import write_bytes

    write_bytes(path, with_header(path.read_text(encoding="utf-8"), told, path.name).encode())


def with_header(text: str, told: list[str], name: str) -> str:
    """The text of a run file with an estimate at the end of its leading comments.

    Args:
        text: The run file. An older estimate, from its first line to the end of the leading comments, goes.
        told: Lines of the estimate.
        name: Name of the run file.
    """
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    start = next((i for i, line in enumerate(lines[:end]) if MARK in line), end)
    head = [f"# {MARK} {name} --assumed`:", *(f"#   {line}" for line in told)]
    return "\n".join([*lines[:start], *head, *lines[end:]]) + "\n"
