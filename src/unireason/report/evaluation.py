"""The page of one run over a suite, and the same tables as Markdown.

The page needs no network and no server: pictures and plots are inside. Without scripts it shows all its cards, only the filter is gone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.errors import FormatError
from unireason.files import write_bytes

from . import evaluation_tables as tables
from .caution import banner, of_results
from .evaluation_cards import Row, card, card_fields, finder, fitting, pick, pictures
from .evaluation_markdown import run_markdown
from .markup import escape, plural, render, static
from .reliability import write_reliability
from .unread import SHOWN

PAGE, TABLES, PLOT = "report.html", "report.md", "reliability.png"
"""Files that are written."""

WRONG, RIGHT = 72, 24
"""Wrong and right answers shown at most."""

_BYTES, _TEXT = 2_000_000, 12_000_000  # pictures and cards of a page
_PREDICTORS = {"overlap": "Box overlap", "agreement": "Agreement among samples", "probability": "Answer probability"}
_STYLES = ("base.css", "index.css", "dataset.css", "rollouts.css", "evaluation.css")


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What a page takes of the rows of a run.

    Attributes:
        apart: By published reading the questions that are right by ours alone, and by it alone.
        every: Number of wrong and of right answers, by that word.
        shown: Those with a card, by that word.
        lost: Some questions that could not be asked, as ``(identifier, why)``.
    """

    apart: Mapping[str, tuple[int, int]]
    every: Mapping[str, int]
    shown: Mapping[str, list[Row]]
    lost: Sequence[tuple[str, str]] = ()


def write_run(
    results: Mapping[str, Any], rows: Callable[[], Iterable[Row]], folder: Path, *, rules: Mapping[str, str] | None = None
) -> Path:
    """Write the page of a run, its Markdown and its reliability plot.

    Args:
        results: As ``results.json`` has them (docs/reference/results.md).
        rows: Gives all rows as ``rows.jsonl`` has them, one at a time, each time it is called: once to count, once for the cards.
        folder: The folder of the run; pictures are looked up in it.
        rules: What every published reading counts as right, in words, by its name.

    Returns:
        The page written.

    Raises:
        FormatError: Results or rows are not those of a run.
        UniReasonError: A file cannot be written.
    """
    try:
        chosen = choose(rows)
        plot = _reliability(results["calibration"], folder)
        page = page_of(results, chosen, folder, rules=rules or {}, plot=plot)
        markdown = run_markdown(results, chosen.apart, rules or {}, plot=PLOT if plot else "")
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise FormatError(
            f"the results or rows of the run are incomplete ({error!r})", "those of a finished run", "run it to its end"
        ) from error
    write_bytes(folder / TABLES, markdown.encode("utf-8"))
    return write_bytes(folder / PAGE, page.encode("utf-8"))


def choose(rows: Callable[[], Iterable[Row]]) -> Chosen:
    """Count the rows of a run and choose those to look at; never more of them are in memory than are shown.

    Args:
        rows: As for :func:`write_run`.
    """
    brief: dict[str, list[Row]] = {"wrong": [], "right": []}
    apart: dict[str, tuple[int, int]] = {}
    lost: list[tuple[str, str]] = []
    for row in rows():
        if row["problem"] and len(lost) < SHOWN:
            lost.append((row["id"], row["problem"]))
        brief[_word(row)].append({"id": row["id"], "tags": {"family": row["tags"].get("family", "")}})
        for name, verdict in row["published"].items():
            ours, theirs = apart.get(name, (0, 0))
            apart[name] = (ours + (row["right"] and verdict is False), theirs + (not row["right"] and verdict is True))
    wanted = {row["id"] for word, most in (("wrong", WRONG), ("right", RIGHT)) for row in pick(brief[word], most)}
    shown: dict[str, list[Row]] = {"wrong": [], "right": []}
    for row in rows():
        if row["id"] in wanted:
            shown[_word(row)].append(row)
    return Chosen(apart, {word: len(own) for word, own in brief.items()}, shown, lost)


def _word(row: Row) -> str:
    return "right" if row["right"] else "wrong"


def page_of(
    results: Mapping[str, Any], chosen: Chosen, folder: Path, *, rules: Mapping[str, str], plot: Path | None = None
) -> str:
    """The text of the page that :func:`write_run` writes; ``plot`` is the picture of reliability."""
    made = results["manifest"]
    facts = [
        f"suite {results['suite']}",
        plural(results["n"], "question"),
        plural(results["patients"], "patient"),
        f"seed {made['seed']}",
    ]
    facts.append(f"checkpoint {made['checkpoint']['name']} {str(made['checkpoint']['sha256'])[:12]}".strip())
    body = [
        section("Result", tables.headline(results, chosen.lost)),
        section("By what was asked", tables.by_tags(results["scores"])),
        section("Readings side by side", tables.readings(results, chosen.apart, rules)),
        section("Does anything tell right answers from wrong ones?", _calibration(plot)),
        _cards(chosen, folder),
        section("What was asked of what", tables.asked(results)),
    ]
    values = {
        "title": f"Evaluation on {escape(results['suite'])}",
        "facts": " · ".join(escape(word) for word in facts),
        "body": "".join(body),
    }
    return render(
        "evaluation.html",
        about="evaluation",
        style=style(),
        script=static("evaluation.js"),
        values=values,
        head=banner(of_results(results)),
    )


def style() -> str:
    """The style of pages about evaluations."""
    return "\n".join(static(name) for name in _STYLES)


def section(title: str, content: str) -> str:
    """A titled card over the whole width."""
    return f'<section class="card panel"><h2>{title}</h2>{content}</section>'


def _reliability(calibration: Mapping[str, Any], folder: Path) -> Path | None:
    """The plot of all predictors; None if there are none."""
    found = {title: calibration[name] for name, title in _PREDICTORS.items() if name in calibration}
    probabilities = [_PREDICTORS[name] for name in ("agreement", "probability")]
    return write_reliability(found, folder / PLOT, probabilities=probabilities) if found else None


def _calibration(plot: Path | None) -> str:
    if plot is None:
        return '<p class="none">Nothing that could tell was measured.</p>'
    link = f"data:image/png;base64,{base64.b64encode(plot.read_bytes()).decode('ascii')}"
    return (
        f'<div class="wide"><img class="plot" src="{link}" alt="Share of right answers over the value of each predictor"></div>'
        '<p class="note">Dots are equal shares of the answers, from low to high values of the predictor, with 95% intervals; bars below '
        "show how many answers each holds. The numbers are in report.md and results.json.</p>"
    )


def _cards(chosen: Chosen, folder: Path) -> str:
    """Wrong answers to look at and some right ones, under one filter."""
    together = [row for own in chosen.shown.values() for row in own]
    links = pictures(folder, together, budget=_BYTES)
    cards = fitting({name: (card(row, links) for row in own) for name, own in chosen.shown.items()}, _TEXT)
    lists = "".join(
        f"<section data-list><h2>{_rubric(name, len(own), chosen.every[name])}</h2>"
        f'<ul class="responses">{"".join(own)}</ul></section>'
        for name, own in cards.items()
        if chosen.every[name]
    )
    return f"{finder(card_fields(together))}{lists}"


def _rubric(name: str, shown: int, every: int) -> str:
    if shown == every:
        return f"All {every:,} {name} answers" if every > 1 else f"The only {name} answer"
    return f"{shown} of {every:,} {name} answers, spread evenly over the families; all are in rows.jsonl"
