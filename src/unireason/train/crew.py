"""The processes of a run: one on a laptop, many under ``torchrun`` or ``accelerate launch``.

Losses are divided by counts over all processes, so gradients are summed, not averaged: any number of processes takes the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import distributed, nn

from unireason.errors import ModelError

from .settings.shared import Model, Run

_BUCKET = 1 << 25
T = TypeVar("T")


class Crew:
    """What one process knows of all.

    Attributes:
        world: Number of processes.
        rank: Number of this one.
        device: Its device.
    """

    def __init__(self, run: Run) -> None:
        """Join the other processes, if there are any.

        Raises:
            ModelError: If the device does not exist, or weights are to be sharded and this process was started alone.
        """
        from accelerate import PartialState

        on_cpu = run.device.startswith("cpu") or not torch.cuda.is_available()
        if run.device and not run.device.startswith("cpu") and on_cpu:
            raise ModelError(f"the device {run.device!r} was asked for and torch sees no GPU", "'cpu' or \"\"")
        state = PartialState(cpu=on_cpu)
        self.world, self.rank = int(state.num_processes), int(state.process_index)
        if run.sharding == "fsdp" and not distributed.is_initialized():
            raise ModelError('run.sharding is "fsdp" in a process of its own', '"auto" or "none"', "or start it with torchrun")
        self.device = _device(run.device) if run.device and self.world == 1 else torch.device(state.device)

    @property
    def main(self) -> bool:
        """True in the process that writes logs and checkpoints."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            distributed.barrier()

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sum over all processes of every value."""
        return self._reduced(values, "sum")

    def largest(self, values: Sequence[float]) -> list[float]:
        """The maximum over all processes of every value."""
        return self._reduced(values, "max")

    def mine(self, rows: Sequence[T]) -> list[T]:
        """This process's share of rows that lie in order of length: every world-th."""
        return list(rows[self.rank :: self.world])

    def dealt(self, rows: Sequence[T], *, parts: int) -> list[T]:
        """This process's share of rows of which every ``parts``-th belongs to the same mini-batch: of each mini-batch as many as others."""
        block = math.lcm(self.world, parts)
        return [row for place, row in enumerate(rows) if (place + place // block) % self.world == self.rank]

    def shards(self, model: Model, run: Run) -> bool:
        """True if weights are sharded over the processes."""
        return run.sharding == "fsdp" or (run.sharding == "auto" and self.world > 1 and not model.lora.rank)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients of whole weights over all processes; a weight without one counts as zero."""
        if self.world == 1:
            return
        bucket: list[nn.Parameter] = []
        size = 0
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter)
            size += parameter.numel()
            if size > _BUCKET:
                _sum_bucket(bucket)
                bucket, size = [], 0
        _sum_bucket(bucket)

    def _reduced(self, values: Sequence[float], how: str) -> list[float]:
        if self.world == 1:
            return [float(v) for v in values]
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor, distributed.ReduceOp.SUM if how == "sum" else distributed.ReduceOp.MAX)
        return [float(v) for v in tensor]


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"there is no device {name!r}", "'cpu', 'cuda' or 'cuda:0'") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"there is no device {name!r}", f"a number below {torch.cuda.device_count()}")
    return device


def shard(policy: nn.Module, crew: Crew, *, low: bool) -> None:
    """Spread the weights of a policy over all processes, layer by layer; forward and backward pass gather them.

    A vision tower that is frozen stays whole: it runs outside of the policy too, and only once a picture.

    Args:
        policy: Holds ``network``; changed in place, its weights become float32 shards on the device of the process.
        crew: The processes.
        low: True gathers weights in bfloat16; gradients are summed in float32.

    Source: fully sharded data parallelism, arXiv 2304.11277.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    network = cast(Any, policy.network)
    mesh = init_device_mesh(crew.device.type, (crew.world,))
    kinds = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if low else MixedPrecisionPolicy()
    tower = network.model.visual
    looking = any(p.requires_grad for p in tower.parameters())
    kept = set() if looking else set(tower.to(crew.device).parameters())
    for layer in [*network.model.language_model.layers, *(tower.blocks if looking else ())]:
        fully_shard(layer.float(), mesh=mesh, mp_policy=kinds)
    fully_shard(policy.float(), mesh=mesh, mp_policy=kinds, ignored_params=kept)
    for module in policy.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums


def _sum_bucket(bucket: Sequence[nn.Parameter]) -> None:
    grads = [p.grad for p in bucket if p.grad is not None]
    if not grads:
        return
    flat = torch.cat([g.reshape(-1).float() for g in grads])
    distributed.all_reduce(flat)
    for grad, summed in zip(grads, torch.split(flat, [g.numel() for g in grads]), strict=True):
        grad.copy_(summed.view_as(grad))
