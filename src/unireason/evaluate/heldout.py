"""Held-out questions of a built data set, asked by real generation and scored.

``make_exam`` builds one of phantom patients that nothing is trained on: they come from a stream of random numbers of their own, which
neither the base model's cohort nor a data set built to train on draws from, whatever the seeds. Looks are scored against the masks; a
look that is missing counts as zero, so that boxes cannot be made better by leaving hard ones out. ``make_grounding_exam`` builds one of
implicit questions about the same patients; ``evaluate.grounding`` asks it.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Case, Frame, Kind, Trace, is_mismatch
from unireason.data.build_store import BuildConfig
from unireason.data.dataset import Dataset
from unireason.data.frames import FrameRule, rule
from unireason.data.item import Loaded
from unireason.data.pipeline import build
from unireason.data.rationale.template import TemplateAnnotator
from unireason.data.reader import CaseReader
from unireason.data.records import CaseRecord, SampleRecord
from unireason.data.scene import FAMILIES, IMPLICIT
from unireason.data.sources.phantom import EXAM_STREAM
from unireason.engine.reasoner import Question, Reasoner
from unireason.metrics.statistics import over_patients, too_few, wilson
from unireason.rewards.outcome import looks_iou

KINDS: tuple[tuple[str, Kind], ...] = (("2d", "image"), ("3d", "volume"))
EXAM = "unireason-exam"  # what temporary folders of examinations are called
PATIENTS_A_QUESTION = 0.6  # an image gives two to three questions, a volume three; some families are rare
LEAST_PATIENTS = 16  # wrong options are lent by other patients
GROUNDING_PATIENTS_A_QUESTION = 0.5  # eight questions each, so that rare structures get their share


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutAnswer:
    """One held-out question and what the model made of it.

    Attributes:
        case: The case.
        sample: The question with its right answer and true looks.
        trace: The model's trace.
    """

    case: Case
    sample: SampleRecord
    trace: Trace

    @property
    def right(self) -> bool:
        """True if the chosen letter is the right one."""
        return self.trace.answer.choice == self.sample.question.letter

    @property
    def looked(self) -> bool:
        """True if at least one valid box was executed."""
        return any(look.executed for look in self.trace.looks)

    def ious(self) -> list[float]:
        """See :func:`unireason.rewards.outcome.looks_iou`."""
        return looks_iou(self.trace, self.sample.looks)


def make_exam(seed: int, questions: int, folder: Path, *, frame: FrameRule | None = None) -> Dataset:
    """Build a data set of phantom patients to be asked about; the same arguments give the same one.

    Args:
        seed: Any non-negative integer; each gives other patients.
        questions: Questions of each kind that it should hold, at least 1.
        folder: Where; a new or empty folder, or one that holds this examination already.
        frame: How the model sees pictures; None takes the built-in checkpoint's way.

    Raises:
        FormatError: If the seed is negative or there are to be no questions.
        UniReasonError: If the folder cannot be used.
    """
    patients = math.ceil(PATIENTS_A_QUESTION * questions)
    return _built(seed, patients, folder, frame=frame or rule("phantom"), slices=1, implicit=0)


def make_grounding_exam(seed: int, questions: int, folder: Path, *, frame: FrameRule | None = None) -> Dataset:
    """Build a data set of implicit questions about slices of phantom patients; the same arguments give the same one."""
    patients = math.ceil(GROUNDING_PATIENTS_A_QUESTION * questions)
    return _built(seed, patients, folder, frame=frame or rule("phantom"), slices=2, questions=0, implicit=4)


def held_out(dataset: Dataset, kind: Kind, count: int, split: str | None = None) -> list[SampleRecord]:
    """Choose questions, with equal shares of the six families as far as the data set has them."""
    if count < 1:
        raise FormatError(f"{count} questions", "at least 1")
    samples = [s for s in dataset.samples(split) if s.kind == kind and s.task == "vqa"]
    if not samples:
        raise UniReasonError(f"the data set '{dataset.folder.name}' has no question with options about a {kind}")
    return _spread(samples, count, ("", *FAMILIES), lambda s: s.question.family)


def held_out_implicit(dataset: Dataset, count: int, split: str | None = None) -> list[SampleRecord]:
    """Choose implicit questions, with equal shares of the categories as far as the data set has them; else as :func:`held_out`."""
    if count < 1:
        raise FormatError(f"{count} questions", "at least 1")
    samples = [s for s in dataset.samples(split) if s.kind == "image" and s.question.family == IMPLICIT]
    if not samples:
        raise UniReasonError(
            f"the data set '{dataset.folder.name}' has no implicit question about an image",
            "",
            "build one with --implicit 1 or more",
        )
    return _spread(samples, count, sorted({s.category for s in samples}), lambda s: s.category)


def _built(seed: int, patients: int, folder: Path, **how: Any) -> Dataset:
    """A data set of phantom patients that nothing is trained on."""
    if seed < 0 or patients < 1:
        raise FormatError(f"seed {seed} and {patients} patients", "a seed of at least 0 and at least 1 question")
    options = {"patients": str(max(LEAST_PATIENTS, patients)), "seed": str(seed), "stream": str(EXAM_STREAM)}
    build(BuildConfig("phantom", options=options, seed=seed, **how), folder, annotator=TemplateAnnotator())
    return Dataset.open(folder)


def _spread(
    samples: Sequence[SampleRecord], count: int, groups: Sequence[str], group: Callable[[SampleRecord], str]
) -> list[SampleRecord]:
    """So many samples, as even over the groups as what is offered allows; the first groups get the remainder."""
    offered = Counter(map(group, samples))
    wanted: Counter[str] = Counter()
    while wanted.total() < min(count, sum(offered[name] for name in groups)):
        for name in groups:
            if wanted[name] < offered[name] and wanted.total() < count:
                wanted[name] += 1
    chosen: set[str] = set()
    for sample in sorted(samples, key=lambda s: (zlib.crc32(s.case.encode()), s.id)):
        if wanted[group(sample)]:
            wanted[group(sample)] -= 1
            chosen.add(sample.id)
    return [s for s in samples if s.id in chosen]


def read_cases(dataset: Dataset, names: Sequence[str]) -> Iterator[tuple[CaseRecord, Case]]:
    """The cases of :func:`read_items` without their masks."""
    return ((record, loaded.case) for record, loaded in read_items(dataset, names))


def read_items(dataset: Dataset, names: Sequence[str]) -> Iterator[tuple[CaseRecord, Loaded]]:
    """Read cases with their masks through the source of their data set, in its order."""
    wanted = set(names)
    records = [record for record in dataset.cases() if record.scene.case in wanted]
    reader = CaseReader(dataset.source(), (record.item for record in records))
    for record in records:
        yield record, reader.load(record.item, record.slice, record.sha256)


def evaluate(
    reasoner: Reasoner,
    dataset: Dataset,
    *,
    kind: Kind,
    count: int,
    split: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[HeldOutAnswer]:
    """Ask held-out questions greedily, with injected crops; the questions on one case share its encoding.

    Args:
        reasoner: The model.
        dataset: Where they come from; built for the way in which the model sees pictures.
        kind: "image" or "volume".
        count: Questions.
        split: See :func:`held_out`.
        progress: Called with the number of questions done after every case.

    Returns:
        One record a question.

    Raises:
        FormatError: If the data set was built for another model frame.
        UniReasonError: If there are no questions or a case cannot be read.
    """
    by_case: defaultdict[str, list[SampleRecord]] = defaultdict(list)
    for sample in held_out(dataset, kind, count, split):
        by_case[sample.case].append(sample)
    done: list[HeldOutAnswer] = []
    for record, case in read_cases(dataset, list(by_case)):
        samples = by_case[record.scene.case]
        check_heldout_frame(record, reasoner.encode(case).frame)
        traces = reasoner.ask_many(case, [Question(s.question.text, s.question.options) for s in samples])
        done += [HeldOutAnswer(case, sample, found[0]) for sample, found in zip(samples, traces, strict=True)]
        if progress:
            progress(len(done))
    return done


def check_heldout_frame(record: CaseRecord, frame: Frame) -> None:
    """Refuse a case whose boxes are written in another frame than the model's."""
    if frame != record.scene.frame:
        raise FormatError(
            f"the data set was built for {record.scene.frame} and the model sees {frame}",
            "one frame",
            "build it with --frame and the folder of the checkpoint",
        )


