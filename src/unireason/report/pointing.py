"""What an evaluation of implicit questions says: means with intervals, groups, and the worst and best answers as pictures.

A picture shows what was meant on the left and what was answered on the right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unireason.core.errors import FormatError
from unireason.grounding import answer as umrg

from .document import Block, Card, Cards, Cell, Column, Document, Headline, Table, Value, View, asked_of, provenance, unread
from .html import of_results, plural
from .pictures import aspect_of, outlines

if TYPE_CHECKING:
    from unireason.evaluate.pointing import Pointed
    from unireason.evaluate.results import MeanFound, PointingResults

TITLES: Mapping[str, str] = {
    "iou": "IoU",
    "pdice": "pDice",
    "pdice_released": "pDice (released)",
    "dice_points": "Dice, points",
    "dice_box": "Dice, box",
    "dice_both": "Dice, both",
    "nsd": "NSD",
    "hd95_mm": "HD95",
    "found": "mask found",
}
"""Scores of ``evaluate.pointing`` and how they are headed."""

_TRUE, _ANSWER = 2, 1  # tones
_NO_SHARES = ("hd95_mm", "pdice_released")  # not from 0 to 1
_COLUMNS = (Column("Score"), Column("Mean", interval="95% interval", drawn="bar"))


def pointing_document(results: PointingResults, worst: Sequence[Pointed] = (), best: Sequence[Pointed] = ()) -> Document:
    """The report of implicit questions, with the answers of the lowest and of the highest scores.

    Raises:
        FormatError: Picture, masks and frame of a question do not belong together.
    """
    told = results.to_json()
    made = told["manifest"]
    facts = asked_of({**made, "suite": results.suite}, plural(results.n, "question"), plural(results.patients, "patient"))
    facts.append(f"expert {made['expert']['name']} {made['expert']['sha256'][:12]}".strip())
    if made["samples"] > 1 or made["temperature"]:
        facts.append(f"{made['samples']} answers a question at temperature {made['temperature']:g}")
    titles = {name: title for name, title in TITLES.items() if name in results.scores}
    rows: list[list[Cell]] = [[title, _score(name, results.scores[name])] for name, title in titles.items()]
    notes = [f"A mask was found for {100 * results.found:.1f}% of the answers, {100 * results.malformed:.1f}% were malformed."]
    if results.problems:
        notes.append(f"Problems: {', '.join(f'{code} {n}' for code, n in results.problems.items())}.")
    if sum(results.left_out.values()):
        notes.append(f"Not asked: {', '.join(f'{n} because {reason}' for reason, n in results.left_out.items())}.")
    notes.append(f"The released pDice runs to 200%. {results.rule}")
    return Document(
        "Implicit questions",
        facts,
        [
            Headline([(TITLES[name], _score(name, results.scores[name]), "") for name in results.headline]),
            Table(_COLUMNS, rows, notes=notes, legend=[("whisker", "95% interval over patients")]),
            Cards("Worst answers", [_card(one, results) for one in worst], shown=6, size="broad"),
            Cards("Best answers", [_card(one, results) for one in best], shown=3, size="broad"),
            *_groups(results),
            provenance(made),
        ],
        cautions=of_results(told),
        notices=unread(told["unreadable"], outcome="count in no mean"),
    )


def _score(name: str, found: MeanFound) -> Value:
    return _value(name, found.mean, found.ci95_patients)


def _value(name: str, value: float, ends: Sequence[float] | None = None, **more: Any) -> Value:
    if name == "hd95_mm":
        return Value(value, ends, unit="mm", drawn=False, **more)
    return Value(value, ends, unit="%", decimals=2, drawn=name not in _NO_SHARES, **more)


def _groups(results: PointingResults) -> list[Block]:
    """The headline scores of every group."""
    columns = (Column("Questions"), *(Column(TITLES[name]) for name in results.headline))
    made: list[Block] = []
    rows: list[list[Cell]]
    for title, groups in (("Super-category", results.by_supercategory), ("Category", results.by_category)):
        rows = [[name, own.n, *(_value(key, own.scores[key].mean) for key in results.headline)] for name, own in groups.items()]
        made += [Table((Column(title), *columns), rows, f"By {title.lower()}", told=False)] if rows else []
    return made


def _card(shown: Pointed, results: PointingResults) -> Card:
    row, answer = shown.row, shown.row["answers"][0]
    scores = {name: answer["scores"][name] for name in results.headline}
    thought = (umrg.read(shown.trace.raw_text).think or shown.trace.raw_text).strip()
    return Card(
        row["question"],
        kind=" · ".join(str(row[key]) for key in ("category", "supercategory", "case") if row[key]),
        views=_views(shown),
        marks=[(TITLES[name], _value(name, value, tone="" if value else "bad")) for name, value in scores.items()],
        lines=[*(("flaw", code.replace("_", " ")) for code in answer["problems"]), ("thought", thought)],
    )


def _views(shown: Pointed) -> list[View]:
    """What was meant, and what was answered with the outline of what was meant."""
    frame, stack = shown.trace.frame, shown.stack
    if frame.kind != "image" or len(stack.slices) != 1:
        raise FormatError(f"a question about a {frame.kind} of {len(stack.slices)} slices", "a picture")
    target, answer = shown.row["target"], shown.row["answers"][0]
    true, found = (None if mask is None else outlines(mask, frame, stack).get(0) for mask in (shown.truth.mask, shown.mask))
    meant = [(f"region tone-{_TRUE}", true)]
    answered = [(f"region outline tone-{_TRUE}", true), (f"region tone-{_ANSWER}", found)]
    views = []
    for name, place, tone, paths in (("meant", target, _TRUE, meant), ("answered", answer, _ANSWER, answered)):
        views.append(
            View(
                stack.slices[0],
                (frame.width, frame.height),
                aspect_of(shown.case.geometry),
                name,
                boxes=[] if place["box"] is None else [(tone, name, place["box"])],
                points=[(tone, point) for point in place["points"]],
                paths=[(kind, path) for kind, path in paths if path is not None],
            )
        )
    return views
