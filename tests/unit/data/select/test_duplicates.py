"""Perceptual hashes and the search for near pairs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from unireason.core.types import Case
from unireason.data.select import NEAR, duplicates, grouped, near_pairs, pack, perceptual_hash
from unireason.data.sources.phantom import generate, image_case


def distance(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def resized(case: Case, factor: float) -> Case:
    return replace(case, pixels=ndimage.zoom(case.pixels, factor, order=1))


def test_copies_are_near_and_other_patients_far() -> None:
    cases = [image_case(generate(0, i), 14) for i in range(8)]
    hashes = [perceptual_hash(c) for c in cases]
    assert all(len(h) == 64 for h in hashes)
    for case, own in zip(cases, hashes, strict=True):
        assert distance(own, perceptual_hash(resized(case, 1.5))) <= NEAR
        assert distance(own, perceptual_hash(replace(case, pixels=case.pixels * 2.0 + 5))) <= NEAR
    apart = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 3 * NEAR


def test_volumes_are_hashed_by_four_slices() -> None:
    patient = generate(0, 0)
    own = perceptual_hash(patient.case())
    noisy = replace(patient.case(), pixels=patient.voxels + np.int16(3))
    assert len(own) == 64
    assert distance(own, perceptual_hash(noisy)) <= NEAR
    assert distance(own, perceptual_hash(generate(0, 1).case())) > 2 * NEAR


def test_values_that_are_not_finite_are_lowest_and_highest() -> None:
    case = image_case(generate(0, 0), 14)
    holed, filled = case.pixels.astype(np.float32), case.pixels.astype(np.float32)
    holed[:4], holed[4, :9] = np.nan, np.inf
    filled[:4], filled[4, :9] = filled[4:].min(), filled[4:].max()
    assert perceptual_hash(replace(case, pixels=holed)) == perceptual_hash(replace(case, pixels=filled))


def test_a_flat_picture_has_no_looks() -> None:
    case = image_case(generate(0, 0), 14)
    assert perceptual_hash(replace(case, pixels=np.zeros((64, 64)))) == ""


def test_the_search_equals_comparing_all() -> None:
    rng = np.random.default_rng(5)
    packed = rng.integers(0, 256, (60, 32), np.uint8)
    for row in range(20, 40):  # copies of the first twenty with up to 16 bits flipped
        packed[row] = packed[row - 20]
        for bit in rng.choice(256, rng.integers(0, 17), replace=False):
            packed[row, bit // 8] ^= np.uint8(1 << (bit % 8))
    owners = np.arange(60)
    hashes = [row.tobytes().hex() for row in packed]
    assert (pack(hashes) == packed).all()
    wanted = {(i, j) for j in range(60) for i in range(j) if distance(hashes[i], hashes[j]) <= NEAR}
    assert len(wanted) > 5
    assert set(near_pairs(packed, owners)) == wanted


def test_pictures_of_one_owner_are_no_pair() -> None:
    packed = np.zeros((3, 32), np.uint8)
    assert set(near_pairs(packed, np.array([0, 0, 1]))) == {(0, 2), (1, 2)}


def test_groups_join_through_others() -> None:
    pairs = [(3, 1), (1, 2), (4, 5)]
    found = grouped(["z", "b", "c", "d", "e", "f"], iter(pairs))
    assert found == {"b": "b", "c": "b", "d": "b", "e": "e", "f": "e"}
    assert grouped(["a"], iter(())) == {}


@pytest.mark.parametrize("count", [300])
def test_a_chain_of_many_is_one_group(count: int) -> None:
    names = [f"{i:03d}" for i in range(count)]
    assert set(grouped(names, ((i, i + 1) for i in range(count - 1))).values()) == {"000"}


@pytest.mark.parametrize(("spread", "near"), [(256, 0), (256, NEAR), (9, NEAR), (9, 30), (3, 60)])
def test_the_search_equals_comparing_all_where_hashes_are_alike(spread: int, near: int) -> None:
    rng = np.random.default_rng(spread + near)
    packed = np.repeat(rng.integers(0, 256, (3, 32), np.uint8), 100, axis=0)
    for row in packed:
        for bit in rng.choice(256, rng.integers(0, 25), replace=False) % spread * (256 // spread):
            row[bit // 8] ^= np.uint8(1 << (bit % 8))
    owners = rng.integers(0, 100, len(packed))
    apart = np.unpackbits(packed[:, None] ^ packed[None], axis=2).sum(axis=2)
    wanted = {(int(i), int(j)) for i, j in np.argwhere((apart <= near) & (owners[:, None] != owners)) if i < j}
    assert wanted
    assert set(near_pairs(packed, owners, near=near)) == wanted
    names = [f"{i:03d}" for i in range(100)]
    joined = grouped(names, ((int(owners[a]), int(owners[b])) for a, b in wanted))
    hashes = [row.tobytes().hex() for row in packed]
    assert grouped(names, duplicates(hashes, owners.tolist(), near=near)) == joined
