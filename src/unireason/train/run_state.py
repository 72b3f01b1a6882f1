"""States of a run, from which it goes on: trained weights, optimisers, step and counters.

Every process writes its shards into ``step-0000100/rank-00000-of-00002.safetensors`` and says which rows they are; what is whole in every
process is written by the first. Any number of processes puts the rows together again; as many as before get the same bits. A state is made
in a folder named ``.partial`` and renamed when all processes are done, so that what bears the name of a step is whole. The folder must be
one that all processes see. Nothing is pickled.

(``torch.distributed.checkpoint`` writes safetensors too, but no checksum: a changed byte would be loaded in silence.)
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text, write_bytes
from unireason.model.files import write

Parameters = Mapping[str, torch.Tensor]
Optimizers = Sequence[torch.optim.Optimizer]

# --- One file: what one process writes of weights and optimisers, with a checksum.


@dataclass(frozen=True, slots=True)
class Notes:
    """What the tensors of a file do not say themselves: values that are no tensors, tensors that lie on the CPU beside a weight that
    does not, and of what is sharded the first row and the number of all rows."""

    plain: dict[str, float | None] = field(default_factory=dict)
    host: list[str] = field(default_factory=list)
    sharded: dict[str, tuple[int, int]] = field(default_factory=dict)


def write_contents(path: Path, parameters: Parameters, optimizers: Optimizers, *, rank: int = 0) -> None:
    """Write the shards of this process, and in the first one all that is whole."""
    found: dict[str, torch.Tensor] = {f"parameter.{name}": parameter for name, parameter in parameters.items()}
    notes = Notes()
    for number, optimizer in enumerate(optimizers):
        for name, parameter in _stepped(optimizer, parameters):
            for slot, value in optimizer.state.get(parameter, {}).items():
                key = f"optimizer.{number}.{slot}.{name}"
                if isinstance(value, torch.Tensor):
                    found[key] = value
                    notes.host.extend([key] if value.device.type == "cpu" != parameter.device.type else [])
                elif value is None or isinstance(value, int | float):
                    notes.plain[key] = value
                else:
                    raise UniReasonError(f"the optimiser's {slot} is a {type(value).__name__}", "a tensor or a number")
    tensors = {}
    for key, value in found.items():
        rows, own = _rows(value), _local(value).detach()
        if own.is_floating_point() and not bool(torch.isfinite(own).all()):
            raise UniReasonError(
                f"values of {key} are not finite",
                "finite numbers",
                "go on from the last state with a lower rate or stronger clipping",
            )
        if rows is not None:
            notes.sharded[key] = rows[0], value.shape[0]
        if rows is not None or rank == 0:
            tensors[key] = own.cpu().contiguous()
    crc = _checksum(json_text(asdict(notes)).encode())
    for key in sorted(tensors):
        crc = _checksum(tensors[key], _checksum(key.encode(), crc))
    # One entry alone: the order of several is chance in the file.
    write(path, tensors, {"notes": json_text({"crc32": crc, **asdict(notes)})})


def _header(path: Path) -> tuple[Notes, dict[str, tuple[int, ...]]]:
    """The notes of a file and the shapes of its tensors."""
    try:
        with safe_open(str(path), "pt") as file:
            told = json.loads(file.metadata()["notes"])
            del told["crc32"]
            # keys() is needed: safe_open is no mapping.
            return Notes(**told), {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def _values(path: Path, wanted: Mapping[str, slice | None]) -> dict[str, torch.Tensor]:
    """Tensors of a file, or rows of them, one in memory at a time; the checksum of the whole file is looked at on the way."""
    found = {}
    try:
        with safe_open(str(path), "pt") as file:
            told = json.loads(file.metadata()["notes"])
            expected = told.pop("crc32")
            crc = _checksum(json_text(told).encode())
            for key in sorted(file.keys()):
                value = file.get_tensor(key)
                crc = _checksum(value, _checksum(key.encode(), crc))
                if key in wanted:
                    rows = wanted[key]
                    found[key] = value if rows is None else value[rows].clone()
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    if crc != expected:
        raise _damaged(path, "its checksum differs")
    return found


def _damaged(path: Path, why: str) -> UniReasonError:
    """The error for a file of a state that cannot be used."""
    return UniReasonError(
        f"the state file {path} is damaged ({why})", remedy=f"remove {path.parent} to go on from an earlier state or the start"
    )


def _checksum(data: bytes | torch.Tensor, crc: int = 0) -> int:
    flat: Any = data.reshape(-1).view(torch.uint8).numpy() if isinstance(data, torch.Tensor) else data
    return zlib.crc32(flat, crc)


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


def _rows(tensor: Any) -> tuple[int, int] | None:
    """First and last row (exclusive) that this process holds of a sharded tensor, which is cut as ``torch.chunk`` does; None if whole."""
    if not hasattr(tensor, "to_local") or all(place.is_replicate() for place in tensor.placements):
        return None
    count, mesh = tensor.shape[0], tensor.device_mesh
    size = -(-count // mesh.size())
    first, last = (min(n * size, count) for n in (mesh.get_local_rank(), mesh.get_local_rank() + 1))
    if len(tensor.placements) != 1 or not tensor.placements[0].is_shard(0) or _local(tensor).shape[0] != last - first:
        raise UniReasonError(f"a weight is spread as {tensor.placements}", "even parts along its first axis, one a process")
    return first, last


# --- All files of a state, read by however many processes.


def _assembled(folder: Path, world: int, parameters: Parameters, optimizers: Optimizers) -> tuple[dict[str, torch.Tensor], Notes]:
    """This process's part of all tensors of a state, and the notes on them. Nothing is changed yet."""
    paths = [folder / _file(rank, world) for rank in range(world)]
    told, shapes = Notes(), dict[str, tuple[int, ...]]()
    parts: list[dict[str, tuple[int, int]]] = []  # of each file: first and last row of its tensors
    for path in paths:
        notes, held = _header(path)
        if isinstance(notes.sharded, list) and notes.sharded and world > 1:
            raise FormatError(
                f"the state {folder.name} was saved in shards by an earlier version, which did not note their rows",
                "a state of this version",
                "end the run with that version, or start another from its checkpoint",
            )
        told.plain.update(notes.plain)
        told.host.extend(notes.host)
        parts.append({})
        for key, shape in held.items():
            first, count = notes.sharded[key] if key in notes.sharded and world > 1 else (0, shape[0] if shape else 1)
            if key not in shapes or key in notes.sharded:
                shapes[key] = (count, *shape[1:]) if shape else ()
                parts[-1][key] = first, first + (shape[0] if shape else 1)
    _check_fit(folder, shapes, parameters, optimizers)

    mine: dict[str, tuple[int, int]] = {}  # first and last row of what this process wants
    for key, shape in shapes.items():
        parameter = parameters.get(key.split(".", 1 if key.startswith("parameter.") else 3)[-1])
        if parameter is not None:
            rows = _rows(parameter) if shape == parameter.shape else None
            mine[key] = rows or (0, shape[0] if shape else 1)
    pieces: dict[str, list[torch.Tensor]] = {key: [] for key in mine}
    for path, held_rows in zip(paths, parts, strict=True):
        wanted: dict[str, slice | None] = {}
        for key in mine.keys() & held_rows.keys():
            (a, b), (first, last) = mine[key], held_rows[key]
            if max(a, first) < min(b, last) or (a == b and first <= a <= last):
                wanted[key] = None if (a, b) == (first, last) else slice(max(a, first) - first, min(b, last) - first)
        for key, value in _values(path, wanted).items() if wanted else ():
            pieces[key].append(value)
    tensors = {key: found[0] if len(found) == 1 else torch.cat(found) for key, found in pieces.items() if found}
    short = [key for key, (a, b) in mine.items() if key not in tensors or (shapes[key] and len(tensors[key]) != b - a)]
    if short:
        raise _damaged(folder / paths[0].name, f"rows of {short[0]} are missing")
    wrong = [name for name, parameter in parameters.items() if tensors[f"parameter.{name}"].dtype != parameter.dtype]
    if wrong:
        raise _other_weights(folder, wrong)
    return tensors, told


