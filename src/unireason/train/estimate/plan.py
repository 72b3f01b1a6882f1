"""The whole estimate of a run: tokens, operations, hours and bytes, from its settings alone.

Formulas and assumptions: docs/explanation/planning.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from unireason.train.settings.grpo import Grpo
from unireason.train.settings.planned import Planned
from unireason.train.settings.sft import Sft

from . import memory, operations
from .machine import Machine
from .shape import Shape, find
from .workload import Workload, workload

_FEATURE_BYTES = 2
_STATE_BYTES = 28
"""What an optimiser step reads and writes of a weight: weight, gradient and two moments, all but the gradient twice."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost.

    Attributes:
        kind: "sft" or "grpo".
        shape: The network.
        machine: What it is planned for.
        trained: Weights that learn.
        steps: Steps of the run.
        samples: Samples a step (for GRPO: questions).
        tokens: Tokens a step over all processes: "tokens", "prompt", "written", "injected".
        operations: Operations a step over all processes, by phase.
        seconds: Seconds a step, by phase.
        memory: Bytes of a device, by what they are for, of the phase that needs most.
        cache: Bytes of visual features of all cases; 0 if the tower or projector learns.
        loading: Bytes of the host while all processes load.
    """

    kind: str
    shape: Shape
    machine: Machine
    trained: int
    steps: int
    samples: int
    tokens: dict[str, float]
    operations: dict[str, float]
    seconds: dict[str, float]
    memory: dict[str, float]
    cache: float
    loading: float

    @property
    def hours(self) -> float:
        """Hours of the whole run."""
        return self.steps * sum(self.seconds.values()) / 3600

    @property
    def bytes(self) -> float:
        """Bytes of a device at the worst moment."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        """True if that is at most nine tenths of the device; the rest goes to the allocator and the driver."""
        return self.bytes <= 0.9e9 * self.machine.gigabytes

    def to_json(self) -> dict[str, Any]:
        """Plain values, with ``hours``, ``bytes`` and ``fits``."""
        return {**asdict(self), "hours": self.hours, "bytes": self.bytes, "fits": self.fits}


def plan(settings: Sft | Grpo, planned: Planned, machine: Machine) -> Estimate:
    """Estimate a run.

    Args:
        settings: The run.
        planned: Sizes of its data, assumed or measured.
        machine: What it shall run on, one process a device.

    Raises:
        ModelError: If the sizes of the start are not known.
        FormatError: If adapters are asked for in layers that do not exist.
    """
    shape = find(settings.model.start, planned.like)
    work = workload(settings, planned, shape.vision)
    kept = memory.storage(settings.model, processes=machine.count, sharding=settings.run.sharding, gpu=machine.name != "cpu-core")
    looking = _frozen(settings)
    cache = sum(count * tokens for count, tokens in work.cases) * shape.language.width * _FEATURE_BYTES if looking else 0.0
    seen = _seen(settings, work, cache)
    counted = _operations(settings, shape, work, seen)
    return Estimate(
        kind=type(settings).__name__.lower(),
        shape=shape,
        machine=machine,
        trained=memory.trained_weights(shape, settings.model),
        steps=work.steps,
        samples=work.samples,
        tokens={name: work.total(name) for name in ("tokens", "prompt", "written", "injected")},
        operations=counted,
        seconds=_seconds(settings, shape, _Work(work, counted, planned.longest), machine, kept),
        memory=_memory(settings, shape, work, machine, kept),
        cache=cache,
        loading=_loading(settings, shape, machine.count, gpu=kept.gpu) if kept.shards > 1 else 0.0,
    )


def _loading(settings: Sft | Grpo, shape: Shape, processes: int, *, gpu: bool) -> float:
    """Bytes of the host before weights are sharded: every process reads all of them and copies them for rollouts, and as reference."""
    copies = 2 + (isinstance(settings, Grpo) and settings.policy.kl > 0)
    return float(processes * shape.parameters * copies * (2 if gpu else 4))


def _frozen(settings: Sft | Grpo) -> bool:
    return not (settings.model.tower or settings.model.projector)


def _seen(settings: Sft | Grpo, work: Workload, cache: float) -> float:
    """Share of the case pictures that the tower must look at: all in the first epoch, later those that the cache does not hold."""
    if not _frozen(settings) or settings.cache.folder == "off" or not cache or work.epochs <= 1:
        return 1.0
    held = min(1.0, settings.cache.gigabytes * 1e9 / cache)
    return (1 + (work.epochs - 1) * (1 - held)) / work.epochs


def _operations(settings: Sft | Grpo, shape: Shape, work: Workload, seen: float) -> dict[str, float]:
    """Operations a step over all processes, by phase."""
    model, language = settings.model, shape.language
    out = {"vision": 0.0, "update": 0.0}
    for tree in work.trees:
        both = seen * operations.looked(shape.vision, tree.case) + tree.rows * operations.looked(shape.vision, tree.crops)
        back = operations.looked_backward(shape.vision, model, tree.case)
        back += tree.rows * operations.looked_backward(shape.vision, model, tree.crops)
        out["vision"] += tree.count * (both + back)
        passes = settings.policy.passes if isinstance(settings, Grpo) else 1
        out["update"] += tree.count * passes * operations.trained(shape, model, tree)
    if isinstance(settings, Grpo):
        forward = sum(tree.count * operations.passed(language, tree).forward for tree in work.trees)
        out["reference"] = forward if settings.policy.kl else 0.0
        out["old"] = forward if settings.policy.updates * settings.policy.passes > 1 else 0.0
        out["prefill"] = sum(tree.count * operations.prefilled(language, tree) for tree in work.trees)
        out["decode"] = sum(tree.count * operations.decoded(language, tree) for tree in work.trees)
    return out


@dataclass(frozen=True, slots=True)
class _Work:
    """A run with the operations of its steps, and how much longer the longest response of a group is than the mean."""

    load: Workload
    operations: dict[str, float]
    longest: float


def _seconds(settings: Sft | Grpo, shape: Shape, work: _Work, machine: Machine, kept: memory.Storage) -> dict[str, float]:
    """Seconds a step, by phase. All but decoding go by operations; decoding goes token by token."""
    out = {name: value / machine.count / machine.rate for name, value in work.operations.items()}
    updates = settings.policy.updates * settings.policy.passes if isinstance(settings, Grpo) else 1
    stepped = updates * memory.trained_weights(shape, settings.model) / kept.shards * _STATE_BYTES
    out["optimiser"] = stepped / machine.flow
    if isinstance(settings, Grpo):
        # A group is written by one process, side by side until its longest response ends.
        turns = -(-settings.rollout.samples // settings.rollout.rows)
        tokens = sum(tree.count * tree.written for tree in work.load.trees) * work.longest * turns / machine.count
        read = shape.language.parameters * kept.computed / machine.flow
        out["decode"] = max(out["decode"], tokens * max(read, machine.launch * shape.language.layers))
    return out


def _memory(settings: Sft | Grpo, shape: Shape, work: Workload, machine: Machine, kept: memory.Storage) -> dict[str, float]:
    """Bytes of the phase that needs most: update with its activations, optimiser step, or rollouts."""
    model = settings.model
    grpo = settings if isinstance(settings, Grpo) else None
    rest = memory.resting(shape, model, settings.optim, kept, reference=grpo is not None and grpo.policy.kl > 0)
    trees = memory.together(work, settings.run.tokens, machine.count)
    update = {
        "activations": memory.activations(shape.language, trees, kept, checkpointing=model.checkpointing),
        "logits and passing gradients": memory.passing(shape.language, trees, kept),
    }
    phases = [{**rest, **update}]
    if kept.gpu:
        phases.append({**rest, "intermediates of the optimiser": 4.0 * memory.trained_weights(shape, model) / kept.shards})
    if grpo is not None:
        resting = {name: value for name, value in rest.items() if name != "gradients"}
        cached = memory.keys_and_values(shape.language, work, grpo.rollout.rows, kept)
        phases.append({**resting, "keys and values": cached})
    return max(phases, key=lambda phase: sum(phase.values()))
