"""Small data sets for tests: built from phantoms, or edited copies in which one thing is wrong and everything else still agrees."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from unireason.core.store import sha256
from unireason.data.build_store import BuildConfig
from unireason.data.dataset import MANIFEST, Dataset
from unireason.data.frames import FrameRule
from unireason.data.parquet import write_table
from unireason.data.pipeline import build
from unireason.data.rationale.template import TemplateAnnotator
from unireason.data.records import SPLITS, CaseRecord, SampleRecord, case_row, sample_row

SMALL = FrameRule(name="small", volume_shape=(16, 84, 84), image_size=(84, 84))
"""A frame that keeps tests quick."""


def built(
    folder: Path,
    *,
    patients: int = 12,
    slices: int = 1,
    embed: bool = False,
    frame: FrameRule = SMALL,
    stream: int = 0,
    **more: Any,
) -> Dataset:
    """A data set of phantoms: ``patients`` volumes and ``slices`` axial images of each."""
    options = {"patients": str(patients), "seed": "3"} | ({"stream": str(stream)} if stream else {})
    config = BuildConfig("phantom", options=options, frame=frame, slices=slices, embed=embed, unit_items=4, **more)
    build(config, folder, annotator=TemplateAnnotator())
    return Dataset.open(folder)


def edited(
    dataset: Dataset,
    folder: Path,
    *,
    case: Callable[[CaseRecord], CaseRecord] = lambda c: c,
    sample: Callable[[SampleRecord], SampleRecord] = lambda s: s,
) -> Dataset:
    """A copy with other cases and samples; files, hashes and counts of its manifest follow, so that only what was edited is wrong."""
    shutil.copytree(dataset.folder, folder)
    cases = [case(c) for c in dataset.cases()]
    samples = [sample(s) for s in dataset.samples()]
    return rewritten(Dataset.open(folder), cases, samples)


def rewritten(dataset: Dataset, cases: Iterable[CaseRecord], samples: Iterable[SampleRecord]) -> Dataset:
    """Replace all cases and samples of a data set in place, one file a split, and make its manifest agree."""
    folder = dataset.folder
    kept_cases, kept_samples = list(cases), list(samples)
    for table, rows in (("cases", map(case_row, kept_cases)), ("samples", map(sample_row, kept_samples))):
        shutil.rmtree(folder / table)
        by_split: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_split.setdefault(row["split"], []).append(row)
        for split in (s for s in SPLITS if s in by_split):
            write_table(folder / table / f"{split}-00000.parquet", table, by_split[split])
    manifest = dict(dataset.manifest)
    listed = [*folder.glob("*/*.parquet"), folder / "skipped.jsonl"]
    files = {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(listed)}
    manifest["files"] = files
    manifest["content_sha256"] = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    manifest["counts"] = {
        "cases": len(kept_cases),
        "samples": len(kept_samples),
        "by_family": dict(Counter(s.question.family for s in kept_samples)),
        "by_split_kind_family": dict(Counter(f"{s.split}/{s.kind}/{s.question.family}" for s in kept_samples)),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Dataset.open(folder)
