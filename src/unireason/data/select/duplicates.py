"""Near-duplicate pictures: perceptual hashes, and all pairs of them that lie close together.

An image is hashed by the signs of the 256 lowest cosine coefficients, a volume by 64 of each of four slices. Copies that were
resized, rewindowed or recompressed differ in a few bits; other patients differ in about a hundred.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.imaging.window import finite
from unireason.types import Case

BITS = 256
NEAR = 12
"""Hashes that differ in at most this many bits count as the same picture."""

_VOLUME_SLICES = (1, 3, 5, 7)  # eighths of the height
_PAIRS_AT_ONCE = 1 << 22
_ONES = np.array([value.bit_count() for value in range(256)], np.uint16)


def perceptual_hash(case: Case) -> str:
    """Hash of what a case looks like.

    Args:
        case: Image or volume, any intensities.

    Returns:
        64 hex digits; "" for a picture of one grey level, which has no looks.
    """
    if case.kind == "image":
        return _bits(case.pixels, 16)
    count = case.pixels.shape[0]
    return "".join(_bits(case.pixels[min(count - 1, count * part // 8)], 8) for part in _VOLUME_SLICES)


def _bits(pixels: NDArray[Any], side: int) -> str:
    """Signs of ``side`` x ``side`` cosine coefficients as hex digits; of a flat picture "" for an image, zeros for a slice."""
    import imagehash
    from PIL import Image

    small = _shrunk(pixels)
    values = np.asarray(small)
    low, high = np.percentile(values, [1, 99])
    if high <= low:
        return "" if side == 16 else "0" * (side * side // 4)
    if values.dtype != np.uint8:
        small = Image.fromarray((np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8))
    return str(imagehash.phash(small, hash_size=side))


def _shrunk(pixels: NDArray[Any]) -> Any:
    """A picture of at most 128 pixels a side, in grey, quickly: whole blocks of pixels are averaged."""
    from PIL import Image

    if pixels.dtype == np.uint8:
        picture = Image.fromarray(pixels).convert("L")
    else:
        grey = finite(pixels).astype(np.float32)
        picture = Image.fromarray(grey.mean(axis=2) if grey.ndim == 3 else grey)
    factor = max(1, min(picture.size) // 128)
    return picture.reduce(factor) if factor > 1 else picture


def pack(hashes: Sequence[str]) -> NDArray[np.uint8]:
    """Hex digits as bytes: uint8 (n, 32)."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), BITS // 8)


def near_pairs(packed: NDArray[np.uint8], owners: NDArray[np.integer[Any]], *, near: int = NEAR) -> Iterator[tuple[int, int]]:
    """All pairs of pictures of different owners that lie within ``near`` bits.

    Two hashes that differ in at most ``near`` bits agree in at least one of ``near + 1`` bands, so only pictures that share a band
    are compared; the search is exact.

    Args:
        packed: uint8 (n, 32).
        owners: (n,) number of the patient of each picture; pairs of one owner are left out.
        near: Largest distance in bits.

    Yields:
        Pairs of indices (smaller, larger); a pair may come more than once.
    """
    bits = np.unpackbits(packed, axis=1)
    for band in np.array_split(np.arange(BITS), near + 1):
        keys = np.packbits(bits[:, band], axis=1)
        words = np.ascontiguousarray(keys).view([("", np.uint8, keys.shape[1])]).ravel()
        order = np.argsort(words, kind="stable")
        edges = np.flatnonzero(words[order][1:] != words[order][:-1]) + 1
        for members in np.split(order, edges):
            if len(members) > 1:
                yield from _close(packed, owners, members, near)


def _close(
    packed: NDArray[np.uint8], owners: NDArray[np.integer[Any]], members: NDArray[np.intp], near: int
) -> Iterator[tuple[int, int]]:
    """Close pairs among pictures that share a band, in blocks of bounded memory."""
    rows = max(1, _PAIRS_AT_ONCE // (len(members) * packed.shape[1]))
    for start in range(0, len(members), rows):
        left = members[start : start + rows]
        apart = _ONES[packed[left][:, None] ^ packed[members][None]].sum(axis=2)
        other = owners[left][:, None] != owners[members][None]
        for a, b in zip(*np.nonzero((apart <= near) & other), strict=True):
            if left[a] < members[b]:
                yield int(left[a]), int(members[b])


def grouped(patients: Sequence[str], pairs: Iterator[tuple[int, int]]) -> dict[str, str]:
    """Patients that share near-duplicate pictures, directly or through others.

    Args:
        patients: Names.
        pairs: Pairs of indices of patients whose pictures are near duplicates.

    Returns:
        For every patient with such a partner, the alphabetically first patient of its group; empty without pairs.
    """
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while (up := leader.setdefault(name, name)) != name:
            leader[name] = leader.get(up, up)
            name = up
        return name

    for a, b in pairs:
        first, second = sorted((find(patients[a]), find(patients[b])))
        leader[second] = first
    return {name: find(name) for name in sorted(leader)}
