"""What is in a source: counts from the whole list, structures and spacing from items loaded, spread evenly over it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, TypeVar

from unireason.core.errors import FormatError, UniReasonError
from unireason.data.sources.labels import occurring

from .item import CaseSource, Item, Loaded, Skipped, UnnamedError
from .names import readable, table_of

# --- What is in a source: counts from the whole list, structures and spacing from items loaded, spread evenly over it.


T = TypeVar("T")
MOST_PROBLEMS = 1000
"""Problems kept word for word; all are counted."""


@dataclass(slots=True)
class Survey:
    """Findings about a source.

    Attributes:
        items: Usable items listed.
        skipped: Items that the source itself skipped.
        loaded: Items loaded to look inside.
        failed: Items that could not be loaded.
        patients: Number of patients among the items listed.
        kinds: Items a kind.
        modalities: Items a modality code, "" where unknown.
        splits: Items a split of the source, "" where it names none.
        structures: Name to [loaded items in which it is present, loaded items on which it is annotated].
        sizes: Smallest and largest size along x, y (and z), one pair an axis, by kind.
        spacing_mm: The same for voxel sizes in millimetres; items without are counted in ``unspaced``.
        unspaced: Loaded items without spacing.
        values: Values in masks with their names (None for a value without one, "" for what is no structure), with the number of items
            looked into that hold them.
        problems: (item, reason) of what was skipped or failed, the first 1,000.
    """

    items: int = 0
    skipped: int = 0
    loaded: int = 0
    failed: int = 0
    patients: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    structures: dict[str, list[int]] = field(default_factory=dict)
    sizes: dict[str, list[list[float]]] = field(default_factory=dict)
    spacing_mm: dict[str, list[list[float]]] = field(default_factory=dict)
    unspaced: int = 0
    values: Counter[tuple[int, str | None]] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def legend(self) -> list[tuple[int, str | None, int]]:
        """``values`` as rows of value, name and items, by value."""
        return [(value, name, self.values[value, name]) for value, name in sorted(self.values, key=lambda k: (k[0], k[1] or ""))]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, structures by name; ``names`` has of each what a text calls it and its kind, "unknown" without one."""
        return {
            "items": self.items,
            "patients": self.patients,
            "kinds": dict(sorted(self.kinds.items())),
            "modalities": dict(sorted(self.modalities.items())),
            "splits": dict(sorted(self.splits.items())),
            "skipped": self.skipped,
            "loaded": self.loaded,
            "failed": self.failed,
            "names": table_of(sorted(self.structures)),
            "structures": {n: {"present": p, "annotated": a} for n, (p, a) in sorted(self.structures.items())},
            "sizes": self.sizes,
            "spacing_mm": self.spacing_mm,
            "without_spacing": self.unspaced,
            "values": [{"value": value, "name": name, "items": items} for value, name, items in self.legend()],
            "values_without_name": {str(value): items for value, name, items in self.legend() if name is None},
            "problems": [{"item": item, "reason": reason} for item, reason in self.problems],
        }


