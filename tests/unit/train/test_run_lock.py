from __future__ import annotations

import subprocess
import sys

import pytest

import training
from unireason.core.errors import UniReasonError
from unireason.core.store import LOCK
from unireason.train import sft


def test_two_runs_do_not_share_a_folder(start, phantoms, tmp_path):
    holding = "import fcntl, sys; f = open(sys.argv[1], 'wb'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    command = [sys.executable, "-c", holding, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UniReasonError, match="another process trains"):
            sft.train(training.sft(start, phantoms, run={"steps": 1}), tmp_path)
        other.kill()
    sft.train(training.sft(start, phantoms, run={"steps": 1, "eval_samples": 0}), tmp_path)
    assert (tmp_path / "checkpoint").is_dir()
