"""How long a user waits before anything happens: importing the package and printing the help.

    python -m benchmarks.startup [--quick] --json

Every figure is the median of whole processes; bare interpreter, import, help and a bare ``import numpy`` alternate in one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from benchmarks.machine import describe

COMMANDS = {
    "bare": ("-c", "pass"),
    "import": ("-c", "import unireason"),
    "help": ("-m", "unireason", "--help"),
    "numpy": ("-c", "import numpy"),
}


def measure(runs: int) -> dict[str, float]:
    """Median seconds of each command over alternating runs."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    found = measure(5 if parser.parse_args().quick else 25)
    result = {
        "seconds": {k: round(v, 4) for k, v in found.items()},
        "import_seconds_beyond_bare": round(found["import"] - found["bare"], 4),
        "ratios": {
            "import : bare": round(found["import"] / found["bare"], 2),
            "help : import numpy": round(found["help"] / found["numpy"], 2),
        },
        "targets": {"import_seconds": 0.15, "help_seconds": 0.3},
        "machine": describe("unireason"),
        "command": "python -m benchmarks.startup --json",
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
