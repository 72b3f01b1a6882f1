"""The page of one run over a suite, and the same tables as Markdown.

The page needs no network and no server: pictures and plots are inside. Without scripts it shows all its cards, only the filter is gone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unireason.errors import FormatError
from unireason.files import write_bytes

from . import evaluation_tables as tables
from .evaluation_cards import Row, card, card_fields, finder, pick, pictures
from .evaluation_markdown import run_markdown
from .markup import escape, render, static
from .page import RESEARCH_ONLY
from .reliability import write_reliability

PAGE, TABLES, PLOT = "report.html", "report.md", "reliability.png"
"""Files that are written."""

WRONG, RIGHT = 72, 24
"""Answers shown at most."""

_BYTES = 2_000_000  # pictures of a page
_PREDICTORS = {"overlap": "Box overlap", "agreement": "Agreement among samples", "probability": "Answer probability"}
_STYLES = ("base.css", "index.css", "dataset.css", "rollouts.css", "evaluation.css")


def write_run(results: Mapping[str, Any], rows: Iterable[Row], folder: Path, *, rules: Mapping[str, str] | None = None) -> Path:
    """Write the page of a run, its Markdown and its reliability plot.

    Args:
        results: As ``results.json`` has them (docs/reference/results.md).
        rows: As ``rows.jsonl`` has them, all of them.
        folder: The folder of the run; pictures are looked up in it.
        rules: What every published reading counts as right, in words, by its name.

    Returns:
        The page written.

    Raises:
        FormatError: Results or rows are not those of a run.
        UniReasonError: A file cannot be written.
    """
    kept = list(rows)
    try:
        plot = _reliability(results["calibration"], folder)
        page = page_of(results, kept, folder, rules=rules or {}, plot=plot)
        markdown = run_markdown(results, kept, rules or {}, plot=PLOT if plot else "")
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise FormatError(
            f"the results or rows of the run are incomplete ({error!r})", "those of a finished run", "run it to its end"
        ) from error
    write_bytes(folder / TABLES, markdown.encode("utf-8"))
    return write_bytes(folder / PAGE, page.encode("utf-8"))


def page_of(
    results: Mapping[str, Any], rows: Sequence[Row], folder: Path, *, rules: Mapping[str, str], plot: Path | None = None
) -> str:
    """The text of the page that :func:`write_run` writes; ``plot`` is the picture of reliability."""
    made = results["manifest"]
    facts = [
        f"suite {results['suite']}",
        f"{results['n']:,} questions",
        f"{results['patients']:,} patients",
        f"seed {made['seed']}",
    ]
    facts.append(f"checkpoint {made['checkpoint']['name']} {str(made['checkpoint']['sha256'])[:12]}".strip())
    body = [
        section("Result", tables.headline(results)),
        section("By what was asked", tables.by_tags(results["scores"])),
        section("Readings side by side", tables.readings(results, rows, rules)),
        section("Does anything tell right answers from wrong ones?", _calibration(plot)),
        _cards(rows, folder),
        section("What was asked of what", tables.asked(results)),
    ]
    values = {
        "title": f"Evaluation on {escape(results['suite'])}",
        "facts": " · ".join(escape(word) for word in facts),
        "body": "".join(body),
        "research_only": RESEARCH_ONLY,
    }
    return render("evaluation.html", style=style(), script=static("evaluation.js"), values=values)


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


def _cards(rows: Sequence[Row], folder: Path) -> str:
    """Wrong answers to look at and some right ones, under one filter."""
    wrong, right = [row for row in rows if not row["right"]], [row for row in rows if row["right"]]
    shown = {"wrong": pick(wrong, WRONG), "right": pick(right, RIGHT)}
    together = [*shown["wrong"], *shown["right"]]
    links = pictures(folder, together, budget=_BYTES)
    lists = "".join(
        f"<section data-list><h2>{_rubric(name, len(own), len(every))}</h2>"
        f'<ul class="responses">{"".join(card(row, links) for row in own)}</ul></section>'
        for (name, own), every in zip(shown.items(), (wrong, right), strict=True)
        if own
    )
    return f"{finder(card_fields(together))}{lists}"


def _rubric(name: str, shown: int, every: int) -> str:
    if shown == every:
        return f"All {every:,} {name} answers"
    return f"{shown} of {every:,} {name} answers, spread evenly over the families"
