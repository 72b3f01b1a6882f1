"""Tensors on disk: safetensors files, one or several, under the names of the published checkpoints.

In memory transformers 5 calls the parts ``model.visual`` and ``model.language_model``; published Qwen2.5-VL checkpoints, and all that
serves them, call them ``visual`` and ``model``. Files are always written in the published way, whatever library reads them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from unireason.errors import ModelError
from unireason.files import json_text, share_as_usual

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write one safetensors file.

    Args:
        path: The file.
        tensors: By name; no two may share memory.
        metadata: Kept in the header.

    Raises:
        OSError: If it cannot be written, such as on a full disk; the library itself raises an error of its own.
    """
    try:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, str(path), metadata=dict(metadata))
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number.group(1)) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else str(error)) from error
    share_as_usual(path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())  # a rename must not reach the disk before the bytes


def write_shards(folder: Path, state: Mapping[str, torch.Tensor], *, dtype: torch.dtype, shard: str) -> None:
    """Write the weights of a network into a folder, in one file or, above a limit, in numbered files with an index.

    Args:
        folder: Where to.
        state: Weights under published names; they are converted file by file.
        dtype: Type written.
        shard: Largest file, such as "5GB" (decimal units KB, MB, GB); a single larger tensor gets a file of its own.

    Raises:
        ModelError: If ``shard`` is not a size.
        OSError: If a file cannot be written.
    """
    limit = _bytes(shard)
    groups: list[list[str]] = [[]]
    sizes = {name: tensor.numel() * dtype.itemsize for name, tensor in state.items()}
    filled = 0
    for name in sorted(state):
        if groups[-1] and filled + sizes[name] > limit:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += sizes[name]
    count = len(groups)
    files = [SINGLE] if count == 1 else [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    for file, names in zip(files, groups, strict=True):
        write(folder / file, {n: state[n].to("cpu", dtype) for n in names}, {"format": "pt"})
    if count > 1:
        where = {name: file for file, names in zip(files, groups, strict=True) for name in names}
        table = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": where}
        (folder / INDEX).write_text(json_text(table, indent=2, sort_keys=True) + "\n")


def published(name: str) -> str:
    """The published name of a weight; a name that is published already stays.

    >>> published("model.language_model.norm.weight"), published("model.visual.merger.ln_q.weight")
    ('model.norm.weight', 'visual.merger.ln_q.weight')
    """
    for inside, outside in (("model.language_model.", "model."), ("model.visual.", "visual.")):
        if name.startswith(inside):
            return outside + name.removeprefix(inside)
    return name


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor gathered from all processes (all must call this together); any other as it is."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def _bytes(size: str) -> int:
    number = re.fullmatch(r"(\d+(?:\.\d+)?) ?(KB|MB|GB)", size)
    if number is None or not float(number.group(1)):
        raise ModelError(f"the largest weight file is {size!r}", "a size such as '5GB'")
    return int(float(number.group(1)) * _UNITS[number.group(2)])
