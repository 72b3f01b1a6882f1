"""States of a run, from which it continues bit for bit: trained weights, optimisers, step and counters.

Every process writes what it holds into ``step-0000100/rank-00000-of-00001.safetensors``; with sharded weights that is its shard. A
state is made in a folder named ``.partial`` and renamed when all processes are done, so that what bears the name of a step is whole.
The folder must be one that all processes see. Nothing is pickled.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from unireason.errors import FormatError, UniReasonError
from unireason.files import json_text, write_bytes

from .contents import Optimizers, Parameters, apply_contents, damaged, readable, write_contents

_META = "meta.json"
_STEP = re.compile(r"step-(\d{7,})")


class Processes(Protocol):
    """The processes that save together."""

    @property
    def rank(self) -> int:
        """Number of this one."""

    @property
    def world(self) -> int:
        """How many there are."""

    def barrier(self) -> None:
        """Wait for all."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A run of one process."""

    rank: int = 0
    world: int = 1

    def barrier(self) -> None:
        """Nobody to wait for."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        step: Steps done.
        settings: Hash of the settings; a run continues only under the same.
        counters: Samples seen, cases skipped and the like, the same in every process.
    """

    step: int
    settings: str
    counters: Mapping[str, int] = field(default_factory=dict)


def save(
    folder: Path,
    progress: Progress,
    parameters: Parameters,
    optimizers: Optimizers,
    *,
    crew: Processes | None = None,
    keep: int = 1,
) -> Path:
    """Write a state, then remove older ones. All processes call this together.

    Args:
        folder: Folder of the states; made if missing.
        progress: How far the run is.
        parameters: What is trained, by name.
        optimizers: What steps it, in a fixed order. Options of their groups, such as rates, come from the settings and are not kept.
        crew: The processes; None for one alone.
        keep: States that stay, the new one included.

    Returns:
        The folder of the state.

    Raises:
        UniReasonError: If a value is not finite, or the state cannot be written, here or in another process; older states are as
            they were, and nothing of the new one is left.
    """
    crew = crew or Alone()
    target = folder / f"step-{progress.step:07d}"
    partial = folder / f"{target.name}.partial"

    def prepare() -> None:
        if crew.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)

    def write_own() -> None:
        write_contents(partial / _file(crew.rank, crew.world), parameters, optimizers)

    def publish() -> None:
        if crew.rank == 0:
            _write_meta(partial, progress, crew.world)
            if not _complete(partial):
                raise UniReasonError("another process could not write its part")
            _put(partial, target)
            _prune(folder, target, keep)

    failure: OSError | UniReasonError | None = None
    for stage in (prepare, write_own, publish):
        try:  # a process that failed still meets the others, or they would wait for ever
            if failure is None:
                stage()
        except (OSError, UniReasonError) as error:
            failure = error
        crew.barrier()
    if failure is None and not target.exists():
        failure = UniReasonError("another process could not write its part")
    if failure is not None:
        shutil.rmtree(partial, ignore_errors=True)
        raise _unsaved(target, failure) from failure
    return target


def latest(folder: Path) -> Path | None:
    """The newest whole state in a folder; None before the first. States that are half-written or cut short are passed over."""
    return next((path for _, path in reversed(_steps(folder)) if _complete(path)), None)


def restore(
    path: Path, parameters: Parameters, optimizers: Optimizers = (), *, settings: str, crew: Processes | None = None
) -> Progress:
    """Load a state in place: all of it, or nothing if there is an error.

    Args:
        path: From ``latest``.
        parameters: What is trained, by name; without optimisers some of it will do.
        optimizers: As saved; none takes the weights alone.
        settings: Hash of the settings of this run.
        crew: The processes; None for one alone.

    Returns:
        How far the run was.

    Raises:
        FormatError: If the state is of other settings, another number of processes or other weights.
        UniReasonError: If it cannot be read or is damaged.
    """
    crew = crew or Alone()
    progress, world = _read_meta(path)
    if world != crew.world:
        raise FormatError(
            f"the state {path.name} was saved by {world} processes", f"{crew.world} as now", f"start {world} processes"
        )
    if progress.settings != settings:
        raise FormatError(f"the state {path.name} is of a run with other settings", "the same", "take an empty run folder")
    apply_contents(path / _file(crew.rank, world), parameters, optimizers)
    return progress


def _write_meta(folder: Path, progress: Progress, world: int) -> None:
    table = {
        "step": progress.step,
        "settings": progress.settings,
        "counters": dict(progress.counters),
        "world": world,
    }
    write_bytes(folder / _META, (json_text(table, indent=2, sort_keys=True) + "\n").encode())


def _read_meta(path: Path) -> tuple[Progress, int]:
    """How far a state is, and how many processes wrote it."""
    try:
        table: Any = json.loads((path / _META).read_text(encoding="utf-8"))
        step, world, counters = table["step"], table["world"], table["counters"]
        if not all(type(n) is int for n in (step, world, *counters.values())):
            raise ValueError("a count is not a whole number")
        return Progress(step, str(table["settings"]), counters), world
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path / _META, str(error)) from error


def _complete(path: Path) -> bool:
    """True if all files of a state are there and none is cut short."""
    try:
        _, world = _read_meta(path)
    except UniReasonError:
        return False
    return all(readable(path / _file(rank, world)) for rank in range(world))


def _file(rank: int, world: int) -> str:
    return f"rank-{rank:05d}-of-{world:05d}.safetensors"


def _steps(folder: Path) -> list[tuple[int, Path]]:
    """Steps and folders of all states, in order."""
    found = ((_STEP.fullmatch(path.name), path) for path in folder.glob("step-*"))
    return sorted((int(match.group(1)), path) for match, path in found if match)


def _put(partial: Path, target: Path) -> None:
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)


def _prune(folder: Path, target: Path, keep: int) -> None:
    """Remove what the new state replaces: older ones, later ones of a course that was given up, and left-overs."""
    paths = [path for _, path in _steps(folder)]
    older = [path for path in paths[: paths.index(target)] if _complete(path)]
    kept = {target, *(older[-(keep - 1) :] if keep > 1 else ())}
    for path in folder.glob("step-*"):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _unsaved(target: Path, failure: OSError | UniReasonError) -> UniReasonError:
    if isinstance(failure, UniReasonError):
        return UniReasonError(f"the state {target} was not saved: {failure.came}", failure.expected, failure.remedy)
    reason = failure.strerror or type(failure).__name__
    return UniReasonError(
        f"the state {target} cannot be written ({reason})", "room for it", "free some space and go on from the last state"
    )
