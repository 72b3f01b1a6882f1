"""One page over many traces: how often the answers were right, by family with intervals, and a card for each trace."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unireason.files import write_bytes
from unireason.types import Case, Stack, Trace

from .bars import bar, interval_text, is_share, percent
from .caution import banner, of_results, of_traces
from .figures import thumbnail
from .markup import escape, plural, render, static
from .pixels import addresses
from .sections import badge

_NAMES = {"2d": "2D images", "3d": "3D volumes"}
_THUMBNAIL = 240  # pixels


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One trace of an index.

    Attributes:
        trace: The trace.
        case: Its case.
        stack: Its stack.
        href: Address of its own page, relative to the index; "" if it has none.
        correct: Whether the answer was right; None if unknown.
        family: Family of the question; "" if none.
    """

    trace: Trace
    case: Case
    stack: Stack
    href: str = ""
    correct: bool | None = None
    family: str = ""


def write_index(
    entries: Sequence[Entry],
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, Any] | None = None,
) -> Path:
    """Write the index of many traces.

    Args:
        entries: The traces, in the order of the page; none gives a page with the summary alone.
        path: The HTML file to write.
        title: Heading of the page.
        summary: Scores as ``unireason demo --json`` prints them: under "2d" and "3d" the keys "n", "accuracy",
            "accuracy_ci95" (two fractions), "mean_box_iou", "crop_rate", "mismatch_rate", optionally "chance", and "by_family" with the
            same keys a family; beside them "checkpoint" and "seconds". What is missing is left out of the page.

    Returns:
        The path written.

    Raises:
        FormatError: An entry does not belong together.
        UniReasonError: The file cannot be written.
    """
    scores = summary or {}
    values = {
        "title": escape(title),
        "facts": _facts(entries, scores),
        "scores": "".join(_panel(key, scores[key]) for key in _NAMES if isinstance(scores.get(key), Mapping)),
        "filters": _filters(entries),
        "cards": "".join(_card(n, entry) for n, entry in enumerate(entries)),
    }
    style = f"{static('base.css')}\n{static('index.css')}"
    head = banner([*of_traces(entry.trace for entry in entries), *_few(scores)])
    page = render("index.html", about="report", style=style, script="", values=values, head=head)
    return write_bytes(path, page.encode("utf-8"))


def _few(scores: Mapping[str, Any]) -> list[str]:
    """The caution of few patients, once for both kinds."""
    parts = [scores[key] for key in _NAMES if isinstance(scores.get(key), Mapping)]
    return list(dict.fromkeys(text for part in parts for text in of_results({**part, "scope": None})))


def _facts(entries: Sequence[Entry], scores: Mapping[str, Any]) -> str:
    facts = [f"{len(entries)} trace{'' if len(entries) == 1 else 's'} below"]
    checkpoint = scores.get("checkpoint")
    if isinstance(checkpoint, Mapping):
        checkpoint = f"{checkpoint.get('name', '')} {str(checkpoint.get('sha256', ''))[:12]}".strip()
    if checkpoint:
        facts.append(f"checkpoint {escape(checkpoint)}")
    if isinstance(scores.get("seconds"), int | float):
        facts.append(f"{scores['seconds']:.0f} s")
    return " · ".join(facts)