def _check_fit(folder: Path, shapes: Mapping[str, tuple[int, ...]], parameters: Parameters, optimizers: Optimizers) -> None:
    saved = {key.removeprefix("parameter."): shape for key, shape in shapes.items() if key.startswith("parameter.")}
    wrong = parameters.keys() - saved.keys() or (saved.keys() - parameters.keys() if optimizers else set())
    wrong = wrong or {name for name, parameter in parameters.items() if parameter.shape != saved[name]}
    if not wrong and optimizers:
        stepped = {(str(n), name) for n, optimizer in enumerate(optimizers) for name, _ in _stepped(optimizer, parameters)}
        kept = (key.split(".", 3) for key in shapes if key.startswith("optimizer."))
        wrong = {name for _, number, _, name in kept if (number, name) not in stepped}
    if wrong:
        raise _other_weights(folder, sorted(wrong))


def _other_weights(folder: Path, names: Sequence[str]) -> FormatError:
    return FormatError(
        f"the state {folder.name} is of other weights, such as {names[0]}", "the same names, shapes and optimisers"
    )


def _placed(value: torch.Tensor, key: str, notes: Notes, parameter: Any) -> torch.Tensor:
    """A tensor of an optimiser where it was: on the CPU or beside its weight, and spread as that is."""
    if key not in notes.host:
        value = value.to(parameter.device)
    if _rows(parameter) is None or value.shape != _local(parameter).shape:
        return value
    from torch.distributed.tensor import DTensor

    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(value, mesh, placements, run_check=False, shape=parameter.shape, stride=parameter.stride())


# --- States in the folder of a run.


_META = "meta.json"
_STEP = re.compile(r"step-(\d{7,})")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    step: int
    settings: str
    counters: Mapping[str, int] = field(default_factory=dict)
    questions: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """What a run remembers of single questions, such as how often they were solved."""


