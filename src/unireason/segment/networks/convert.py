"""An original checkpoint becomes a folder that the experts load: config.json and model.safetensors.

A foreign .pt file is a pickle, which can run any code. It is opened by torch's restricted reader only, which builds tensors, numbers and
plain containers and refuses anything else; an optimiser that was saved along is read as an empty stand-in.
"""

from __future__ import annotations

import collections
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals
from transformers.utils import logging

from unireason.errors import ModelError, SizeLimitError
from unireason.files import replaced_folder, share_as_usual

from .convert_sam import sam_model, sam_tensors
from .convert_sam2 import medsam2_model, sam2_tensors

State = Mapping[str, Tensor]

LARGEST_BYTES = 8 << 30
"""A larger checkpoint is refused: the largest published one of these kinds has about 3 GiB, its optimiser included."""

_KINDS: dict[str, tuple[Callable[[State], tuple[type[Any], Any]], Callable[[State], dict[str, Tensor]]]] = {
    "medsam": (sam_model, sam_tensors),
    "sam-med2d": (sam_model, sam_tensors),
    "medsam2": (medsam2_model, sam2_tensors),
}
KINDS = tuple(_KINDS)
"""What :func:`convert` knows."""


def convert(original: str | os.PathLike[str], kind: str, out: str | os.PathLike[str]) -> dict[str, Any]:
    """Convert a checkpoint.

    Args:
        original: The published .pt or .pth file.
        kind: One of :data:`KINDS`.
        out: The folder to write; an older one of this name is replaced when all is well.

    Returns:
        Counts for people and machines: ``read`` and ``written`` tensors, ``parameters``, ``folder``.

    Raises:
        ModelError: If the file cannot be read, holds code, or its tensors are not those of the kind: names or shapes differ, some are
            missing or left over.
        SizeLimitError: If it is larger than :data:`LARGEST_BYTES`.
    """
    if kind not in _KINDS:
        raise ModelError(f"there is no kind '{kind}' of checkpoint to convert", f"one of {', '.join(KINDS)}")
    state = read_original(original)
    plan, rename = _KINDS[kind]
    try:
        network, config = plan(state)
        tensors = rename(state)
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise _other(original, kind, f"there is no tensor {error}" if isinstance(error, KeyError) else str(error)) from error
    with torch.device("meta"):
        model = network(config)
    _compare(model.state_dict(), tensors, original, kind)
    model.load_state_dict({name: tensor.float().contiguous() for name, tensor in tensors.items()}, strict=True, assign=True)
    _save(model, out)
    count = sum(p.numel() for p in model.parameters())
    return {"read": len(state), "written": len(tensors), "parameters": count, "folder": str(out)}


class _Ignored:
    """Stands for an object of which nothing is wanted."""

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


def read_original(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights in a checkpoint file, without running any code of it.

    Args:
        path: A file that holds a table of tensors by name, or one under "model" or "state_dict".

    Returns:
        Tensors by name; a prefix "module." of parallel training is taken off.

    Raises:
        ModelError: If it cannot be read, holds anything but data, or no table of tensors.
        SizeLimitError: If it is larger than :data:`LARGEST_BYTES`.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"there is no file '{path}'", "an original checkpoint (.pt or .pth)")
    if file.stat().st_size > LARGEST_BYTES:
        raise SizeLimitError(f"'{file.name}' has {file.stat().st_size >> 20} MiB", f"at most {LARGEST_BYTES >> 20}")
    stand_ins = [(_Ignored, f"torch.optim.{name}") for name in ("adam.Adam", "adamw.AdamW", "sgd.SGD")]
    try:
        with safe_globals([*stand_ins, collections.defaultdict, dict]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other versions, which are read or refused all the same
            held = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or foreign file fails in many places of the reader, each with its own error
        raise ModelError(
            f"'{file.name}' cannot be read as plain weights ({' '.join(str(error).split())[:200]})",
            "a checkpoint of tensors, numbers and plain containers",
            "other objects in a checkpoint can run any code and are refused",
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not held or not all(isinstance(t, Tensor) for t in held.values()):
        raise ModelError(f"'{file.name}' holds no table of tensors by name", "the state of a network, or one under 'model'")
    return {str(name).removeprefix("module."): tensor for name, tensor in held.items()}


def _compare(wanted: State, given: State, original: str | os.PathLike[str], kind: str) -> None:
    """Every tensor of the network is there once, with its shape, and none is left over."""
    missing, left = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or left:
        first = (missing or left)[0]
        raise _other(original, kind, f"{len(missing)} tensors are missing and {len(left)} left over, first {first}")
    for name, tensor in wanted.items():
        if tensor.shape != given[name].shape:
            raise _other(original, kind, f"{name} has the shape {tuple(given[name].shape)} instead of {tuple(tensor.shape)}")


def _other(original: str | os.PathLike[str], kind: str, why: str) -> ModelError:
    return ModelError(f"'{Path(original).name}' is no checkpoint of the kind '{kind}': {why}", remedy="check --kind and the file")


def _save(model: Any, out: str | os.PathLike[str]) -> None:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with replaced_folder(out) as folder:
            model.save_pretrained(folder)
            for file in folder.iterdir():
                share_as_usual(file)
    finally:
        if shown:
            logging.enable_progress_bar()
