"""What an evaluation has to say, once: figures, tables, plots and examples; rendered as a page, as Markdown and for a terminal.

Nothing here knows an evaluation. Texts are plain and escaped where they are rendered; only a ``Markup`` is taken for HTML.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from unireason.core.store import json_text, write_bytes

from .html import RESEARCH_ONLY, addresses, clean, dotted, escape, fit, plural, sheet, templates

if TYPE_CHECKING:
    from jinja2 import Template

DASH = "\u2013"
_LONGEST, _BYTES = 420, 160_000  # pixels of a picture's longer side, bytes of one picture
_ROWS = 40  # lines of a table on a terminal
_DECIMALS = {"%": 0, "points": 1}
_NOTHING = Markup("")
Ends = Sequence[float]


@dataclass(frozen=True, slots=True)
class Value:
    """A measured number with what belongs to it.

    Attributes:
        value: None if it is not defined.
        interval: Two numbers, or None.
        outer: A second interval, as that over patients beside that over questions.
        unit: "%" and "points" of a share (1 is 100), "" or a word that follows the number, as "mm".
        decimals: None for the usual ones of the unit.
        lines: Lines across its drawing: (class, place), as ("chance", 0.25).
        tone: "good", "bad" or "".
        note: A few words that follow.
        drawn: False keeps it out of the drawing of its column, whose axis does not fit it.
    """

    value: float | None
    interval: Ends | None = None
    outer: Ends | None = None
    unit: str = ""
    decimals: int | None = None
    lines: Sequence[tuple[str, float]] = ()
    tone: str = ""
    note: str = ""
    drawn: bool = True

    def text(self) -> str:
        """The number in words; a dash for none."""
        if self.value is None:
            return DASH
        return f"{self._digits(self.value)}{self._suffix}"

    def ends(self, which: str = "interval") -> str:
        """An interval in words; "" for none."""
        both = self.interval if which == "interval" else self.outer
        if both is None:
            return ""
        between = " to " if self.unit == "points" or min(both) < 0 else DASH
        return f"{between.join(map(self._digits, both))}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return {"%": "%", "points": "", "": ""}.get(self.unit, f" {self.unit}")

    def _digits(self, value: float) -> str:
        decimals = _DECIMALS.get(self.unit, 2) if self.decimals is None else self.decimals
        scaled = 100 * value if self.unit in _DECIMALS else value
        text = f"{scaled:.{decimals}f}"
        if float(text) == 0:
            return text.lstrip("-")
        return f"+{text}" if self.unit == "points" and scaled > 0 else text.replace("-", "\u2212")


@dataclass(frozen=True, slots=True)
class Remark:
    """A text with a remark behind or below it; ``tone`` is "good", "bad", "strong" or ""."""

    text: str
    note: str = ""
    tone: str = ""


Cell = str | int | Value | Remark


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        interval: Heading of a column of its own for intervals; "" leaves them beside the values.
        outer: The same for second intervals.
        drawn: "bar" or "dot" draws every value on ``axis``; "" draws none.
        axis: Ends of the drawing.
        ticks: Words below the heading of the drawing, from its left end to its right.
        spare: Left out on a small screen.
    """

    title: str
    interval: str = ""
    outer: str = ""
    drawn: str = ""
    axis: tuple[float, float] = (0.0, 1.0)
    ticks: Sequence[str] = ()
    spare: bool = False

    @property
    def width(self) -> int:
        """How many columns of a page it takes."""
        return 1 + bool(self.drawn) + bool(self.interval) + bool(self.outer)


@dataclass(frozen=True, slots=True)
class Headline:
    """Large figures: (name, value, a few words); without words the interval of the value follows."""

    figures: Sequence[tuple[str, Cell, str]]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under columns; a row that is a text alone heads those that follow it.

    Attributes:
        columns: The first one holds the names of the rows.
        rows: The cells, one a column.
        title: Heading; without one the table joins the block before it.
        notes: Sentences below.
        legend: What the drawings show: (kind, words), kinds "whisker", "strip", "dash", "rule".
        told: Whether a terminal shows it too.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell] | str]
    title: str = ""
    notes: Sequence[str] = ()
    legend: Sequence[tuple[str, str]] = ()
    told: bool = True


