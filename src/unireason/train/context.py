"""What every trainer starts with: checkpoint, trained parts, processes, optimisers, data and the folder of the run."""

from __future__ import annotations

import copy
import ctypes
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import distributed, nn

from unireason.core.errors import FormatError, ModelError, UniReasonError
from unireason.core.types import Stack
from unireason.data.frames import rule
from unireason.engine.reasoner import set_threads
from unireason.grounding.profile import load_profile
from unireason.model import adapters, files, vision, vocabulary
from unireason.model.checkpoint import Checkpoint, load
from unireason.model.files import whole
from unireason.model.save import save

from . import optim
from .cases import Cases, CaseSamples, Unreadable
from .config import Grpo, Model, Run, Sft, Shared
from .features import DiskCache, Features
from .log import TrainWatcher
from .packing import Pack, PrefixTree, TokenRun, pack, packed_attention, use_packed_attention
from .policy import Encoder, Head, Patches, Pictures, Policy, recompute
from .rollout import Roller, RolloutPrompt
from .sampler import PackUnit

# --- The processes of a run: one on a laptop, many under ``torchrun`` or ``accelerate launch``.


_BUCKET = 1 << 25
T = TypeVar("T")


class Crew:
    """What one process knows of all."""

    def __init__(self, run: Run) -> None:
        """Join the other processes, if there are any."""
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


# --- Whole weights for rollouts beside weights that are sharded for training.


class Replica:
    """A copy of a checkpoint that serves and never learns; it takes over the trained weights before each use."""

    def __init__(self, checkpoint: Checkpoint, crew: Crew) -> None:
        """Copy a checkpoint whose weights are still whole; bfloat16 on a GPU, the same type on a CPU."""
        network = copy.deepcopy(checkpoint.network).requires_grad_(False).eval()
        kind = torch.bfloat16 if crew.device.type == "cuda" else checkpoint.dtype
        self.checkpoint = replace(checkpoint, network=network.to(crew.device, kind))

    def filled(self, network: Any) -> Checkpoint:
        """The copy with the present weights of a sharded network. All processes call this together."""
        mine = dict(self.checkpoint.network.named_parameters())
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                mine[name].copy_(whole(parameter.detach()))
        return self.checkpoint


# --- Memory that was freed goes back to the system: the C library keeps pieces between the tensors of a step, and a long run
# grows by them.


def give_back() -> bool:
    """Ask the C library to return what it holds and nobody uses."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):
        return False


# --- The policy in training with all that belongs to it.


_FEATURE_MEMORY = 1 << 30


@dataclass(slots=True)
class Skips:
    """Cases that cannot be read, counted; too many end the run."""

    most: int
    watch: TrainWatcher
    seen: dict[str, str] = field(default_factory=dict)

    def add(self, error: Unreadable) -> None:
        """Count a case once."""
        if error.case not in self.seen:
            self.seen[error.case] = error.reason
            self.watch.skipped(error.case, error.reason)
        if len(self.seen) > self.most:
            raise UniReasonError(
                f"unreadable cases: {len(self.seen)}; the last is {error.case}: {error.reason}",
                f"at most {self.most}",
                "mend the data set, or raise data.max_unreadable",
            )

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Around all that reads the files of a case: one that cannot be read ends the block, and is counted."""
        try:
            yield
        except Unreadable as error:
            self.add(error)


