"""Splits by patient, the same on every machine and hardly changed when patients are added.

Each patient falls into a split by a hash of the seed, the source and its identifier; patients that share near-duplicate pictures
fall together. Only when a split would stay empty is the patient nearest to its share moved there.
"""

from __future__ import annotations

import hashlib
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
    wanted = [s for s, share in zip(SPLITS, (train, validation, test), strict=True) if share > 0]
    if len(places) >= len(wanted):
        _fill(chosen, places, {s: sum(bounds[s]) / 2 for s in reversed(wanted)})
    return {patient: chosen[group] for group, names in members.items() for patient in names}


def _fill(chosen: dict[str, str], places: list[tuple[float, str]], middles: Mapping[str, float]) -> None:
    """Moves one group into every empty split, the one nearest to its share out of a split that keeps at least one."""
    for split, middle in middles.items():
        if split in chosen.values():
            continue
        held = list(chosen.values())
        spare = [(abs(place - middle), group) for place, group in places if held.count(chosen[group]) > 1]
        if spare:
            chosen[min(spare)[1]] = split