@dataclass(frozen=True, slots=True)
class Plot:
    """A PNG, what it shows in words, sentences below; ``file`` is its name beside the Markdown."""

    png: bytes
    alt: str
    title: str = ""
    notes: Sequence[str] = ()
    file: str = ""


@dataclass(frozen=True, slots=True)
class Prose:
    """Lines of text, as claims with their verdicts."""

    lines: Sequence[Cell]
    title: str = ""
    told: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """Settings, versions and hashes, folded on a page; ``command`` makes the results again."""

    pairs: Mapping[str, str]
    title: str = "Settings, versions, hashes"
    command: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture with marks.

    Attributes:
        picture: uint8 (H, W) or (H, W, 3), or a ``data:`` address.
        size: Width and height of the grid of the marks.
        aspect: True width over height.
        caption: Stands below.
        boxes: (tone, what it is, (x1, y1, x2, y2)) on the grid.
        points: (tone, (x, y)), each drawn in the middle of its cell.
        paths: (classes, SVG path) on the grid.
        window: What of it is shown, (x, y, width, height) on the grid; None for all.
        alt: What it shows in words; the caption unless given.
    """

    picture: NDArray[np.uint8] | str
    size: tuple[float, float]
    aspect: float
    caption: str = ""
    boxes: Sequence[tuple[int | str, str, Sequence[float]]] = ()
    points: Sequence[tuple[int | str, Sequence[float]]] = ()
    paths: Sequence[tuple[str, str]] = ()
    window: Sequence[float] | None = None
    alt: str = ""

    @property
    def scale(self) -> tuple[float, float]:
        """Units of the drawing a cell of the grid; the longer side has 100."""
        width, height = (100.0, 100 / self.aspect) if self.aspect >= 1 else (100 * self.aspect, 100.0)
        return width / self.size[0], height / self.size[1]

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """What is shown, in units of the drawing."""
        (x, y), (left, top, width, height) = self.scale, self.window or (0, 0, *self.size)
        return left * x, top * y, width * x, height * y

    def link(self) -> str:
        """The picture as a ``data:`` address."""
        return self.picture if isinstance(self.picture, str) else addresses([fit(self.picture, _LONGEST)], budget=_BYTES)[0]


@dataclass(frozen=True, slots=True)
class Card:
    """One example.

    Attributes:
        title: The question.
        kind: A line above it.
        verdict: Words beside that line.
        views: Pictures; without any, ``blank`` says why.
        blank: Words in place of pictures.
        options: (letter, text, state); states "", "expected", "chosen right", "chosen wrong".
        marks: Names and values.
        answers: Who said what: (name, what was said).
        lines: (class, text); classes "note", "truth", "reply", "thought", "flaw", "more".
        body: HTML below.
        facets: What it is filtered by.
    """

    title: str
    kind: str = ""
    verdict: Remark | None = None
    views: Sequence[View] = ()
    blank: str = ""
    options: Sequence[tuple[str, str, str]] = ()
    marks: Sequence[tuple[str, Cell]] = ()
    answers: Sequence[tuple[str, Remark]] = ()
    lines: Sequence[tuple[str, str]] = ()
    body: Markup = _NOTHING
    facets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cards:
    """Examples under a title, on pages only; those behind the first ``shown`` are unfolded on demand.

    ``legend`` names the tones of marks, ``size`` is "", "small" or "broad".
    """

    title: str
    cards: Sequence[Card]
    legend: Sequence[tuple[int | str, str]] = ()
    shown: int = 12
    size: str = ""
    empty: str = "None among the answers."


@dataclass(frozen=True, slots=True)
class Notice:
    """What is missing or wrong: a sentence, up to three reasons, and what to do."""

    text: str
    reasons: Sequence[str] = ()
    cure: str = ""


Block = Headline | Table | Plot | Prose | Facts | Cards | Markup
"""A part of a document; a ``Markup`` is HTML that only a page shows."""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report.

    Attributes:
        title: Its heading.
        facts: A line of words below it.
        blocks: The parts; one without a title joins the part before it.
        cautions: What a reader must know before any number.
        notices: What is missing or wrong.
        filters: What examples are filtered by: of each facet its title and its values with their words.
        about: What kind of page it is.
    """

    title: str
    facts: Sequence[str]
    blocks: Sequence[Block]
    cautions: Sequence[str] = ()
    notices: Sequence[Notice] = ()
    filters: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    about: str = "evaluation"


