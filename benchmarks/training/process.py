"""Measured work in a process of its own: processor seconds, and peak memory of the work alone."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def child(module: str, *arguments: str) -> dict[str, Any]:
    """Run a module of this package in a fresh process of one thread.

    Returns:
        The JSON object in the last line that it printed.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-m", f"benchmarks.training.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} ended with {done.returncode}\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Fills in ``seconds`` (of the processor), ``peak_mb`` (the process at its largest inside the block) and ``above_mb`` (that less what
    the process held before)."""
    out: dict[str, float] = {}
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    _CLEAR.write_text("5")  # the peak starts anew: proc(5)
    before, begun = _status("VmRSS"), time.process_time()
    yield out
    out["seconds"] = time.process_time() - begun
    out["peak_mb"] = _status("VmHWM") / 1e6
    out["above_mb"] = out["peak_mb"] - before / 1e6


def available_mb() -> float:
    """Memory of the machine that is free for a new process."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("MemAvailable:"))


def _status(name: str) -> int:
    """A line of /proc/self/status, bytes."""
    return next(int(line.split()[1]) * 1024 for line in _STATUS.read_text().splitlines() if line.startswith(name + ":"))


Log = Callable[[str], None]
