"""A data set made by ``unireason data build`` or ``data import``: the questions with options of a split, with true places to look at.

The places are written in the model frame that the data set was built for; the tag "frame" says which, as width x height x depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from unireason.data.dataset import Dataset
from unireason.data.records import SPLITS, CaseRecord, SampleRecord
from unireason.data.sources.options import number
from unireason.errors import FormatError, UniReasonError
from unireason.evaluate.heldout import held_out, read_cases
from unireason.types import Case, Kind

from .listed import CHOICE_RULE, check_options
from .suite import Entry

KINDS: dict[str, tuple[Kind, ...]] = {"both": ("image", "volume"), "image": ("image",), "volume": ("volume",)}
_ALL = 10**9


class BuiltSuite:
    """Questions of a data set; those of the test split unless another is asked for.

    Attributes:
        dataset: The data set.
        split: Split of the questions; None for all.
    """

    name = "built"
    rule = CHOICE_RULE

    def __init__(self, dataset: Dataset, *, split: str | None, kind: str = "both", count: int = 0, stage: str = "") -> None:
        """Set what to ask.

        Args:
            dataset: The data set.
            split: "train", "validation" or "test"; None for all.
            kind: "image", "volume" or "both".
            count: Questions of each kind, as even over the families as the data set allows; 0 for all.
            stage: "sft" or "grpo" for questions meant for that stage of training alone.
        """
        self.dataset, self.split, self._stage = dataset, split, stage
        self._kinds, self._count = KINDS[kind], count or _ALL
        self._order: list[str] | None = None
        self._stream: Iterator[tuple[CaseRecord, Case]] = iter(())

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> BuiltSuite:
        """The suite for a command line.

        Args:
            root: Folder of the data set.
            split: "" takes "test".
            options: ``kind`` ("both", "image", "volume") and ``questions`` (of each kind; 0 for all).

        Raises:
            UniReasonError: If there is no data set, or the split or an option is unknown.
        """
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
        order = []
        for record in self.dataset.cases(self.split):
            if record.scene.case in by_case:
                order.append(record.scene.case)
                yield from (_entry(sample, record) for sample in by_case[record.scene.case])
        self._order = order

    def read(self, case: str) -> Case:
        """See ``Suite.read``. Reading on in the order of the entries costs least: the source is then gone through once."""
        record, found = next(self._stream, (None, None))
        if record is None or found is None or record.scene.case != case:
            order = self._cases()
            if case not in order:
                raise UniReasonError(f"the data set '{self.dataset.folder.name}' has no case {case!r}", "one of its entries")
            self._stream = read_cases(self.dataset, order[order.index(case) :])
            _, found = next(self._stream)
        return found

    def _cases(self) -> list[str]:
        """Cases in the order in which they are read."""
        if self._order is None:
            self._order = list(dict.fromkeys(entry.case for entry in self.entries()))
        return self._order


def _entry(sample: SampleRecord, record: CaseRecord) -> Entry:
    question, scene = sample.question, record.scene
    named = {*scene.structures, *scene.absent}
    frame = scene.frame
    tags = {
        "family": question.family,
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
    )
