"""All checks of a data set in two passes over its rows, in memory that grows by a few dozen bytes a case.

The first pass reads the cases: splits, duplicates, counts. The second walks through each split with cases and their samples side by side
and, where the source is at hand, opens it again and recomputes from the masks.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text, sha256
from unireason.data import names
from unireason.data.dataset import MANIFEST, ORIGIN, Dataset
from unireason.data.frames import FrameRule
from unireason.data.item import CaseSource, inside
from unireason.data.records import READABLE, SPLITS, CaseRecord, ImageRecord, SampleRecord

from . import masks, pictures, questions
from .facts import CheckFindings, Facts, Finding, MaskFacts, SceneFacts
from .text import CLAIMS, AuditTexts, BalanceTally, ClaimTally, check_balance, check_shortcut

CHECK = "files"
REPORTS = ("check.json", "check.html")
"""Written by the check itself beside the data; no part of the manifest."""
CARD = "README.md"
"""The card tells of the data and may be edited by hand."""

KEYS = ("schema", "version", "config", "title", "licence", "command", "counts", "files", "content_sha256", "skipped")
_OWN = {MANIFEST, ORIGIN, CARD, *REPORTS}


def check_files(folder: Path, manifest: Mapping[str, Any], found: CheckFindings) -> None:
    """Hold the folder against its manifest."""
    found.start(CHECK)
    missing = [key for key in KEYS if key not in manifest]
    if missing:
        found.add(CHECK, f"the manifest lacks {', '.join(missing)}", file=MANIFEST)
    if manifest.get("schema") not in READABLE:
        found.add(CHECK, f"the schema is {manifest.get('schema')!r}, not {READABLE[0]!r}", file=MANIFEST)
    listed = manifest.get("files")
    if not isinstance(listed, Mapping):
        found.add(CHECK, "the manifest lists no files", file=MANIFEST)
        return
    for name in sorted(listed):
        found.count(CHECK, "files")
        try:
            actual = sha256(inside(folder, name))
        except UniReasonError as error:
            found.add(CHECK, f"listed in the manifest, but: {error}", file=name)
            continue
        if actual != listed[name]:
            found.add(CHECK, f"its SHA-256 is {actual[:12]}…, the manifest says {str(listed[name])[:12]}…", file=name)
    content = hashlib.sha256(json_text(dict(listed), sort_keys=True).encode()).hexdigest()
    if manifest.get("content_sha256") != content:
        found.add(CHECK, "the content hash does not follow from the listed files", file=MANIFEST)
    # Links are not followed.
    present = {(Path(base) / name).relative_to(folder).as_posix() for base, _, inner in os.walk(folder) for name in inner}
    for name in sorted(present - set(listed) - _OWN):
        found.add(CHECK, "the file is not listed in the manifest", file=name)
    for table in ("cases", "samples"):
        if not any(name.startswith(f"{table}/") for name in listed):
            found.add(CHECK, f"the manifest lists no file of {table}", file=MANIFEST)


def check_counts(manifest: Mapping[str, Any], tally: BalanceTally, found: CheckFindings) -> None:
    """Hold the counts of the manifest against what was read."""
    counts = manifest.get("counts")
    if not isinstance(counts, Mapping):
        found.add(CHECK, "the manifest has no counts", file=MANIFEST)
        return
    by_family: Counter[str] = Counter()
    for (family, _, _), n in tally.table.items():
        by_family[family] += n
    read = {
        "cases": sum(tally.cases.values()),
        "samples": sum(tally.table.values()),
        "by_family": dict(by_family),
        "by_split_kind_family": {f"{split}/{kind}/{family}": n for (family, kind, split), n in tally.table.items()},
    }
    for name, value in read.items():
        if counts.get(name, {} if isinstance(value, dict) else None) != value:
            found.add(CHECK, f"the manifest counts {name} as {counts.get(name)}, there are {value}", file=MANIFEST)


# --- All checks.

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
        answer_before_evidence: Share of reasonings that give the answer before its evidence, by family, and of "all".
        unseen_numbers: Numbers in reasonings that neither picture nor prompt shows.
        false_claims: False or unfounded claims of reasonings by their kind, see ``claims.false_claims``.
        two_options: Questions that are yes or no or about sides, with two options otherwise, and with more.
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
    answer_before_evidence: dict[str, float]
    unseen_numbers: int
    false_claims: dict[str, int]
    two_options: dict[str, int]

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
            "answer_before_evidence": self.answer_before_evidence,
            "unseen_numbers": self.unseen_numbers,
            "false_claims": self.false_claims,
            "two_options": self.two_options,
        }


def check(dataset: Dataset, source: CaseSource | None, *, samples: int | None = None, progress: Progress | None = None) -> Report:
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
    found, source = CheckFindings(), None if dataset.layout else source
    check_files(dataset.folder, dataset.manifest, found)
    try:
        names.use(dict(dataset.manifest.get("config", {}).get("names") or {}))
    except (FormatError, TypeError, ValueError) as error:
        found.add(CHECK, f"its names of structures cannot be used: {error}", file=MANIFEST)
    register, tally, texts, claims = pictures.Register(), BalanceTally(), AuditTexts(), ClaimTally()
    embedded = bool(dataset.files("images"))
    optional = [masks.CHECK] * (source is not None) + [pictures.PICTURES] * embedded
    for check_name in (pictures.CHECK, *optional, questions.CHECK, CLAIMS, pictures.LEAKAGE):
        found.start(check_name)
    try:
        for split in SPLITS:
            for case in dataset.cases(split):
                if case.split != split:
                    found.add(CHECK, f"a case of {case.split} lies in a file of {split}", case=case.scene.case)
                register.add_case(case, found)
                tally.add_case(case)
    except UniReasonError as error:
        found.add(CHECK, f"the cases cannot be read: {error}")
    else:
        walk = _Walk(dataset, source, found, tally, texts, claims, register)
        walk.run(samples, progress or (lambda done, total: None))
    near = dataset.manifest.get("config", {}).get("near", pictures.NEAR)  # bits within which pictures are the same
    if type(near) is not int or not 0 <= near < 128:
        found.add(CHECK, f"near is {near!r}, not a number of bits from 0 to 127", file=MANIFEST)
        near = pictures.NEAR
    pictures.check_pictures(register, near, found)
    register.repeats(found)
    # What could not be checked because the data set does not tell what it takes.
    if tally.undescribed:
        came = f"of {tally.undescribed} cases it is not known what they show"
        found.remark(questions.CHECK, f"{came}: their answers and boxes cannot be worked out again")
    if register.strangers:
        came = f"the patients of {register.strangers} cases are not known"
        found.remark(pictures.LEAKAGE, f"{came}: only pictures and names were compared")
    check_balance(tally, len(register.patients), found)
    check_counts(dataset.manifest, tally, found)
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
        answer_before_evidence=claims.early_shares(),
        unseen_numbers=claims.faults["unseen_number"],
        false_claims=dict(sorted(claims.faults.items())),
        two_options={key: tally.two[key] for key in ("yes, no and sides", "two", "more")},
    )


@dataclass(slots=True)
class _Walk:
    """The second pass: cases and samples side by side."""

    dataset: Dataset
    source: CaseSource | None
    found: CheckFindings
    tally: BalanceTally
    texts: AuditTexts
    claims: ClaimTally
    register: pictures.Register

    def run(self, samples: int | None, progress: Progress) -> None:
        """Walk through all splits."""
        total = len(self.register.cases)
        chosen = spread(total, samples)
        opened = masks.OpenedMasks(self.source) if self.source else None
        number, rule = 0, None
        try:
            rule = FrameRule.from_json(self.dataset.manifest.get("config", {}).get("frame"))
        except FormatError as error:
            self.found.add(CHECK, f"the frame cannot be read: {error}", file=MANIFEST)
        try:
            for split in SPLITS:
                stream = self.dataset.images(split)  # embedded pictures, in the order of their cases
                image = next(stream, None)
                for case, own in self._pairs(split):
                    measured = None
                    if opened is not None and number in chosen:
                        measured = opened.facts(case, self.found)
                    if rule is not None:
                        pictures.check_frame(case, rule, self.found)
                    self._case(case, own, measured)
                    if pictures.PICTURES in self.found.counts:
                        images: list[ImageRecord] = []
                        while image is not None and image.case == case.scene.case:
                            images.append(image)
                            image = next(stream, None)
                        pictures.check_picture_files(case, images, own, measured, self.found)
                    number += 1
                    progress(number, total)
        except UniReasonError as error:
            self.found.add(CHECK, f"the samples cannot be read: {error}")

    def _case(self, case: CaseRecord, samples: list[SampleRecord], measured: MaskFacts | None) -> None:
        facts: Facts = measured or SceneFacts(case.scene)
        if measured is not None:
            masks.check_case(case, measured, self.found)
        for sample in samples:
            pictures.check_boxes(case, sample, self.found)
            questions.check_answer(case, sample, facts, self.found)
            self.claims.add(case.scene, sample, self.found)
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
            self.found.add(CHECK, "the samples do not stand in the order of their cases", sample=sample.id)
        else:
            self._case(case, [sample], None)

    def _samples(self, split: str) -> Iterator[SampleRecord]:
        """Samples of a split, counted on the way; those without a case in this split are reported and left out."""
        for sample in self.dataset.samples(split):
            self.tally.add_sample(sample)
            self.texts.add(sample)
            self.register.add_sample(sample, self.found)
            if sample.split != split:
                self.found.add(CHECK, f"a sample of {sample.split} lies in a file of {split}", sample=sample.id)
            where = self.register.cases.get(sample.case)
            if where is None:
                self.found.add(CHECK, f"there is no case {sample.case}", sample=sample.id)
            elif where == split:
                yield sample


def spread(total: int, wanted: int | None) -> range | set[int]:
    """Numbers of ``wanted`` cases spread evenly over ``total``; all if None or more than there are."""
    if wanted is None or wanted >= total:
        return range(total)
    return {min(int((i + i * _GOLDEN % 1) * total / wanted), total - 1) for i in range(wanted)}