def _panel(key: str, score: Mapping[str, Any]) -> str:
    """The scores of one kind: the whole in large figures, the families as a table with bars."""
    families = score.get("by_family")
    rows = "".join(_row(name, part, score) for name, part in families.items()) if isinstance(families, Mapping) else ""
    chance = '<span class="dash"></span>chance' if 'class="chance"' in rows else ""
    table = (
        '<table><thead><tr><th scope="col">Family</th><th scope="col" colspan="2">Accuracy</th>'
        f'<th scope="col">IoU</th><th scope="col">n</th></tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="legend"><span class="whisker"></span>95% interval{chance}</p>'
    )
    figures = [
        ("Accuracy", percent(score.get("accuracy")), interval_text(_ends(score))),
        ("Mean box IoU", _fraction(score.get("mean_box_iou")), ""),
        ("With a crop", percent(score.get("crop_rate")), ""),
    ]
    if "mismatch_rate" in score:
        figures.append(("Letter against text", percent(score["mismatch_rate"]), "of answers contradict themselves"))
    large = "".join(
        f"<div><dt>{name}</dt><dd>{value}{f'<small>{more}</small>' if more else ''}</dd></div>" for name, value, more in figures
    )
    count = f" · {plural(score['n'], 'question')}" if isinstance(score.get("n"), int) else ""
    head = f'<h2>{_NAMES[key]}{count}</h2><dl class="large">{large}</dl>'
    return f'<section class="card panel">{head}{table if rows else ""}</section>'


def _ends(part: Mapping[str, Any]) -> Any:
    """The interval over patients; that over questions where no patient is known."""
    return part.get("accuracy_ci95_patients", part.get("accuracy_ci95"))


def _row(name: str, part: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    drawn = bar(part.get("accuracy"), _ends(part), part.get("chance", whole.get("chance")))
    return (
        f'<tr><th scope="row">{escape(str(name).replace("_", " "))}</th><td class="chart">{drawn}</td>'
        f'<td class="value" title="{interval_text(_ends(part))}">{percent(part.get("accuracy"))}</td>'
        f"<td>{_fraction(part.get('mean_box_iou'))}</td><td>{_count(part.get('n'))}</td></tr>"
    )


def _fraction(value: Any) -> str:
    return f"{value:.2f}" if is_share(value) else "\u2013"


def _count(value: Any) -> str:
    return str(value) if isinstance(value, int) else "\u2013"


def _filters(entries: Sequence[Entry]) -> str:
    """Radio buttons that hide cards by style alone; only the choices that there are cards for."""
    kinds = [("right", "Right"), ("wrong", "Wrong"), ("image", "2D"), ("volume", "3D")]
    present = {word for entry in entries for word in _classes(entry)}
    choices = [("all", "All"), *(k for k in kinds if k[0] in present)]
    if len(choices) < 3:
        return ""
    boxes = "".join(
        f'<label><input type="radio" name="show" id="show-{key}"{" checked" if key == "all" else ""}><span>{name}</span></label>'
        for key, name in choices
    )
    return f'<fieldset class="filters"><legend class="unseen">Show</legend>{boxes}</fieldset>'


def _classes(entry: Entry) -> list[str]:
    verdict = {True: ["right"], False: ["wrong"], None: []}[entry.correct]
    return [entry.trace.frame.kind, *verdict]


def _card(number: int, entry: Entry) -> str:
    picture = np.asarray(thumbnail(entry.trace, entry.case, entry.stack, height=_THUMBNAIL))
    link = addresses([picture], budget=60_000)[0]
    verdict = {True: '<b class="good">right</b>', False: '<b class="bad">wrong</b>', None: ""}[entry.correct]
    kind = "3D" if entry.trace.frame.kind == "volume" else "2D"
    words = " · ".join(w for w in (kind, escape(entry.family.replace("_", " "))) if w)
    question = escape(entry.trace.question)
    head = f'<a href="{escape(_relative(entry.href))}">{question}</a>' if entry.href else question
    answer = escape(entry.trace.answer.text.strip()) or '<span class="none">no answer</span>'
    answer += badge(entry.trace)
    return (
        f'<li class="card entry {" ".join(_classes(entry))}"><div class="shot"><img src="{link}" alt="" '
        f'width="{picture.shape[1]}" height="{picture.shape[0]}"></div><div class="text"><p class="kind">{words}{verdict}</p>'
        f'<h3 id="entry-{number}">{head}</h3><p class="answer">{answer}</p></div></li>'
    )


def _relative(href: str) -> str:
    """The address as a relative one: a leading "./" keeps any scheme inside it from being read as one."""
    return "./" + href.lstrip("/")
