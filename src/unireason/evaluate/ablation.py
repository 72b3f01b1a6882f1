"""What an ablation compares: arms, each a training run with its own settings; seeds; the questions; the claims it is to test.

It knows tables, not files of TOML, and nothing of what training settings mean.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text, write_bytes

KIND = "ablation"
ON = ("image", "volume", "")
"""What a claim may be about: questions on images, on volumes, on both."""
STARTS = ("checkpoint", "best")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Evaluate:
    """The questions that every checkpoint is asked, as options of ``unireason eval run``."""

    suite: str
    data: str = ""
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    split: str = ""
    questions: int = 0
    seed: int = 0
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train."""

    name: str
    title: str = ""
    file: str = ""
    set: tuple[str, ...] = ()
    after: str = ""
    start: str = "checkpoint"
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that the results support or not."""

    text: str
    better: str
    than: str
    on: str = ""


@dataclass(frozen=True, slots=True)
class Ablation:
    """A grid of runs."""

    seeds: tuple[int, ...]
    reference: str
    file: str
    set: tuple[str, ...]
    evaluate: Evaluate
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    folder: Path

    def arm(self, name: str) -> Arm:
        """The arm of a name."""
        return {arm.name: arm for arm in self.arms}[name]

    def run_file(self, arm: Arm) -> Path:
        """The run file of an arm."""
        return self.folder / (arm.file or self.file)


def parse(table: Mapping[str, Any], folder: Path) -> Ablation:
    """An ablation from the table of its TOML file.

    Args:
        table: ``kind = "ablation"``, ``seeds``, ``reference``, ``[train]`` (``file``, ``set``), ``[evaluate]``, ``[[arms]]`` and
            ``[[claims]]``, with the fields of the classes of this file.
        folder: Folder of the file, to which run files are relative.

    Raises:
        FormatError: If a key is missing or unknown, a value has another type, or names do not fit together.
    """
    known = {"kind", "seeds", "reference", "train", "evaluate", "arms", "claims"}
    if table.get("kind") != KIND:
        raise FormatError(f"the kind of the file is {table.get('kind')!r}", f'kind = "{KIND}"')
    if unknown := sorted(set(table) - known):
        raise FormatError(f"unknown key {unknown[0]!r}", f"one of: {', '.join(sorted(known))}")
    train = _record(Train, table.get("train", {}), "train")
    arms = _records(Arm, table.get("arms"), "arms")
    seeds = table.get("seeds", [0])
    good = isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not good or len(set(seeds)) < len(seeds):
        raise FormatError(f"seeds is {seeds!r}", "a list of different whole numbers from 0, such as [0, 1, 2]")
    made = Ablation(
        seeds=tuple(seeds),
        reference=str(table.get("reference") or (arms[0].name if arms else "")),
        file=train.file,
        set=train.set,
        evaluate=_record(Evaluate, table.get("evaluate", {}), "evaluate"),
        arms=tuple(dataclasses.replace(arm, title=arm.title or arm.name) for arm in arms),
        claims=_records(Claim, table.get("claims"), "claims"),
        folder=folder,
    )
    _check(made)
    return made


@dataclass(frozen=True, slots=True)
class Train:
    """What is common to all arms."""

    file: str = ""
    set: tuple[str, ...] = ()


def _check(made: Ablation) -> None:
    """Names must be unique and known, every arm must have a run file, and arms may not wait for each other in a circle."""
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
        if not (arm.file or made.file):
            raise FormatError(f"the arm {arm.name!r} has no run file", "file = ... in [train] or in the arm")
        if arm.start not in STARTS:
            raise FormatError(f"start of {arm.name!r} is {arm.start!r}", " or ".join(f'"{name}"' for name in STARTS))
        seen, walked = {arm.name}, arm
        while walked.after:
            walked = made.arm(walked.after)
            if walked.name in seen:
                raise FormatError(f"the arm {arm.name!r} starts after itself", "a chain of arms with a beginning")
            seen.add(walked.name)
    for claim in made.claims:
        if claim.on not in ON or claim.better == claim.than:
            raise FormatError(f"the claim {claim.text!r} is on {claim.on!r}", 'on = "image", "volume" or "", between two arms')
    if made.evaluate.questions < 0 or made.evaluate.seed < 0:
        raise FormatError("questions or seed of [evaluate] is negative", "0 or more")


def _records(kind: type[T], value: Any, name: str) -> tuple[T, ...]:
    if value is not None and not isinstance(value, list):
        raise FormatError(f"{name} is {value!r}", f"tables that begin with [[{name}]]")
    return tuple(_record(kind, table, f"{name}[{n}]") for n, table in enumerate(value or []))


def _record(kind: type[T], table: Any, where: str) -> T:
    """A record of one table; its fields say which keys there are and, by their types, what they hold."""
    if not isinstance(table, Mapping):
        raise FormatError(f"{where} is {table!r}", "a table")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # T is a dataclass
    if unknown := sorted(set(table) - set(fields)):
        raise FormatError(f"unknown key {unknown[0]!r} in {where}", f"one of: {', '.join(fields)}")
    for name, entry in fields.items():
        if entry.default is entry.default_factory is dataclasses.MISSING and not table.get(name):
            raise FormatError(f"{where} has no {name}", "a value")
    return kind(**{name: _value(str(fields[name].type), value, f"{where}.{name}") for name, value in table.items()})


def _value(kind: str, value: Any, where: str) -> Any:
    texts = isinstance(value, list) and all(isinstance(v, str) for v in value)
    if (kind == "str" and isinstance(value, str)) or (kind == "int" and type(value) is int):
        return value
    if kind == "tuple[str, ...]" and texts:
        return tuple(value)
    if kind == "Mapping[str, str]" and isinstance(value, Mapping) and all(type(v) in (str, int, float) for v in value.values()):
        return {str(key): str(v) for key, v in value.items()}
    words = {"str": "a text in quotes", "int": "a whole number", "tuple[str, ...]": "a list of texts in quotes"}
    raise FormatError(f"{where} is {value!r}", words.get(kind, "a table of texts"))


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
            settings = [*config.set, *arm.set, f"run.seed={seed}"]
            if before:
                # As a TOML text: a folder called 1 would be read as a number.
                settings.append(f"model.init_from={json_text(str(before.folder / arm.start), ensure_ascii=False)}")
            file, home = config.run_file(arm), out / arm.name / f"seed-{seed}"
            try:
                resolved = dict(resolve(file, settings))
            except FormatError as error:
                raise FormatError(f"the arm {arm.name!r}: {error}") from error
            depends: dict[str, Any] = {"settings": resolved}
            if before:
                resolved["model"] = {**resolved["model"], "init_from": f"{arm.after}/{arm.start}"}
                depends["before"] = before.depends
            flags = [part for setting in settings for part in ("--set", setting)]
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