def summary(asked: Sequence[HeldOutAnswer]) -> dict[str, Any]:
    """Scores as plain JSON values.

    Returns:
        ``n``, ``accuracy``, ``accuracy_ci95`` (Wilson), ``accuracy_ci95_patients`` (None for one patient), ``patients``,
        ``too_few_patients``, ``chance`` (mean of one over the number of options), ``mean_box_iou`` (over
        true looks), ``crop_rate`` (share of answers with an executed look), ``mismatch_rate`` (share of
        answers whose letter and text contradict each other) and, under ``by_family``, the same for each family.

    Raises:
        UniReasonError: If nothing was asked.
    """
    if not asked:
        raise UniReasonError("no questions were asked", "at least one")
    families = {f: [a for a in asked if a.sample.question.family == f] for f in FAMILIES}
    return _scores(asked) | {"by_family": {f: _scores(a) for f, a in families.items() if a}}


def _scores(asked: Sequence[HeldOutAnswer]) -> dict[str, Any]:
    right = sum(a.right for a in asked)
    ious = [value for a in asked for value in a.ious()]
    patients = [a.sample.patient for a in asked]
    return {
        "n": len(asked),
        "accuracy": right / len(asked),
        "accuracy_ci95": list(wilson(right, len(asked))),
        "accuracy_ci95_patients": over_patients([float(a.right) for a in asked], patients, seed=0),
        "patients": len(set(patients)),
        "too_few_patients": too_few(len(set(patients))),
        "chance": float(np.mean([1 / len(a.sample.question.options) for a in asked])),
        "mean_box_iou": float(np.mean(ious)) if ious else None,
        "crop_rate": sum(a.looked for a in asked) / len(asked),
        "mismatch_rate": sum(is_mismatch(a.trace) for a in asked) / len(asked),
    }
