"""The whole estimate of a run: tokens, operations, hours and bytes, from its settings alone.

Formulas and assumptions: docs/explanation/planning.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Frame
from unireason.data.dataset import Dataset
from unireason.data.formats.tables import IMAGE, with_crops
from unireason.data.frames import FrameRule, rule
from unireason.data.parquet import rows
from unireason.data.records import SampleRecord
from unireason.grounding.crop import fitted_size
from unireason.grounding.profile import GROUNDING_FILE, PROFILE_FILE, Profile, load_profile, render
from unireason.model.files import BUILT_IN_CHECKPOINT, locate

from . import cost
from .config import Grpo, PlanAssumptions, Sft
from .cost import CostShape, find, workload

# --- Sizes of the data sets of a run where they are on disk: counts of all samples, lengths of some hundred.


_MEASURED = 256
_LETTERS_A_TOKEN = 3.5
_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
_MOST_BYTES = 64 << 20

Count = Callable[[str], int]


@dataclass(slots=True)
class _Kind:
    """What was found of one kind: samples in all, and lengths of the first of them."""

    samples: int = 0
    text: list[float] = field(default_factory=list)
    response: list[float] = field(default_factory=list)
    crops: list[float] = field(default_factory=list)
    crop_tokens: list[float] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


def at_hand(settings: Sft | Grpo) -> bool:
    """True if all data sets of a run are on disk."""
    return all((Path(folder).expanduser() / "manifest.json").is_file() for folder in settings.data.folders)


def sizes(settings: Sft | Grpo, planned: PlanAssumptions) -> PlanAssumptions:
    """The sizes of a run's data as they are.

    Args:
        settings: The run; its data sets must be at hand. Lengths in tokens come from the tokenizer of
            ``model.init_from``; where that is not at hand, a token is taken for 3.5 letters.
        planned: What is kept of the rest, such as the machine.

    Raises:
        UniReasonError: If a data set cannot be read or has no sample of the tasks asked for in its split.
    """
    found: dict[str, _Kind] = {"image": _Kind(), "volume": _Kind()}
    by_case: Counter[tuple[int, str]] = Counter()
    count, asking = _tokens(settings.model.init_from), _Asking.of(settings)
    stage = "sft" if isinstance(settings, Sft) else "grpo"
    for number, folder in enumerate(settings.data.folders):
        dataset = Dataset.open(Path(folder).expanduser())
        frames = {}
        for path in dataset.files("cases", settings.data.split):
            for row in rows(path, "cases", ("id", "kind", "frame")):
                width, height, depth = row["frame"]
                frames[row["id"]] = Frame(width, height, depth, row["kind"])
        for sample in dataset.samples(settings.data.split):
            task = "umrg" if sample.task == "umrg" else "choice" if sample.question.options else "open"
            if task not in settings.data.tasks or stage not in sample.stages:
                continue
            if not settings.data.grounded:
                from .cases import without_looks  # brings torch along

                sample = without_looks(sample)
            kind = found[sample.kind]
            kind.samples += 1
            by_case[number, sample.case] += 1
            if len(kind.text) < _MEASURED and sample.case in frames:
                asking.measure(sample, frames[sample.case], kind, count)
    total = sum(kind.samples for kind in found.values())
    if not total:
        raise FormatError(
            f"the split {settings.data.split!r} has no sample of {', '.join(settings.data.tasks)} for this stage",
            "at least one",
            "check data.tasks",
        )
    together = settings.max_questions_per_case if isinstance(settings, Sft) else 1
    groups = sum(-(-n // together) for n in by_case.values())

    def mean(values: list[float]) -> float:
        return round(fmean(values), 2) if values else 0.0

    image, volume = found["image"], found["volume"]
    values: dict[str, object] = {"samples": total, "images": image.samples / total, "shared": total / groups}
    weights = [(kind, kind.samples / total) for kind in (image, volume)]
    values["text"] = sum(share * mean(kind.text) for kind, share in weights)
    values["response"] = sum(share * mean(kind.response) for kind, share in weights)
    values["crops"], values["volume_crops"] = mean(image.crops), mean(volume.crops)
    values["crop_tokens"] = mean(image.crop_tokens + volume.crop_tokens)
    for name, kind in (("image_size", image), ("slice_size", volume)):
        if kind.frames:
            values[name] = (round(fmean(f.height for f in kind.frames)), round(fmean(f.width for f in kind.frames)))
    if volume.frames:
        values["slices"] = round(fmean(f.depth for f in volume.frames))
    return replace(planned, **values)  # type: ignore[arg-type]  # names and types are those of the class


@dataclass(frozen=True, slots=True)
class _Asking:
    """How questions are asked: wording and resizing."""

    profile: Profile
    grounding: Profile
    rule: FrameRule

    @classmethod
    def of(cls, settings: Sft | Grpo) -> _Asking:
        start = settings.model.init_from
        folder = locate(start) if _is_here(start) else None
        own, grounds = (
            folder / file if folder and (folder / file).is_file() else other
            for file, other in ((PROFILE_FILE, "default"), (GROUNDING_FILE, "umrg"))
        )
        grounding = settings.model.grounding or grounds
        profile = load_profile(settings.model.profile or own)
        profile = replace(profile, crops=settings.model.crops or profile.crops)
        return cls(profile, load_profile(grounding), rule(start if folder else "published"))

    def measure(self, sample: SampleRecord, frame: Frame, kind: _Kind, count: Count) -> None:
        """Add the lengths of a sample to those of its kind."""
        profile = self.grounding if sample.task == "umrg" else self.profile
        question = sample.question
        messages = profile.parts(frame.kind, question.text, question.options, n_slices=frame.depth, scale=sample.scale)
        asked = render(messages, assistant_prefix=profile.assistant_prefix).replace(_PICTURE, "")
        text, cuts = with_crops(sample.response, frame) if profile.injects else (sample.response, ())
        kind.text.append(count(asked))
        kind.response.append(count(text.replace(IMAGE, "").removeprefix(profile.assistant_prefix)) + 1)
        kind.crops.append(len(cuts))
        for _, rect in cuts:
            x1, y1, x2, y2 = rect or (0, 0, frame.width, frame.height)
            limits = (self.rule.min_pixels, self.rule.max_pixels)
            high, wide = fitted_size(y2 - y1, x2 - x1, factor=self.rule.factor, limits=limits)
            kind.crop_tokens.append(high * wide / self.rule.factor**2)
        kind.frames.append(frame)


def _is_here(start: str) -> bool:
    return start == BUILT_IN_CHECKPOINT or Path(start).expanduser().is_dir()


def _tokens(start: str) -> Count:
    """Counts the tokens of a text."""
    place = locate(start) / "tokenizer.json" if _is_here(start) else None
    if place is None or not place.is_file():
        return lambda text: round(len(text) / _LETTERS_A_TOKEN)
    from tokenizers import Tokenizer

    try:
        if place.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{place.name} is larger than {_MOST_BYTES >> 20} MiB", "a tokenizer")
        tokenizer = Tokenizer.from_file(str(place))
    except Exception as error:  # the library raises bare exceptions
        raise ModelError(f"the tokenizer cannot be loaded: {error}", "tokenizer.json of a Qwen2.5-VL") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


# --- What a run is planned for: how fast a device multiplies, how much it holds, how fast it reads it.


@dataclass(frozen=True, slots=True)
class Machine:
    """Some devices of one kind."""

    name: str
    count: int
    teraflops: float
    gigabytes: float
    bandwidth: float
    utilisation: float = 0.4
    reached: float = 0.6
    launch: float = 5e-4

    @property
    def rate(self) -> float:
        """Operations a second of one device that are reached."""
        return self.teraflops * 1e12 * self.utilisation

    @property
    def flow(self) -> float:
        """Bytes a second of one device that are reached."""
        return self.bandwidth * 1e9 * self.reached


KNOWN: Mapping[str, Machine] = {
    "A100-80": Machine("A100-80", 1, 312, 85.9, 2039),
    "H100-80": Machine("H100-80", 1, 989, 85.9, 3350),
    "H200": Machine("H200", 1, 989, 151.4, 4800),
    "cpu-core": Machine("cpu-core", 1, 0.05, 8.0, 10, utilisation=1.0, reached=1.0, launch=1e-4),
}
"""Dense bfloat16 rates, memory (80 GiB, 80 GiB, 141 GiB) and bandwidth from the vendor's data sheets of the SXM cards. "cpu-core" is one
core of the machine on which the measurements of this project were made, by measured rates in float32."""


def machine(name: str, count: int, *, teraflops: float = 0.0, gigabytes: float = 0.0, bandwidth: float = 0.0) -> Machine:
    """A machine by name or by its rates.

    Args:
        name: One of ``KNOWN``, or any name if rates are given.
        count: Devices, from 1.
        teraflops: A measured rate of matrix products, taken as it is; 0 takes the known machine's.
        gigabytes: Memory of a device; 0 takes the known machine's.
        bandwidth: Measured bytes a second of a device, 10^9; 0 takes the known machine's, or as many as a tenth of the operations a second.

    Raises:
        FormatError: If the name is unknown and rate and memory are not both given, or a number makes no sense.
    """
    if count < 1 or min(teraflops, gigabytes, bandwidth) < 0:
        raise FormatError(f"{count} devices of {teraflops} TFLOPS, {gigabytes} GB, {bandwidth} GB/s", "numbers above 0")
    known = KNOWN.get(name)
    if known is None and not (teraflops and gigabytes):
        raise FormatError(f"the machine {name!r} is unknown", ", ".join(KNOWN), "or give --flops and --memory")
    base = known or Machine(name, count, teraflops, gigabytes, 100 * teraflops, launch=0.0)
    rates = {"utilisation": 1.0, "teraflops": teraflops} if teraflops else {}
    holds = {"gigabytes": gigabytes} if gigabytes else {}
    flows = {"reached": 1.0, "bandwidth": bandwidth} if bandwidth else {}
    return replace(base, name=name, count=count, **rates, **holds, **flows)


# --- The estimate itself.


_FEATURE_BYTES = 2
_STATE_BYTES = 28
"""What an optimiser step reads and writes of a weight: weight, gradient and two moments, all but the gradient twice."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost."""

    kind: str
    shape: CostShape
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


