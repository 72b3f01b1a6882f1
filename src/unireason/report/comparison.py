"""What several runs over the same questions say, once: who is how good, who is better than the baseline, and where they part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from unireason.core.errors import FormatError
from unireason.evaluate.results import ComparisonResults, PairScores, RunAgainst, RunCompared, RunRow

from .document import DASH, Block, Card, Cards, Cell, Column, Document, Notice, Remark, Table, Value, View
from .html import number, of_results, plural
from .run import (
    ACCURACY,
    DEFECTS,
    KINDS,
    LEGEND,
    about,
    counted,
    family_of,
    filters,
    frequent,
    heading,
    label,
    options,
    ordered,
    percent,
    pick,
    pictures,
    response,
    share,
    short,
    truth,
)

APART, SAME = 300, 100
"""Responses shown at most: to questions on which runs part, and to others."""

LEVEL = 0.05
"""A difference whose corrected p value is below it is coloured."""

_BYTES = 2_000_000  # pictures of a page
_FILTERED = 4  # runs that get a filter of their own
_GROUPS = {
    "apart": ("runs part", "Runs part"),
    "wrong": ("all wrong", "All runs wrong"),
    "right": ("all right", "All runs right"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The answers of one run.

    Attributes:
        folder: The folder of the run; pictures are looked up in it.
        right: Whether the answer to each question is right.
        read: Gives of identifiers the rows, in any order.
    """

    folder: Path
    right: Sequence[bool]
    read: Callable[[Collection[str]], Iterable[RunRow]]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers of several runs; of rows only those with a card are read.

    Attributes:
        asked: The questions, in the order of every ``Side.right``: identifier and tags.
        sides: By run.
    """

    asked: Sequence[tuple[str, Mapping[str, str]]]
    sides: Mapping[str, Side]


def comparison_document(found: ComparisonResults, answers: Answers, *, rules: Mapping[str, str] | None = None) -> Document:
    """What a comparison says.

    Args:
        found: What ``evaluate.comparison.compare`` gave.
        answers: Of the runs in the order of ``found``.
        rules: What every published reading counts as right, in words, by its name.

    Raises:
        FormatError: A row or a picture cannot be read, or runs lack answers.
    """
    more = [f"{run.name} {run.asked:,}" for run in found.runs if run.asked != found.n]
    only = f"Only the {found.n:,} questions that all runs were asked in the same words are compared."
    cards = _cards(answers)
    facets: dict[str, tuple[str, Mapping[str, str]]] = {
        "group": ("Runs", {name: word for name, (word, _) in _GROUPS.items()}),
        "family": ("Family", {}),
        "kind": ("Kind", KINDS),
        **{f"run-{n}": (name, {"right": "right", "wrong": "wrong"}) for n, name in enumerate(list(answers.sides)[:_FILTERED])},
    }
    shown = [one for block in cards for one in block.cards]
    blocks: list[Block] = [_runs(found), _pairs(found), _by_tags(found), _readings(found, rules or {})]
    facts = [
        f"suite {found.suite}",
        plural(len(found.runs), "run"),
        plural(found.n, "question"),
        plural(found.patients, "patient"),
    ]
    return Document(
        f"Runs on {found.suite} side by side",
        facts,
        [*blocks, *cards],
        # Of all runs together, and those of a single one under its name.
        cautions=[
            *(f"{run.name}: {text}" for run in found.runs for text in of_results({"scope": run.scope})),
            *of_results(found.to_json()),
        ],
        notices=[Notice(only, [f"asked in all: {', '.join(more)}"])] if more else [],
        filters=filters(shown, facets),
    )


def _runs(found: ComparisonResults) -> Table:
    columns = [Column("Run"), ACCURACY, Column("Box overlap"), Column("Looked", spare=True), Column("Unread")]
    columns += [Column("Letter against text", spare=True), Column("Questions/s", spare=True)]
    rows: list[list[Cell]] = []
    for run in sorted(found.runs, key=lambda run: -run.accuracy):
        model, profile = run.checkpoint, run.profile
        told = [f"{model['name']} {str(model['sha256'])[:8]}", f"profile {profile['name']} {str(profile['sha256'])[:8]}"]
        told += [f"{run.samples} samples"] if run.samples != 1 else []
        told += [f"vote of {run.vote}"] if run.vote else []
        overlap = Value(run.overlap.mean, run.overlap.ci95_patients)
        speed = DASH if run.questions_a_second is None else number(run.questions_a_second, 2)
        looked, against = Value(run.looked, unit="%"), percent(run.mismatch_rate)
        rows.append(
            [Remark(run.name, " · ".join(told)), share(run, run.chance, decimals=1), overlap, looked, run.unread, against, speed]
        )
    return Table(columns, rows, "Runs", legend=LEGEND)


def _pairs(found: ComparisonResults) -> Table:
    """Differences to the baseline; the axis reaches as far as the farthest interval."""
    values = [abs(v) for own in found.comparisons for v in (own.difference, *(own.interval or ()))]
    reach = -(-round(100 * max(0.05, *values), 6) // 5) * 5 / 100  # up to the next 5 points
    ticks = (f"\u2212{100 * reach:.0f}", "0", f"+{100 * reach:.0f}")
    columns = [
        Column("Run"),
        Column("Difference", "Patients 95%", drawn="dot", axis=(-reach, reach), ticks=ticks),
        *(Column(title, spare=True) for title in ("Right alone", "Baseline right alone")),
        *(Column(title) for title in ("Flip p", "Holm p")),
    ]
    rows: list[list[Cell]] = []
    for own in sorted(found.comparisons, key=lambda own: -own.difference):
        tone = "" if own.p_holm >= LEVEL else "good" if own.difference > 0 else "bad"
        drawn = Value(own.difference, own.interval, unit="points", lines=[("rule", 0.0)], tone=tone)
        rows.append([own.run, drawn, own.only_first, own.only_second, p_value(own.p_exact), p_value(own.p_holm)])
    note = (
        f"Differences of accuracy in percentage points. Interval and p come from one test, two-sided, by sign flips of whole patients: "
        f"the interval leaves out 0 where p is below {LEVEL:g}, and only there. With one question a patient it is McNemar's exact test; "
        f"fewer than 6 patients are too few for any difference. Holm: corrected for {plural(len(rows), 'comparison')}; coloured where "
        f"below {LEVEL:g}."
    )
    return Table(columns, rows, f"Against {found.baseline}", notes=[note])


def p_value(p: float) -> str:
    """A p value with two digits that mean something."""
    return "<0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def _by_tags(found: ComparisonResults) -> Table:
    """Accuracy of every run for every value of every tag."""
    against = {own.run: own for own in found.comparisons}
    rows: list[Sequence[Cell] | str] = []
    for tag in ordered(found.runs[0].by):
        groups = found.runs[0].by[tag]
        rows.append(heading(tag, groups))
        for value, first in frequent(groups).items():
            cells = [_tag_cell(run, against.get(run.name), tag, value) for run in found.runs]
            rows.append([label(tag, value), *cells, first.n])
    note = (
        f"Accuracy with its interval over patients. Arrows: the interval over patients of the difference to {found.baseline} leaves out "
        "0, not corrected for the number of rows."
    )
    columns = [Column(""), *(Column(run.name) for run in found.runs), Column("Questions")]
    return Table(columns, rows, "By what was asked", notes=[note], told=False)


def _tag_cell(run: RunCompared, against: RunAgainst | None, tag: str, value: str) -> Cell:
    own = run.by.get(tag, {}).get(value)
    pair: PairScores | None = against.by.get(tag, {}).get(value) if against else None
    if own is None:
        return DASH
    low, high = pair.interval if pair and pair.interval else (0.0, 0.0)
    arrow, tone = (" \u25b2", "good") if low > 0 else (" \u25bc", "bad") if high < 0 else ("", "")
    told = Value(own.accuracy, own.accuracy_ci95_patients, unit="%")
    return Remark(f"{told.text()}{arrow}", told.ends(), tone)


def _readings(found: ComparisonResults, rules: Mapping[str, str]) -> Table:
    def cell(run: RunCompared, name: str) -> Cell:
        own = run.published.get(name) if name else run
        return DASH if own is None else Value(own.accuracy, own.accuracy_ci95_patients, unit="%", decimals=1)

    names = sorted({name for run in found.runs for name in run.published})
    parts = [(Remark("this package", found.rule), ""), *((Remark(name, rules.get(name, "")), name) for name in names)]
    rows: list[list[Cell]] = [[remark, *(cell(run, name) for run in found.runs)] for remark, name in parts]
    columns = [Column("Reading"), *(Column(run.name) for run in found.runs)]
    return Table(columns, rows, "Published readings of the same answers", notes=[DEFECTS], told=False)


# --- Questions with the answers of all runs, those on which they part first.


def _cards(answers: Answers) -> list[Cards]:
    names = list(answers.sides)
    groups: dict[str, list[tuple[str, str]]] = {name: [] for name in _GROUPS}
    if any(len(side.right) != len(answers.asked) for side in answers.sides.values()):
        raise FormatError("the runs are incomplete: they have different numbers of answers", "one a question", "run them anew")
    for (asked, tags), *right in zip(answers.asked, *(side.right for side in answers.sides.values()), strict=True):
        groups[_group(right)].append((asked, family_of(tags)))
    chosen = {group: pick(own, max((APART if group == "apart" else SAME // 2) // len(names), 6)) for group, own in groups.items()}
    wanted = {name for own in chosen.values() for name in own}
    rows = {name: {row.id: row for row in side.read(wanted)} for name, side in answers.sides.items()}
    if lost := [f"{name} lacks {asked!r}" for asked in sorted(wanted) for name in names if asked not in rows[name]]:
        raise FormatError(f"the runs are incomplete: {lost[0]}", "one answer a question", "run them anew")
    views = {
        name: pictures(side.folder, rows[name].values(), budget=_BYTES // len(names)) for name, side in answers.sides.items()
    }
    made = []
    for group, (_, title) in _GROUPS.items():
        shown = [
            _card({name: rows[name][asked] for name in names}, views) for asked, _ in groups[group] if asked in chosen[group]
        ]
        if shown:
            rubric = counted(len(shown), len(groups[group]), "question")
            made.append(Cards(f"{title}: {rubric[0].lower()}{rubric[1:]}", shown, size="large"))
    return made


def _group(right: Iterable[bool]) -> str:
    """Whether runs part on a question, or all are right or wrong."""
    verdicts = set(right)
    return "apart" if len(verdicts) > 1 else "right" if verdicts == {True} else "wrong"


def _card(own: Mapping[str, RunRow], views: Mapping[str, Mapping[str, View]]) -> Card:
    """A question, who said what, and the whole responses to unfold."""
    first = next(iter(own.values()))
    replies = Markup("").join(
        Markup('<div class="run"><p class="kind"><b>{}</b></p>{}{}</div>').format(
            name, _shot(views[name].get(row.picture)), response(row)
        )
        for name, row in own.items()
    )
    return Card(
        short(first.question),
        kind=about(first),
        options=options(first),
        answers=[(name, Remark(row.said[:40] or "unread", tone="good" if row.right else "bad")) for name, row in own.items()],
        lines=truth(first),
        body=Markup('<details class="whole"><summary>What they wrote</summary>{}</details>').format(replies),
        facets={
            "group": _group(row.right for row in own.values()),
            "family": family_of(first.tags),
            "kind": first.kind,
            **{f"run-{n}": "right" if row.right else "wrong" for n, row in enumerate(list(own.values())[:_FILTERED])},
        },
    )


def _shot(view: View | None) -> Markup:
    if view is None:
        return Markup("")
    return Markup('<div class="shots"><figure><img src="{}" alt="{}" decoding="async"></figure></div>').format(
        view.link(), view.alt
    )
