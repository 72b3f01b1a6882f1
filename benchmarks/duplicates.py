"""Seconds of the search for near-duplicate pictures, by the number of perceptual hashes.

    python -m benchmarks.duplicates [--quick] --json

Hashes of random bits, one in ten a copy of another one with up to 12 bits flipped, each of an owner of its own; and the same with only
every second bit random, which leaves many pictures alike in every band. Every pair that was made must be found.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.machine import describe
from unireason.data.select import NEAR, near_pairs

COUNTS = {False: (125_000, 250_000, 500_000, 1_000_000), True: (10_000, 20_000)}


def drawn(count: int, *, alike: bool) -> tuple[Any, set[tuple[int, int]]]:
    """Packed hashes, and the pairs that were made close."""
    rng = np.random.default_rng(count)
    packed = rng.integers(0, 256, (count, 32), np.uint8)
    if alike:
        packed &= np.uint8(0x55)
    copies = count // 10
    packed[-copies:] = packed[:copies]
    for row in range(copies):
        for bit in rng.choice(256, rng.integers(0, NEAR + 1), replace=False):
            packed[count - copies + row, bit // 8] ^= np.uint8(1 << (bit % 8))
    return packed, {(row, count - copies + row) for row in range(copies)}


def measured(count: int, *, alike: bool) -> dict[str, Any]:
    """One search."""
    packed, made = drawn(count, alike=alike)
    start = time.process_time()
    found = set(near_pairs(packed, np.arange(count)))
    seconds = time.process_time() - start
    if not made <= found:
        raise SystemExit(f"{len(made - found)} pairs were not found")
    return {"hashes": count, "alike": alike, "pairs": len(found), "seconds": round(seconds, 2)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer hashes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    rows = [measured(count, alike=alike) for alike in (False, True) for count in COUNTS[arguments.quick]]
    ratios = {
        f"{'alike' if last['alike'] else 'random'}: seconds for twice as many": round(last["seconds"] / before["seconds"], 2)
        for before, last in pairwise(rows)
        if before["alike"] == last["alike"] and last["hashes"] == COUNTS[arguments.quick][-1]
    }
    result = {"rows": rows, "ratios": ratios, "machine": describe("numpy")}
    print(json.dumps(result, indent=1) if arguments.json else "\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
