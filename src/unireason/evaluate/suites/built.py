"""A data set made by ``unireason data build`` or ``data import``: the questions of a split that words answer, with true places.

The places are written in the model frame that the data set was built for; the tag "frame" says which, as width x height x depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import Scratch
from unireason.core.types import Case, Kind
from unireason.data.dataset import Dataset
from unireason.data.frames import rule
from unireason.data.reader import DatasetReader
from unireason.data.records import SPLITS, CaseRecord, SampleRecord
from unireason.data.sources.base import number
from unireason.evaluate.box_reader import BoxReader
from unireason.evaluate.heldout import EXAM, held_out, make_exam

from .base import Entry
from .listed import CHOICE_RULE, check_options

KINDS: dict[str, tuple[Kind, ...]] = {"both": ("image", "volume"), "image": ("image",), "volume": ("volume",)}
_ALL = 10**9


class BuiltSuite:
    """Questions of a data set; those of the test split unless another is asked for."""

    name = "built"

    def __init__(self, dataset: Dataset, *, split: str | None, kind: str = "both", count: int = 0, stage: str = "") -> None:
        """Set what to ask."""
        self.dataset, self.split, self._stage = dataset, split, stage
        self._kinds, self._count = KINDS[kind], count or _ALL
        self.cases = DatasetReader(dataset)

    @property
    def rule(self) -> str:
        """See ``Suite.rule``."""
        asks_openly = bool(dict(self.dataset.manifest.get("counts") or {}).get("open"))
        return CHOICE_RULE + " Of an open question the words, the amount or all names of its answer are asked for." * asks_openly

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> BuiltSuite:
        """The suite for a command line."""
        check_options(cls.name, options, {"kind": tuple(KINDS), "questions": ()})
        if root is None:
            raise FormatError(f"the suite '{cls.name}' was given no folder", "a data set made by unireason data build")
        if split and split not in SPLITS:
            raise FormatError(f"the suite '{cls.name}' has no split {split!r}", f"one of {', '.join(SPLITS)}")
        kind, count = options.get("kind", "both"), number(options, "questions", 0)
        return cls(Dataset.open(root), split=split or "test", kind=kind, count=count)

    def entries(self) -> Iterator[Entry]:
        """See ``Suite.entries``; in the order of the data set."""
        found = {s.kind for s in self.dataset.samples(self.split) if s.task == "vqa"}
        kinds = [kind for kind in self._kinds if kind in found]
        if not kinds:
            raise UniReasonError(
                f"the data set '{self.dataset.folder.name}' has no question with options of this kind",
                f"some in the split {self.split}" if self.split else "some",
                "ask for another split or kind, or build a larger data set",
            )
        by_case: dict[str, list[SampleRecord]] = {}
        for kind in kinds:
            for sample in held_out(self.dataset, kind, self._count, self.split):
                if self._stage not in ("", *sample.stages):
                    continue
                by_case.setdefault(sample.case, []).append(sample)
        for record in self.dataset.cases(self.split):
            yield from (_entry(sample, record) for sample in by_case.get(record.scene.case, ()))

    def read(self, case: str) -> Case:
        """See ``Suite.read``. Reading on in the order of the entries costs least: the source is then gone through once."""
        return self.cases.load(case).case


def _entry(sample: SampleRecord, record: CaseRecord) -> Entry:
    question, scene = sample.question, record.scene
    named = {*scene.structures, *scene.absent}
    frame = scene.frame
    tags = {
        "family": question.family,
        "ask": question.ask,
        "modality": scene.modality,
        "structure": next((n for n in question.about if n in named), next(iter(question.needs), "")),
        "split": sample.split,
        "kind": sample.kind,
        "dataset": sample.origin,
        "frame": f"{frame.width}x{frame.height}x{frame.depth}",
    }
    return Entry(
        sample.id,
        sample.case,
        sample.patient or sample.case,
        question.text,
        question.options,
        (question.right,),
        question.letter,
        {key: value for key, value in tags.items() if value},
        sample.looks,
        None if question.gold else BoxReader.of(question, scene),
        question.gold,
        question.tolerance,
    )


# --- An examination of phantom patients that nothing is trained on; see ``evaluate.heldout.make_exam``.


_QUESTIONS = 250


def open_exam(
    make: Callable[..., Dataset], usual: int, root: Path | None, *, split: str, options: Mapping[str, str]
) -> tuple[Dataset, int, Scratch | None]:
    """An examination of phantoms, found in its folder again, and its questions; without a folder it is made in a temporary one."""
    if split not in ("", "test"):
        raise FormatError(f"the suite 'phantom' has no split {split!r}", "test")
    count = number(options, "questions", usual, least=1, most=100_000)
    seed, frame = number(options, "seed", 0), rule(options.get("frame", "phantom"))
    scratch = None if root else Scratch(EXAM)
    folder = scratch.path / "exam" if scratch else root
    return make(seed, count, folder, frame=frame), count, scratch


class PhantomSuite(BuiltSuite):
    """Questions about phantom patients; without a folder they are made in a temporary one, which goes with the suite."""

    name = "phantom"
    scratch: Scratch | None = None  # goes with the suite

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> PhantomSuite:
        """The suite for a command line; the examination is made here, or found in the folder again."""
        check_options(cls.name, options, {"seed": (), "questions": (), "kind": tuple(KINDS), "frame": ()})
        dataset, count, scratch = open_exam(make_exam, _QUESTIONS, root, split=split, options=options)
        suite = cls(dataset, split=None, kind=options.get("kind", "both"), count=count)
        suite.scratch = scratch
        return suite


# --- UniMed-CoT, as ``unireason data import unimed-cot`` takes it in.


class UnimedCotSuite(BuiltSuite):
    """UniMed-CoT; the split is the table, "rl" or "sft"."""

    name = "unimed-cot"
    stages: ClassVar = {"rl": "grpo", "sft": "sft"}

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> UnimedCotSuite:
        """The suite for a command line."""
        check_options(cls.name, options, {})
        if root is None or not root.is_dir():
            given = "no folder" if root is None else f"'{root}', which is no folder"
            raise FormatError(f"the suite '{cls.name}' was given {given}", "a folder made by unireason data import unimed-cot")
        if split and split not in cls.stages:
            raise FormatError(f"the suite '{cls.name}' has no split {split!r}", f"one of {', '.join(cls.stages)}")
        dataset = Dataset.open(root)
        if dataset.layout != cls.name:
            came = f"'{root}' was {f'imported from {dataset.layout}' if dataset.layout else 'built'}"
            raise FormatError(came, "a folder made by unireason data import unimed-cot")
        return cls(dataset, split=None, stage=cls.stages[split or "rl"])
