"""All checks of a data set in two passes over its rows, in memory that grows by a few dozen bytes a case.

The first pass reads the cases: splits, duplicates, counts. The second walks through each split with cases and their samples side by side
and, where the source is at hand, opens it again and recomputes from the masks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from unireason.data.dataset import MANIFEST, Dataset
from unireason.data.frames import FrameRule
from unireason.data.item import Source
from unireason.data.records import SPLITS, CaseRecord, ImageRecord, SampleRecord
from unireason.errors import FormatError, UniReasonError

from . import answers, boxes, files, leakage, masks, pictures
from .balance import Tally, check_balance
from .facts import Facts, MaskFacts, SceneFacts
from .findings import Finding, Findings
from .shortcut import Texts, check_shortcut

VERSION = "unireason.check/1"
Progress = Callable[[int, int], None]
"""Called with the cases done and their number."""

_GOLDEN = 0.6180339887498949
_LOOK_BACK = 64  # cases kept while walking, for samples that stand a little behind their case


@dataclass(frozen=True, slots=True)
class Report:
    """What the checks found.

    Attributes:
        dataset: Name of the folder.
        content_sha256: Hash of the data set's content.
        problems: The first problems of each check.
        counts: Number of problems of each check that ran.
        checked: How much each check looked at.
        remarks: Worth knowing and no fault.
        shortcut: Family to the result of the text-only audit, see ``shortcut.check_shortcut``.
        distribution: Counts for the page: "families" (family/kind/split), "letters" (options/place), "cases", "modalities", "structures".
        masks: True if the source was opened again.
    """

    dataset: str
    content_sha256: str
    problems: tuple[Finding, ...]
    counts: dict[str, int]
    checked: dict[str, dict[str, int]]
    remarks: tuple[Finding, ...]
    shortcut: dict[str, dict[str, Any]]
    distribution: dict[str, dict[str, int]]
    masks: bool

    @property
    def ok(self) -> bool:
        """True if no check found a problem."""
        return not any(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values: "schema", "ok", "dataset", "content_sha256", "masks", "problems", "counts", "checked", "remarks", "shortcut",
        "distribution"."""
        return {
            "schema": VERSION,
            "ok": self.ok,
            "dataset": self.dataset,
            "content_sha256": self.content_sha256,
            "masks": self.masks,
            "problems": [p.to_json() for p in self.problems],
            "counts": self.counts,
            "checked": self.checked,
            "remarks": [r.to_json() for r in self.remarks],
            "shortcut": self.shortcut,
            "distribution": self.distribution,
        }


def check(dataset: Dataset, source: Source | None, *, samples: int | None = None, progress: Progress | None = None) -> Report:
    """Check a data set.

    Args:
        dataset: The opened data set.
        source: What it was built from; None leaves out check "masks" and recomputes answers from the scenes alone. A data set that was
            imported from a release has no scenes to be recomputed: its source is not asked.
        samples: So many cases, spread evenly, are recomputed from their masks; None means all.
        progress: Called while cases are recomputed.

    Returns:
        The report. An empty data set has no problem but those of its files and its balance.

    Raises:
        UniReasonError: If the source as a whole cannot be read.
    """
    found, source = Findings(), None if dataset.layout else source
    files.check_files(dataset.folder, dataset.manifest, found)
    register, tally, texts = leakage.Register(), Tally(), Texts()
    embedded = bool(dataset.files("images"))
    optional = [masks.CHECK] * (source is not None) + [pictures.CHECK] * embedded
    for check_name in (boxes.CHECK, *optional, answers.CHECK, leakage.CHECK):
        found.start(check_name)
    whole = _first_pass(dataset, register, tally, found)
    if whole:
        walk = _Walk(dataset, source, found, tally, texts, register)
        walk.run(samples, progress or (lambda done, total: None))
    leakage.check_pictures(register, _near(dataset, found), found)
    register.repeats(found)
    _unknown(register, tally, found)
    check_balance(tally, len(register.patients), found)
    files.check_counts(dataset.manifest, tally, found)
    results = check_shortcut(texts, found)
    return Report(
        dataset=dataset.folder.name,
        content_sha256=str(dataset.manifest.get("content_sha256", "")),
        problems=tuple(found.kept),
        counts=dict(found.counts),
        checked=found.checked,
        remarks=tuple(found.remarks),
        shortcut=results,
        distribution=tally.to_json(),
        masks=source is not None,
    )


def _near(dataset: Dataset, found: Findings) -> int:
    """Bits within which pictures count as the same, as the builder was told."""
    near = dataset.manifest.get("config", {}).get("near", leakage.NEAR)
    if type(near) is int and 0 <= near < 128:
        return near
    found.add(files.CHECK, f"near is {near!r}, not a number of bits from 0 to 127", file=MANIFEST)
    return leakage.NEAR


def _rule(dataset: Dataset, found: Findings) -> FrameRule | None:
    """The frame rule of a data set; None if it cannot be read, which is then a problem."""
    try:
        return FrameRule.from_json(dataset.manifest.get("config", {}).get("frame"))
    except FormatError as error:
        found.add(files.CHECK, f"the frame cannot be read: {error}", file=MANIFEST)
        return None


