"""What slice-volume consistency says: agreement, how it spreads, agreement against truth, structures, and slices with both looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unireason.core.errors import FormatError

from .document import (
    Block,
    Card,
    Cards,
    Cell,
    Column,
    Document,
    Headline,
    Plot,
    Prose,
    Remark,
    Table,
    Value,
    View,
    asked_of,
    provenance,
    unread,
)
from .html import check, of_results, plural
from .plots import histogram, scatter

if TYPE_CHECKING:
    from unireason.evaluate.consistency import Example, Pair
    from unireason.evaluate.results import ConsistencyResults, OverlapFound, StructureFound

_SLICE, _VOLUME = 1, 7  # tones of the boxes
_LEGEND: Sequence[tuple[int | str, str]] = (
    (_SLICE, "box on the slice"),
    (_VOLUME, "projection of the cuboid"),
    ("meant", "truth on the slice"),
)
_CONTEXT, _MARGIN = 0.45, 1.8  # least share of a picture that is shown, and of the boxes
_ROWS = {
    "agreement": ("Agreement", "box on the slice, projection of the cuboid"),
    "slice_to_truth": ("Slice to truth", "box on the slice, true box there"),
    "volume_to_truth": ("Volume to truth", "projections of the cuboid and the true one"),
    "cuboid_to_truth": ("Cuboid to truth", "cuboid and true cuboid, in 3D"),
    "other_patient": ("Other patient", "box on the slice, projection of the cuboid in another patient"),
    "ceiling": ("Ceiling", "true box on the slice, projection of the true cuboid"),
}
_COLUMNS = (
    Column("Mean IoU between"),
    Column("All pairs", interval="95% interval", drawn="bar"),
    Column("IoU ≥ 0.5", spare=True),
    Column("Both looked", interval="95% interval", spare=True),
)
_STRUCTURES = (
    Column("Structure"),
    Column("Agreement", interval="95% interval", drawn="bar"),
    *(Column(title, spare=True) for title, _ in list(_ROWS.values())[1:]),
    Column("Both looked", spare=True),
    Column("Pairs"),
)

Corners = Sequence[float]


def consistency_document(results: ConsistencyResults, pairs: Sequence[Pair] = (), examples: Sequence[Example] = ()) -> Document:
    """The report of slice-volume consistency.

    Args:
        results: What was found.
        pairs: All pairs; those with both looks are drawn.
        examples: Slices to look at.

    Raises:
        FormatError: A picture has another type or shape, or a size is not positive.
    """
    above, looked, told = results.above_other_patient, results.looked, results.to_json()
    sides = f"slice {Value(looked.slice, unit='%').text()}, volume {Value(looked.volume, unit='%').text()}"
    large = [
        ("Agreement, IoU", _mean(results.agreement), ""),
        ("Above other patients", Value(above.difference, above.ci95_patients), ""),
        ("Both looked", Value(looked.both, unit="%"), sides),
        ("Cuboid reaches the slice", Value(results.crossed, unit="%"), ""),
        ("Letter against text", Value(results.mismatch_rate, unit="%", decimals=1), "of answers contradict themselves"),
    ]
    rows: list[list[Cell]] = []
    for name, (title, meaning) in _ROWS.items():
        part = getattr(results, name)
        whole = _mean(getattr(results.conditional, name))
        rows.append([Remark(title, meaning, "strong"), _mean(part), Value(part.at_50, unit="%"), whole])
    left = f" Left out: {plural(results.left_out, 'pair')}, too small on the slice." if results.left_out else ""
    notes = [f"Over all pairs a missing look counts as 0. Intervals: over whole patients.{left}"]
    structures = [_structure(name, part) for name, part in results.by_structure.items()]
    counts = [plural(results.manifest.questions, "question"), f"{plural(results.n, 'pair')} of a question and a structure"]
    return Document(
        "Slice-volume consistency",
        asked_of(told["manifest"], *counts, plural(results.patients, "patient")),
        [
            Headline(large),
            Table(_COLUMNS, rows, notes=notes, legend=[("whisker", "95% interval over patients")]),
            *_plots([pair for pair in pairs if pair.row.both]),
            Table(_STRUCTURES, structures, "By structure", told=False),
            Cards("Slices, from the least agreement to the most", [_card(one) for one in examples], _LEGEND, size="small"),
            provenance(told["manifest"]),
        ],
        cautions=of_results(told),
        notices=unread(told["unreadable"]),
    )


def _mean(part: OverlapFound) -> Value:
    return Value(part.mean_iou, part.ci95_patients)


def _structure(name: str, part: StructureFound) -> list[Cell]:
    others: list[Cell] = [Value(getattr(part, key).mean_iou) for key in list(_ROWS)[1:]]
    return [name, _mean(part.agreement), *others, Value(part.looked.both, unit="%"), part.n]


def _plots(pairs: Sequence[Pair]) -> list[Block]:
    """How agreement spreads, and agreement against truth, of pairs with both looks."""
    if not pairs:
        return [Prose(["No pair has both looks."], "How agreement spreads", told=False)]
    own = [pair.agreement for pair in pairs]
    others = [pair.other_patient for pair in pairs if pair.other_patient is not None]
    spread = {"same patient, both looked": own, "cuboids of other patients": others}
    truth = [min(pair.slice_to_truth, pair.volume_to_truth) for pair in pairs]
    note = "A dot is a pair with both looks. Below the line they agree better with each other than with the truth."
    return [
        Plot(
            histogram(spread, "agreement (IoU)", "share of pairs"), "agreement of looks, as a histogram", "How agreement spreads"
        ),
        Plot(
            scatter(list(zip(own, truth, strict=True)), "agreement (IoU)", "lower IoU with the truth"),
            "agreement of looks against their fit to the truth",
            "Agreement against truth",
            [note],
        ),
    ]


def _card(example: Example) -> Card:
    row, shadow = example.pair.row, example.pair.row.shadow()
    check(example.picture)
    width, height = (n * mm for n, mm in zip(row.size, example.millimetres, strict=True))
    if min(width, height) <= 0:
        raise FormatError(f"a picture of {width} x {height} mm", "positive sizes")
    looks = [
        ("box on the slice", row.rectangle, _SLICE),
        ("projection of the cuboid", None if shadow is None else shadow.coords, _VOLUME),
    ]
    missing = " · ".join(f"no {name}" for name, box, _ in looks if box is None)
    boxes: list[tuple[int | str, str, Corners]] = [("meant", "truth on the slice", row.true_rectangle)]
    boxes += [(tone, name, box) for name, box, tone in looks if box is not None]
    window = _window([box for _, _, box in boxes], row.size, example.millimetres)
    view = View(example.picture, row.size, width / height, boxes=boxes, window=window, alt=f"slice {row.slice}")
    return Card(
        row.structure,
        kind=f"{row.case} · slice {row.slice}",
        verdict=Remark(f"IoU {example.pair.agreement:.2f}"),
        views=[view],
        lines=[("note", row.question), *([("note", missing)] if missing else [])],
    )


def _window(
    boxes: Sequence[Corners], size: tuple[int, int], millimetres: tuple[float, float]
) -> tuple[float, float, float, float]:
    """What of the picture is shown: a square in space round all boxes, at least so large that one sees where they lie, in voxels."""
    whole = [n * mm for n, mm in zip(size, millimetres, strict=True)]
    low = [min(box[axis] for box in boxes) * millimetres[axis] for axis in (0, 1)]
    high = [max(box[axis + 2] for box in boxes) * millimetres[axis] for axis in (0, 1)]
    side = max(_CONTEXT * max(whole), _MARGIN * max(b - a for a, b in zip(low, high, strict=True)))
    sides = [min(side, own) for own in whole]
    begin = [min(max((a + b - own) / 2, 0.0), w - own) for a, b, own, w in zip(low, high, sides, whole, strict=True)]
    (x, y), (w, h), (u, v) = begin, sides, millimetres
    return x / u, y / v, w / u, h / v
