"""Held-out questions: examinations of phantom patients that nothing is trained on, and which questions of a data set are asked.

The patients come from a stream of random numbers of their own, which neither the base model's cohort nor a data set built to train on
draws from, whatever the seeds.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Kind
from unireason.data.build_store import BuildConfig
from unireason.data.dataset import Dataset
from unireason.data.frames import FrameRule, rule
from unireason.data.pipeline import build
from unireason.data.rationale.template import TemplateAnnotator
from unireason.data.records import SampleRecord
from unireason.data.scene import FAMILIES, IMPLICIT
from unireason.data.sources.phantom import EXAM_STREAM

KINDS: tuple[tuple[str, Kind], ...] = (("2d", "image"), ("3d", "volume"))
EXAM = "unireason-exam"  # what temporary folders of examinations are called
PATIENTS_A_QUESTION = 0.6  # an image gives two to three questions, a volume three; some families are rare
LEAST_PATIENTS = 16  # wrong options are lent by other patients
GROUNDING_PATIENTS_A_QUESTION = 0.5  # eight questions each, so that rare structures get their share


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