def unread(unreadable: Mapping[str, Any], *, outcome: str = "were left out") -> list[Notice]:
    """The notice of questions that could not be asked, from "unreadable" in results: their number and reasons by name."""
    told = [f"{name}: {why}" for name, why in list(unreadable["questions"].items())[:3]]
    if not unreadable["n"]:
        return []
    more = unreadable["n"] - len(told)
    told += [f"and {more:,} more; rows.jsonl has all"] if told and more else []
    cure = "Once the files are repaired, the same command with --again asks again what could not be read."
    return [Notice(f"{plural(unreadable['n'], 'question')} could not be asked and {outcome}.", told, cure)]


def asked_of(made: Mapping[str, Any], *counts: str) -> list[str]:
    """The facts of an evaluation in a line, from its manifest; ``counts`` stand behind the suite."""
    model = made["checkpoint"]
    return [
        f"suite {made['suite']}",
        *counts,
        f"seed {made['seed']}",
        f"checkpoint {model['name']} {str(model['sha256'])[:12]}".strip(),
    ]


def provenance(made: Mapping[str, Any], *, command: str = "") -> Facts:
    """The settings, versions and hashes of a manifest."""
    names = {"kind": "", "sha256": "SHA-256", "questions_sha256": "Questions, SHA-256", "truth_sha256": "Truth, SHA-256"}
    pairs = {names.get(key, key.replace("_", " ").capitalize()): _plain(value) for key, value in made.items()}
    return Facts({name: text for name, text in pairs.items() if name and text}, command=command)


def _plain(value: Any) -> str:
    """A JSON value in a few words; what is null in an object is left out."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(own)}" for name, own in value.items() if own is not None)
    return value if isinstance(value, str) else json_text(value)


def write_html(document: Document, path: str | os.PathLike[str]) -> Path:
    """Write the page; it needs no network and no server."""
    return write_bytes(path, as_html(document))


def as_html(document: Document) -> bytes:
    """The page."""
    body = _template().render(document=document, panels=list(_panels(document.blocks)))
    return sheet(
        document.about,
        escape(document.title),
        dotted(document.facts),
        [body],
        sheets=("evaluation", "document"),
        script="evaluation.js" if document.filters else "",
        cautions=document.cautions,
    )


def _panels(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Blocks that share a card, and plots that share a row."""
    panel: list[Block] = []
    for block in blocks:
        alone = isinstance(block, Cards | Markup | Facts)
        titled = alone or bool(block.title)
        beside = isinstance(block, Plot) and all(isinstance(own, Plot) for own in panel)
        if panel and titled and not beside:
            yield panel
            panel = []
        panel.append(block)
        if alone:
            yield panel
            panel = []
    if panel:
        yield panel


@lru_cache
def _template() -> Template:
    pages = templates()
    pages.filters.update(
        kind=lambda value: type(value).__name__,
        base64=lambda data: base64.b64encode(data).decode("ascii"),
        place=lambda value, axis: f"{min(max(100 * (value - axis[0]) / (axis[1] - axis[0]), 0), 100):.2f}",
    )
    made: Template = pages.get_template("document.html")
    return made


# --- Markdown: everything but the examples.


def as_markdown(document: Document) -> str:
    """The document as Markdown."""
    parts = [f"# {cell(document.title)}", f"{cell(', '.join(document.facts))}."]
    parts += [f"**Caution.** {cell(text)}" for text in document.cautions]
    parts += [
        "\n".join([f"**{cell(n.text)}** {cell(n.cure)}", *(f"* {cell(why)}" for why in n.reasons)]) for n in document.notices
    ]
    for block in document.blocks:
        if isinstance(block, Cards | Markup):
            continue
        parts += [f"## {cell(block.title)}"] if block.title else []
        if isinstance(block, Headline):
            parts += [_rows(["", "Value", ""], [[name, _text(value), note] for name, value, note in block.figures])]
        elif isinstance(block, Prose):
            parts += ["\n".join(f"* {cell(_line(line))}" for line in block.lines)]
        elif isinstance(block, Facts):
            parts += ["\n".join(f"* {cell(name)}: {cell(value)}" for name, value in block.pairs.items())]
            parts += [f"```bash\n{' '.join(clean(block.command).split())}\n```"] if block.command else []
        elif isinstance(block, Plot):
            parts += [f"![{cell(block.alt)}]({block.file})"] if block.file else []
            parts += map(cell, block.notes)
        else:
            head, rows, plain = *_flat(block), True
            for heading, own in rows:
                parts += [f"### {cell(heading)}"] if heading else []
                parts += [_rows(head, own)]
                plain = plain and not own
            parts += ["Nothing was measured."] if plain else []
            parts += map(cell, block.notes)
    return "\n\n".join([*filter(None, parts), RESEARCH_ONLY]) + "\n"


