"""States of a run, from which it continues bit for bit: trained weights, optimisers, step and counters.

Every process writes what it holds into ``step-0000100/rank-00000-of-00001.safetensors``; with sharded weights that is its shard. A
state is made in a folder named ``.partial`` and renamed when all processes are done, so that what bears the name of a step is whole.
The folder must be one that all processes see. Nothing is pickled.
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text, write_bytes
from unireason.model.files import write

# --- What one process keeps in a state: its weights and what its optimisers remember, in one safetensors file with a checksum.


Parameters = Mapping[str, torch.Tensor]
Optimizers = Sequence[torch.optim.Optimizer]


@dataclass(frozen=True, slots=True)
class Notes:
    """What the tensors of a file do not say themselves."""

    plain: dict[str, float | None] = field(default_factory=dict)
    host: list[str] = field(default_factory=list)
    sharded: list[str] = field(default_factory=list)


def write_contents(path: Path, parameters: Parameters, optimizers: Optimizers) -> None:
    """Write the weights and optimisers of this process."""
    found = {f"parameter.{name}": _local(parameter) for name, parameter in parameters.items()}
    notes = Notes()
    for number, optimizer in enumerate(optimizers):
        for name, parameter in _stepped(optimizer, parameters):
            for slot, value in optimizer.state.get(parameter, {}).items():
                key = f"optimizer.{number}.{slot}.{name}"
                if isinstance(value, torch.Tensor):
                    found[key] = _local(value)
                    notes.host.extend([key] if value.device.type == "cpu" != parameter.device.type else [])
                    notes.sharded.extend([key] if hasattr(value, "to_local") else [])
                elif value is None or isinstance(value, int | float):
                    notes.plain[key] = value
                else:
                    raise UniReasonError(f"the optimiser's {slot} is a {type(value).__name__}", "a tensor or a number")
    tensors = {key: value.detach().cpu().contiguous() for key, value in found.items()}
    _check_finite(tensors)
    # One entry alone: the order of several is chance in the file.
    write(path, tensors, {"notes": json_text({"crc32": _checksum(tensors, notes), **asdict(notes)})})


def read_contents(path: Path) -> tuple[dict[str, torch.Tensor], Notes]:
    """Read a file of ``write_contents``."""
    try:
        with safe_open(str(path), "pt") as file:
            told = json.loads(file.metadata()["notes"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        crc, notes = told.pop("crc32"), Notes(**told)
        whole = _checksum(tensors, notes) == crc
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, str(error)) from error
    if not whole:
        raise damaged(path, "its checksum differs")
    return tensors, notes


def readable(path: Path) -> bool:
    """True if a file is there and not cut short; its values are checked by ``read_contents``."""
    try:
        with safe_open(str(path), "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def apply_contents(path: Path, parameters: Parameters, optimizers: Optimizers) -> None:
    """Load a file in place: all of it, or nothing if there is an error."""
    tensors, notes = read_contents(path)
    _check_fit(path, tensors, parameters, optimizers)
    with torch.no_grad():
        for name, parameter in parameters.items():
            _local(parameter).copy_(tensors[f"parameter.{name}"])
    slots: dict[str, dict[str, Any]] = {}  # "number.name" -> slot -> value
    for key in (k for k in (*tensors, *notes.plain) if k.startswith("optimizer.")):
        _, place, slot, name = key.split(".", 3)
        slots.setdefault(f"{place}.{name}", {})[slot] = key
    for number, optimizer in enumerate(optimizers):
        optimizer.state.clear()
        for name, parameter in _stepped(optimizer, parameters):
            for slot, key in slots.get(f"{number}.{name}", {}).items():
                value = notes.plain[key] if key in notes.plain else _placed(tensors[key], key, notes, parameter)
                optimizer.state[parameter][slot] = value


def damaged(path: Path, why: str) -> UniReasonError:
    """The error for a file of a state that cannot be used."""
    return UniReasonError(
        f"the state file {path} is damaged ({why})", remedy=f"remove {path.parent} to go on from an earlier state or the start"
    )


def _stepped(optimizer: torch.optim.Optimizer, parameters: Parameters) -> list[tuple[str, torch.Tensor]]:
    """Name and weight of everything that an optimiser steps."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    stepped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if any(id(parameter) not in names for parameter in stepped):
        raise UniReasonError("an optimiser steps a weight that is not among those saved", "all of them")
    return [(names[id(parameter)], parameter) for parameter in stepped]


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a sharded tensor that this process holds; any other tensor as it is."""
    own: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return own


def _placed(value: torch.Tensor, key: str, notes: Notes, parameter: torch.Tensor) -> torch.Tensor:
    """A tensor of an optimiser where it was: beside its weight or on the CPU, sharded or not."""
    if key not in notes.host:
        value = value.to(parameter.device)
    if key not in notes.sharded:
        return value
    from torch.distributed.tensor import DTensor

    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
    return DTensor.from_local(value, mesh, placements, run_check=False, shape=parameter.shape, stride=parameter.stride())


def _check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    bad = [key for key, value in tensors.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if bad:
        raise UniReasonError(
            f"{len(bad)} tensors hold values that are not finite, such as {bad[0]}",
            "finite numbers",
            "go on from the last state with a lower rate or stronger clipping",
        )


def _check_fit(path: Path, tensors: Mapping[str, torch.Tensor], parameters: Parameters, optimizers: Optimizers) -> None:
    saved = {key.removeprefix("parameter."): value for key, value in tensors.items() if key.startswith("parameter.")}
    wrong = parameters.keys() - saved.keys() or (saved.keys() - parameters.keys() if optimizers else set())
    if not wrong:
        shapes = {name: (_local(parameter).shape, parameter.dtype) for name, parameter in parameters.items()}
        wrong = {name for name, own in shapes.items() if own != (saved[name].shape, saved[name].dtype)}
    if not wrong and optimizers:
        kept = (key.split(".", 3) for key in tensors if key.startswith("optimizer."))
        stepped = {(str(n), name) for n, optimizer in enumerate(optimizers) for name, _ in _stepped(optimizer, parameters)}
        wrong = {name for _, number, _, name in kept if (number, name) not in stepped}
    if wrong:
        raise FormatError(
            f"the state {path.parent.name} is of other weights, such as {sorted(wrong)[0]}",
            "the same names, shapes and optimisers",
        )


def _checksum(tensors: Mapping[str, torch.Tensor], notes: Notes) -> int:
    """CRC-32 over the notes and the names and bytes of all tensors."""
    crc = zlib.crc32(json_text(asdict(notes)).encode())
    for key in sorted(tensors):
        crc = zlib.crc32(key.encode(), crc)
        flat: Any = tensors[key].reshape(-1).view(torch.uint8).numpy()
        crc = zlib.crc32(flat, crc)
    return crc


# --- States of a run, from which it continues bit for bit: trained weights, optimisers, step and counters.


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
    """How far a run is."""

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
    """Write a state, then remove older ones. All processes call this together."""
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
    """Load a state in place: all of it, or nothing if there is an error."""
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
