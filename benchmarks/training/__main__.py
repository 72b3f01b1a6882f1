"""Run the training benchmarks.

    python -m benchmarks.training [update] [step] [features] [padding] [--runs N] [--quick] --json

Without a name all of them, one after the other. All on one thread in float32, in processor seconds; what is compared takes turns, each
time in a fresh process. ``--quick`` takes tiny networks and data: it shows that everything runs, its ratios mean little.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module

from benchmarks.machine import describe

NAMES = ("update", "step", "features", "padding")


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all without a name")
    parser.add_argument("--runs", type=int, default=3, help="turns of each variant, of which medians are taken (default 3)")
    parser.add_argument("--quick", action="store_true", help="tiny networks and data, a minute or two")
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    chosen = parser.parse_args(argv)
    unknown = [name for name in chosen.names if name not in NAMES]
    if unknown or chosen.runs < 1:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--runs takes a number from 1")

    def log(line: str) -> None:
        if not chosen.json:
            print(line, file=sys.stderr, flush=True)

    results = {}
    for name in chosen.names or NAMES:
        module = import_module(f"benchmarks.training.{name}")
        results[name] = module.measure(quick=chosen.quick, runs=chosen.runs, log=log)
    words = [*chosen.names, *(["--quick"] if chosen.quick else []), f"--runs {chosen.runs}", "--json"]
    described = describe("torch", "transformers")
    command = f"python -m benchmarks.training {' '.join(words)}"
    print(json.dumps({"benchmark": "training", "command": command, **results, "machine": described}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