class Even(Generic[T]):
    """Keeps an even choice of a stream of unknown length in bounded memory: when it is full, every second entry goes.

    Args:
        limit: How many are wanted; up to four times as many are kept on the way. 0 keeps none.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._step, self._count = limit, 1, 0
        self._kept: list[T] = []

    def wants_next(self) -> bool:
        """True if the entry that comes next would be kept."""
        return self._limit > 0 and self._count % self._step == 0

    def add(self, entry: T | None) -> None:
        """Count an entry, and keep it if it is wanted; None may stand for one that is not."""
        if self.wants_next() and entry is not None:
            self._kept.append(entry)
        self._count += 1
        if len(self._kept) > 4 * self._limit > 0:
            self._kept, self._step = self._kept[::2], self._step * 2

    def chosen(self) -> list[T]:
        """At most ``limit`` entries in their order, spread over all; all of them if there are no more."""
        n = min(self._limit, len(self._kept))
        return [self._kept[(2 * k + 1) * len(self._kept) // (2 * n)] for k in range(n)]


def listed(source: CaseSource, *, limit: int = 64) -> tuple[Survey, list[Item]]:
    """List a source whole.

    Args:
        source: The source.
        limit: How many items are to be looked into.

    Returns:
        What the list tells, and at most ``limit`` items spread evenly over it.

    Raises:
        UniReasonError: If the source as a whole cannot be used.
    """
    found, kept, patients = Survey(), Even[Item](limit), set()
    for entry in source.items():
        if isinstance(entry, Skipped):
            found.skipped += 1
            _problem(found, entry.id, entry.reason)
            continue
        kept.add(entry)
        found.items += 1
        patients.add(entry.patient)
        found.kinds[entry.kind] += 1
        found.modalities[entry.modality] += 1
        found.splits[entry.split] += 1
    found.patients = len(patients)
    return found, kept.chosen()


def look_into(found: Survey, source: CaseSource, items: Iterable[Item]) -> Iterator[Loaded | None]:
    """Load items and take what they hold into the findings.

    Args:
        found: The findings so far; they grow.
        source: The source.
        items: Some of its items.

    Yields:
        For every item the item loaded, or None if it could not be; the reason is then among the problems.
    """
    for item in items:
        try:
            loaded = source.load(item)
        except UniReasonError as error:
            found.failed += 1
            if isinstance(error, UnnamedError):
                _tally(found, error.values)
            _problem(found, item.id, str(error))
            yield None
        else:
            _look(found, loaded)
            yield loaded


def _problem(found: Survey, item: str, reason: str) -> None:
    if len(found.problems) < MOST_PROBLEMS:
        found.problems.append((item, reason))


def _tally(found: Survey, values: Mapping[tuple[int, str | None], bool]) -> None:
    for key, occurs in values.items():
        found.values[key] += int(occurs)


def _look(found: Survey, loaded: Loaded) -> None:
    found.loaded += 1
    present: set[str] = set()
    inside: dict[tuple[int, str | None], bool] = {}
    for layer in loaded.layers:
        values = set(occurring(layer.labels))
        present |= {name for value, name in layer.names.items() if value in values}
        inside |= {(value, name): value in values for value, name in layer.names.items()}
    _tally(found, loaded.values or inside)
    for name in {*loaded.item.annotated, *present}:
        tally = found.structures.setdefault(name, [0, 0])
        tally[0] += name in present
        tally[1] += name in loaded.item.annotated
    geometry = loaded.case.geometry
    _widen(found.sizes, loaded.case.kind, tuple(reversed(geometry.shape)))
    if geometry.spacing_mm is None:
        found.unspaced += 1
    else:
        _widen(found.spacing_mm, loaded.case.kind, geometry.spacing_mm)


def _widen(ranges: dict[str, list[list[float]]], kind: str, values: tuple[float, ...]) -> None:
    """Takes values into the ranges of their kind."""
    known = ranges.setdefault(kind, [[v, v] for v in values])
    for pair, value in zip(known, values, strict=True):
        pair[0], pair[1] = min(pair[0], value), max(pair[1], value)


# --- What data sets say about their labels and modalities, brought into one form.


MAX_LABELS = 4096
_NO_STRUCTURES = {"background", "ignore", "unlabeled", "unlabelled", "void", ""}
# First match wins. Codes: DICOM PS3.3 C.7.3.1.1.1.
_MODALITIES = (
    (r"ct(_.*|\d.*)?|cbct|computed tomography|ncct|cta", "CT"),
    (r"mri?(_.*)?|t1.*|t2.*|flair|adc|dwi|pd|dti|swi|bold|cine.*|lge|bssfp|magnetic.*|mp.?mri", "MR"),
    (r"pet(_.*)?|pt", "PT"),
    (r"us(_.*)?|ultra.?sound.*|echo.*", "US"),
    (r"mammo.*|mg", "MG"),
    (r"(chest.?)?x.?ray.*|dx|cr|radiograph.*|cxr", "DX"),
    (r"fundus.*|retina.*|cfp|slo", "OP"),
    (r"oct(_.*)?|optical coherence.*", "OPT"),
    (r"endoscop.*|colonoscop.*|laparoscop.*", "ES"),
    (r"dermoscop.*|dermatoscop.*|skin.*|photo.*", "XC"),
    (r"histo.*|patho.*|wsi", "SM"),
    (r"microscop.*|fluoresc.*", "GM"),
)


@lru_cache(maxsize=1024)
def modality_code(text: str) -> str:
    """DICOM modality code of what a data set calls its modality ("T1w", "mr_t1", "x_ray"); "" if it cannot be told."""
    plain = text.strip().lower()
    return next((code for pattern, code in _MODALITIES if re.fullmatch(pattern, plain)), "")


def structure(raw: Any) -> str:
    """The readable name of a structure; "" for what is no structure (background, ignored voxels)."""
    if not isinstance(raw, str) or len(raw) > 200:
        raise FormatError(f"a structure name is {str(raw)[:50]!r}", "text of at most 200 characters")
    name = readable(raw)
    return "" if name in _NO_STRUCTURES else name


def value_of(raw: Any) -> int:
    """A label value."""
    text = str(raw).strip()
    if isinstance(raw, bool | float) or not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) >= 2**32:
        raise FormatError(f"a label value is {str(raw)[:50]!r}", "a whole number from 0")
    return int(text)


def legend(table: Mapping[Any, Any]) -> dict[int, str]:
    """Label values to readable names, from a table that runs either way ({"1": "liver"} or {"liver": 1})."""
    if len(table) > MAX_LABELS:
        raise FormatError(f"there are {len(table):,} labels", f"at most {MAX_LABELS:,}")
    pairs: list[tuple[Any, Any]] = list(table.items())
    if all(isinstance(v, str) and not v.strip().isdigit() for _, v in pairs):
        pairs = [(v, k) for k, v in pairs]
    found: dict[int, str] = {}
    for raw, value in pairs:
        name, number = structure(raw), value_of(value)
        if number:
            if found.get(number, name) != name:
                raise FormatError(f"the label {number} is both '{found[number]}' and '{name}'", "one name a value")
            found[number] = name
    return dict(sorted(found.items()))