def _unknown(register: leakage.Register, tally: Tally, found: Findings) -> None:
    """Say what could not be checked because the data set does not tell what it takes."""
    if tally.undescribed:
        came = f"of {tally.undescribed} cases it is not known what they show"
        found.remark(answers.CHECK, f"{came}: their answers and boxes cannot be worked out again")
    if register.strangers:
        found.remark(
            leakage.CHECK, f"the patients of {register.strangers} cases are not known: only pictures and names were compared"
        )


def _first_pass(dataset: Dataset, register: leakage.Register, tally: Tally, found: Findings) -> bool:
    """Read all cases; False if they cannot all be read."""
    try:
        for split in SPLITS:
            for case in dataset.cases(split):
                if case.split != split:
                    found.add(files.CHECK, f"a case of {case.split} lies in a file of {split}", case=case.scene.case)
                register.add_case(case, found)
                tally.add_case(case)
    except UniReasonError as error:
        found.add(files.CHECK, f"the cases cannot be read: {error}")
        return False
    return True


@dataclass(slots=True)
class _Walk:
    """The second pass: cases and samples side by side."""

    dataset: Dataset
    source: Source | None
    found: Findings
    tally: Tally
    texts: Texts
    register: leakage.Register

    def run(self, samples: int | None, progress: Progress) -> None:
        """Walk through all splits."""
        total = len(self.register.cases)
        chosen = spread(total, samples)
        opened = masks.Opened(self.source) if self.source else None
        number, rule = 0, _rule(self.dataset, self.found)
        try:
            for split in SPLITS:
                images = _Images(self.dataset, split)
                for case, own in self._pairs(split):
                    measured = None
                    if opened is not None and number in chosen:
                        measured = opened.facts(case, self.found)
                    if rule is not None:
                        boxes.check_frame(case, rule, self.found)
                    self._case(case, own, measured)
                    if pictures.CHECK in self.found.counts:
                        pictures.check_pictures(case, images.of(case), own, measured, self.found)
                    number += 1
                    progress(number, total)
        except UniReasonError as error:
            self.found.add(files.CHECK, f"the samples cannot be read: {error}")

    def _case(self, case: CaseRecord, samples: list[SampleRecord], measured: MaskFacts | None) -> None:
        facts: Facts = measured or SceneFacts(case.scene)
        if measured is not None:
            masks.check_case(case, measured, self.found)
        for sample in samples:
            boxes.check_boxes(case, sample, self.found)
            answers.check_answer(case, sample, facts, self.found)
            if measured is not None:
                masks.check_sample(case, sample, measured, self.found)

    def _pairs(self, split: str) -> Iterator[tuple[CaseRecord, list[SampleRecord]]]:
        """Every case of a split with its samples; samples that stand elsewhere come with their case once more or are reported."""
        stream = self._samples(split)
        passed: set[str] = set()
        recent: deque[CaseRecord] = deque(maxlen=_LOOK_BACK)
        waiting = next(stream, None)
        for case in self.dataset.cases(split):
            name = case.scene.case
            passed.add(name)
            recent.append(case)
            own: list[SampleRecord] = []
            while waiting is not None and waiting.case in passed:
                if waiting.case == name:
                    own.append(waiting)
                else:
                    self._late(waiting, recent)
                waiting = next(stream, None)
            yield case, own
        while waiting is not None:
            self._late(waiting, recent)
            waiting = next(stream, None)

    def _late(self, sample: SampleRecord, recent: deque[CaseRecord]) -> None:
        """A sample that does not stand with its case."""
        case = next((c for c in recent if c.scene.case == sample.case), None)
        if case is None:
            self.found.add(files.CHECK, "the samples do not stand in the order of their cases", sample=sample.id)
        else:
            self._case(case, [sample], None)

    def _samples(self, split: str) -> Iterator[SampleRecord]:
        """Samples of a split, counted on the way; those without a case in this split are reported and left out."""
        for sample in self.dataset.samples(split):
            self.tally.add_sample(sample)
            self.texts.add(sample)
            self.register.add_sample(sample, self.found)
            if sample.split != split:
                self.found.add(files.CHECK, f"a sample of {sample.split} lies in a file of {split}", sample=sample.id)
            where = self.register.cases.get(sample.case)
            if where is None:
                self.found.add(files.CHECK, f"there is no case {sample.case}", sample=sample.id)
            elif where == split:
                yield sample


class _Images:
    """Embedded pictures of a split, read along with its cases, whose order they have."""

    def __init__(self, dataset: Dataset, split: str) -> None:
        self._stream = dataset.images(split)
        self._waiting = next(self._stream, None)

    def of(self, case: CaseRecord) -> list[ImageRecord]:
        """The pictures of the next case; none if others stand in their place."""
        own: list[ImageRecord] = []
        while self._waiting is not None and self._waiting.case == case.scene.case:
            own.append(self._waiting)
            self._waiting = next(self._stream, None)
        return own


def spread(total: int, wanted: int | None) -> range | set[int]:
    """Numbers of ``wanted`` cases spread evenly over ``total``; all if None or more than there are.

    One is taken out of each of ``wanted`` equal stretches, at a place that moves by the golden ratio, because the cases of one volume
    follow each other and a fixed step would always meet the same kind.
    """
    if wanted is None or wanted >= total:
        return range(total)
    return {min(int((i + i * _GOLDEN % 1) * total / wanted), total - 1) for i in range(wanted)}
