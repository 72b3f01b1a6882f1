"""SIGTERM, by which clusters end work before they kill it, and Ctrl-C: what is done is kept, and told, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import training
from training import log_of
from unireason.core.config import to_toml
from unireason.core.errors import Interrupted, postponed, terminable
from unireason.core.store import Scratch
from unireason.train import grpo, sft

_PATIENCE = 240.0  # seconds


def unireason(*words: object, launcher: Sequence[str] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, "unireason", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=_PATIENCE)
    return process.returncode


def ended(process: subprocess.Popen[str], moment: Callable[[], bool], number: int) -> tuple[int, str]:
    """Signal a process at a moment; its exit code and what it said on standard error."""
    limit = time.monotonic() + _PATIENCE
    while not moment():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)
    process.send_signal(number)
    said = process.communicate(timeout=_PATIENCE)[1]
    return process.returncode, said


def logged(run: Path, count: int) -> Callable[[], bool]:
    return lambda: (run / "log.jsonl").exists() and (run / "log.jsonl").read_bytes().count(b"\n") >= count


def train(kind: str, settings: object, folder: Path, launcher: Sequence[str] = ()) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(to_toml(settings))
    return unireason("train", kind, "--config", folder / "run.toml", "--out", folder / "run", "--quiet", launcher=launcher)


def assert_same_run(one: Path, two: Path) -> None:
    assert (one / "checkpoint/model.safetensors").read_bytes() == (two / "checkpoint/model.safetensors").read_bytes()
    assert log_of(one) == log_of(two)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_fine_tuning_is_saved_and_goes_on_to_the_same_bytes(start, quiz, tmp_path, number):
    """No state but the one that the signal asks for."""
    settings = training.sft(start, quiz, run={"steps": 40, "save_every": 1000, "eval_samples": 0})
    code, said = ended(train("sft", settings, tmp_path / "cut"), logged(tmp_path / "cut/run", 2), number)
    assert code == 128 + number
    [saved] = (tmp_path / "cut/run/state").iterdir()
    step = int(saved.name.removeprefix("step-"))
    assert 2 <= step < 40
    assert f"step {step} of 40 is saved in '{saved}'" in said
    assert not (tmp_path / "cut/run/checkpoint").exists()
    again = train("sft", settings, tmp_path / "cut")
    told = again.communicate(timeout=_PATIENCE)[1]
    assert again.returncode == 0
    assert f"goes on from step {step} of 40" in told
    sft.train(settings, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "cut/run")


def test_an_optimisation_is_saved_and_goes_on_to_the_same_bytes(warm, quiz, tmp_path):
    settings = training.grpo(warm, quiz, run={"steps": 6, "save_every": 1000, "eval_samples": 0})
    code, said = ended(train("grpo", settings, tmp_path / "cut"), logged(tmp_path / "cut/run", 1), signal.SIGTERM)
    assert code == 143
    assert "is saved in" in said
    again = train("grpo", settings, tmp_path / "cut")
    assert "goes on from step" in again.communicate(timeout=_PATIENCE)[1]
    grpo.train(settings, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "cut/run")


@pytest.mark.slow
def test_all_processes_end_behind_the_same_step(start, quiz, tmp_path):
    """One of two is asked to end; its launcher is not."""
    settings = training.sft(start, quiz, run={"steps": 60, "save_every": 1000, "eval_samples": 0})
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")
    run, process = tmp_path / "cut/run", train("sft", settings, tmp_path / "cut", launcher)
    limit = time.monotonic() + _PATIENCE
    while not logged(run, 2)():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = {pid for pid in children if b"unireason" in Path(f"/proc/{pid}/cmdline").read_bytes()}
    second = next(pid for pid in ranks if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes())
    os.kill(int(second), signal.SIGTERM)
    process.communicate(timeout=_PATIENCE)
    [saved] = (run / "state").iterdir()
    assert {path.name for path in saved.iterdir()} == {
        "meta.json",
        "rank-00000-of-00002.safetensors",
        "rank-00001-of-00002.safetensors",
    }
    steps = [line["step"] for line in log_of(run)]
    assert steps == list(range(1, int(saved.name.removeprefix("step-")) + 1))
    again = train("sft", settings, tmp_path / "cut", launcher)
    assert f"goes on from step {len(steps)} of 60" in again.communicate(timeout=_PATIENCE)[1]
    assert [line["step"] for line in log_of(run)] == list(range(1, 61))


def test_a_second_ctrl_c_ends_at_once():
    with pytest.raises(Interrupted), postponed("") as stop:  # noqa: PT012 - what the block does is what is tested
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # the same press, passed on by a launcher
        assert stop.number == signal.SIGINT
        stop.since -= 5
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it went on")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as found, postponed(""):
        os.kill(os.getpid(), signal.SIGTERM)  # noted, and nobody looked
    assert found.value.number == signal.SIGTERM
    with pytest.raises(Interrupted), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_build_ends_at_once_and_goes_on(tmp_path, workers):
    words = ("data", "build", "phantom", "--patients", "12", "--out", tmp_path / "data", "--workers", workers, "--quiet")
    drafts = tmp_path / "data/.work/drafts"
    process = unireason(*words)
    code, said = ended(process, lambda: drafts.is_dir() and any(drafts.glob("*.gz")), signal.SIGTERM)
    assert code == 143
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert finished(unireason(*words)) == 0
    assert finished(unireason("data", "check", tmp_path / "data")) == 0


def test_an_evaluation_keeps_its_answers_and_leaves_no_examination(tmp_path, monkeypatch):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    words = ("eval", "run", "--out", tmp_path / "run", "--questions", "24", "--no-pictures", "--json")
    rows = tmp_path / "run/rows.jsonl"

    def answered() -> bool:
        return rows.exists() and rows.read_bytes().count(b"\n") >= 2

    process = unireason(*words)
    code, said = ended(process, answered, signal.SIGTERM)
    kept = rows.read_bytes()
    assert code == 143
    assert f"kept in '{tmp_path / 'run'}'" in said
    assert not list(temporary.glob("*unireason-exam*"))
    process = unireason(*words)
    ended(process, lambda: any(temporary.glob("unireason-exam-*")), signal.SIGKILL)
    assert list(temporary.glob("unireason-exam-*"))
    assert finished(unireason(*words)) == 0
    assert rows.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    assert not list(temporary.glob("*unireason-exam*"))


def test_only_what_a_dead_owner_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "exam-of-another-program").mkdir()
    made = "import os, sys, tempfile\ntempfile.tempdir = sys.argv[1]\nfrom unireason.core.store import Scratch\nkept = Scratch('exam')\n"
    for end in ("pass", "os._exit(1)"):
        subprocess.run([sys.executable, "-c", made + end, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2  # what the second left, which had no time to clean up
    living = Scratch("exam")
    assert {path.name for path in tmp_path.iterdir()} == {"exam-of-another-program", living.path.name}
    with Scratch("exam") as other:
        assert living.path.is_dir()
        assert other.is_dir()
    assert not other.exists()
    del living
    assert [path.name for path in tmp_path.iterdir()] == ["exam-of-another-program"]
