"""Jobs as processes: order, several at once, failures, changed settings, and going on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ablation_program
import pytest
from ablation_program import CONFIG, write_config
from test_ablation_plan import planned

from unireason.core.errors import FormatError, UniReasonError
from unireason.evaluate.ablation import last_lines, run

PROGRAM = (sys.executable, "-S", ablation_program.__file__)
DRIVER = """
import functools, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell inherit that it is ignored
sys.path.insert(0, {folder!r})
from unireason.cli import main
from unireason.cli import eval as suite
from unireason.evaluate import ablation as schedule
suite.suite_of = lambda args: None  # the stand-in needs no data
schedule.run = functools.partial(schedule.run, program={program!r})
sys.exit(main(sys.argv[1:]))
"""


class Notes:
    """A watcher that writes down what it is told."""

    def __init__(self):
        self.begun_, self.ended_, self.most = [], [], 0
        self.before = {}  # job -> jobs that had ended when it was begun

    def begun(self, job):
        self.begun_.append(job.name)
        self.before[job.name] = set(self.ended_)

    def running(self, jobs, done):
        self.most = max(self.most, len(jobs))

    def ended(self, job, done):
        self.ended_.append(job.name)
        assert done >= len(self.ended_)


def carry_out(jobs, out, **how):
    watch = Notes()
    run(jobs, out, watch=watch, program=PROGRAM, **{"at_once": 3, **how})
    return watch


def begun(path):
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Looks at the jobs more often, so that tests are fast."""
    monkeypatch.setattr("unireason.evaluate.ablation._POLL", 0.01)


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Sets what the stand-in is to do; returns the file that counts jobs."""
    count = tmp_path / "count"

    def tell(**what):
        monkeypatch.setenv("STAND_IN", json.dumps({"count": str(count), **what}))
        return count

    tell()
    return tell


def test_jobs_run_behind_those_they_need(tmp_path, told):
    jobs = planned(tmp_path, out=tmp_path / "o")
    watch = carry_out(jobs, tmp_path / "o")
    assert sorted(watch.ended_) == sorted(job.name for job in jobs)
    assert sorted(begun(told())) == sorted(watch.ended_)
    assert all(set(job.needs) <= watch.before[job.name] for job in jobs)
    assert 1 < watch.most <= 3
    assert all(job.done for job in jobs)
    assert last_lines(jobs[0].log) == ["at work on plain/seed-0/train"]
    note = json.loads((tmp_path / "o/plain/seed-0/train.done.json").read_text())
    assert note["sha256"] == jobs[0].sha256
    assert note["command"][:3] == ["unireason", "train", "sft"]


def test_one_at_a_time_keeps_the_order(tmp_path, told):
    jobs = planned(tmp_path, out=tmp_path / "o")
    watch = carry_out(jobs, tmp_path / "o", at_once=1)
    assert watch.most == 1
    assert begun(told()) == [job.name for job in jobs]


def test_jobs_share_the_cores(tmp_path, told, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    carry_out(planned(tmp_path, out=tmp_path / "o")[:1], tmp_path / "o")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    carry_out(planned(tmp_path, out=tmp_path / "p")[:1], tmp_path / "p")
    assert [line.split()[1] for line in told().read_text().splitlines()] == ["2", "7"]


def test_what_is_finished_is_not_run_again(tmp_path, told):
    jobs = planned(tmp_path, out=tmp_path / "o")
    carry_out(jobs[:3], tmp_path / "o")
    watch = carry_out(jobs, tmp_path / "o")
    assert len(watch.ended_) == len(jobs) - 3
    assert sorted(begun(told())) == sorted(job.name for job in jobs)


def test_a_failure_starts_nothing_new_and_keeps_what_is_finished(tmp_path, told):
    told(fail="plain/seed-0/eval")
    jobs = planned(tmp_path, out=tmp_path / "o")
    with pytest.raises(UniReasonError, match=r"(?s)plain/seed-0/eval ended with exit code 3.*no room on the disk.*same command"):
        carry_out(jobs, tmp_path / "o", at_once=1)
    assert begun(told()) == ["plain/seed-0/train", "plain/seed-0/eval"]
    carry_out(jobs, tmp_path / "o")
    assert begun(told()).count("plain/seed-0/train") == 1
    assert all(job.done for job in jobs)


def test_jobs_beside_a_failure_are_waited_for(tmp_path, told):
    told(fail="plain/seed-0/train", slow=0.3)
    jobs = [job for job in planned(tmp_path, out=tmp_path / "o") if job.arm != "last"]
    with pytest.raises(UniReasonError, match="plain/seed-0/train"):
        carry_out(jobs, tmp_path / "o", at_once=2)
    assert [job.name for job in jobs if job.done] == ["better/seed-0/train"]


@pytest.mark.parametrize(
    ("old", "new", "arm", "what"),
    [
        ("batch_size=4", "batch_size=6", "better", "batch_size"),
        ("questions = 6", "questions = 7", "plain", "evaluate.questions"),
        ("questions = 500 }", "questions = 500, frame = 'x' }", "plain", "evaluate.options"),
        ('"--vote", "3"', '"--vote", "5"', "better", "evaluate.arguments"),
        ("data.images=0.25", "data.images=0.5", "plain", "data.images"),
    ],
)
def test_changed_settings_are_refused(tmp_path, told, old, new, arm, what):
    carry_out(planned(tmp_path, out=tmp_path / "o"), tmp_path / "o")
    count = len(begun(told()))
    with pytest.raises(FormatError, match=rf"arm '{arm}' was begun with another {what}.*another --out"):
        carry_out(planned(tmp_path, CONFIG.replace(old, new), out=tmp_path / "o"), tmp_path / "o")
    assert len(begun(told())) == count


def test_a_setting_of_a_later_version_is_no_change(tmp_path, told):
    jobs = planned(tmp_path, out=tmp_path / "o")
    carry_out(jobs, tmp_path / "o")
    for note in (tmp_path / "o").rglob("train.done.json"):
        known = json.loads(note.read_text())
        del known["depends"]["settings"]["optim"]["max_grad_norm"]
        note.write_text(json.dumps(known))
    assert carry_out(jobs, tmp_path / "o").begun_ == []
    changed = planned(tmp_path, CONFIG.replace("batch_size=4", "batch_size=6"), out=tmp_path / "o")
    with pytest.raises(FormatError, match="batch_size"):
        carry_out(changed, tmp_path / "o")


def test_an_evaluation_belongs_to_its_training(tmp_path, told):
    carry_out(planned(tmp_path, out=tmp_path / "o"), tmp_path / "o")
    for note in (tmp_path / "o").rglob("train.done.json"):
        note.unlink()
    changed = planned(tmp_path, CONFIG.replace("batch_size=4", "batch_size=6"), out=tmp_path / "o")
    with pytest.raises(FormatError, match=r"arm 'better' was begun with another train\.settings\.batch_size"):
        carry_out(changed, tmp_path / "o")


def test_more_seeds_and_arms_may_be_added(tmp_path, told):
    carry_out(planned(tmp_path, out=tmp_path / "o"), tmp_path / "o")
    more = CONFIG.replace("seeds = [0, 1]", "seeds = [0, 1, 2]")
    jobs = [job for job in planned(tmp_path, more, out=tmp_path / "o") if job.what == "train"]
    assert sorted(carry_out(jobs, tmp_path / "o").ended_) == [f"{a}/seed-2/train" for a in ("better", "last", "plain")]


def test_a_second_ablation_in_the_folder_is_refused(tmp_path, told, monkeypatch):
    monkeypatch.setattr("unireason.evaluate.ablation._HANDOVER", 0.2)
    jobs = planned(tmp_path, out=tmp_path / "o")

    class Second(Notes):
        def begun(self, job):
            with pytest.raises(UniReasonError, match="another ablation"):
                carry_out(jobs, tmp_path / "o")
            super().begun(job)

    watch = Second()
    run(jobs[:1], tmp_path / "o", at_once=1, watch=watch, program=PROGRAM)
    assert watch.begun_ == ["plain/seed-0/train"]


@pytest.fixture
def start():
    """Starts an ablation of the stand-in as a process of its own, which does not outlive the test."""
    begun = []
    yield lambda *where: begun.append(started(*where)) or begun[-1]
    for process in begun:
        process.kill()
        process.communicate()


def started(tmp_path, path):
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(folder=str(Path(ablation_program.__file__).parent), program=PROGRAM))
    command = [sys.executable, str(driver), "ablate", str(path), "--out", str(tmp_path / "o"), "--quiet", "--jobs", "2"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds=60.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def alive(text):
    """Processes whose command line holds a text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in words and "ablation_program" in words:
            found.append(entry.name)
    return found


