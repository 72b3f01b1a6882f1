"""The cases of several data sets with the samples that are asked for, and their pictures, one case at a time in any order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text
from unireason.core.types import Frame, Kind, Look, Stack
from unireason.data.dataset import MANIFEST, Dataset, keep_apart
from unireason.data.formats.tables import pixels
from unireason.data.frames import FrameRule, model_pictures, model_stack
from unireason.data.item import CaseSource, Loaded
from unireason.data.parquet import Embedded, rows
from unireason.data.reader import CaseReader, part
from unireason.data.records import SampleRecord

from .config import Data
from .features import DiskCache, Recent
from .policy import Encoder
from .sampler import PackUnit

# --- Pictures of one data set in any order: those embedded in it, or those made from the files of its source.


Pictures = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where the pictures of a case come from."""

    dataset: int
    case: str
    item: str
    slice: int
    sha256: str


class PictureShelf:
    """The pictures of a data set. Files are listed and looked through when they are first needed."""

    def __init__(self, dataset: Dataset, rule: FrameRule, root: Path | None) -> None:
        """Nothing is read yet."""
        self._dataset, self._rule, self._root = dataset, rule, root
        self.embedded = bool(dataset.files("images"))
        content = dataset.manifest.get("content_sha256")
        if not isinstance(content, str) or not content:
            raise FormatError(f"{MANIFEST} does not tell content_sha256", "the file that the builder wrote", "build it again")
        self._content = content
        self._stored = Embedded(dataset.files("images"))
        self._source: CaseSource | None = None
        self._reader: CaseReader | None = None
        self._expected: dict[str, list[RecordPlace]] = {}

    def expect(self, places: Iterable[RecordPlace]) -> None:
        """Tell which cases may be asked for, so that their items are found in one pass over the source."""
        for place in places:
            self._expected.setdefault(place.item, []).append(place)
        if self._reader:
            self._reader.expect(self._expected)

    def key(self, place: RecordPlace) -> str:
        """What the pictures of a case depend on, as text."""
        return f"pictures/1 {self._content} {place.case} {json_text(self._rule.to_json(), sort_keys=True)}"

    def stored(self, place: RecordPlace, frame: Frame) -> Pictures:
        """The embedded pictures of a case."""
        found = self._stored.columns(place.case, "png")["png"]
        if len(found) != frame.depth:
            raise FormatError(f"{len(found)} pictures of {place.case}", f"{frame.depth}", "build the data set again")
        return tuple(pixels(data, frame) for data in found)

    def made(self, place: RecordPlace, *, siblings: bool) -> Iterator[tuple[RecordPlace, Pictures]]:
        """The pictures of a case, made from its source."""
        loaded = self._load(place)
        yield place, self._shown(loaded, place)
        for other in self._expected.get(place.item, ()) if siblings else ():
            if other.case != place.case:
                try:
                    yield other, self._shown(loaded, other)
                except UniReasonError:
                    continue  # told when that case is asked for

    def loaded(self, place: RecordPlace) -> Loaded:
        """A case with its masks, read from the source."""
        return part(self._load(place), place.slice, place.sha256)

    def stack(self, place: RecordPlace) -> Stack:
        """A case as serialised, read from the source."""
        return model_stack(self.loaded(place).case, self._rule)

    def _load(self, place: RecordPlace) -> Loaded:
        """The whole item of a case; it is not kept, for the next one is as a rule another."""
        if self._source is None or self._reader is None:
            self._source = self._dataset.source(self._root)
            self._reader = CaseReader(self._source, self._expected)
        return self._source.load(self._reader.item(place.item))

    def _shown(self, loaded: Loaded, place: RecordPlace) -> Pictures:
        return tuple(model_pictures(part(loaded, place.slice, place.sha256).case, self._rule))


# --- Reasoning without its looks, for the comparison with grounded reasoning: the same sentences, no box and no crop.


# What leads to a box and says nothing without it.
_LEAD = re.compile(r"\s*(?:\b(?:at|in|within|here)\b)?[\s:]*$", re.IGNORECASE)
_BLANKS = re.compile(r"\s+(?=[.,;:]|\s|$)")


def without_looks(sample: SampleRecord) -> SampleRecord:
    """Take the looks out of a reasoning."""
    text = ""
    for step in sample.reasoning:
        text = _LEAD.sub("", text) + " " if isinstance(step, Look) else text + step
    text = _BLANKS.sub("", text).lstrip()
    return replace(sample, reasoning=(text,) if text else ())


# --- The cases of several data sets with the samples that are asked for, and their pictures, one case at a time in any order.


_COLUMNS = ("id", "kind", "frame", "item", "slice", "sha256")
_MEMORY_BYTES = 256 << 20


