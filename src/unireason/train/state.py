"""Saved states of a run: weights and optimiser in one safetensors file, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


def latest(folder: Path, stage: str) -> Path | None:
    """The newest state of a stage; None before the first."""
    states = sorted(folder.glob(f"{stage}-*.safetensors"))
    return states[-1] if states else None


def save(
    folder: Path, stage: str, step: int, modules: Mapping[str, nn.Module], optimizers: Sequence[torch.optim.Optimizer]
) -> Path:
    """Writes a state, then removes the older ones of its stage.

    Args:
        folder: Run folder.
        stage: Name of the stage.
        step: Steps done.
        modules: What is trained, by name.
        optimizers: What trains them, in a fixed order.
    """
    tensors = {
        f"module.{name}.{key}": value.detach().contiguous()
        for name, m in modules.items()
        for key, value in m.state_dict().items()
    }
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{key}": value.contiguous() for key, value in state.items()}
    target = folder / f"{stage}-{step:07d}.safetensors"
    partial = target.with_suffix(".partial")
    save_file(tensors, str(partial), metadata={"step": str(step)})
    os.replace(partial, target)
    for old in folder.glob(f"{stage}-*.safetensors"):
        if old != target:
            old.unlink()
    return target


def restore(path: Path | None, modules: Mapping[str, nn.Module], optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Loads a state in place.

    Args:
        path: From ``latest``; None starts from the beginning.
        modules: All or some of those saved.
        optimizers: As saved, or none to take the weights alone.

    Returns:
        Steps done.
    """
    if path is None:
        return 0
    with safe_open(str(path), "pt") as file:
        step = int(file.metadata()["step"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    for name, module in modules.items():
        head = f"module.{name}."
        module.load_state_dict({k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)})
    states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in optimizers]
    for key, value in tensors.items():
        if optimizers and key.startswith("optimizer."):
            _, number, index, field = key.split(".", 3)
            states[int(number)].setdefault(int(index), {})[field] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step
