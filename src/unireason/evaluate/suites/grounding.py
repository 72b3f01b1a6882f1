"""What a suite of implicit questions offers beside questions and pictures: the place that is meant. And these suites by name.

Their entries have no options. ``answers`` holds the name of the structure that is meant, for people alone; the tags "category" and
"supercategory" group results.

Source: Z. Yan et al., MedReasoner, arXiv 2508.08177.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.store import Scratch
from unireason.core.types import Box2D, Case, Frame
from unireason.data.dataset import Dataset
from unireason.data.formats import umrg
from unireason.data.formats.rows import read_mask, read_stored
from unireason.data.formats.umrg import UmrgRow
from unireason.data.frames import structure_mask
from unireason.data.reader import DatasetReader
from unireason.data.records import SPLITS, SampleRecord
from unireason.data.sources.base import number
from unireason.evaluate.heldout import held_out_implicit, make_grounding_exam

from .base import Entry, Suite
from .built import open_exam
from .listed import check_options

Mask = NDArray[np.bool_]
Point = tuple[float, float]
Points = tuple[Point, Point]

RULE = (
    "The answer is a box and two points, read as they are written; a frozen expert outlines them. Scored are the overlap of the box with "
    "the true one (IoU), of the circles over the two points (pDice), and of the mask with the true one (Dice). Every answer counts: "
    "what is missing or cannot be read scores 0."
)
"""How an answer to an implicit question counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The place that an implicit question means."""

    box: Box2D
    points: Points
    mask: Mask
    grid: tuple[int, int]

    def on(self, frame: Frame) -> tuple[Box2D, Points]:
        """Box and points in a model frame, unchanged where it is their own grid; else the middles of the points' pixels are kept."""
        if self.grid == (frame.width, frame.height):
            return self.box, self.points
        across, down = frame.width / self.grid[0], frame.height / self.grid[1]
        x1, y1, x2, y2 = self.box.coords
        (ax, ay), (bx, by) = ((((x + 0.5) * across - 0.5), ((y + 0.5) * down - 0.5)) for x, y in self.points)
        return Box2D(x1 * across, y1 * down, x2 * across, y2 * down), ((ax, ay), (bx, by))


class PointingSuite(Suite, Protocol):
    """A suite of implicit questions about pictures."""

    @property
    def left_out(self) -> Mapping[str, int]:
        """After ``entries`` has come to its end: questions that cannot be asked, by reason."""
        ...

    def truth(self, entry: Entry) -> Truth:
        """The place that a question means; cheapest right after the picture of its case was read.

        Raises:
            ImageReadError: If its mask cannot be read, is empty, or does not fit the picture.
            UniReasonError: If the data are not what the entries were made of.
        """
        ...


NAMES: tuple[str, ...] = ("phantom", "built", "u-mrg")
"""Every suite that `open_pointing` knows."""


def open_pointing(
    name: str, root: Path | None = None, *, split: str = "", options: Mapping[str, str] = MappingProxyType({})
) -> PointingSuite:
    """A suite of implicit questions by name.

    Args:
        name: One of `NAMES`.
        root: The folder of the data; None for phantoms.
        split: Which questions; "" takes those meant for evaluation.
        options: Options of the suite, as text.

    Raises:
        FormatError: If the name, the split or an option is unknown (the message lists the known ones), or a folder is missing.
    """
    if name not in NAMES:
        raise FormatError(f"there is no suite {name!r} of implicit questions", f"one of {', '.join(NAMES)}")
    kinds: dict[str, type[BuiltImplicitSuite | UmrgSuite]] = {"phantom": PhantomImplicitSuite, "built": BuiltImplicitSuite}
    return kinds.get(name, UmrgSuite).open(root, split=split, options=options)


# --- Implicit questions of a data set made by ``unireason data build`` or ``data import``, and of phantom patients that nothing
# is trained on.


_ALL, _QUESTIONS = 10**9, 300


