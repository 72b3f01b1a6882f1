"""Sizes of the data sets of a run where they are on disk: counts of all samples, lengths of some hundred.

Lengths are counted with the checkpoint's own tokenizer, by the tokenizers library alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from unireason.data.dataset import Dataset, rows
from unireason.data.frames import FrameRule, rule
from unireason.data.layouts.posing import IMAGE, with_crops
from unireason.data.records import SampleRecord
from unireason.errors import FormatError, ModelError
from unireason.grounding.crop import fitted_size
from unireason.grounding.prompts import GROUNDING_FILE, PROFILE_FILE, Profile, load_profile, render
from unireason.model.files import BUILT_IN, locate
from unireason.train.feed.ungrounded import without_looks
from unireason.train.settings.grpo import Grpo
from unireason.train.settings.planned import Planned
from unireason.train.settings.sft import Sft
from unireason.types import Frame

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


def sizes(settings: Sft | Grpo, planned: Planned) -> Planned:
    """The sizes of a run's data as they are.

    Args:
        settings: The run; its data sets must be at hand. Lengths in tokens come from the tokenizer of ``model.start``; where that is not
            at hand, a token is taken for 3.5 letters.
        planned: What is kept of the rest, such as the machine.

    Raises:
        UniReasonError: If a data set cannot be read or has no sample of the tasks asked for in its split.
    """
    found: dict[str, _Kind] = {"image": _Kind(), "volume": _Kind()}
    by_case: Counter[tuple[int, str]] = Counter()
    count, asking = _tokens(settings.model.start), _Asking.of(settings)
    for number, folder in enumerate(settings.data.folders):
        dataset = Dataset.open(Path(folder).expanduser())
        frames = _frames(dataset, settings.data.split)
        for sample in _samples(dataset, settings):
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
    together = settings.together if isinstance(settings, Sft) else 1
    groups = sum(-(-n // together) for n in by_case.values())
    return _planned(found, planned, total, total / groups)


def _samples(dataset: Dataset, settings: Sft | Grpo) -> Iterator[SampleRecord]:
    stage = "sft" if isinstance(settings, Sft) else "grpo"
    for sample in dataset.samples(settings.data.split):
        task = "umrg" if sample.task == "umrg" else "choice" if sample.question.options else "open"
        if task in settings.data.tasks and stage in sample.stages:
            yield sample if settings.data.looks else without_looks(sample)


def _frames(dataset: Dataset, split: str) -> dict[str, Frame]:
    out = {}
    for path in dataset.files("cases", split):
        for row in rows(path, "cases", ("id", "kind", "frame")):
            width, height, depth = row["frame"]
            out[row["id"]] = Frame(width, height, depth, row["kind"])
    return out


@dataclass(frozen=True, slots=True)
class _Asking:
    """How questions are asked: wording and resizing."""

    profile: Profile
    grounding: Profile
    rule: FrameRule

    @classmethod
    def of(cls, settings: Sft | Grpo) -> _Asking:
        start = settings.model.start
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
        messages = profile.parts(frame.kind, sample.question.text, sample.question.options, n_slices=frame.depth)
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
    return start == BUILT_IN or Path(start).expanduser().is_dir()


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


def _planned(found: dict[str, _Kind], planned: Planned, total: int, shared: float) -> Planned:
    image, volume = found["image"], found["volume"]

    def mean(values: list[float]) -> float:
        return round(fmean(values), 2) if values else 0.0

    values: dict[str, object] = {"samples": total, "images": image.samples / total, "shared": shared}
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
