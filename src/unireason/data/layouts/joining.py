"""Samples of one case put together: what two tables of a release, or two of its rows, say of the same question."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from unireason.data.records import STAGES, SampleRecord


def joined(samples: Sequence[tuple[str, SampleRecord]]) -> tuple[list[SampleRecord], list[str]]:
    """Samples of one case: the same question in both tables becomes one sample.

    Args:
        samples: Identifiers of rows with what was made of them, in order.

    Returns:
        Samples with identifiers of their own, and the rows that say what another row of their table says.
    """
    found: list[SampleRecord] = []
    repeated: list[str] = []
    asked: dict[tuple[object, ...], list[int]] = {}
    for row, sample in samples:
        question = sample.question
        places = asked.setdefault((question.text, question.options, question.answer, sample.box, sample.points), [])
        place = next((place for place in places if _agree(found[place], sample)), None)
        if place is None:
            places.append(len(found))
            found.append(sample)
        elif set(sample.stages) <= set(found[place].stages):
            repeated.append(row)
        else:
            found[place] = _merged(found[place], sample)
    return _named(found), repeated


def _agree(one: SampleRecord, other: SampleRecord) -> bool:
    """True unless two samples that ask the same answer it in two ways of their own."""
    apart = set(one.stages) & set(other.stages) or (one.annotator and other.annotator)
    return not apart or one.response == other.response


def _merged(one: SampleRecord, other: SampleRecord) -> SampleRecord:
    """The one that tells more, for the stages of both."""
    known = sorted((one, other), key=lambda s: (bool(s.question.family), bool(s.annotator)))
    stages = tuple(stage for stage in STAGES if stage in one.stages or stage in other.stages)
    return replace(known[1], stages=stages, origin=one.origin or other.origin)


def _named(samples: Sequence[SampleRecord]) -> list[SampleRecord]:
    """The samples; of those with one identifier the later ones get a number."""
    seen: Counter[str] = Counter()
    out = []
    for sample in samples:
        seen[sample.id] += 1
        again = seen[sample.id]
        out.append(sample if again == 1 else replace(sample, id=hashlib.sha256(f"{sample.id}~{again}".encode()).hexdigest()[:16]))
    return out
