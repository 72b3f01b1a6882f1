"""Running the real kits: each in a process of its own, on a copy of what it is, without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTED = {
    "VLMEVALKIT": ("github.com/open-compass/VLMEvalKit", "e8e78f0"),
    "MEDEVALKIT": ("github.com/alibaba-damo-academy/MedEvalKit", "9b12e3b"),
}
"""By environment variable: the repository of a kit and the commit that was tested."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def copied(variable: str, folder: Path, parts: Sequence[str]) -> Path:
    """The parts of a user's checkout, copied so that lines may be added; the test skips where there is none."""
    repository, commit = TESTED[variable]
    given = os.environ.get(variable)
    if not given:
        pytest.skip(f"{variable} names no checkout of {repository}; tested with commit {commit}")
    for part in parts:
        source = Path(given) / part
        assert source.exists(), f"{variable}={given} has no {part}; it must be a checkout of {repository} (tested: {commit})"
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)
    return folder


def documented(name: str) -> str:
    """The Python lines that the page on bridges tells users to put into a kit."""
    page = (ROOT / "docs" / "how-to" / "bridges.md").read_text(encoding="utf-8")
    (lines,) = [block for block in re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S) if f"bridges.{name}" in block]
    return lines


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a command in a folder; what it said, or a failure that shows its end."""
    (folder / "cache").mkdir()
    settings = {**os.environ, **OFFLINE, "HF_HOME": str(folder / "cache"), **environment}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=settings, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def beside_python(name: str) -> Path:
    """A command of the environment that runs the tests."""
    return Path(sys.executable).with_name(name)