class TrainContext:
    """What a loop trains with: processes, data, checkpoint, what learns of it, reference, optimisers. Nothing in here holds the loop."""

    def __init__(self, settings: Sft | Grpo, out: Path, watch: TrainWatcher) -> None:
        """Load and prepare everything; nothing is trained yet."""
        self.settings, self.out, self.watch = settings, out, watch
        model, run = settings.model, settings.run
        self.crew = Crew(run)

        # The data, in the frame in which the checkpoint sees pictures, by the profile that will ask it.
        disk = disk_cache(settings, out)
        self.cases = open_cases(settings, disk)
        self.training = self.cases.cases(settings.data.split)
        self.skips = Skips(int(settings.data.max_unreadable * len(self.training)), watch)

        # The checkpoint; with sharding in main memory, until it is spread.
        self.sharded = self.crew.shards(model, run)
        self.checkpoint = _load(settings, self.crew, self.training, sharded=self.sharded)
        set_threads(self.checkpoint, run.threads or None)
        low = model.precision == "bf16"
        self.policy = Policy(self.checkpoint.network, autocast=low and not self.sharded)
        self.encoder = Encoder.of(self.checkpoint)
        self.reference = self._frozen() if isinstance(settings, Grpo) and settings.policy.beta else None

        # What learns: adapters, parts, or all. A tower that does not learn has its features kept.
        network, lora, looking = self.checkpoint.network, model.lora, model.train_vision or model.train_projector
        if lora.rank:
            adapters.attach(network, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets, seed=run.seed)
        adapters.choose(network, tower=model.train_vision, projector=model.train_projector, language=model.train_llm)
        if looking:
            network.model.visual.float()  # steps are too small for bfloat16; half of a tower in it would not fit the other half
        if model.gradient_checkpointing:
            recompute(network)
        self.features = (
            None if looking else Features(self.checkpoint, disk, memory_bytes=_FEATURE_MEMORY, precision=model.precision)
        )

        # Spread policy and reference over the processes; rollouts get whole weights of their own.
        self.replica: Replica | None = None
        if self.sharded:
            if lora.rank:
                raise FormatError(
                    "adapters were to be sharded", 'sharding = "auto" or "none"', "whole weights fit: they are frozen"
                )
            self.replica = Replica(self.checkpoint, self.crew)
            for policy in filter(None, (self.policy, self.reference)):
                shard(policy, self.crew, low=low)
        self.trained = adapters.trainable(network)
        self.optimizers = optim.make_optimizers(self.trained, settings.optim)

        device, count = self.crew.device, len(self.training)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        learn, total = (f"{sum(p.numel() for p in ps) / 1e6:,.1f}M" for ps in (self.trained.values(), network.parameters()))
        watch.begun(
            f"on {f'{self.crew.world} x ' if self.crew.world > 1 else ''}{name}: {self.checkpoint.name}, {learn} of {total} weights learn "
            f"in {model.precision}, from {count:,} case{'' if count == 1 else 's'} of the split {settings.data.split!r}"
        )

    def _frozen(self) -> Policy | None:
        """A copy of the start that never learns. Adapters need none, they are switched off, unless more than they learns."""
        model = self.settings.model
        if model.lora.rank and not (model.train_vision or model.train_projector):
            return None
        network = copy.deepcopy(self.checkpoint.network).requires_grad_(False)
        if self.crew.device.type == "cuda":
            network = network.to(torch.bfloat16)
        reference = Policy(network, autocast=self.policy.autocast)
        use_packed_attention(network)
        return reference.eval()

    @contextmanager
    def training_mode(self) -> Iterator[None]:
        """Inside the block packed sequences can be computed, dropout and recomputation are on."""
        with packed_attention(self.checkpoint.network):
            self.policy.train()
            try:
                yield
            finally:
                self.policy.eval()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Inside the block dropout and recomputation are off."""
        was = self.policy.training
        self.policy.eval()
        try:
            yield
        finally:
            self.policy.train(was)

    @contextmanager
    def serving(self, *, rows: int, max_new_tokens: int = 0) -> Iterator[Roller]:
        """Inside the block the policy answers questions; dropout and recomputation are off. All processes enter it together."""
        with self.resting():
            with torch.no_grad():
                served = self.replica.filled(self.checkpoint.network) if self.replica else self.checkpoint
            yield Roller(served, self.encoder, self.see, rows=rows, max_new_tokens=max_new_tokens)

    def trees(self, unit: PackUnit) -> list[PrefixTree]:
        """The samples of a unit as token sequences; none, and counted, if its pictures cannot be read."""
        case, samples = self.cases.asked(unit)
        pictures, stack = self.pictures(case)
        return self.encoder.trees(samples, case.frame, pictures, stack=stack) if pictures else []

    def questions(self, unit: PackUnit) -> list[RolloutPrompt]:
        """The samples of a unit as questions to be rolled out; none, and counted, if its pictures cannot be read."""
        case, samples = self.cases.asked(unit)
        pictures, stack = self.pictures(case)
        return [RolloutPrompt(case, sample, pictures, stack) for sample in samples] if pictures else []

    def pictures(self, case: CaseSamples) -> tuple[Pictures, Stack | None]:
        """The pictures of a case, and its stack where crops are not cut from them; none, and counted, if they cannot be read."""
        with self.skips.counted():
            needed = self.encoder.checkpoint.profile.crops in ("native", "published")
            return self.cases.pictures(case), self.cases.stack(case) if needed else None
        return [], None

    def packs(self, rows: Sequence[Sequence[PrefixTree]]) -> list[Pack]:
        """Packed sequences; a row without trees becomes two tokens that nobody counts."""
        prefix, row = TokenRun(), TokenRun(next=1)
        for nothing in (prefix, row):
            nothing.text([self.checkpoint.ids.im_end], label=False)
        return [pack(trees or [PrefixTree(prefix, (row,))]) for trees in rows]

    def measure(self, packed: Pack, head: Head) -> torch.Tensor:
        """What a head gives at the targets of a packed sequence; see ``Policy``."""
        found: torch.Tensor = self.policy(packed, self.look(packed), head)
        return found

    def measure_reference(self, packed: Pack, head: Head) -> torch.Tensor:
        """What a head gives under the frozen reference, the start of the run."""
        if self.reference is None:
            with adapters.reference(self.checkpoint.network):
                return self.measure(packed, head)
        found: torch.Tensor = self.reference(packed, self.look(packed), head)
        return found

    def look(self, packed: Pack) -> torch.Tensor | Patches | None:
        """The visual tokens of a packed sequence, or patches for a tower that learns."""
        if not packed.pictures:
            if self.features is None and self.sharded:  # a tower in shards is run by all processes or by none
                blank = vision.prepare(self.checkpoint, [np.zeros((56, 56, 3), np.uint8)])
                return Patches(blank.pixel_values, torch.tensor(blank.grid_thw))
            return None
        if self.features is not None:
            return torch.cat([f for features in self.features.of_many(packed.pictures) for f in features])
        prepared = vision.prepare(self.checkpoint, [p for pictures in packed.pictures for p in pictures])
        return Patches(prepared.pixel_values, torch.tensor(prepared.grid_thw))

    def see(self, pictures: Pictures) -> list[torch.Tensor]:
        """Visual tokens of pictures, without gradient, one tensor each."""
        if self.features is not None:
            return self.features.of(pictures)
        looking = self.replica.checkpoint if self.replica else self.checkpoint
        return vision.encode(looking, vision.prepare(looking, pictures))

    def optimizer_step(self, step: int, total: int) -> dict[str, float]:
        """Step the optimisers with the gradients of all processes."""
        if not self.sharded:
            self.crew.add_gradients(self.trained.values())
        chosen = self.settings.optim
        rate = optim.lr_share(chosen, step, total)
        norm = optim.advance(self.optimizers, rate=rate, clip=chosen.max_grad_norm)
        if self.crew.device.type == "cpu":
            give_back()
        return {"lr": rate * chosen.lr, "grad_norm": norm}

    def export(self, name: str) -> Path:
        """Write a checkpoint folder that can be asked, adapters merged in, and with LoRA the adapters beside it."""
        network, target = self.checkpoint.network, self.out / name
        state = adapters.merged_state(network, keep=self.crew.main)
        if self.crew.main:
            save(target, self.checkpoint, state=state)
            if self.settings.model.lora.rank:
                adapters.save_adapter(network, self.out / f"{name}-adapter", start=self.settings.model.init_from)
        self.crew.barrier()
        return target

    def finish(self) -> Path:
        """Write the last weights as ``checkpoint`` and tell the watcher."""
        target = self.export("checkpoint")
        if self.crew.main:
            self.watch.done(target)
        return target


def disk_cache(settings: Shared, out: Path) -> DiskCache:
    """Where a run keeps prepared pictures and features."""
    where, limit = settings.cache.folder, int(settings.cache.gigabytes * 1e9)
    return DiskCache(None if where == "off" else Path(where).expanduser() if where else out / "cache", limit)


def open_cases(settings: Shared, disk: DiskCache) -> Cases:
    """The data of a run, in the frame in which its checkpoint sees pictures, by the profile that will ask it."""
    frames = rule(str(files.underneath(settings.model.init_from)))
    if settings.model.profile:
        profile = load_profile(settings.model.profile)
        frames = replace(frames, volume_shape=profile.volume_shape, image_size=profile.image_size, scale=profile.scale)
    return Cases(settings.data, frames, disk, stage="grpo" if isinstance(settings, Grpo) else "sft")


def as_asked(made: Checkpoint, model: Model) -> Checkpoint:
    """A checkpoint with what the settings say of implicit questions and of looks."""
    if model.grounding:
        made = replace(made, grounding=load_profile(model.grounding))
    return replace(made, profile=replace(made.profile, crops=model.crops)) if model.crops else made


def _load(settings: Sft | Grpo, crew: Crew, training: Sequence[CaseSamples], *, sharded: bool) -> Checkpoint:
    """The checkpoint that a run starts from, with the profiles and the added tokens of its settings."""
    model = settings.model
    # Frozen weights stay in bfloat16 on a GPU; sharded ones become float32 when each layer is spread.
    half = (model.lora.rank > 0 or sharded) and crew.device.type == "cuda"
    profile = load_profile(model.profile) if model.profile else None
    made = load(model.init_from, device="cpu" if sharded else crew.device, dtype="bf16" if half else "fp32", profile=profile)
    made = as_asked(made, model)
    if model.extra_tokens:
        texts, names = [], set()
        for sample in (s for case in training for s in case.samples):
            texts += [sample.question.text, *sample.question.options, sample.response]
            names |= {*sample.question.options, *(p.label for p in sample.reasoning if not isinstance(p, str))}
        frequent = vocabulary.frequent_phrases(texts, model.extra_tokens, names=names)
        vocabulary.extend(made.network, made.tokenizer, frequent, seed=settings.run.seed)
    return made
