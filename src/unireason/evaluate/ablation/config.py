"""What an ablation compares: arms, each a training run with its own settings; seeds; the questions; the claims it is to test.

It knows tables, not files of TOML, and nothing of what training settings mean.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from unireason.errors import FormatError

KIND = "ablation"
ON = ("image", "volume", "")
"""What a claim may be about: questions on images, on volumes, on both."""
STARTS = ("checkpoint", "best")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Evaluate:
    """The questions that every checkpoint is asked, as options of ``unireason eval run``.

    Attributes:
        suite: Name of the suite.
        data: Folder of its files, relative to the working directory; "" for a suite that needs none.
        options: Options of the suite.
        split: Its split; "" for the one meant for evaluation.
        questions: Questions at most; 0 takes all.
        seed: Seed of all that is drawn; the same for all arms and seeds.
        arguments: Further arguments, put at the end of the command.
    """

    suite: str
    data: str = ""
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    split: str = ""
    questions: int = 0
    seed: int = 0
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        name: Short name, also that of its folder.
        title: What people read; the name if left out.
        file: Run file of ``unireason train``, relative to the ablation's; the common one if left out.
        set: Settings in place of the file's, after the common ones.
        after: Name of the arm from whose weights of the same seed it starts; "" starts where its run file says.
        start: Which weights of that arm: "checkpoint" (the last) or "best".
        arguments: Further arguments of ``unireason eval run`` for this arm alone.
    """

    name: str
    title: str = ""
    file: str = ""
    set: tuple[str, ...] = ()
    after: str = ""
    start: str = "checkpoint"
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that the results support or not.

    Attributes:
        text: The sentence.
        better: Name of the arm that is said to be better.
        than: Name of the other.
        on: "image", "volume", or "" for all questions.
    """

    text: str
    better: str
    than: str
    on: str = ""


@dataclass(frozen=True, slots=True)
class Ablation:
    """A grid of runs.

    Attributes:
        seeds: Seeds of training; every arm is trained with each.
        reference: Name of the arm that the others are compared with.
        file: Common run file of ``unireason train``, relative to the ablation's; "" if every arm has its own.
        set: Settings in place of the files', for all arms.
        evaluate: The questions.
        arms: In the order of the table.
        claims: What is to be tested; may be none.
        folder: Folder of the ablation's file.
    """

    seeds: tuple[int, ...]
    reference: str
    file: str
    set: tuple[str, ...]
    evaluate: Evaluate
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    folder: Path

    def arm(self, name: str) -> Arm:
        """The arm of a name.

        Raises:
            KeyError: If there is none.
        """
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
    made = Ablation(
        seeds=_seeds(table.get("seeds", [0])),
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
    """What is common to all arms.

    Attributes:
        file: Run file, relative to the ablation's.
        set: Settings in place of the file's.
    """

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
        _check_arm(made, arm)
    for claim in made.claims:
        if claim.on not in ON or claim.better == claim.than:
            raise FormatError(f"the claim {claim.text!r} is on {claim.on!r}", 'on = "image", "volume" or "", between two arms')
    if made.evaluate.questions < 0 or made.evaluate.seed < 0:
        raise FormatError("questions or seed of [evaluate] is negative", "0 or more")


def _check_arm(made: Ablation, arm: Arm) -> None:
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


def _seeds(value: Any) -> tuple[int, ...]:
    good = isinstance(value, list) and value and all(type(v) is int and v >= 0 for v in value)
    if not good or len(set(value)) < len(value):
        raise FormatError(f"seeds is {value!r}", "a list of different whole numbers from 0, such as [0, 1, 2]")
    return tuple(value)


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
    for name, field in fields.items():
        if field.default is field.default_factory is dataclasses.MISSING and not table.get(name):
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
