"""What one process keeps in a state: its weights and what its optimisers remember, in one safetensors file with a checksum.

Keys are ``parameter.<name>`` and ``optimizer.<number>.<slot>.<name>``. Of a sharded tensor the file holds the shard of the process.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from unireason.errors import FormatError, UniReasonError
from unireason.files import json_text
from unireason.model.weights import write

Parameters = Mapping[str, torch.Tensor]
Optimizers = Sequence[torch.optim.Optimizer]


@dataclass(frozen=True, slots=True)
class Notes:
    """What the tensors of a file do not say themselves.

    Attributes:
        plain: Numbers of optimisers that are no tensors, by key.
        host: Keys of tensors that lay on the CPU while their weight did not, such as step counts.
        sharded: Keys of tensors that were sharded as their weight is.
    """

    plain: dict[str, float | None] = field(default_factory=dict)
    host: list[str] = field(default_factory=list)
    sharded: list[str] = field(default_factory=list)


def write_contents(path: Path, parameters: Parameters, optimizers: Optimizers) -> None:
    """Write the weights and optimisers of this process.

    Args:
        path: The file.
        parameters: What is trained, by name.
        optimizers: What steps it.

    Raises:
        UniReasonError: If a value is not finite, or an optimiser steps or remembers something that cannot be kept.
        OSError: If the file cannot be written.
    """
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
    """Read a file of ``write_contents``.

    Raises:
        UniReasonError: If it is missing, cut short or changed.
    """
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
    """Load a file in place: all of it, or nothing if there is an error.

    Args:
        path: A file of ``write_contents``.
        parameters: What is trained, by name; without optimisers some of it will do.
        optimizers: As written, or none.

    Raises:
        FormatError: If it is of other weights.
        UniReasonError: If it cannot be read or is damaged.
    """
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
    """A tensor of an optimiser where it was: beside its weight or on the CPU, sharded or not.

    ``Optimizer.load_state_dict`` would cast it to the type of the weight.
    """
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
