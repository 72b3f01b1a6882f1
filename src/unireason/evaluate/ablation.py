"""An ablation: arms, each a training run with its own settings, seeds, the questions, and the claims that it is to test.

Its file becomes jobs, each a command of this package; jobs are run as processes; what they leave becomes one object of results. It knows
nothing of what training settings mean.
"""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field

from unireason import __version__
from unireason.core.config import build, settings
from unireason.core.errors import FormatError, UniReasonError, terminable
from unireason.core.store import json_text, lock_folder, write_bytes
from unireason.metrics.statistics import Crossed, crossed_difference, crossed_mean, too_few

from .results import AblationResults, ArmDifference, ArmExposure, ArmResults, ArmScores, ClaimVerdict, RunAsked

if TYPE_CHECKING:
    from .benchmark import Answered

KIND = "ablation"
Text = Annotated[str, Field(min_length=1)]
Natural = Annotated[int, Field(ge=0)]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@settings
class Train:
    """What is common to all arms."""

    file: str = ""
    """Run file of ``unireason train sft`` or ``grpo``, relative to the file of the ablation."""
    set: tuple[str, ...] = ()
    """Settings in place of the run file's, for all arms, as ``--set`` takes them."""


@settings
class Evaluate:
    """The questions that every checkpoint is asked, as options of ``unireason eval run``."""

    suite: Text
    """Name of the suite."""
    data: str = ""
    """Folder of the suite's files, relative to the working directory."""
    options: Mapping[str, str | int | float] = field(default_factory=dict)
    """Each becomes ``--option K=V``."""
    split: str = ""
    """Empty for the one meant for evaluation."""
    questions: Natural = 0
    """Questions at most; 0 for all."""
    seed: Natural = 0
    """Seed of the evaluation, the same for all."""
    arguments: tuple[str, ...] = ()
    """Further arguments of ``unireason eval run``."""


@settings
class Arm:
    """One way to train."""

    name: Text
    """Short name and folder."""
    title: str = ""
    """What people read; the name by default."""
    file: str = ""
    """Run file of this arm; that of all arms by default."""
    set: tuple[str, ...] = ()
    """Settings in place of the file's, behind those of all arms."""
    after: str = ""
    """Arm from whose weights of the same seed it starts."""
    start: Literal["checkpoint", "best"] = "checkpoint"
    """Which weights of that arm."""
    arguments: tuple[str, ...] = ()
    """Further arguments of ``unireason eval run`` for this arm alone."""


@settings
class Claim:
    """A sentence that the results support or not."""

    text: Text
    """The sentence."""
    better: Text
    """The arm that is said to be better."""
    than: Text
    """The other arm."""
    on: Literal["image", "volume", ""] = ""
    """Kind of questions; empty for all."""