def cell(value: object) -> str:
    """Any text as one harmless line of Markdown, also as a cell of a table."""
    return re.sub(r"([\\|`*\[\]])", r"\\\1", " ".join(escape(value).split()))


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [list(map(cell, head)), ["---"] * len(head), *(list(map(cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: Cell) -> str:
    """A cell in words, with its interval and its remark."""
    if isinstance(value, Value):
        return " ".join(filter(None, [value.text(), f"({value.ends()})" if value.interval else "", value.note]))
    if isinstance(value, Remark):
        return f"{value.text} ({value.note})" if value.text and value.note else value.text or value.note
    return f"{value:,}" if isinstance(value, int) else value


def _line(value: Cell) -> str:
    """A line of prose, its remark behind a colon."""
    return f"{value.text}: {value.note}" if isinstance(value, Remark) and value.note else _text(value)


def _flat(table: Table, *, brief: bool = False) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """The head, and under each heading the rows, as texts; ``brief`` leaves out the remarks of names."""
    head = [text for c in table.columns for text in (c.title, *filter(None, (c.interval, c.outer)))]
    found: list[tuple[str, list[list[str]]]] = [("", [])]
    for row in table.rows:
        if isinstance(row, str):
            found.append((row, []))
            continue
        texts = [text for column, own in zip(table.columns, row, strict=True) for text in _apart(column, own)]
        found[-1][1].append([_bare(row[0]), *texts[1:]] if brief else texts)
    return head, [(heading, rows) for heading, rows in found if rows or heading]


def _apart(column: Column, own: Cell) -> list[str]:
    """A cell as the texts of its columns."""
    names = [name for name in ("interval", "outer") if getattr(column, name)]
    if not names or not isinstance(own, Value):
        return [_text(own), *[""] * len(names)]
    return [" ".join(filter(None, (own.text(), own.note))), *(own.ends(name) or DASH for name in names)]


def _bare(own: Cell) -> str:
    return own.text if isinstance(own, Remark) else _text(own)


# --- A terminal: facts, figures and tables in columns.


def as_terminal(document: Document) -> str:
    """The document in plain lines of text that no control character can change."""
    lines = [", ".join(document.facts)] if document.facts else []
    for block in document.blocks:
        if isinstance(block, Headline | Prose | Table) and block.title and getattr(block, "told", True):
            lines += ["", block.title]
        if isinstance(block, Headline):
            lines += _columns([[name, _text(value), note] for name, value, note in block.figures], "<<<")
        elif isinstance(block, Prose) and block.told:
            lines += map(_line, block.lines)
        elif isinstance(block, Table) and block.told:
            head, groups = _flat(block, brief=True)
            texts = [head]
            for heading, rows in groups:
                texts += [[heading, *[""] * (len(head) - 1)]] if heading else []
                texts += rows
            rest = len(texts) - 1 - _ROWS
            lines += _columns(texts[: _ROWS + 1], "<" + ">" * (len(head) - 1))
            lines += [f"and {rest:,} more lines; the page has them"] if rest > 0 else []
    for notice in document.notices:
        lines += [notice.text, *(f"  {why}" for why in notice.reasons), *([notice.cure] if notice.cure else [])]
    return "\n".join(clean(" ".join(line.split("\n"))).rstrip() for line in lines)


def _columns(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Texts under each other, to the left or to the right of their columns."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(sides))] if rows else []
    return ["  ".join(f"{text:{side}{width}}" for text, side, width in zip(row, sides, widths, strict=True)) for row in rows]
