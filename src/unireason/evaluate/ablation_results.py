"""What each arm was shown: steps, samples and how many of them were images and volumes, so that unequal training cannot hide.

An arm that starts from another one was shown all that that one was shown as well. Responses that GRPO samples are not counted, only the
questions.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from unireason import __version__
from unireason.core.errors import FormatError, UniReasonError, terminable
from unireason.core.store import json_text, lock_folder
from unireason.metrics.statistics import Crossed, crossed_difference, crossed_mean, too_few

from .ablation import Ablation, AblationJob, Arm, Claim
from .benchmark import Answered, answered
from .store import RESULTS, ROWS, read_rows

# --- What each arm was shown: steps, samples and how many of them were images and volumes, so that unequal training cannot hide.


@dataclass(frozen=True, slots=True)
class Exposure:
    """What the first seed of an arm was shown."""

    steps: int
    samples_a_step: int
    samples: int
    image: int | None
    volume: int | None


def exposures(config: Ablation, jobs: Sequence[AblationJob]) -> dict[str, Exposure]:
    """What every arm was shown, by name."""
    trained = {job.arm: job for job in jobs if job.what == "train" and job.seed == config.seeds[0]}
    own = {name: _own(job) for name, job in trained.items()}
    return {arm.name: _with_before(config, arm, own) for arm in config.arms}


def _own(job: AblationJob) -> Exposure:
    settings: Mapping[str, Any] = job.depends["settings"]
    each = int(settings["rollout"]["prompts"] if settings["kind"] == "grpo" else settings["samples"])
    steps, samples = _logged(job, each)
    share = settings["data"]["images"]
    # A step holds the share up to one sample, and all steps so far do too (train.feed.plan).
    image = None if share < 0 else int(samples * share + 0.5)
    return Exposure(steps, each, samples, image, None if image is None else samples - image)


def _with_before(config: Ablation, arm: Arm, own: Mapping[str, Exposure]) -> Exposure:
    chain = [own[arm.name]]
    walked = arm
    while walked.after:
        walked = config.arm(walked.after)
        chain.append(own[walked.name])
    return Exposure(
        steps=sum(e.steps for e in chain),
        samples_a_step=chain[0].samples_a_step,
        samples=sum(e.samples for e in chain),
        image=_sum([e.image for e in chain]),
        volume=_sum([e.volume for e in chain]),
    )


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _logged(job: AblationJob, each: int) -> tuple[int, int]:
    """Steps and samples of a run as its log has them; where the log tells no number of samples, ``each`` a step."""
    path = job.folder / "log.jsonl"
    steps: dict[int, int] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            if found["step"] > 0:
                steps[found["step"]] = int(found.get("samples", each))
    except OSError as error:
        raise UniReasonError(f"'{path}' cannot be read ({error.strerror})", "the log of a run") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"'{path}' is broken ({error!r})", "the log of a run") from error
    return len(steps), sum(steps.values())


# --- From the folders of finished runs to one object: scores of every arm, differences to the reference, verdicts on the claims.


GROUPS = ("image", "volume", "all")
Table = list[list[float]]


@dataclass(frozen=True, slots=True)
class Runs:
    """The answers of all arms and seeds to the same questions."""

    ids: tuple[str, ...]
    answers: Mapping[str, tuple[Mapping[str, Answered], ...]]
    manifests: Mapping[str, tuple[Mapping[str, Any], ...]]

    def chosen(self, group: str) -> list[str]:
        """Questions of a group: "image", "volume" or "all"."""
        own = next(iter(self.answers.values()))[0]
        return [name for name in self.ids if group in ("all", own[name].scored.tags.get("kind"))]

    def patients(self, names: Sequence[str]) -> list[str]:
        """Whom questions are about."""
        own = next(iter(self.answers.values()))[0]
        return [own[name].scored.patient for name in names]

    def table(self, arm: str, names: Sequence[str], value: Callable[[Answered], float]) -> Table:
        """A value of all answers of an arm (seeds, questions)."""
        return [[value(seed[name]) for name in names] for seed in self.answers[arm]]


def summary(config: Ablation, jobs: Sequence[AblationJob]) -> dict[str, Any]:
    """The results of an ablation whose jobs have all ended.

    Args:
        config: The ablation.
        jobs: All its jobs.

    Returns:
        Plain JSON values (docs/how-to/ablate.md).

    Raises:
        FormatError: If arms or seeds were asked different questions, or a file is damaged.
        UniReasonError: If a file is missing.
    """
    runs = read_runs(jobs)
    seen = exposures(config, jobs)
    reference = config.reference
    return {
        "kind": "ablation",
        "reference": reference,
        "seeds": list(config.seeds),
        "arms": [
            {"name": arm.name, "title": arm.title, **_arm(runs, arm.name), **_exposure(seen[arm.name])} for arm in config.arms
        ],
        "differences": [
            {"arm": arm.name, "than": reference, "on": group, **_difference(runs, arm.name, reference, group)}
            for arm in config.arms
            if arm.name != reference
            for group in GROUPS
            if runs.chosen(group)
        ],
        "claims": [
            {"text": claim.text, "better": claim.better, "than": claim.than, "on": claim.on or "all", **_claim(runs, claim)}
            for claim in config.claims
        ],
        "scope": _scope(jobs),
        "manifest": _manifest(config, jobs, runs),
    }


def read_runs(jobs: Sequence[AblationJob]) -> Runs:
    """The answers in the folders of all evaluations."""
    answers: dict[str, list[Mapping[str, Answered]]] = {}
    manifests: dict[str, list[Mapping[str, Any]]] = {}
    first: tuple[AblationJob, tuple[str, ...], Any] | None = None
    for job in (j for j in jobs if j.what == "eval"):
        manifest = _object(job.folder / RESULTS)["manifest"]
        rows = {row.scored.id: row for row in read_rows(job.folder / ROWS, answered)}
        asked = manifest.get("questions_sha256")
        first = first or (job, tuple(rows), asked)
        if set(rows) != set(first[1]) or asked != first[2]:
            raise FormatError(
                f"{job.name} and {first[0].name} were asked different questions", "the same questions of all arms and seeds"
            )
        answers.setdefault(job.arm, []).append(rows)
        manifests.setdefault(job.arm, []).append(manifest)
    if first is None or not first[1]:
        raise FormatError("the evaluations hold no answers", "at least one question")
    return Runs(first[1], {a: tuple(v) for a, v in answers.items()}, {a: tuple(v) for a, v in manifests.items()})


def _scope(jobs: Sequence[AblationJob]) -> dict[str, Any] | None:
    """The ``scope`` of the evaluation with the most questions outside; None where none is told."""
    found = [_object(job.folder / RESULTS).get("scope") for job in jobs if job.what == "eval"]
    return max((own for own in found if own), key=lambda own: own["outside"] or 0, default=None)


def verdict(interval: Sequence[float]) -> str:
    """ "holds" if the interval of a difference lies above 0, "does not hold" if below, "undecided" otherwise."""
    low, high = interval
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def _arm(runs: Runs, arm: str) -> dict[str, Any]:
    return {group: _scores(runs, arm, group) for group in GROUPS if runs.chosen(group)}


def _scores(runs: Runs, arm: str, group: str) -> dict[str, Any]:
    names = runs.chosen(group)
    patients = runs.patients(names)
    right = crossed_mean(runs.table(arm, names, _right), clusters=patients)
    return {
        "n": len(names),
        "patients": len(set(patients)),
        "too_few_patients": too_few(len(set(patients))),
        "chance": fmean(runs.table(arm, names, _chance)[0]),
        "accuracy": right.mean,
        "ci95": _ends(right, 0.0),
        "seeds": list(right.seeds),
        "looked": fmean(map(fmean, runs.table(arm, names, lambda answer: float(answer.looked)))),
        **_overlap(runs, arm, names),
    }


def _overlap(runs: Runs, arm: str, names: Sequence[str]) -> dict[str, Any]:
    """Overlap of true looks, each a column of its own; those of a patient hang together."""
    answers = runs.answers[arm]
    patients = [answers[0][name].scored.patient for name in names for _ in answers[0][name].ious]
    if not patients:
        return {"mean_box_iou": None, "mean_box_iou_ci95": None, "mean_box_iou_seeds": None}
    found = crossed_mean([[iou for name in names for iou in seed[name].ious] for seed in answers], clusters=patients)
    return {"mean_box_iou": found.mean, "mean_box_iou_ci95": _ends(found, 0.0), "mean_box_iou_seeds": list(found.seeds)}


def _right(answer: Answered) -> float:
    return float(answer.scored.right)


def _chance(answer: Answered) -> float:
    return 1 / answer.scored.options if answer.scored.options else 0.0


def _difference(runs: Runs, arm: str, than: str, group: str) -> dict[str, Any]:
    names = runs.chosen(group)
    tables = [runs.table(name, names, _right) for name in (arm, than)]
    found = crossed_difference(tables[0], tables[1], clusters=runs.patients(names))
    return {"difference": found.mean, "ci95": _ends(found, -1.0), "seeds": list(found.seeds)}


def _claim(runs: Runs, claim: Claim) -> dict[str, Any]:
    group = claim.on or "all"
    if not runs.chosen(group):
        raise FormatError(f"no question is about a {group}, as the claim {claim.text!r} needs", "such questions")
    found = _difference(runs, claim.better, claim.than, group)
    return {**found, "verdict": verdict(found["ci95"])}


def _ends(found: Crossed, least: float) -> list[float]:
    """The ends of an interval inside [least, 1]; all of it where one seed and one patient say nothing of others."""
    low, high = found.interval if found.freedom >= 1 else (least, 1.0)
    return [max(least, low), min(1.0, high)]


def _exposure(own: Exposure) -> dict[str, Any]:
    return {
        "steps": own.steps,
        "samples_a_step": own.samples_a_step,
        "exposure": {"samples": own.samples, "image": own.image, "volume": own.volume},
    }


def _manifest(config: Ablation, jobs: Sequence[AblationJob], runs: Runs) -> dict[str, Any]:
    depends = json_text({job.name: job.sha256 for job in jobs}, sort_keys=True)
    first = next(iter(runs.manifests.values()))[0]
    return {
        "config_sha256": hashlib.sha256(depends.encode()).hexdigest(),
        "suite": config.evaluate.suite,
        "rule": first.get("rule", ""),
        "questions": len(runs.ids),
        "questions_sha256": first.get("questions_sha256", ""),
        "checkpoints": {arm: [m.get("checkpoint", {}).get("sha256", "") for m in own] for arm, own in runs.manifests.items()},
        "profiles": {arm: own[0].get("profile", {}).get("name", "") for arm, own in runs.manifests.items()},
        "versions": {"unireason": __version__, **first.get("versions", {})},
        "commands": [["unireason", *job.command] for job in jobs],
    }


def _object(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["manifest"].get("")
    except OSError as error:
        raise UniReasonError(f"'{path}' cannot be read ({error.strerror})", "the results of 'unireason eval run'") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"'{path}' is broken ({error!r})", "the results of 'unireason eval run'") from error
    return found


# --- Runs jobs as processes: several at once, each when those it needs have ended, so that any of it may be killed and started
# again.


PROGRAM = (sys.executable, "-m", "unireason")
_POLL, _PATIENCE, _HANDOVER = 0.1, 10.0, 5.0  # seconds between looks, for a job to end, for the jobs of a killed ablation to go
_LAST_LINES, _TAIL_BYTES = 12, 8192
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


class AblationWatcher(Protocol):
    """Who is told."""

    def begun(self, job: AblationJob) -> None:
        """A job was started."""

    def running(self, jobs: Sequence[AblationJob], done: int) -> None:
        """These run now, and so many have ended well; called several times a second."""

    def ended(self, job: AblationJob, done: int) -> None:
        """A job ended well."""


@dataclass(slots=True, eq=False)
class _Running:
    job: AblationJob
    process: subprocess.Popen[bytes]


def run(
    jobs: Sequence[AblationJob], out: Path, *, at_once: int, watch: AblationWatcher, program: Sequence[str] = PROGRAM
) -> None:
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
        self,
        jobs: Sequence[AblationJob],
        *,
        at_once: int,
        watch: AblationWatcher,
        start: Callable[[AblationJob], subprocess.Popen[bytes]],
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


def _starter(program: Sequence[str], at_once: int, lock: int) -> Callable[[AblationJob], subprocess.Popen[bytes]]:
    environment = _environment(at_once)

    def start(job: AblationJob) -> subprocess.Popen[bytes]:
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
