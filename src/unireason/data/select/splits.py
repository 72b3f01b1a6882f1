"""Splits by patient, the same on every machine and hardly changed when patients are added.

Each patient falls into a split by a hash of the seed, the source and its identifier; patients that share near-duplicate pictures
fall together. Only where a split of a small set would get less than half of its share are the patients nearest to it moved there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from unireason.data.records import SPLITS
from unireason.errors import FormatError

SHARES = (0.8, 0.1, 0.1)


def check_shares(shares: Sequence[float]) -> tuple[float, float, float]:
    """Three shares of train, validation and test.

    Raises:
        FormatError: If they are not three numbers from 0 that add up to 1.
    """
    if len(shares) != 3 or any(not 0 <= s <= 1 for s in shares) or abs(sum(shares) - 1) > 1e-9:
        raise FormatError(
            f"the split shares are {tuple(shares)}", "three numbers from 0 to 1 that add up to 1", "such as 0.8,0.1,0.1"
        )
    return (float(shares[0]), float(shares[1]), float(shares[2]))


def position(seed: int, source: str, patient: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}\0{source}\0{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(
    patients: Iterable[str],
    *,
    seed: int,
    source: str,
    shares: Sequence[float] = SHARES,
    groups: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The split of every patient.

    Args:
        patients: Patient identifiers; repetitions do not matter.
        seed: Seed of the data set.
        source: Name of the source.
        shares: Of train, validation and test.
        groups: For patients that must stay together: the name of their group, the same for all its members.

    Returns:
        Patient to one of SPLITS; empty for no patients. With at least as many groups as splits with a share, none of these is empty.

    Raises:
        FormatError: If the shares cannot be used.
    """
    train, validation, test = check_shares(shares)
    together = groups or {}
    members: dict[str, list[str]] = {}
    for patient in sorted(set(patients)):
        members.setdefault(together.get(patient, patient), []).append(patient)
    places = sorted((position(seed, source, group), group) for group in members)
    # Test comes first on the line, so that changing the share of validation never moves a patient out of test.
    bounds = {"test": (0.0, test), "validation": (test, test + validation), "train": (test + validation, 1.0)}
    chosen = {group: next(s for s in bounds if place < bounds[s][1] or s == "train") for place, group in places}
    shares_of = dict(zip(SPLITS, (train, validation, test), strict=True))
    for split in ("test", "validation", "train"):
        if shares_of[split] > 0 and len(places) >= sum(share > 0 for share in shares_of.values()):
            least = max(1, math.floor(shares_of[split] * len(places) / 2))
            _fill(chosen, places, split, least=least, middle=sum(bounds[split]) / 2)
    return {patient: chosen[group] for group, names in members.items() for patient in names}


def _fill(chosen: dict[str, str], places: list[tuple[float, str]], split: str, *, least: int, middle: float) -> None:
    """Moves groups into a split until it has ``least``: those nearest to its share, out of the split that has most."""
    while (held := list(chosen.values())).count(split) < least:
        largest = max(SPLITS, key=held.count)
        near = min((abs(place - middle), group) for place, group in places if chosen[group] == largest)
        chosen[near[1]] = split