def save(
    folder: Path,
    progress: Progress,
    parameters: Parameters,
    optimizers: Optimizers,
    *,
    rank: int = 0,
    world: int = 1,
    barrier: Callable[[], None] = lambda: None,
    keep: int = 1,
) -> Path:
    """Write a state, then remove older ones. All processes call this together."""
    target = folder / f"step-{progress.step:07d}"
    partial = folder / f"{target.name}.partial"

    def prepare() -> None:
        if rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)

    def write_own() -> None:
        write_contents(partial / _file(rank, world), parameters, optimizers, rank=rank)

    def publish() -> None:
        if rank == 0:
            table = {**asdict(progress), "counters": dict(progress.counters), "world": world}
            write_bytes(partial / _META, (json_text(table, indent=2, sort_keys=True) + "\n").encode())
            if not _complete(partial):
                raise UniReasonError("another process could not write its part")
            old = target.with_name(f"{target.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
            partial.rename(target)
            _prune(folder, target, keep)

    failure: OSError | UniReasonError | None = None
    for stage in (prepare, write_own, publish):
        try:  # a process that failed still meets the others, or they would wait for ever
            if failure is None:
                stage()
        except (OSError, UniReasonError) as error:
            failure = error
        barrier()
    if failure is None and not target.exists():
        failure = UniReasonError("another process could not write its part")
    if failure is None:
        return target
    shutil.rmtree(partial, ignore_errors=True)
    if isinstance(failure, UniReasonError):
        raise UniReasonError(f"the state {target} was not saved: {failure.came}", failure.expected, failure.remedy) from failure
    raise UniReasonError(
        f"the state {target} cannot be written ({failure.strerror or type(failure).__name__})",
        "room for it",
        "free some space and go on from the last state",
    ) from failure


def latest(folder: Path) -> Path | None:
    """The newest whole state in a folder; None before the first. States that are half-written or cut short are passed over."""
    return next((path for _, path in reversed(_steps(folder)) if _complete(path)), None)


def restore(path: Path, parameters: Parameters, optimizers: Optimizers = (), *, settings: str) -> Progress:
    """Load a state in place, saved by whatever number of processes: all of it, or nothing if there is an error."""
    progress, world = _read_meta(path)
    if progress.settings != settings:
        raise FormatError(f"the state {path.name} is of a run with other settings", "the same", "take an empty run folder")
    tensors, notes = _assembled(path, world, parameters, optimizers)
    with torch.no_grad():
        for name, parameter in parameters.items():
            _local(parameter).copy_(tensors[f"parameter.{name}"])
    slots: dict[str, dict[str, Any]] = {}  # "number.name" -> slot -> key
    for key in (k for k in (*tensors, *notes.plain) if k.startswith("optimizer.")):
        _, place, slot, name = key.split(".", 3)
        slots.setdefault(f"{place}.{name}", {})[slot] = key
    for number, optimizer in enumerate(optimizers):
        optimizer.state.clear()
        for name, parameter in _stepped(optimizer, parameters):
            for slot, key in slots.get(f"{number}.{name}", {}).items():
                value = notes.plain[key] if key in notes.plain else _placed(tensors[key], key, notes, parameter)
                optimizer.state[parameter][slot] = value
    return progress


def _read_meta(path: Path) -> tuple[Progress, int]:
    """How far a state is, and how many processes wrote it."""
    try:
        table: Any = json.loads((path / _META).read_text(encoding="utf-8"))
        step, world, counters = table["step"], table["world"], table["counters"]
        if not all(type(n) is int for n in (step, world, *counters.values())):
            raise ValueError("a count is not a whole number")
        questions = table.get("questions", {})
        if not all(type(n) in (int, float) for numbers in questions.values() for n in numbers):
            raise ValueError("what is noted of a question is not numbers")
        return Progress(step, str(table["settings"]), counters, questions), world
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path / _META, str(error)) from error


def _complete(path: Path) -> bool:
    """True if all files of a state are there and none is cut short."""
    try:
        _, world = _read_meta(path)
        for rank in range(world):
            _header(path / _file(rank, world))
    except UniReasonError:
        return False
    return True


def _file(rank: int, world: int) -> str:
    return f"rank-{rank:05d}-of-{world:05d}.safetensors"


def _steps(folder: Path) -> list[tuple[int, Path]]:
    """Steps and folders of all states, in order."""
    found = ((_STEP.fullmatch(path.name), path) for path in folder.glob("step-*"))
    return sorted((int(match.group(1)), path) for match, path in found if match)


def _prune(folder: Path, target: Path, keep: int) -> None:
    """Remove what the new state replaces: older ones, later ones of a course that was given up, and left-overs."""
    paths = [path for _, path in _steps(folder)]
    older = [path for path in paths[: paths.index(target)] if _complete(path)]
    kept = {target, *(older[-(keep - 1) :] if keep > 1 else ())}
    for path in folder.glob("step-*"):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
