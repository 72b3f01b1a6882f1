"""Runs jobs as processes: several at once, each when those it needs have ended, so that any of it may be killed and started again."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unireason.errors import FormatError, UniReasonError, terminable
from unireason.files import lock_folder

from .jobs import Job

PROGRAM = (sys.executable, "-m", "unireason")
_POLL, _PATIENCE, _HANDOVER = 0.1, 10.0, 5.0  # seconds between looks, for a job to end, for the jobs of a killed ablation to go
_LAST_LINES, _TAIL_BYTES = 12, 8192
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


class Watcher(Protocol):
    """Who is told."""

    def begun(self, job: Job) -> None:
        """A job was started."""

    def running(self, jobs: Sequence[Job], done: int) -> None:
        """These run now, and so many have ended well; called several times a second."""

    def ended(self, job: Job, done: int) -> None:
        """A job ended well."""


@dataclass(slots=True, eq=False)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]


def run(jobs: Sequence[Job], out: Path, *, at_once: int, watch: Watcher, program: Sequence[str] = PROGRAM) -> None:
    """Run all jobs that have not ended yet.

    A job that fails lets no new one start; those that run are waited for. SIGINT and SIGTERM end the jobs that run. The jobs of an
    ablation that was killed die with it (Linux), or keep the folder locked until they end.

    Args:
        jobs: Each behind those it needs.
        out: Folder of the ablation.
        at_once: Jobs at most at a time.
        watch: Who is told.
        program: The command in front of a job's arguments.

    Raises:
        FormatError: If ``at_once`` is below 1, or a job was begun with other settings; nothing is started then.
        UniReasonError: If another ablation is at work in the folder, it cannot be written, or a job failed.
        KeyboardInterrupt: After SIGINT; ``Interrupted``, which is one, after SIGTERM.
    """
    if at_once < 1:
        raise FormatError(f"{at_once} jobs at a time", "at least 1")
    for job in jobs:
        job.check()
    busy = f"another ablation, or a job that it left behind, is at work in '{out}'"
    with lock_folder(out, busy, patience=_HANDOVER) as lock, terminable():
        schedule = Schedule(jobs, at_once=at_once, watch=watch, start=_starter(program, at_once, lock.fileno()))
        schedule.run()


class Schedule:
    """Which job runs when."""

    def __init__(
        self, jobs: Sequence[Job], *, at_once: int, watch: Watcher, start: Callable[[Job], subprocess.Popen[bytes]]
    ) -> None:
        """See :func:`run`; ``start`` makes the process of a job."""
        self._at_once, self._watch, self._start = at_once, watch, start
        self._done = {job.name for job in jobs if job.done}
        self._left = [job for job in jobs if not job.done]
        self._running: list[_Running] = []
        self._failed: list[_Running] = []

    def run(self) -> None:
        """Run what is left; see :func:`run`."""
        try:
            while True:
                self._collect()
                self._fill()
                if not self._running:
                    break
                self._watch.running([r.job for r in self._running], len(self._done))
                time.sleep(_POLL)
        finally:
            _end([r.process for r in self._running])
        if self._failed:
            raise _failure(self._failed)

    def _collect(self) -> None:
        """Take note of the jobs that have ended."""
        for running in [r for r in self._running if r.process.poll() is not None]:
            self._running.remove(running)
            if running.process.returncode:
                self._failed.append(running)
                continue
            running.job.finish()
            self._done.add(running.job.name)
            self._watch.ended(running.job, len(self._done))

    def _fill(self) -> None:
        """Start jobs while there is room, the first that need nothing unfinished."""
        while not self._failed and len(self._running) < self._at_once:
            job = next((j for j in self._left if set(j.needs) <= self._done), None)
            if job is None:
                return
            self._left.remove(job)
            job.begin()
            self._running.append(_Running(job, self._start(job)))
            self._watch.begun(job)


def last_lines(path: Path, count: int = 1) -> list[str]:
    """The last lines of a log that are not empty; none if there is no log."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def _failure(failed: Sequence[_Running]) -> UniReasonError:
    """The error for jobs that ended badly: the first is shown, others are named."""
    first = failed[0]
    code = first.process.returncode
    how = f"ended with exit code {code}" if code > 0 else f"was killed by signal {-code}"
    said = "\n".join(f"  {line}" for line in last_lines(first.job.log, _LAST_LINES))
    also = "".join(f"; {other.job.name} failed as well" for other in failed[1:])
    return UniReasonError(
        f"the job {first.job.name} {how}{also}. The end of '{first.job.log}':\n{said}\n",
        remedy="mend it and start the same command again: what is finished is kept",
    )


def _starter(program: Sequence[str], at_once: int, lock: int) -> Callable[[Job], subprocess.Popen[bytes]]:
    environment = _environment(at_once)

    def start(job: Job) -> subprocess.Popen[bytes]:
        command = [*program, *job.command]
        try:
            with job.log.open("ab") as log:
                log.write(f"$ unireason {' '.join(job.command)}\n".encode())
                log.flush()
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,  # Ctrl-C reaches this process alone, which ends the jobs in order
                    pass_fds=(lock,),  # a job that outlives this process keeps the folder locked
                    preexec_fn=_mortal(),
                )
        except OSError as error:
            raise UniReasonError(
                f"the job {job.name} cannot be started ({error.strerror})", "", "check folder and memory"
            ) from error

    return start


def _environment(at_once: int) -> Mapping[str, str]:
    """The environment of a job; jobs share the cores unless the user has said how many threads a job takes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // at_once)), **os.environ}


def _mortal() -> Callable[[], None] | None:
    """What a new process does first on Linux: ask to be ended when this one dies, even by SIGKILL."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(_DEATH_SIGNAL, signal.SIGKILL)  # nobody is left to wait until it has saved
        if os.getppid() != parent:  # it died before it could be asked
            os._exit(1)

    return ask


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes with all that they started; those that do not go are killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [p for p in processes if p.poll() is None]
        for process in left:
            os.killpg(process.pid, number)
        limit = time.monotonic() + _PATIENCE
        for process in left:
            try:
                process.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
