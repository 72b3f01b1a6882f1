"""Questions that several runs answered, as a list to open: what each run said, why, and what it looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .evaluation_cards import Row, families, family, finder, kind, options, pick, pictures, response, shot, tags
from .markup import escape

Answers = Mapping[str, tuple[Path, Sequence[Row]]]
"""By run its folder and its rows."""

APART, SAME = 300, 100
"""Responses shown at most: to questions on which runs part, and to others."""

_BYTES = 2_000_000  # pictures of a page
_FILTERED = 4  # runs that get a filter of their own
_GROUPS = {"apart": "runs part", "wrong": "all wrong", "right": "all right"}


def questions(answers: Answers) -> str:
    """The list with its filter.

    Args:
        answers: Every run has the same questions in the same order.

    Raises:
        FormatError: If a row or a picture cannot be read.
    """
    names = list(answers)
    asked = [dict(zip(names, rows, strict=True)) for rows in zip(*(rows for _, rows in answers.values()), strict=True)]
    groups = {name: [own for own in asked if _group(own) == name] for name in _GROUPS}
    shown = {name: _pick(own, (APART if name == "apart" else SAME // 2) // len(names)) for name, own in groups.items()}
    together = [own for part in shown.values() for own in part]
    budget = _BYTES // len(names)
    links = {name: pictures(answers[name][0], [own[name] for own in together], budget=budget) for name in names}
    lists = "".join(
        f'<section data-list><h2>{_rubric(name, len(own), len(groups[name]))}</h2><div class="asked-list">'
        f"{''.join(_question(one, links) for one in own)}</div></section>"
        for name, own in shown.items()
        if own
    )
    return f"{finder(_fields(together, names))}{lists}"


def _group(own: Mapping[str, Row]) -> str:
    """Whether runs part on a question, or all are right or wrong."""
    verdicts = {row["right"] for row in own.values()}
    return "apart" if len(verdicts) > 1 else "right" if verdicts == {True} else "wrong"


def _pick(asked: Sequence[Mapping[str, Row]], most: int) -> list[Mapping[str, Row]]:
    chosen = {row["id"] for row in pick([next(iter(own.values())) for own in asked], max(most, 6))}
    return [own for own in asked if next(iter(own.values()))["id"] in chosen]


def _fields(shown: Sequence[Mapping[str, Row]], names: Sequence[str]) -> dict[str, tuple[str, Mapping[str, str]]]:
    rows = [next(iter(own.values())) for own in shown]
    present = {_group(own) for own in shown}
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
    return f"{title}: {f'all {every:,}' if shown == every else f'{shown} of {every:,}'} questions" + (
        "" if shown == every else ", spread evenly over the families"
    )


def _question(own: Mapping[str, Row], links: Mapping[str, Mapping[str, str]]) -> str:
    first = next(iter(own.values()))
    facts = {"group": _group(own), "family": family(first), "kind": first["kind"]}
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