class BuiltImplicitSuite:
    """Implicit questions of a data set; those of the test split unless another is asked for."""

    name = "built"
    rule = RULE

    def __init__(self, dataset: Dataset, *, split: str | None, count: int = 0) -> None:
        """Set what to ask."""
        self.dataset, self.split = dataset, split
        self.left_out: Mapping[str, int] = {}
        self._count = count or _ALL
        self._samples: dict[str, tuple[SampleRecord, tuple[int, int]]] = {}  # with the grid of their places
        self._cases = DatasetReader(dataset)

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> BuiltImplicitSuite:
        """The suite for a command line."""
        check_options(cls.name, options, {"questions": ()})
        if root is None:
            raise FormatError(f"the suite '{cls.name}' was given no folder", "a data set made by unireason data build")
        if split and split not in SPLITS:
            raise FormatError(f"the suite '{cls.name}' has no split {split!r}", f"one of {', '.join(SPLITS)}")
        return cls(Dataset.open(root), split=split or "test", count=number(options, "questions", 0))

    def entries(self) -> Iterator[Entry]:
        """See ``Suite.entries``; in the order of the data set."""
        by_case: dict[str, list[SampleRecord]] = {}
        left_out: Counter[str] = Counter()
        for sample in held_out_implicit(self.dataset, self._count, self.split):
            if sample.kind == "volume":
                left_out["it is about a volume"] += 1
            elif sample.target:
                by_case.setdefault(sample.case, []).append(sample)
            else:
                left_out["it has no mask"] += 1
        for record in self.dataset.cases(self.split):
            for sample in by_case.get(record.scene.case, ()):
                frame = record.scene.frame
                self._samples[sample.id] = sample, (frame.width, frame.height)
                tags = {
                    "category": sample.category,
                    "supercategory": sample.supercategory,
                    "structure": sample.category,
                    "modality": record.scene.modality,
                    "split": sample.split,
                    "frame": f"{frame.width}x{frame.height}x{frame.depth}",
                }
                kept = {key: value for key, value in tags.items() if value}
                patient, text = sample.patient or sample.case, sample.question.text
                yield Entry(sample.id, sample.case, patient, text, (), (sample.category,), tags=kept)
        self.left_out = dict(left_out)

    def read(self, case: str) -> Case:
        """See ``Suite.read``. Reading on in the order of the entries costs least: the source is then gone through once."""
        return self._cases.load(case).case

    def truth(self, entry: Entry) -> Truth:
        """See ``PointingSuite.truth``."""
        sample, grid = self._samples[entry.id]
        mask = structure_mask(self._cases.load(entry.case), sample.target)
        if sample.box is None or sample.points is None or not mask.any():
            raise ImageReadError(f"the case {entry.case!r} has no mask of {sample.category!r}", "at least one pixel")
        (ax, ay), (bx, by) = sample.points
        return Truth(Box2D(*sample.box.coords), ((ax, ay), (bx, by)), mask, grid)


class PhantomImplicitSuite(BuiltImplicitSuite):
    """Implicit questions about phantom patients; without a folder they are made in a temporary one, which goes with the suite."""

    name = "phantom"
    scratch: Scratch | None = None  # goes with the suite

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> PhantomImplicitSuite:
        """The suite for a command line; the examination is made here, or found in the folder again."""
        check_options(cls.name, options, {"seed": (), "questions": (), "frame": ()})
        dataset, count, scratch = open_exam(make_grounding_exam, _QUESTIONS, root, split=split, options=options)
        suite = cls(dataset, split=None, count=count)
        suite.scratch = scratch
        return suite


# --- U-MRG-14K as published: ``test-*.parquet``, pictures and masks inside, implicit questions answered by a box and two points.


_SPLITS = ("test", "train", "validation")