@settings
class AblationFile:
    """What is said once for all arms."""

    evaluate: Evaluate
    """The questions."""
    seeds: tuple[Natural, ...] = (0,)
    """Seeds of the trainings; every arm is trained with each."""
    reference: str = ""
    """The arm that the others are compared with; the first by default."""
    train: Train = field(default_factory=Train)
    """The trainings."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """A grid of runs; ``folder`` is that of its file."""

    seeds: tuple[int, ...]
    reference: str
    train: Train
    evaluate: Evaluate
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    folder: Path

    def arm(self, name: str) -> Arm:
        """The arm of a name."""
        return {arm.name: arm for arm in self.arms}[name]

    def run_file(self, arm: Arm) -> Path:
        """The run file of an arm."""
        return self.folder / (arm.file or self.train.file)


def parse(table: Mapping[str, Any], folder: Path) -> Ablation:
    """An ablation from the table of its TOML file.

    Args:
        table: ``kind = "ablation"`` and the fields of :class:`AblationFile`, ``[[arms]]`` and ``[[claims]]``.
        folder: Folder of the file, to which run files are relative.

    Raises:
        FormatError: If a key is missing or unknown, a value has another type, or names do not fit together.
    """
    if table.get("kind") != KIND:
        raise FormatError(f"the kind of the file is {table.get('kind')!r}", f'kind = "{KIND}"')
    lists = {name: table.get(name, []) for name in ("arms", "claims")}
    for name, rows in lists.items():
        if not isinstance(rows, list):
            raise FormatError(f"{name} is {rows!r}", f"tables that begin with [[{name}]]")
    grid = build(AblationFile, {key: value for key, value in table.items() if key not in ("kind", *lists)})
    arms = [build(Arm, row, within=f"arms[{n}]") for n, row in enumerate(lists["arms"])]
    made = Ablation(
        grid.seeds,
        grid.reference or (arms[0].name if arms else ""),
        grid.train,
        grid.evaluate,
        tuple(dataclasses.replace(arm, title=arm.title or arm.name) for arm in arms),
        tuple(build(Claim, row, within=f"claims[{n}]") for n, row in enumerate(lists["claims"])),
        folder,
    )
    _check(made)
    return made


def _check(made: Ablation) -> None:
    """Names must be unique and known, every arm must have a run file, and arms may not wait for each other in a circle."""
    if not made.seeds or len(set(made.seeds)) < len(made.seeds):
        raise FormatError(f"seeds is {list(made.seeds)}", "a list of different whole numbers from 0, such as [0, 1, 2]")
    names = [arm.name for arm in made.arms]
    if not names or len(set(names)) < len(names):
        raise FormatError(
            f"the arms are called {', '.join(names) or 'nothing'}", "one [[arms]] table or more, each with its own name"
        )
    named = [("reference", made.reference), *((f"after of {a.name}", a.after) for a in made.arms if a.after)]
    named += [(f"claim {c.text!r}", name) for c in made.claims for name in (c.better, c.than)]
    for where, name in named:
        if name not in names:
            raise FormatError(f"{where} names the arm {name!r}", f"one of: {', '.join(names)}")
    for arm in made.arms:
        if not _NAME.fullmatch(arm.name):
            raise FormatError(f"an arm is called {arm.name!r}", "letters, digits, '.', '_' and '-': it names a folder")
        if not (arm.file or made.train.file):
            raise FormatError(f"the arm {arm.name!r} has no run file", "file = ... in [train] or in the arm")
        seen, walked = {arm.name}, arm
        while walked.after:
            walked = made.arm(walked.after)
            if walked.name in seen:
                raise FormatError(f"the arm {arm.name!r} starts after itself", "a chain of arms with a beginning")
            seen.add(walked.name)
    for claim in made.claims:
        if claim.better == claim.than:
            raise FormatError(f"the claim {claim.text!r} holds an arm against itself", "two arms")


# --- The jobs of an ablation: one training and one evaluation for every arm and seed, each a command of this package.


Resolve = Callable[[Path, Sequence[str]], Mapping[str, Any]]
"""A run file and settings in place of its own -> all its settings as plain JSON values, with ``kind``."""


@dataclass(frozen=True, slots=True, eq=False)
class AblationJob:
    """One command.

    Attributes:
        arm: Name of its arm.
        seed: Seed of the training.
        what: "train" or "eval".
        home: Folder of arm and seed.
        command: Arguments of ``unireason``.
        needs: Names of jobs that must end before.
        depends: What its outcome depends on, as plain JSON values.
    """

    arm: str
    seed: int
    what: str
    home: Path
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    depends: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Such as "joint/seed-0/train"."""
        return f"{self.arm}/seed-{self.seed}/{self.what}"

    @property
    def folder(self) -> Path:
        """Where the command writes."""
        return self.home / self.what

    @property
    def log(self) -> Path:
        """What the command prints."""
        return self.home / f"{self.what}.log"

    @property
    def sha256(self) -> str:
        """Hash of what it depends on."""
        return hashlib.sha256(json_text(self.depends, sort_keys=True).encode()).hexdigest()

    @property
    def done(self) -> bool:
        """True if it ended well."""
        return self._note("done").is_file()

    def begin(self) -> None:
        """Note that it runs."""
        note = {"command": ["unireason", *self.command], "sha256": self.sha256, "depends": self.depends}
        write_bytes(self._note("begun"), (json_text(note, indent=1) + "\n").encode())

    def finish(self) -> None:
        """Note that it ended well."""
        try:
            os.replace(self._note("begun"), self._note("done"))
        except OSError as error:
            raise UniReasonError(f"'{self._note('done')}' cannot be written ({error.strerror})") from error

    def check(self) -> None:
        """Refuse to go on with a job that was begun with other settings. A folder without a note, made by hand, is accepted."""
        for state in ("begun", "done"):
            note = self._note(state)
            if not note.is_file():
                continue
            try:
                known = json.loads(note.read_text(encoding="utf-8"))["depends"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise FormatError(f"'{note}' cannot be read ({error!r})", "the note of a job", "remove it") from error
            if changed := list(_changed(known, self.depends)):
                raise FormatError(
                    f"the arm {self.arm!r} was begun with another {', '.join(changed[:4])} ('{note}')",
                    "the settings it was begun with",
                    "choose another --out",
                )

    def _note(self, state: str) -> Path:
        return self.home / f"{self.what}.{state}.json"


def plan(config: Ablation, out: Path, resolve: Resolve) -> list[AblationJob]:
    """All jobs, seed by seed, each behind those it needs.

    Args:
        config: The ablation.
        out: Its folder.
        resolve: Reads a run file.

    Raises:
        FormatError: If a run file or one of the settings in its place is wrong.
    """
    # Arms behind the arm that they start from, else in the order of the file.
    left, order = list(config.arms), list[Arm]()
    while left:
        arm = next(a for a in left if not a.after or any(a.after == f.name for f in order))
        order.append(arm)
        left.remove(arm)
    made: dict[str, AblationJob] = {}
    for seed in config.seeds:
        for arm in order:
            before = made[f"{arm.after}/seed-{seed}/train"] if arm.after else None
            overrides = [*config.train.set, *arm.set, f"run.seed={seed}"]
            if before:
                # As a TOML text: a folder called 1 would be read as a number.
                overrides.append(f"model.init_from={json_text(str(before.folder / arm.start), ensure_ascii=False)}")
            file, home = config.run_file(arm), out / arm.name / f"seed-{seed}"
            try:
                resolved = dict(resolve(file, overrides))
            except FormatError as error:
                raise FormatError(f"the arm {arm.name!r}: {error}") from error
            depends: dict[str, Any] = {"settings": resolved}
            if before:
                resolved["model"] = {**resolved["model"], "init_from": f"{arm.after}/{arm.start}"}
                depends["before"] = before.depends
            flags = [part for setting in overrides for part in ("--set", setting)]
            command = ("train", str(resolved["kind"]), "--config", str(file), *flags, "--out", str(home / "train"))
            train = AblationJob(arm.name, seed, "train", home, command, (before.name,) if before else (), depends)
            made[train.name] = train
            asked = _evaluation(config, arm, train)
            made[asked.name] = asked
    return list(made.values())


def _evaluation(config: Ablation, arm: Arm, train: AblationJob) -> AblationJob:
    asked = config.evaluate
    command = ["eval", "run", "--suite", asked.suite]
    command += ["--data", asked.data] if asked.data else []
    command += [part for key, value in asked.options.items() for part in ("--option", f"{key}={value}")]
    command += ["--split", asked.split] if asked.split else []
    command += ["--questions", str(asked.questions)] if asked.questions else []
    command += ["--seed", str(asked.seed), "--model", str(train.folder / "checkpoint")]
    command += ["--out", str(train.home / "eval"), "--json", *asked.arguments, *arm.arguments]
    # Options as a list: a further one is a change.
    said = dataclasses.asdict(asked) | {
        "options": [f"{key}={value}" for key, value in asked.options.items()],
        "arguments": [*asked.arguments, *arm.arguments],
    }
    depends = {"evaluate": said, "train": train.depends}
    return AblationJob(arm.name, train.seed, "eval", train.home, tuple(command), (train.name,), depends)


def _changed(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Dotted names of values that differ. A setting that did not exist when the job was begun has not been changed since."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old):
            yield from _changed(old[key], new.get(key), f"{name}.{key}".lstrip("."))
    elif old != new:
        yield name.removeprefix("settings.")


# --- Jobs as processes: several at once, each when those it needs have ended, so that any of it may be killed and started again.


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


# --- What each arm was shown, so that unequal training cannot hide. An arm that starts from another one was shown all that that one was
# shown as well. Responses that GRPO samples are not counted, only the questions.


def exposures(config: Ablation, jobs: Sequence[AblationJob]) -> dict[str, dict[str, Any]]:
    """What the first seed of every arm was shown, by name."""
    own: dict[str, tuple[int, int, int, int | None]] = {}  # steps, samples a step, samples, images among them
    for job in jobs:
        if job.what != "train" or job.seed != config.seeds[0]:
            continue
        told: Mapping[str, Any] = job.depends["settings"]
        each = int(told["rollout"]["prompts_per_step"] if told["kind"] == "grpo" else told["batch_size"])
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
        samples, share = sum(logged.values()), told["data"]["images"]
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
            "exposure": ArmExposure(samples=samples, image=image, volume=None if image is None else samples - image),
        }
    return seen


# --- From the folders of finished runs to one object: scores of every arm, differences to the reference, verdicts on the claims.


GROUPS = ("image", "volume", "all")
_RESULTS = "results.json"  # of an evaluation
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


def summary(config: Ablation, jobs: Sequence[AblationJob]) -> AblationResults:
    """The results of an ablation whose jobs have all ended.

    Args:
        config: The ablation.
        jobs: All its jobs.

    Raises:
        FormatError: If arms or seeds were asked different questions, or a file is damaged.
        UniReasonError: If a file is missing.
    """
    runs = read_runs(jobs)
    seen = exposures(config, jobs)
    reference = config.reference
    # That of the evaluation with the most questions outside is told; None where none is.
    scopes = [RunAsked.read(job.folder / _RESULTS).scope for job in jobs if job.what == "eval"]
    return AblationResults(
        kind="ablation",
        reference=reference,
        seeds=list(config.seeds),
        arms=[
            ArmResults(
                name=arm.name,
                title=arm.title,
                **cast("dict[str, Any]", {group: _scores(runs, arm.name, group) for group in GROUPS if runs.chosen(group)}),
                **seen[arm.name],
            )
            for arm in config.arms
        ],
        differences=[
            ArmDifference(arm=arm.name, than=reference, on=group, **_difference(runs, arm.name, reference, group))
            for arm in config.arms
            if arm.name != reference
            for group in GROUPS
            if runs.chosen(group)
        ],
        claims=[_claim(runs, claim) for claim in config.claims],
        scope=max((own for own in scopes if own), key=lambda own: own["outside"] or 0, default=None),
        manifest=_manifest(config, jobs, runs),
    )


def read_runs(jobs: Sequence[AblationJob]) -> Runs:
    """The answers in the folders of all evaluations."""
    from .benchmark import answered, rows_of

    answers: dict[str, list[Mapping[str, Answered]]] = {}
    manifests: dict[str, list[Mapping[str, Any]]] = {}
    first: tuple[AblationJob, tuple[str, ...], Any] | None = None
    for job in (j for j in jobs if j.what == "eval"):
        manifest = RunAsked.read(job.folder / _RESULTS).manifest
        rows = {row.id: answered(row) for row in rows_of(job.folder)}
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


def verdict(interval: Sequence[float]) -> Literal["holds", "does not hold", "undecided"]:
    """ "holds" if the interval of a difference lies above 0, "does not hold" if below, "undecided" otherwise."""
    low, high = interval
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def _scores(runs: Runs, arm: str, group: str) -> ArmScores:
    names = runs.chosen(group)
    patients = runs.patients(names)
    right = crossed_mean(runs.table(arm, names, _right), clusters=patients)
    answers = runs.answers[arm]
    # Overlap of true looks, each a column of its own; those of a patient hang together.
    whose = [answers[0][name].scored.patient for name in names for _ in answers[0][name].ious]
    ious = [[iou for name in names for iou in seed[name].ious] for seed in answers]
    overlap = crossed_mean(ious, clusters=whose) if whose else None
    options = [answers[0][name].scored.options for name in names]
    return ArmScores(
        n=len(names),
        patients=len(set(patients)),
        too_few_patients=too_few(len(set(patients))),
        chance=fmean(1 / count if count else 0.0 for count in options),
        accuracy=right.mean,
        ci95=_ends(right, 0.0),
        seeds=list(right.seeds),
        looked=fmean(map(fmean, runs.table(arm, names, lambda answer: float(answer.looked)))),
        mean_box_iou=overlap.mean if overlap else None,
        mean_box_iou_ci95=_ends(overlap, 0.0) if overlap else None,
        mean_box_iou_seeds=list(overlap.seeds) if overlap else None,
    )


def _right(answer: Answered) -> float:
    return float(answer.scored.right)


def _difference(runs: Runs, arm: str, than: str, group: str) -> dict[str, Any]:
    names = runs.chosen(group)
    tables = [runs.table(name, names, _right) for name in (arm, than)]
    found = crossed_difference(tables[0], tables[1], clusters=runs.patients(names))
    return {"difference": found.mean, "ci95": _ends(found, -1.0), "seeds": list(found.seeds)}


def _claim(runs: Runs, claim: Claim) -> ClaimVerdict:
    group = claim.on or "all"
    if not runs.chosen(group):
        raise FormatError(f"no question is about a {group}, as the claim {claim.text!r} needs", "such questions")
    found = _difference(runs, claim.better, claim.than, group)
    return ClaimVerdict(text=claim.text, better=claim.better, than=claim.than, on=group, **found, verdict=verdict(found["ci95"]))


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