ON_LINUX = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="jobs die with the ablation on Linux only")


@ON_LINUX
def test_a_killed_ablation_goes_on_without_doing_anything_twice(tmp_path, told, start):
    count = told(slow=0.4)
    path = write_config(tmp_path / "configs", CONFIG.replace("[0, 1]", "[0]"))
    first = start(tmp_path, path)
    wait_for(lambda: len(begun(count)) >= 3)
    first.kill()
    first.communicate(timeout=60)
    wait_for(lambda: not alive(str(tmp_path / "o")))
    finished = {"/".join(p.parts[-3:]).removesuffix(".done.json") for p in (tmp_path / "o").rglob("*.done.json")}
    assert 0 < len(finished) < 6
    told()
    second = start(tmp_path, path)
    second.communicate(timeout=90)
    assert second.returncode == 0
    times = {name: begun(count).count(name) for name in begun(count)}
    assert len(times) == 6
    assert {times[name] for name in finished} == {1}
    assert any(n > 1 for n in times.values())
    assert (tmp_path / "o" / "ablation.html").is_file()


@ON_LINUX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_ends_the_jobs(tmp_path, told, start, number):
    count = told(slow=30)
    first = start(tmp_path, write_config(tmp_path / "configs"))
    wait_for(lambda: len(begun(count)) >= 2)
    first.send_signal(number)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 128 + number
    assert "the same command goes on" in said
    assert not alive(str(tmp_path / "o"))