class Unreadable(UniReasonError):  # noqa: N818 (said of a case, as in "unreadable cases")
    """The pictures of a case cannot be had."""

    def __init__(self, case: str, reason: str) -> None:
        super().__init__(f"the pictures of case {case} cannot be read ({reason})")
        self.case, self.reason = case, reason

    def __reduce__(self) -> tuple[type[Unreadable], tuple[str, str]]:
        return Unreadable, (self.case, self.reason)


@dataclass(frozen=True, slots=True)
class CaseSamples:
    """A case and what is asked about it."""

    id: str
    kind: Kind
    frame: Frame
    samples: tuple[SampleRecord, ...]
    place: RecordPlace


class Cases:
    """Opened data sets."""

    def __init__(
        self, settings: Data, rule: FrameRule, disk: DiskCache, *, stage: str = "", memory_bytes: int = _MEMORY_BYTES
    ) -> None:
        """Open all data sets; of one alone only the manifest is read, of several the splits of their patients too."""
        self.datasets = tuple(Dataset.open(Path(folder).expanduser()) for folder in settings.folders)
        self._shelves = [
            PictureShelf(dataset, _same(dataset, rule), Path(root).expanduser() if root else None)
            for dataset, root in zip(self.datasets, settings.roots or ("",) * len(self.datasets), strict=True)
        ]
        keep_apart(self.datasets)
        self._settings, self._disk, self._stage, self._rule = settings, disk, stage, rule
        self._recent: Recent[tuple[NDArray[np.uint8], ...]] = Recent(memory_bytes)
        self._masked: Recent[Loaded] = Recent(memory_bytes)
        self._stacks: Recent[Stack] = Recent(memory_bytes)
        self._splits: dict[str, list[CaseSamples]] = {}
        self._known: dict[str, CaseSamples] = {}

    def cases(self, split: str) -> list[CaseSamples]:
        """The cases of a split that have samples of the tasks asked for, in the order of the data sets; read once."""
        if split not in self._splits:
            found = [case for number in range(len(self.datasets)) for case in self._listed(number, split)]
            limit = self._settings.cases
            if 0 < limit < len(found):
                found = [found[i * len(found) // limit] for i in range(limit)]
            self._splits[split] = found
            self._known |= {case.id: case for case in found}
            for number, shelf in enumerate(self._shelves):
                shelf.expect(case.place for case in found if case.place.dataset == number)
        return self._splits[split]

    def asked(self, unit: PackUnit) -> tuple[CaseSamples, tuple[SampleRecord, ...]]:
        """The case and the samples of a unit of a plan over listed cases, in the order of the unit."""
        case = self._known[unit.case]
        by_id = {sample.id: sample for sample in case.samples}
        return case, tuple(by_id[name] for name in unit.samples)

    def pictures(self, case: CaseSamples) -> list[NDArray[np.uint8]]:
        """What the network is shown, as ``data.pictures.model_pictures`` makes it."""
        found = self._recent.get(case.id)
        if found is None:
            with _reading(case):
                if not self._rule.holds(case.frame):
                    came = f"pictures of {case.frame.width} x {case.frame.height} would be resized before they are fed"
                    raise FormatError(came, "the frame that this version gives the case", "build or import the data set again")
                found = self._read(case)
            self._recent.put(case.id, found, sum(p.nbytes for p in found))
        return list(found)

    def stack(self, case: CaseSamples) -> Stack:
        """A case as serialised, with its full-resolution pixels, made from the source of its data set; the last ones are kept."""
        found = self._stacks.get(case.id)
        if found is None:
            with _reading(case):
                found = self._shelves[case.place.dataset].stack(case.place)
            self._stacks.put(case.id, found, found.slices.nbytes + found.native.nbytes)
        return found

    def loaded(self, case: CaseSamples) -> Loaded:
        """A case with its masks, read from the source of its data set; the last ones are kept."""
        found = self._masked.get(case.id)
        if found is None:
            with _reading(case):
                found = self._shelves[case.place.dataset].loaded(case.place)
            size = found.case.pixels.nbytes + sum(layer.labels.nbytes for layer in found.layers)
            self._masked.put(case.id, found, size)
        return found

    def _read(self, case: CaseSamples) -> tuple[NDArray[np.uint8], ...]:
        shelf = self._shelves[case.place.dataset]
        if shelf.embedded:
            return _checked(shelf.stored(case.place, case.frame), case.frame)
        kept = self._disk.get(shelf.key(case.place))
        if kept is not None and "pictures" in kept:
            return _checked(kept["pictures"].numpy(), case.frame)
        for place, pictures in shelf.made(case.place, siblings=self._disk.folder is not None):
            self._disk.put(shelf.key(place), {"pictures": torch.from_numpy(np.stack(pictures))})
            if place == case.place:
                found = pictures
        return _checked(found, case.frame)

    def _listed(self, number: int, split: str) -> Iterator[CaseSamples]:
        dataset = self.datasets[number]
        found = (s for s in dataset.samples(split) if _task(s) in self._settings.tasks and self._stage in ("", *s.stages))
        samples = _by_case(found if self._settings.grounded else map(without_looks, found))
        seen: set[str] = set()
        for path in dataset.files("cases", split):
            for row in rows(path, "cases", _COLUMNS):
                place = RecordPlace(number, row["id"], row["item"], row["slice"], row["sha256"])
                if place.case in seen:
                    raise FormatError(f"the case {place.case} comes twice", "one row a case", "check the data set")
                seen.add(place.case)
                asked = samples.get(place.case, ())
                if asked:
                    name = place.case if number == 0 else f"{number + 1}:{place.case}"
                    yield CaseSamples(name, row["kind"], _frame(row), tuple(asked), place)
        lost = samples.keys() - seen
        if lost:
            raise FormatError(f"the samples of {min(lost)} have no case in the split {split}", "", "check the data set")


@contextmanager
def _reading(case: CaseSamples) -> Iterator[None]:
    """Inside the block all that goes wrong says that the case cannot be read."""
    try:
        yield
    except (UniReasonError, OSError) as error:
        raise Unreadable(case.id, str(error)) from error
    except Exception as error:  # a decoder that stumbles over a torn file; its words may repeat what the file says of a patient
        raise Unreadable(case.id, f"{type(error).__name__} while it was read") from error


def _by_case(samples: Iterable[SampleRecord]) -> dict[str, list[SampleRecord]]:
    found: dict[str, list[SampleRecord]] = {}
    for sample in samples:
        found.setdefault(sample.case, []).append(sample)
    for case, asked in found.items():
        if len({sample.id for sample in asked}) < len(asked):
            raise FormatError(f"two samples of the case {case} have one identifier", "different ones", "check the data set")
    return found


def _task(sample: SampleRecord) -> str:
    """ "umrg", "choice" or "open"."""
    if sample.task == "umrg":
        return "umrg"
    return "choice" if sample.question.options else "open"


def _frame(row: Mapping[str, object]) -> Frame:
    numbers, kind = row["frame"], row["kind"]
    if not isinstance(numbers, list) or len(numbers) != 3 or min(numbers) < 1 or kind not in ("image", "volume"):
        raise FormatError(f"the case {row['id']} is a {kind} with the frame {numbers}", "width, height and depth", "build again")
    width, height, depth = numbers
    return Frame(width, height, depth, "image" if kind == "image" else "volume")


def _same(dataset: Dataset, rule: FrameRule) -> FrameRule:
    """The rule of a data set, if it makes the same sizes as another."""
    own = FrameRule.from_json(dataset.manifest.get("config", {}).get("frame"))
    if own.scale and not rule.scale:
        raise FormatError(
            f"the texts of the data set '{dataset.folder.name}' measure in millimetres, and the profile shows no scale",
            "a profile with scale = true, or a data set built for one without",
            "set scale in the profile, or build again with --frame and the folder of the checkpoint",
        )
    if own.looks and not rule.looks:
        raise FormatError(
            f"implicit questions of the data set '{dataset.folder.name}' look, and the profile of such questions allows no looks",
            "a profile with max_rounds above 0, or a data set built for one without",
            "set model.grounding to such a profile, or build again with --frame and the folder of the checkpoint",
        )
    if replace(own, name=rule.name, window=rule.window, scale=rule.scale, looks=rule.looks) != rule:
        raise FormatError(
            f"the data set '{dataset.folder.name}' was built for the model frame {own.to_json()}",
            f"that of the checkpoint, {rule.to_json()}",
            "build it again with --frame and the folder of the checkpoint",
        )
    return own


def _checked(pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], frame: Frame) -> tuple[NDArray[np.uint8], ...]:
    """The pictures of a case, if they fit its frame."""
    grey, colour = (frame.height, frame.width), (frame.height, frame.width, 3)
    shapes = {p.shape for p in pictures}
    if (
        len(pictures) != frame.depth
        or shapes - {grey, colour}
        or len(shapes) != 1
        or {p.dtype.name for p in pictures} != {"uint8"}
    ):
        came = f"{len(pictures)} pictures of the shapes {sorted(shapes)}"
        raise FormatError(came, f"{frame.depth} of {frame.width} x {frame.height}, 8 bits, grey or RGB")
    return tuple(pictures)


# --- How many tokens a unit has, known without its pictures: every process can lay out a whole step and read only its own share
# of it.


def unit_length(encoder: Encoder, case: CaseSamples, samples: Sequence[SampleRecord]) -> int:
    """Tokens of some samples on one case: what they share once, and a row for each."""
    blank = np.broadcast_to(np.uint8(0), (case.frame.height, case.frame.width))
    return sum(tree.length for tree in encoder.trees(samples, case.frame, [blank] * case.frame.depth))
