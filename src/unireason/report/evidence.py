"""What an evidence check says: the reliance, all conditions, and questions whose answers flipped or survived.

A picture shows what was asked for and what was shown instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unireason.core.errors import FormatError

from .document import Card, Cards, Cell, Column, Document, Headline, Remark, Table, Value, View, asked_of, provenance, unread
from .html import of_results, plural
from .run import own_figures, why

if TYPE_CHECKING:
    from unireason.evaluate.evidence import Flip, Piece
    from unireason.evaluate.results import ConditionFound, EvidenceResults

_ASKED, _INSTEAD = 2, 6  # tones of the boxes
_COLUMNS = (
    Column("Condition"),
    Column("Accuracy", interval="95% interval", drawn="bar"),
    Column("Questions", spare=True),
    Column("Survival", spare=True),
    Column("Reliance"),
)
_SAID = (
    "Survival: share of right answers under true that are right again. Reliance: share of the accuracy above chance that is lost; "
    "0 if nothing is, 1 if what is left is no better than guessing."
)


def evidence_document(results: EvidenceResults, flips: Sequence[Flip] = (), survivors: Sequence[Flip] = ()) -> Document:
    """The report of an evidence check.

    Args:
        results: What was found.
        flips: Questions answered right with the evidence and wrong without it.
        survivors: Questions answered right all the same.

    Raises:
        FormatError: Pictures and frame of a question do not belong together.
    """
    found, true, made = results.reliance, results.conditions["true"], results.to_json()["manifest"]
    condition = _words(results.reliance_condition)
    told = "undefined: not above chance" if found.value is None else "" if found.ci95 else "one patient: no interval"
    large = [
        (f"Evidence reliance, {condition}", Value(found.value, found.ci95), told),
        *(
            [("At most", Value(most.value, most.ci95), "an ideal model that knows every true box")]
            if (most := results.ceiling)
            else []
        ),
        ("Accuracy", Value(true.accuracy, true.ends, unit="%"), ""),
        ("Chance", Value(true.chance, unit="%"), ""),
        ("Looked", Value(results.looked, unit="%"), ""),
        ("Letter against text", Value(true.mismatch_rate, unit="%", decimals=1), "of answers contradict themselves"),
        *own_figures(results.own_boxes),
    ]
    left = ", ".join(map(_words, results.left_out))
    table = Table(
        _COLUMNS,
        [_row(name, part) for name, part in results.conditions.items()],
        notes=[_SAID, *([f"Not asked: {left}."] if left else [])],
        legend=[("whisker", "95% interval over patients"), ("dash", "chance")],
    )
    return Document(
        "Evidence check",
        asked_of(made, plural(results.manifest.questions, "question")),
        [
            Headline(large),
            table,
            *why(results.by_kind, results),
            Cards(f"Flips: right under true, wrong under {condition}", [_card(flip) for flip in flips]),
            Cards(
                f"Survivors: right under true, and right again under {condition}", [_card(flip) for flip in survivors], shown=6
            ),
            provenance(made),
        ],
        cautions=of_results(results.to_json()),
        notices=unread(results.to_json()["unreadable"]),
    )


def _row(name: str, part: ConditionFound) -> list[Cell]:
    lines = [("chance", part.chance)]
    return [
        Remark(_words(name), part.meaning, "strong"),
        Value(part.accuracy, part.ends, unit="%", lines=lines),
        part.n,
        Value(part.survival.value, unit="%") if part.survival else "",
        Value(part.reliance.value, part.reliance.ci95, tone="strong") if part.reliance else "",
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _card(flip: Flip) -> Card:
    entry, frame = flip.entry, flip.rows["true"].frame
    if flip.pictures.ndim not in (3, 4) or len(flip.pictures) != frame.depth:
        raise FormatError(f"pictures of shape {flip.pictures.shape}", f"{frame.depth} slices")
    gold = entry.letter or entry.answers[0]
    letters = [chr(65 + n) for n in range(len(entry.options))]
    shown = [("asked for", flip.asked, _ASKED), ("shown instead", flip.instead, _INSTEAD)]
    apart = ", ".join(_words(name) for name, row in flip.rows.items() if row.mismatch)
    return Card(
        entry.question,
        kind=f"{'3D' if frame.kind == 'volume' else '2D'} · {entry.case}",
        views=[_view(flip, name, pieces[len(pieces) // 2], tone) for name, pieces, tone in shown if pieces]
        or [_view(flip, "no look", None, 0)],
        options=[(own, text, "expected" if own == gold else "") for own, text in zip(letters, entry.options, strict=True)],
        answers=[(_words(name), Remark(row.said, tone="good" if row.right else "bad")) for name, row in flip.rows.items()],
        lines=[
            *([] if entry.options else [("truth", gold)]),
            *([("note", f"Letter and text contradict each other: {apart}.")] if apart else []),
        ],
    )


def _view(flip: Flip, name: str, piece: Piece | None, tone: int) -> View:
    """A slice of what was asked for or shown instead; the middle one of the case without a look."""
    frame = flip.rows["true"].frame
    z = frame.depth // 2 if piece is None else piece[0]
    caption = f"{name}, slice {z}" if frame.kind == "volume" else name
    boxes = [] if piece is None else [(tone, name, piece[1])]
    return View(flip.pictures[z], (frame.width, frame.height), frame.width / frame.height, caption, boxes)
