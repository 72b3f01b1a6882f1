"""The jobs of an ablation: one training and one evaluation for every arm and seed, each a command of this package.

A job leaves a note beside its folder: what it depends on. The note is called ``train.begun.json`` while the job runs and
``train.done.json`` once it ended well (``eval`` likewise), so that an ablation that was killed knows what is finished, and one whose
settings were changed is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unireason.errors import FormatError, UniReasonError
from unireason.files import json_text, write_bytes

from .config import Ablation, Arm

Resolve = Callable[[Path, Sequence[str]], Mapping[str, Any]]
"""A run file and settings in place of its own -> all its settings as plain JSON values, with ``kind``."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
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
        """Note that it runs.

        Raises:
            UniReasonError: If the note cannot be written.
        """
        note = {"command": ["unireason", *self.command], "sha256": self.sha256, "depends": self.depends}
        write_bytes(self._note("begun"), (json_text(note, indent=1) + "\n").encode())

    def finish(self) -> None:
        """Note that it ended well.

        Raises:
            UniReasonError: If the note cannot be written.
        """
        try:
            os.replace(self._note("begun"), self._note("done"))
        except OSError as error:
            raise UniReasonError(f"'{self._note('done')}' cannot be written ({error.strerror})") from error

    def check(self) -> None:
        """Refuse to go on with a job that was begun with other settings. A folder without a note, made by hand, is accepted.

        Raises:
            FormatError: If something it depends on has changed, or the note cannot be read.
        """
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


def plan(config: Ablation, out: Path, resolve: Resolve) -> list[Job]:
    """All jobs, seed by seed, each behind those it needs.

    Args:
        config: The ablation.
        out: Its folder.
        resolve: Reads a run file.

    Raises:
        FormatError: If a run file or one of the settings in its place is wrong.
    """
    made: dict[str, Job] = {}
    for seed in config.seeds:
        for arm in _in_order(config):
            train = _training(config, arm, seed, out=out, resolve=resolve, made=made)
            for job in (train, _evaluation(config, arm, train)):
                made[job.name] = job
    return list(made.values())


def _in_order(config: Ablation) -> list[Arm]:
    """Arms behind the arm that they start from, else in the order of the file."""
    left, found = list(config.arms), list[Arm]()
    while left:
        arm = next(a for a in left if not a.after or any(a.after == f.name for f in found))
        found.append(arm)
        left.remove(arm)
    return found


def _training(config: Ablation, arm: Arm, seed: int, *, out: Path, resolve: Resolve, made: Mapping[str, Job]) -> Job:
    before = made[f"{arm.after}/seed-{seed}/train"] if arm.after else None
    settings = [*config.set, *arm.set, f"run.seed={seed}"]
    if before:
        # As a TOML text: a folder called 1 would be read as a number.
        settings.append(f"model.start={json_text(str(before.folder / arm.start), ensure_ascii=False)}")
    file, home = config.run_file(arm), out / arm.name / f"seed-{seed}"
    try:
        resolved = dict(resolve(file, settings))
    except FormatError as error:
        raise FormatError(f"the arm {arm.name!r}: {error}") from error
    depends: dict[str, Any] = {"settings": resolved}
    if before:
        resolved["model"] = {**resolved["model"], "start": f"{arm.after}/{arm.start}"}
        depends["before"] = before.depends
    flags = [part for setting in settings for part in ("--set", setting)]
    command = ("train", str(resolved["kind"]), "--config", str(file), *flags, "--out", str(home / "train"))
    return Job(arm.name, seed, "train", home, command, (before.name,) if before else (), depends)


def _evaluation(config: Ablation, arm: Arm, train: Job) -> Job:
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
    return Job(arm.name, train.seed, "eval", train.home, tuple(command), (train.name,), depends)


def _changed(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Dotted names of values that differ. A setting that did not exist when the job was begun has not been changed since."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old):
            yield from _changed(old[key], new.get(key), f"{name}.{key}".lstrip("."))
    elif old != new:
        yield name.removeprefix("settings.")
