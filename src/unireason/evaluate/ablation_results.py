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
from typing import Any

from unireason import __version__
from unireason.core.errors import FormatError, UniReasonError, terminable
from unireason.core.store import json_text, lock_folder
from unireason.metrics.statistics import Crossed, crossed_difference, crossed_mean, too_few

from .ablation import Ablation, AblationJob, Claim
from .benchmark import Answered, answered
from .store import RESULTS, ROWS, read_rows


def exposures(config: Ablation, jobs: Sequence[AblationJob]) -> dict[str, dict[str, Any]]:
    """What the first seed of every arm was shown, by name."""
    own: dict[str, tuple[int, int, int, int | None]] = {}  # steps, samples a step, samples, images among them
    for job in jobs:
        if job.what != "train" or job.seed != config.seeds[0]:
            continue
        settings: Mapping[str, Any] = job.depends["settings"]
        each = int(settings["rollout"]["prompts_per_step"] if settings["kind"] == "grpo" else settings["batch_size"])
        path = job.folder / "log.jsonl"
        logged: dict[int, int] = {}
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                found = json.loads(line)
                if found["step"] > 0:
                    logged[found["step"]] = int(found.get("samples", each))
        except OSError as error:
            raise UniReasonError(f"'{path}' cannot be read ({error.strerror})", "the log of a run") from error
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"'{path}' is broken ({error!r})", "the log of a run") from error
        samples, share = sum(logged.values()), settings["data"]["images"]
        # A step holds the share up to one sample, and all steps so far do too (train.feed.plan).
        own[job.arm] = len(logged), each, samples, None if share < 0 else int(samples * share + 0.5)
    seen = {}
    for arm in config.arms:
        chain, walked = [own[arm.name]], arm
        while walked.after:
            walked = config.arm(walked.after)
            chain.append(own[walked.name])
        images = [found[3] for found in chain if found[3] is not None]
        samples, image = sum(found[2] for found in chain), sum(images) if len(images) == len(chain) else None
        seen[arm.name] = {
            "steps": sum(found[0] for found in chain),
            "samples_a_step": chain[0][1],
            "exposure": {"samples": samples, "image": image, "volume": None if image is None else samples - image},
        }
    return seen


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
    # That of the evaluation with the most questions outside is told; None where none is.
    scopes = [_object(job.folder / RESULTS).get("scope") for job in jobs if job.what == "eval"]
    return {
        "kind": "ablation",
        "reference": reference,
        "seeds": list(config.seeds),
        "arms": [
            {
                "name": arm.name,
                "title": arm.title,
                **{group: _scores(runs, arm.name, group) for group in GROUPS if runs.chosen(group)},
                **seen[arm.name],
            }
            for arm in config.arms
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
        "scope": max((own for own in scopes if own), key=lambda own: own["outside"] or 0, default=None),
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


def verdict(interval: Sequence[float]) -> str:
    """ "holds" if the interval of a difference lies above 0, "does not hold" if below, "undecided" otherwise."""
    low, high = interval
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def _scores(runs: Runs, arm: str, group: str) -> dict[str, Any]:
    names = runs.chosen(group)
    patients = runs.patients(names)
    right = crossed_mean(runs.table(arm, names, _right), clusters=patients)
    answers = runs.answers[arm]
    # Overlap of true looks, each a column of its own; those of a patient hang together.
    whose = [answers[0][name].scored.patient for name in names for _ in answers[0][name].ious]
    ious = [[iou for name in names for iou in seed[name].ious] for seed in answers]
    overlap = crossed_mean(ious, clusters=whose) if whose else None
    options = [answers[0][name].scored.options for name in names]
    return {
        "n": len(names),
        "patients": len(set(patients)),
        "too_few_patients": too_few(len(set(patients))),
        "chance": fmean(1 / count if count else 0.0 for count in options),
        "accuracy": right.mean,
        "ci95": _ends(right, 0.0),
        "seeds": list(right.seeds),
        "looked": fmean(map(fmean, runs.table(arm, names, lambda answer: float(answer.looked)))),
        "mean_box_iou": overlap.mean if overlap else None,
        "mean_box_iou_ci95": _ends(overlap, 0.0) if overlap else None,
        "mean_box_iou_seeds": list(overlap.seeds) if overlap else None,
    }


def _right(answer: Answered) -> float:
    return float(answer.scored.right)


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


def run(jobs: Sequence[AblationJob], out: Path, *, at_once: int, watch: Any, program: Sequence[str] = PROGRAM) -> None:
    """Run all jobs that have not ended yet.

    A job that fails lets no new one start; those that run are waited for. SIGINT and SIGTERM end the jobs that run. The jobs of an
    ablation that was killed die with it (Linux), or keep the folder locked until they end.

    Args:
        jobs: Each behind those it needs.
        out: Folder of the ablation.
        at_once: Jobs at most at a time.
        watch: Who is told: ``begun(job)``, ``running(jobs, done)`` several times a second, and ``ended(job, done)``.
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
    done = {job.name for job in jobs if job.done}
    left = [job for job in jobs if not job.done]
    running: list[tuple[AblationJob, subprocess.Popen[bytes]]] = []
    failed: list[tuple[AblationJob, int]] = []
    with lock_folder(out, busy, patience=_HANDOVER) as lock, terminable():
        try:
            while True:
                for job, process in [own for own in running if own[1].poll() is not None]:
                    running.remove((job, process))
                    if process.returncode:
                        failed.append((job, process.returncode))
                    else:
                        job.finish()
                        done.add(job.name)
                        watch.ended(job, len(done))
                while not failed and len(running) < at_once:
                    ready = next((job for job in left if set(job.needs) <= done), None)
                    if ready is None:
                        break
                    left.remove(ready)
                    ready.begin()
                    running.append((ready, _started(program, ready, at_once, lock.fileno())))
                    watch.begun(ready)
                if not running:
                    break
                watch.running([job for job, _ in running], len(done))
                time.sleep(_POLL)
        finally:
            _end([process for _, process in running])
    if failed:
        (first, code), others = failed[0], failed[1:]
        how = f"ended with exit code {code}" if code > 0 else f"was killed by signal {-code}"
        said = "\n".join(f"  {line}" for line in last_lines(first.log, _LAST_LINES))
        also = "".join(f"; {other.name} failed as well" for other, _ in others)
        raise UniReasonError(
            f"the job {first.name} {how}{also}. The end of '{first.log}':\n{said}\n",
            remedy="mend it and start the same command again: what is finished is kept",
        )


def last_lines(path: Path, count: int = 1) -> list[str]:
    """The last lines of a log that are not empty; none if there is no log."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def _started(program: Sequence[str], job: AblationJob, at_once: int, lock: int) -> subprocess.Popen[bytes]:
    """The process of a job; jobs share the cores unless the user has said how many threads a job takes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with job.log.open("ab") as log:
            log.write(f"$ unireason {' '.join(job.command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                [*program, *job.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"OMP_NUM_THREADS": str(max(1, cores // at_once)), **os.environ},
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the jobs in order
                pass_fds=(lock,),  # a job that outlives this process keeps the folder locked
                preexec_fn=_mortal(),
            )
    except OSError as error:
        raise UniReasonError(f"the job {job.name} cannot be started ({error.strerror})", "", "check folder and memory") from error


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
