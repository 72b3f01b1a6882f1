"""A run that is killed at any moment and started again ends with the same bytes as one that was left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import training
from training import log_of
from unireason.core.config import to_toml
from unireason.train import grpo, sft

pytestmark = pytest.mark.slow

# Writing to disk takes a moment, so that a kill can fall into it.
_SLOW_DISK = "import os, time\nreal = os.fsync\ndef fsync(fd):\n    time.sleep(0.3)\n    real(fd)\nos.fsync = fsync\n"
_PATIENCE = 240.0  # seconds


def lines(count: int) -> Callable[[Path], bool]:
    """True once so many steps are logged."""
    return lambda run: (run / "log.jsonl").exists() and (run / "log.jsonl").read_bytes().count(b"\n") >= count


def writing(name: str) -> Callable[[Path], bool]:
    """True while a folder is half written."""
    return lambda run: (run / name).exists()


def begun(run: Path) -> bool:
    """True once the run folder says what the run is."""
    return (run / "run.json").exists()


class Command:
    """``unireason train`` as a user types it."""

    def __init__(self, kind: str, settings: object, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_SLOW_DISK)
        (folder / "run.toml").write_text(to_toml(settings))
        self.out = folder / "run"
        self._words = [
            sys.executable,
            "-m",
            "unireason",
            "train",
            kind,
            "--config",
            str(folder / "run.toml"),
            "--out",
            str(self.out),
        ]
        path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}

    def kill(self, moment: Callable[[Path], bool]) -> None:
        """Start it, and end it without warning at a moment."""
        process = subprocess.Popen(self._words, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        given_up = time.monotonic() + _PATIENCE
        while not moment(self.out):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < given_up
            time.sleep(0.005)
        process.kill()
        process.communicate()
        assert process.returncode == -9
        assert not (self.out / "checkpoint").exists()

    def finish(self) -> None:
        done = subprocess.run(self._words, env=self._environment, capture_output=True, text=True, timeout=_PATIENCE)
        assert done.returncode == 0, done.stderr[-3000:]


def assert_same_run(one: Path, two: Path) -> None:
    for name in ("checkpoint", "best"):
        assert (one / name / "model.safetensors").read_bytes() == (two / name / "model.safetensors").read_bytes(), name
    assert (one / "best.json").read_bytes() == (two / "best.json").read_bytes()
    assert log_of(one) == log_of(two)
    [first], [second] = ([p.name for p in (run / "state").iterdir()] for run in (one, two))
    assert first == second
    assert not [p for p in two.iterdir() if "partial" in p.name]


@pytest.mark.parametrize("adapters", [False, True])
def test_fine_tuning_survives_kills(start, quiz, tmp_path, adapters):
    model = {"lora": training.LORA} if adapters else {}
    settings = training.sft(start, quiz, model=model, run={"steps": 6, "save_every": 2, "eval_every": 2})
    sft.train(settings, tmp_path / "whole")
    command = Command("sft", settings, tmp_path / "killed")
    moments = (
        (writing(".checkpoint.partial"),)
        if adapters
        else (lambda run: True, begun, lines(1), writing("state/step-0000002.partial"), writing(".best.partial"))
    )
    for moment in (*moments, lines(5)):
        command.kill(moment)
    command.finish()
    assert_same_run(tmp_path / "whole", command.out)


def test_optimisation_survives_kills(warm, quiz, tmp_path):
    settings = training.grpo(
        warm,
        quiz,
        run={"steps": 4, "save_every": 1, "eval_every": 2},
        rollout={"prompts_per_step": 4, "max_new_tokens": 40},
        reward={"evidence": 0.3},
    )
    grpo.train(settings, tmp_path / "whole")
    command = Command("grpo", settings, tmp_path / "killed")
    for moment in (
        begun,
        lines(1),
        writing("state/step-0000002.partial"),
        writing(".best.partial"),
        writing(".checkpoint.partial"),
    ):
        command.kill(moment)
    command.finish()
    assert_same_run(tmp_path / "whole", command.out)