class UmrgSuite:
    """U-MRG-14K."""

    name = "u-mrg"
    rule = RULE

    def __init__(self, root: Path, *, split: str) -> None:
        """Keep where and what; nothing is read."""
        self.root, self.split = root, split
        self.left_out: Mapping[str, int] = {}
        self._places: dict[str, tuple[Path, int]] = {}  # by question: its file and the number of its row
        self._first: dict[str, str] = {}  # by case: its first question
        self._stream: Iterator[UmrgRow] = iter(())
        self._at: tuple[tuple[Path, int], UmrgRow] | None = None
        self._seen: tuple[str, tuple[int, int]] = ("", (0, 0))  # the last picture: its case, height and width

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> UmrgSuite:
        """The suite for a command line."""
        check_options(cls.name, options, {})
        if root is None or not root.exists():
            given = "no folder" if root is None else f"'{root}', which is not there"
            raise FormatError(f"the suite '{cls.name}' was given {given}", "the folder with data/test-*.parquet")
        if split and split not in _SPLITS:
            raise FormatError(f"the suite '{cls.name}' has no split {split!r}", f"one of {', '.join(_SPLITS)}")
        return cls(root, split=split or _SPLITS[0])

    def entries(self) -> Iterator[Entry]:
        """See ``Suite.entries``; cases in the order in which the files hold them first."""
        left_out: Counter[str] = Counter()
        cases: dict[str, list[Entry]] = {}
        names: Counter[str] = Counter()
        found = umrg.files_of(self.root)
        files = found if self.root.is_file() else [path for path in found if path.name.startswith(self.split)]
        if not files:
            raise FormatError(
                f"'{self.root.name}' holds {found[0].name} and no file of the split {self.split}",
                f"{self.split}-*.parquet",
                "complete the folder, or name another split or one file",
            )
        for path in files:
            for place, row in enumerate(umrg.read_file(path, strict=False)):
                x1, y1, x2, y2 = row.box
                reason = "it has no text" if not row.question.strip() else ""
                reason = reason or ("its true box is empty" if x2 <= x1 or y2 <= y1 else "")
                if reason:
                    left_out[reason] += 1
                    continue
                name = row.id or f"{path.stem}-{place}"
                names[name] += 1
                case, text = sha256(row.images[0].bytes).hexdigest(), row.question.strip()
                tags = {
                    "category": row.category,
                    "supercategory": row.supercategory,
                    "structure": row.category,
                    "split": self.split,
                }
                kept = {key: value for key, value in tags.items() if value}
                unique = name if names[name] == 1 else f"{name}~{names[name]}"
                entry = Entry(unique, case, case, text, (), (row.category,), tags=kept)
                self._places[entry.id] = (path, place)
                self._first.setdefault(entry.case, entry.id)
                cases.setdefault(entry.case, []).append(entry)
        if not cases:
            raise UniReasonError(
                f"the suite '{self.name}' has no question that can be asked", "rows as published", "check the folder"
            )
        yield from (entry for own in cases.values() for entry in own)
        self.left_out = dict(left_out)

    def read(self, case: str) -> Case:
        """See ``Suite.read``."""
        if case not in self._first:
            raise UniReasonError(f"the suite '{self.name}' has no picture {case[:80]!r}", "one of its entries")
        found = read_stored(self._row(self._first[case]).images[0].bytes, "picture")
        height, width = found.geometry.shape
        self._seen = (case, (height, width))
        return found

    def truth(self, entry: Entry) -> Truth:
        """See ``PointingSuite.truth``. Reading on in the order of the entries costs least."""
        if self._seen[0] != entry.case:
            self.read(entry.case)
        row, (height, width) = self._row(entry.id), self._seen[1]
        mask = read_mask(row.masks[0].bytes, (height, width))
        return Truth(Box2D(*row.box), row.points, mask, (width, height))

    def _row(self, question: str) -> UmrgRow:
        if question not in self._places:
            raise UniReasonError(f"the suite '{self.name}' has no question {question[:80]!r}", "one of its entries")
        path, number = place = self._places[question]
        if self._at is not None and self._at[0] == place:
            return self._at[1]
        if self._at is None or self._at[0] != (path, number - 1):
            self._stream = umrg.read_file(path, strict=False, start=number)
        row = next(self._stream, None)
        if row is None:
            raise FormatError(f"'{path.name}' has changed", "the file of which the questions were listed")
        self._at = (place, row)
        return row
