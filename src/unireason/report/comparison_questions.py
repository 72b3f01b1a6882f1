"""Questions that several runs answered, as a list to open: what each run said, why, and what it looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .evaluation_cards import Row, families, family, finder, fitting, kind, options, pick, pictures, response, shot, tags
from .markup import escape, plural

APART, SAME = 300, 100
"""Responses shown at most: to questions on which runs part, and to others."""

_BYTES, _TEXT = 2_000_000, 12_000_000  # pictures and cards of a page
_FILTERED = 4  # runs that get a filter of their own
_GROUPS = {"apart": "runs part", "wrong": "all wrong", "right": "all right"}


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The answers of one run.

    Attributes:
        folder: The folder of the run; pictures are looked up in it.
        right: Whether the answer to each question is right.
        read: Gives of identifiers the rows as ``rows.jsonl`` has them, in any order.
    """

    folder: Path
    right: Sequence[bool]
    read: Callable[[Collection[str]], Iterable[Row]]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers of several runs; of rows only those with a card are read.

    Attributes:
        asked: The questions, in the order of every ``Side.right``: ``id`` and ``tags``.
        sides: By run.
    """

    asked: Sequence[Row]
    sides: Mapping[str, Side]


def questions(answers: Answers) -> str:
    """The list with its filter.

    Raises:
        FormatError: If a row or a picture cannot be read.
    """
    names = list(answers.sides)
    groups: dict[str, list[Row]] = {name: [] for name in _GROUPS}
    for row, *right in zip(answers.asked, *(side.right for side in answers.sides.values()), strict=True):
        groups[_group(right)].append(row)
    chosen = {name: pick(own, max((APART if name == "apart" else SAME // 2) // len(names), 6)) for name, own in groups.items()}
    shown = _read(answers, chosen)
    together = [own for part in shown.values() for own in part]
    budget = _BYTES // len(names)
    links = {name: pictures(answers.sides[name].folder, [own[name] for own in together], budget=budget) for name in names}
    cards = fitting({group: (_question(one, links) for one in own) for group, own in shown.items()}, _TEXT)
    lists = "".join(
        f"<section data-list><h2>{_rubric(group, len(own), len(groups[group]))}</h2>"
        f'<div class="asked-list">{"".join(own)}</div></section>'
        for group, own in cards.items()
        if groups[group]
    )
    return f"{finder(_fields(together, names))}{lists}"


def _group(right: Iterable[bool]) -> str:
    """Whether runs part on a question, or all are right or wrong."""
    verdicts = set(right)
    return "apart" if len(verdicts) > 1 else "right" if verdicts == {True} else "wrong"


def _read(answers: Answers, chosen: Mapping[str, Sequence[Row]]) -> dict[str, list[Mapping[str, Row]]]:
    """The rows of all runs to the questions chosen, in their order."""
    wanted = {row["id"] for own in chosen.values() for row in own}
    rows = {name: {row["id"]: row for row in side.read(wanted)} for name, side in answers.sides.items()}
    return {group: [{name: found[row["id"]] for name, found in rows.items()} for row in own] for group, own in chosen.items()}


def _fields(shown: Sequence[Mapping[str, Row]], names: Sequence[str]) -> dict[str, tuple[str, Mapping[str, str]]]:
    rows = [next(iter(own.values())) for own in shown]
    present = {_group(row["right"] for row in own.values()) for own in shown}
    fields: dict[str, tuple[str, Mapping[str, str]]] = {
        "group": ("Runs", {name: word for name, word in _GROUPS.items() if name in present}),
        "family": ("Family", families(rows)),
        "kind": (
            "Kind",
            {value: word for value, word in {"image": "2D", "volume": "3D"}.items() if any(r["kind"] == value for r in rows)},
        ),
    }
    for place, name in enumerate(names[:_FILTERED]):
        fields[f"run-{place}"] = (escape(name), {"right": "right", "wrong": "wrong"})
    return fields


def _rubric(name: str, shown: int, every: int) -> str:
    title = {"apart": "Runs part", "wrong": "All runs are wrong", "right": "All runs are right"}[name]
    if shown == every:
        return f"{title}: {'all ' if every > 1 else ''}{plural(every, 'question')}"
    return f"{title}: {shown} of {every:,} questions, spread evenly over the families; all are in the rows.jsonl of each run"


def _question(own: Mapping[str, Row], links: Mapping[str, Mapping[str, str]]) -> str:
    first = next(iter(own.values()))
    facts = {"group": _group(row["right"] for row in own.values()), "family": family(first), "kind": first["kind"]}
    verdicts = ["right" if row["right"] else "wrong" for row in own.values()]
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in facts.items())
    data += "".join(f' data-run-{place}="{verdict}"' for place, verdict in enumerate(verdicts[:_FILTERED]))
    chips = "".join(
        f'<li class="{"good" if row["right"] else "bad"}"><span>{escape(name)}</span><b>{escape(row["said"][:40]) or "unread"}</b></li>'
        for name, row in own.items()
    )
    replies = "".join(_reply(name, row, links[name]) for name, row in own.items())
    return (
        f'<details class="card question" data-card{data}><summary><span class="what">{escape(first["question"])}</span>'
        f'<ul class="chips">{chips}</ul></summary><p class="kind"><span>{kind(first)} · {escape(first["case"])} · {tags(first)}</span></p>'
        f'{options(first)}<ul class="responses">{replies}</ul></details>'
    )


def _reply(name: str, row: Row, links: Mapping[str, str]) -> str:
    tone, word = ("good", "right") if row["right"] else ("bad", "wrong")
    said = escape(row["said"][:40]) or "unread"
    return (
        f'<li class="card response">{shot(row, links)}<div class="text"><p class="kind"><span><b>{escape(name)}</b></span>'
        f'<b class="{tone}">{said}, {word}</b></p>{response(row)}</div></li>'
    )
