"""Implicit questions of a data set made by ``unireason data build`` or ``data import``, and of phantom patients that nothing is trained on.

True boxes and points are written in the model frame that the data set was built for; the tag "frame" says which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from unireason.data.dataset import Dataset
from unireason.data.frames import rule
from unireason.data.item import Loaded
from unireason.data.pictures import structure_mask
from unireason.data.records import SPLITS, CaseRecord, SampleRecord
from unireason.data.sources.options import number
from unireason.errors import FormatError, ImageReadError, UniReasonError
from unireason.evaluate.heldout import EXAM, held_out_implicit, make_grounding_exam, read_items
from unireason.files import Scratch
from unireason.types import Case

from .listed import check_options
from .pointing import RULE, Truth
from .suite import Entry

_ALL, _QUESTIONS = 10**9, 300


class BuiltImplicitSuite:
    """Implicit questions of a data set; those of the test split unless another is asked for.

    Attributes:
        dataset: The data set.
        split: Split of the questions; None for all.
        left_out: After ``entries`` has come to its end: questions of an imported release that have no mask to be scored by.
    """

    name = "built"
    rule = RULE

    def __init__(self, dataset: Dataset, *, split: str | None, count: int = 0) -> None:
        """Set what to ask.

        Args:
            dataset: The data set.
            split: "train", "validation" or "test"; None for all.
            count: Questions, with equal shares of the categories as far as the data set has them; 0 for all.
        """
        self.dataset, self.split = dataset, split
        self.left_out: Mapping[str, int] = {}
        self._count = count or _ALL
        self._samples: dict[str, SampleRecord] = {}
        self._loaded: tuple[CaseRecord, Loaded] | None = None
        self._stream: Iterator[tuple[CaseRecord, Loaded]] = iter(())

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> BuiltImplicitSuite:
        """The suite for a command line.

        Args:
            root: Folder of the data set.
            split: "" takes "test".
            options: ``questions`` (0 for all).

        Raises:
            UniReasonError: If there is no data set, or the split or an option is unknown.
        """
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
            if sample.target:
                by_case.setdefault(sample.case, []).append(sample)
            else:
                left_out["it has no mask"] += 1
        for record in self.dataset.cases(self.split):
            for sample in by_case.get(record.scene.case, ()):
                self._samples[sample.id] = sample
                yield _entry(sample, record)
        self.left_out = dict(left_out)

    def read(self, case: str) -> Case:
        """See ``Suite.read``. Reading on in the order of the entries costs least: the source is then gone through once."""
        return self._load(case)[1].case

    def truth(self, entry: Entry) -> Truth:
        """See ``PointingSuite.truth``."""
        record, loaded = self._load(entry.case)
        sample = self._samples[entry.id]
        mask = structure_mask(loaded, sample.target)
        if sample.box is None or sample.points is None or not mask.any():
            raise ImageReadError(f"the case {entry.case!r} has no mask of {sample.category!r}", "at least one pixel")
        return Truth(sample.box, sample.points, mask, (record.scene.frame.width, record.scene.frame.height))

    def _load(self, case: str) -> tuple[CaseRecord, Loaded]:
        if self._loaded is None or self._loaded[0].scene.case != case:
            found = next((own for own in self._stream if own[0].scene.case == case), None)
            if found is None:
                order = list(dict.fromkeys(entry.case for entry in self.entries()))
                if case not in order:
                    raise UniReasonError(f"the data set '{self.dataset.folder.name}' has no case {case!r}", "one of its entries")
                self._stream = read_items(self.dataset, order[order.index(case) :])
                found = next(self._stream)
            self._loaded = found
        return self._loaded


class PhantomImplicitSuite(BuiltImplicitSuite):
    """Implicit questions about phantom patients; without a folder they are made in a temporary one, which goes with the suite."""

    name = "phantom"
    scratch: Scratch | None = None  # goes with the suite

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> PhantomImplicitSuite:
        """The suite for a command line; the examination is made here, or found in the folder again.

        Args:
            root: A new or empty folder, or one that holds this examination already; None for a temporary one.
            split: "" or "test": all patients are held out.
            options: ``seed`` (0; each gives other patients), ``questions`` (300) and ``frame`` (how the model sees pictures: "phantom",
                "published" or the folder of a checkpoint).

        Raises:
            FormatError: If the split or an option is unknown.
            UniReasonError: If the folder cannot be used.
        """
        check_options(cls.name, options, {"seed": (), "questions": (), "frame": ()})
        if split not in ("", "test"):
            raise FormatError(f"the suite '{cls.name}' has no split {split!r}", "test")
        count = number(options, "questions", _QUESTIONS, least=1, most=100_000)
        scratch = None
        if root is None:
            scratch = Scratch(EXAM)
            root = scratch.path / "exam"
        frame = rule(options.get("frame", "phantom"))
        dataset = make_grounding_exam(number(options, "seed", 0), count, root, frame=frame)
        suite = cls(dataset, split=None, count=count)
        suite.scratch = scratch
        return suite


def _entry(sample: SampleRecord, record: CaseRecord) -> Entry:
    frame = record.scene.frame
    tags = {
        "category": sample.category,
        "supercategory": sample.supercategory,
        "structure": sample.category,
        "modality": record.scene.modality,
        "split": sample.split,
        "frame": f"{frame.width}x{frame.height}x{frame.depth}",
    }
    kept = {key: value for key, value in tags.items() if value}
    return Entry(sample.id, sample.case, sample.patient or sample.case, sample.question.text, (), (sample.category,), tags=kept)
