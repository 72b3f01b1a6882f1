"""Leakage: the search for near-duplicates against all pairs, and repeats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.data.checks.facts import CheckFindings
from unireason.data.checks.pictures import Register, check_pictures
from unireason.data.dataset import Dataset

SPLITS = ("train", "validation", "test")


def register(hashes: list[str], splits: list[str]) -> Register:
    known = Register()
    for n, (text, split) in enumerate(zip(hashes, splits, strict=True)):
        known.hashes.setdefault(text, {}).setdefault(split, f"case {n}")
    return known


def pairs(known: Register, near: int) -> int:
    found = CheckFindings()
    check_pictures(known, near, found)
    return found.counts["leakage"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_the_banded_search_finds_exactly_the_close_pairs(seed: int, near: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2, (4, 64))
    bits = [np.bitwise_xor(base[int(rng.integers(4))], rng.random(64) < rng.choice([0.0, 0.05, 0.15])) for _ in range(24)]
    splits = [SPLITS[int(rng.integers(3))] for _ in bits]
    hashes = [np.packbits(b).tobytes().hex() for b in bits]
    known = register(hashes, splits)
    unique = sorted(known.hashes)
    expected = sum(len(known.hashes[h]) > 1 for h in unique)
    for n, a in enumerate(unique):
        for b in unique[n + 1 :]:
            apart = bin(int(a, 16) ^ int(b, 16)).count("1")
            expected += apart <= near and len({*known.hashes[a], *known.hashes[b]}) > 1
    assert pairs(known, near) == expected


def test_many_equal_and_many_far_hashes_stay_quick() -> None:
    rng = np.random.default_rng(0)
    hashes = [rng.bytes(32).hex() for _ in range(20_000)]
    splits = [SPLITS[n % 3] for n in range(len(hashes))]
    hashes[7], splits[7] = f"{int(hashes[6], 16) ^ 1:064x}", "test"
    splits[6] = "train"
    assert pairs(register(hashes, splits), 12) == 1


def test_hashes_that_are_none_are_passed_over() -> None:
    assert pairs(register(["zz", "zy"], ["train", "test"]), 3) == 0
    assert pairs(Register(), 3) == 0


def test_one_response_all_over_is_found(sound: Dataset) -> None:
    samples = list(sound.samples())
    known, found = Register(), CheckFindings()
    for n in range(30):
        known.add_sample(replace(samples[0], id=str(n), case=f"case {n}"), found)
    known.repeats(found)
    assert [p.detail for p in found.kept] == ["one response, boxes included, comes 30 times in 30 samples"]


def test_different_responses_are_no_repeats(sound: Dataset) -> None:
    known, found = Register(), CheckFindings()
    for sample in sound.samples():
        known.add_sample(sample, found)
    known.repeats(found)
    assert found.kept == []
