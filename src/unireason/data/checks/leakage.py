"""Check "leakage": nothing of a patient, a case or a picture stands in two splits, and no question is asked twice.

Pictures are compared by the perceptual hashes of the records. The search is exact and not quadratic: two hashes that differ in at most
``t`` bits agree in at least one of ``t + 1`` bands (pigeonhole), so only hashes that share a band are compared.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.data.records import SPLITS, CaseRecord, SampleRecord

from .findings import Findings

CHECK = "leakage"
NEAR = 12
"""Distance in bits up to which two pictures count as one, unless the manifest's configuration names another."""
REPEATS = 5
"""A whole response, boxes included, may come so many times, or in one percent of the samples."""

_BLOCK = 1 << 22  # bytes compared at once
_ONES = np.array([bin(v).count("1") for v in range(256)], np.uint8)


@dataclass(slots=True)
class Register:
    """Who stands where; a few dozen bytes a case and sixteen a sample.

    Attributes:
        patients: Patient to the split it was first seen in.
        cases: Case to its split.
        hashes: Perceptual hash to the first case of each split that has it.
        strangers: Cases whose patient is not known.
    """

    patients: dict[str, str] = field(default_factory=dict)
    cases: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    strangers: int = 0
    _questions: array[int] = field(default_factory=lambda: array("Q"))
    _responses: array[int] = field(default_factory=lambda: array("Q"))

    def add_case(self, case: CaseRecord, found: Findings) -> None:
        """Take one case in, and report a patient or a case that was in another split before."""
        scene, split = case.scene, case.split
        found.count(CHECK, "cases")
        before = self.patients.setdefault(scene.patient, split) if scene.patient else split
        self.strangers += not scene.patient
        if before != split:
            found.add(CHECK, f"the patient {scene.patient} is in {before} and in {split}", case=scene.case)
        if scene.case in self.cases:
            found.add(CHECK, f"the case stands in {self.cases[scene.case]} and again in {split}", case=scene.case)
        self.cases[scene.case] = split
        if case.phash:
            self.hashes.setdefault(case.phash, {}).setdefault(split, scene.case)

    def add_sample(self, sample: SampleRecord, found: Findings) -> None:
        """Take one sample in, and report one whose patient or case is in another split."""
        found.count(CHECK, "samples")
        if self.cases.get(sample.case, sample.split) != sample.split:
            found.add(CHECK, f"the sample is in {sample.split}, its case in {self.cases[sample.case]}", sample=sample.id)
        if self.patients.get(sample.patient, sample.split) != sample.split:
            where = self.patients[sample.patient]
            found.add(CHECK, f"the sample is in {sample.split}, its patient {sample.patient} in {where}", sample=sample.id)
        question = sample.question
        self._questions.append(_number(sample.case, question.text, *sorted(question.options)))
        if sample.response:
            self._responses.append(_number(sample.response))

    def repeats(self, found: Findings) -> None:
        """Report questions asked twice of one case and responses that come suspiciously often."""
        again = _counts(self._questions)
        if (again > 1).any():
            found.add(CHECK, f"{int((again[again > 1] - 1).sum())} questions are asked again of the same case")
        most = int(_counts(self._responses).max(initial=0))
        if most > max(REPEATS, len(self._responses) // 100):
            found.add(CHECK, f"one response, boxes included, comes {most} times in {len(self._responses)} samples")


def check_pictures(register: Register, near: int, found: Findings) -> None:
    """Report pictures that are the same to the eye and stand in different splits.

    Args:
        register: All cases.
        near: Largest distance in bits of two hashes of one picture.
        found: Takes what is wrong.
    """
    found.start(CHECK)
    for size in sorted({len(h) for h in register.hashes}):
        texts = sorted(h for h in register.hashes if len(h) == size)
        found.count(CHECK, "pictures compared", len(texts))
        for text in texts:
            places = register.hashes[text]
            if len(places) > 1:
                _report(places, places, 0, found)
        for a, b, apart in _near_pairs(texts, register, near):
            _report(register.hashes[texts[a]], register.hashes[texts[b]], apart, found)


def _report(first: dict[str, str], second: dict[str, str], apart: int, found: Findings) -> None:
    """One finding for a pair of pictures: the earliest pair of different splits."""
    one, other = next((a, b) for a in SPLITS for b in SPLITS if a in first and b in second and a != b)
    detail = f"looks like {second[other]} of {other}, and is in {one}: {apart} bits apart"
    found.add(CHECK, detail, case=first[one])


def _near_pairs(texts: list[str], register: Register, near: int) -> Iterator[tuple[int, int, int]]:
    """Pairs of different hashes within ``near`` bits whose splits are not one and the same: indices and distance, sorted."""
    try:
        codes = np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(len(texts), -1)
    except ValueError:
        return
    # A hash seen in one split has one bit set; two hashes of equal single bits cannot leak.
    held = np.array([sum(1 << SPLITS.index(s) for s in register.hashes[t] if s in SPLITS) for t in texts], np.uint8)
    seen: set[tuple[int, int]] = set()
    bits = np.unpackbits(codes, axis=1)
    for band in np.array_split(np.arange(bits.shape[1]), min(near + 1, bits.shape[1])):
        keys = np.packbits(bits[:, band], axis=1)
        order = np.lexsort(keys.T)
        edges = np.flatnonzero((keys[order][1:] != keys[order][:-1]).any(axis=1)) + 1
        for members in np.split(order, edges):
            if len(members) > 1 and np.bitwise_or.reduce(held[members]) & (np.bitwise_or.reduce(held[members]) - 1):
                for a, b in _compared(codes, held, np.sort(members), near):
                    seen.add((a, b))
    for a, b in sorted(seen):
        yield a, b, int(_ONES[codes[a] ^ codes[b]].sum())


def _compared(
    codes: NDArray[np.uint8], held: NDArray[np.uint8], members: NDArray[np.intp], near: int
) -> Iterator[tuple[int, int]]:
    """Close pairs of different splits among hashes that share a band, a bounded block at a time."""
    rows = max(1, _BLOCK // (len(members) * codes.shape[1]))
    for start in range(0, len(members), rows):
        left = members[start : start + rows]
        apart = _ONES[codes[left][:, None] ^ codes[members][None]].sum(axis=2, dtype=np.int32)
        both = held[left][:, None] | held[members][None]
        crossing = (both & (both - 1)) > 0  # more than one split between the two
        close: NDArray[Any] = (apart <= near) & crossing & (left[:, None] < members[None])
        for a, b in zip(*np.nonzero(close), strict=True):
            yield int(left[a]), int(members[b])


def _number(*texts: str) -> int:
    """64 bits that stand for a list of texts, the same on every machine."""
    return int.from_bytes(hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest(), "big")


def _counts(numbers: array[int]) -> NDArray[np.intp]:
    """How often each number comes."""
    values = np.sort(np.frombuffer(numbers, np.uint64)) if numbers else np.zeros(0, np.uint64)
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    return np.diff(np.concatenate(([0], edges, [len(values)]))).astype(np.intp) if len(values) else np.zeros(0, np.intp)