def plan(settings: Sft | Grpo, planned: PlanAssumptions, machine: Machine) -> Estimate:
    """Estimate a run.

    Args:
        settings: The run.
        planned: Sizes of its data, assumed or measured.
        machine: What it shall run on, one process a device.

    Raises:
        ModelError: If the sizes of the start are not known.
        FormatError: If adapters are asked for in layers that do not exist.
    """
    grpo = settings if isinstance(settings, Grpo) else None
    model, shape = settings.model, find(settings.model.init_from, planned.like)
    language, work = shape.language, workload(settings, planned, shape.vision)
    kept = cost.storage(model, processes=machine.count, sharding=settings.run.sharding, gpu=machine.name != "cpu-core")
    trained = cost.trained_weights(shape, model)

    frozen = not (model.train_vision or model.train_projector)
    cache = sum(count * tokens for count, tokens in work.cases) * language.width * _FEATURE_BYTES if frozen else 0.0
    # The tower must look at all case pictures in the first epoch, later at those that the cache does not hold.
    seen = 1.0
    if frozen and settings.cache.folder != "off" and cache and work.epochs > 1:
        held = min(1.0, settings.cache.gigabytes * 1e9 / cache)
        seen = (1 + (work.epochs - 1) * (1 - held)) / work.epochs

    # Operations a step over all processes, by phase.
    counted = {"vision": 0.0, "update": 0.0}
    for tree in work.trees:
        both = seen * cost.looked(shape.vision, tree.case) + tree.rows * cost.looked(shape.vision, tree.crops)
        back = cost.looked_backward(shape.vision, model, tree.case)
        back += tree.rows * cost.looked_backward(shape.vision, model, tree.crops)
        counted["vision"] += tree.count * (both + back)
        counted["update"] += tree.count * (grpo.policy.num_iterations if grpo else 1) * cost.trained(shape, model, tree)
    if grpo:
        forward = sum(tree.count * cost.passed(language, tree).forward for tree in work.trees)
        counted["reference"] = forward if grpo.policy.beta else 0.0
        # In a single pass the first mini-batch is stepped from the policy that sampled it.
        counted["old"] = forward * (1.0 if grpo.policy.num_iterations > 1 else 1 - 1 / grpo.policy.num_minibatches)
        counted["prefill"] = sum(tree.count * cost.prefilled(language, tree) for tree in work.trees)
        counted["decode"] = sum(tree.count * cost.decoded(language, tree) for tree in work.trees)

    # Seconds a step, by phase. All but decoding go by operations; decoding goes token by token.
    seconds = {name: value / machine.count / machine.rate for name, value in counted.items()}
    updates = grpo.policy.num_minibatches * grpo.policy.num_iterations if grpo else 1
    seconds["optimiser"] = updates * trained / kept.shards * _STATE_BYTES / machine.flow
    if grpo:
        # A group is written by one process, side by side until its longest response ends.
        turns = -(-grpo.rollout.num_generations // grpo.rollout.rollout_batch_size)
        tokens = sum(tree.count * tree.written for tree in work.trees) * planned.longest * turns / machine.count
        read = language.parameters * kept.computed / machine.flow
        seconds["decode"] = max(seconds["decode"], tokens * max(read, machine.launch * language.layers))

    # Bytes of the phase that needs most: update with its activations, optimiser step, or rollouts.
    rest = cost.resting(shape, model, settings.optim, kept, reference=grpo is not None and grpo.policy.beta > 0)
    trees = cost.together(work, settings.run.max_tokens_per_microbatch, machine.count)
    update = {
        "activations": cost.activations(language, trees, kept, checkpointing=model.gradient_checkpointing),
        "logits and passing gradients": cost.passing(language, trees, kept),
    }
    phases = [{**rest, **update}]
    if kept.gpu:
        phases.append({**rest, "intermediates of the optimiser": 4.0 * trained / kept.shards})
    if grpo:
        resting = {name: value for name, value in rest.items() if name != "gradients"}
        phases.append({**resting, "keys and values": cost.keys_and_values(language, work, grpo.rollout.rollout_batch_size, kept)})

    # Before weights are sharded every process reads all of them and copies them for rollouts, and as reference.
    copies = 2 + (grpo is not None and grpo.policy.beta > 0)
    loading = float(machine.count * shape.parameters * copies * (2 if kept.gpu else 4)) if kept.shards > 1 else 0.0
    return Estimate(
        kind=type(settings).__name__.lower(),
        shape=shape,
        machine=machine,
        trained=trained,
        steps=work.steps,
        samples=work.samples,
        tokens={name: work.total(name) for name in ("tokens", "prompt", "written", "injected")},
        operations=counted,
        seconds=seconds,
        memory=max(phases, key=lambda phase: sum(phase.values())),
        cache=cache,
        loading=loading,
    )


# --- An estimate as lines for people.


def lines(estimate: Estimate, planned: PlanAssumptions, *, origin: str) -> list[str]:
    """What ``unireason plan`` prints.

    Args:
        estimate: The estimate.
        planned: Sizes of the data it was made for.
        origin: Where these come from, e.g. "assumed".
    """
    e, m = estimate, estimate.machine
    counted, seconds = sum(e.operations.values()), sum(e.seconds.values())
    unit = "samples" if e.kind == "sft" else "questions"
    tokens = {name: f"{_count(value)} {name}" for name, value in e.tokens.items() if name != "tokens"}
    shares = [f"{name} {_percent(value / seconds)}" for name, value in e.seconds.items() if value / seconds >= 0.005]
    total = e.steps * seconds / 3600
    out = [
        f"{e.kind.upper()} of {e.shape.name}: {_count(e.shape.parameters)} weights, {_count(e.trained)} of them learn, on "
        f"{m.count} x {m.name} ({m.teraflops:g} TFLOPS, {_percent(m.utilisation)} of them reached)",
        f"data ({origin}): {_count(planned.samples)} {unit} an epoch, {_percent(planned.images)} of images",
        f"step: {e.samples} {unit}, {_count(e.tokens['tokens'])} tokens ({', '.join(tokens.values())}), "
        f"{operations_text(counted)}, {_time(seconds)} ({', '.join(shares)})",
        f"run: {e.steps:,} steps, {_count(e.steps * e.tokens['tokens'])} tokens, {operations_text(e.steps * counted)}, "
        f"{_time(3600 * total)}" + (f", {total * e.machine.count:,.1f} device hours" if e.machine.count > 1 else ""),
        f"memory of a device: {_gigabytes(e.bytes)} of {e.machine.gigabytes:.1f} GB "
        f"({', '.join(f'{name} {_gigabytes(value)}' for name, value in e.memory.items())}): {'fits' if e.fits else 'DOES NOT FIT'}",
    ]
    if e.cache:
        out.append(f"visual features of all cases: {_gigabytes(e.cache)}; the disk cache holds what 'cache.gigabytes' says")
    if e.loading:
        out.append(f"memory of the host while the processes load: {_gigabytes(e.loading)}")
    return out


def operations_text(value: float) -> str:
    """A number of operations, such as "3.1 PFLOP"."""
    size, letter = next(((s, n) for s, n in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")) if value >= s), (1e6, "M"))
    return f"{value / size:.3g} {letter}FLOP"


def _count(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if value >= size:
            return f"{value / size:,.3g}{letter}"
    if value >= 1e4:
        return f"{value / 1e3:,.0f}K"
    return f"{value:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _gigabytes(value: float) -> str:
    return f"{value / 1e9:.1f} GB" if value >= 5e7 else f"{value / 1e6:.0f} MB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
