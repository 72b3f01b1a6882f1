"""What the rows say: agreement, distance to truth, and what looks at another patient would have given, with intervals over patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from unireason.evaluate.questions import shuffle_key
from unireason.metrics.intervals import flip_interval, over_patients, too_few
from unireason.metrics.overlap import box_iou
from unireason.types import Box2D

from .rows import Row

OTHERS = 8
"""Other patients, at most, to whom a look is compared."""
FIGURES = ("agreement", "slice_to_truth", "volume_to_truth", "cuboid_to_truth", "other_patient", "ceiling")


@dataclass(frozen=True, slots=True)
class Pair:
    """A row with its IoUs.

    Attributes:
        row: The row.
        agreement: Of both looks.
        slice_to_truth: Of the look at the slice and the true box there.
        volume_to_truth: Of the projections of the cuboid and the true one.
        cuboid_to_truth: Of the cuboids.
        other_patient: Mean over other patients; None if none has a cuboid for the structure.
        ceiling: Of the true box on the slice and the projection of the true cuboid.
        crossed: True if the cuboid reaches the slice.
    """

    row: Row
    agreement: float
    slice_to_truth: float
    volume_to_truth: float
    cuboid_to_truth: float
    other_patient: float | None
    ceiling: float
    crossed: bool


def pairs(rows: Iterable[Row], *, seed: int) -> list[Pair]:
    """Measure the rows whose slice was shown.

    Args:
        rows: Of one measurement.
        seed: Which other patients are taken where there are more than ``OTHERS``.
    """
    asked = [row for row in rows if row.asked]
    peers: dict[str, dict[str, Row]] = {}
    for row in sorted(asked, key=lambda row: shuffle_key(seed, row.patient)):
        if row.cuboid is not None:
            peers.setdefault(row.structure, {}).setdefault(row.patient, row)
    made = []
    for row in asked:
        found = row.measured()
        others = _following(peers.get(row.structure, {}), row.patient)
        made.append(
            Pair(
                row=row,
                agreement=found.agreement,
                slice_to_truth=found.slice_iou,
                volume_to_truth=found.projection_iou,
                cuboid_to_truth=found.volume_iou,
                other_patient=_of_others(row, others),
                ceiling=found.ceiling,
                crossed=found.crossed,
            )
        )
    return made


def summary(rows: Iterable[Row], *, seed: int) -> dict[str, Any]:
    """The results as plain JSON values (docs/reference/results.md); figures over no pairs are None, intervals over one patient too.

    Args:
        rows: Of one measurement.
        seed: Of the resampling and of other patients.
    """
    every = list(rows)
    measured = pairs(every, seed=seed)
    whole = [pair for pair in measured if pair.row.both]
    names = sorted({pair.row.structure for pair in measured})
    return {
        "kind": "consistency",
        **_figures(measured, seed),
        "conditional": _figures(whole, seed),
        "looked": _looked(measured),
        "crossed": _share([pair.crossed for pair in measured if pair.row.cuboid is not None]),
        "left_out": len(every) - len(measured),
        "by_structure": {name: _of_structure([p for p in measured if p.row.structure == name], seed) for name in names},
    }


def _figures(measured: Sequence[Pair], seed: int) -> dict[str, Any]:
    made: dict[str, Any] = {"n": len(measured), "patients": (patients := len({pair.row.patient for pair in measured}))}
    made["too_few_patients"] = too_few(patients)
    made |= {name: _figure(measured, name, seed) for name in FIGURES}
    compared = [pair for pair in measured if pair.other_patient is not None]
    own, others = [pair.agreement for pair in compared], [pair.other_patient or 0.0 for pair in compared]
    ahead = [a - b for a, b in zip(own, others, strict=True)]
    clusters = [pair.row.patient for pair in compared]
    made["above_other_patient"] = {
        "difference": fmean(own) - fmean(others) if compared else None,
        "ci95_patients": list(flip_interval(ahead, seed=seed, clusters=clusters)) if len(set(clusters)) > 1 else None,
        "n": len(compared),
    }
    return made


def _figure(measured: Sequence[Pair], name: str, seed: int) -> dict[str, Any]:
    known = [(value, pair.row.patient) for pair in measured if (value := getattr(pair, name)) is not None]
    values, clusters = [value for value, _ in known], [patient for _, patient in known]
    return {
        "mean_iou": fmean(values) if values else None,
        "ci95_patients": over_patients(values, clusters, seed=seed),
        "at_50": _share([value >= 0.5 for value in values]),
        "n": len(values),
    }


def _of_structure(measured: Sequence[Pair], seed: int) -> dict[str, Any]:
    return {
        "n": len(measured),
        "patients": len({pair.row.patient for pair in measured}),
        "looked": _looked(measured),
        **{name: _figure(measured, name, seed) for name in FIGURES},
    }


def _looked(measured: Sequence[Pair]) -> dict[str, float | None]:
    return {
        "slice": _share([pair.row.rectangle is not None for pair in measured]),
        "volume": _share([pair.row.cuboid is not None for pair in measured]),
        "both": _share([pair.row.both for pair in measured]),
    }


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _following(peers: Mapping[str, Row], patient: str) -> list[Row]:
    """The rows of those who come next in the circle of patients, at most ``OTHERS``."""
    order = list(peers)
    begin = order.index(patient) + 1 if patient in peers else 0
    return [peers[name] for name in (order[begin:] + order[:begin]) if name != patient][:OTHERS]


def _of_others(row: Row, others: Sequence[Row]) -> float | None:
    """Mean IoU of the look at the slice and the projections of others, brought to the picture of this one; 0 without both looks."""
    if not others:
        return None
    if row.rectangle is None or row.cuboid is None:
        return 0.0
    mine = Box2D(*row.rectangle)
    return fmean(box_iou(mine, _brought(shadow, other.size, row.size)) for other in others if (shadow := other.shadow()))


def _brought(box: Box2D, theirs: tuple[int, int], ours: tuple[int, int]) -> Box2D:
    """The same place as shares of another picture."""
    x, y = ours[0] / theirs[0], ours[1] / theirs[1]
    return Box2D(box.x1 * x, box.y1 * y, box.x2 * x, box.y2 * y)
