"""The page of one run over a suite, and the same tables as Markdown.

The page needs no network and no server: pictures and plots are inside. Without scripts it shows all its cards, only the filter is gone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unireason.core.errors import FormatError
from unireason.core.store import write_bytes
from unireason.core.types import AnswerStep, Frame, Step, TextStep, Trace
from unireason.grounding.trace import from_json

from . import run_tables as tables
from . import trace as sections
from .html import addresses, checkpoint, dotted, escape, fit, of_results, percent, plural, sheet
from .pictures import spread
from .plots import write_reliability
from .rollouts import bare_scene
from .run_tables import SHOWN, TAGS, run_markdown

Row = Mapping[str, Any]

SIDES = (256, 192, 144)
"""Pixels of a picture's longer side; the smaller ones where many pictures share a page."""

_NAME = re.compile(r"pictures/[\w.-]+\.png")
_MOST_TEXT = 4000  # characters of one reasoning
_DASH = "\u2013"


def pick(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many rows: as many of every family as there is room for, spread evenly over each; in their order."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(family(row), []).append(row)
    chosen: set[str] = set()
    for others, own in zip(range(len(families), 0, -1), sorted(families.values(), key=len), strict=True):
        room = min(len(own), (most - len(chosen)) // others)
        chosen |= {own[n]["id"] for n in spread(len(own), room)}
    return [row for row in rows if row["id"] in chosen]


def family(row: Row) -> str:
    """The family of a question; a dash for none."""
    return str(row["tags"].get("family") or _DASH)


def pictures(folder: Path, rows: Iterable[Row], *, budget: int) -> dict[str, str]:
    """The pictures of rows as ``data:`` addresses."""
    names = list(dict.fromkeys(row["picture"] for row in rows if row["picture"]))
    wrong = [name for name in names if not _NAME.fullmatch(str(name))]
    if wrong:
        raise FormatError(f"a row names the picture {wrong[0]!r}", "a PNG file in 'pictures'")
    names = [name for name in names if (folder / name).is_file()]
    read = [_read(folder / name) for name in names]
    links: list[str] = []
    for side in SIDES:
        links = addresses([fit(pixels, side) for pixels in read], budget=budget)
        if 3 * sum(map(len, links)) <= 4 * budget:
            break
    return dict(zip(names, links, strict=True))


def fitting(cards: Mapping[str, Iterable[str]], most: int) -> dict[str, list[str]]:
    """The first cards of every list, so that all together have so many characters at most."""
    kept: dict[str, list[str]] = {}
    for behind, (name, own) in zip(range(len(cards), 0, -1), cards.items(), strict=True):
        kept[name], room = [], most // behind
        for one in own:
            room -= len(one)
            if room < 0:
                break
            kept[name].append(one)
            most -= len(one)
    return kept


def _read(path: Path) -> Any:
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if max(picture.size) > 4096:
                raise FormatError(f"the picture '{path.name}' has {picture.size} pixels", "at most 4096 a side")
            return np.asarray(picture.convert("L" if picture.mode == "L" else "RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise FormatError(
            f"the picture '{path.name}' cannot be read ({error})", "a PNG file", "run the evaluation anew"
        ) from error


def card(row: Row, links: Mapping[str, str]) -> str:
    """One question with its answer."""
    verdict = "right" if row["right"] else "wrong"
    facts = {
        "verdict": verdict,
        "family": family(row),
        "kind": row["kind"],
        "reading": "read" if row["said"] else "unread",
        "looked": "yes" if looked(row) else "no",
    }
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in facts.items())
    head = f"{kind(row)} · {escape(row['case'])}"
    tone = "good" if row["right"] else "bad"
    word = "not asked" if row["problem"] else verdict if row["said"] else f"{verdict}, unread"
    return (
        f'<li class="card response" data-card{data}>{shot(row, links)}<div class="text">'
        f'<p class="kind"><span>{head}</span><b class="{tone}">{word}</b></p><p class="kind"><span>{tags(row)}</span></p>'
        f"<h3>{escape(row['question'])}</h3>{options(row, row['said'])}{response(row)}</div></li>"
    )


def kind(row: Row) -> str:
    """2D or 3D; a dash where it is not known."""
    return {"image": "2D", "volume": "3D"}.get(row["kind"], _DASH)


def looked(row: Row) -> bool:
    """Whether a look of the answer that stands was carried out."""
    own = standing(row)
    return own is not None and bool(own["looks"])


def standing(row: Row) -> Mapping[str, Any] | None:
    """The sample that stands for the question; None where it could not be asked."""
    return row["samples"][row["sample"]] if row["samples"] else None


def tags(row: Row) -> str:
    """Family, modality and structure of a question, in a line."""
    return escape(
        " · ".join(str(row["tags"][name]).replace("_", " ") for name in TAGS if row["tags"].get(name) and name != "kind")
    )


def shot(row: Row, links: Mapping[str, str]) -> str:
    """The picture of a row in its dark frame; a line that says so where there is none."""
    link = links.get(row["picture"])
    if link is None:
        why = "not asked" if row["problem"] else "no picture" if looked(row) else "no look"
        return f'<div class="shots"><p class="none">{why}</p></div>'
    told = "picture with the first look" if looked(row) else "picture, no look"
    return f'<div class="shots"><figure><img src="{link}" alt="{told}" decoding="async"></figure></div>'


def options(row: Row, said: str = "") -> str:
    """The options with the right one marked, and what was said if anything; the right texts of an open question."""
    if not row["options"]:
        return f'<p class="truth">{escape(" / ".join(map(str, row["answers"])))}</p>'
    told = Trace(row["question"], tuple(row["options"]), (AnswerStep(said, said or None),), Frame(1, 1, 1, "image"), "")
    return sections.options(told, row["letter"])


def response(row: Row) -> str:
    """Reasoning with its boxes, the answer as written, and what is known of it."""
    own = standing(row)
    if own is None:
        return f'<p class="flaw">{escape(row["problem"])}</p>'
    trace = from_json({"tokens": None, **own["trace"]})
    remark = sections.finish(trace)
    flaws = [escape(remark)] if remark else []
    flaws += [
        f"<code>{escape(p.code)}</code>{f' {escape(p.text[:200])}' if p.text else ''}"
        for p in trace.problems
        if p.code != trace.finish
    ]
    answer = escape(trace.answer.text.strip()[:_MOST_TEXT]) or '<span class="none">no answer</span>'
    answer += sections.badge(trace)
    words = [f"{own['looks']} look{'s' * (own['looks'] != 1)}"]
    words += [f"box overlap {row['overlap']:.2f}"] if row["overlap"] is not None else []
    words += [f"probability {row['probability']:.2f}"] if row["probability"] is not None else []
    if row["agreement"] is not None:
        words.append(f"{percent(row['agreement'])} agreement{', tied' if row['tied'] else ''}")
    apart = [name for name, verdict in row["published"].items() if verdict is not None and verdict != row["right"]]
    words += [f"{'right' if not row['right'] else 'wrong'} by {escape(', '.join(apart))}"] if apart else []
    return (
        f'<p class="thought">{sections.reasoning(_cut(trace), bare_scene(trace))}</p><p class="reply">{answer}</p>'
        f'{"".join(f"<p class=flaw>{flaw}</p>" for flaw in flaws)}<p class="more">{" · ".join(words)}</p>'
    )


def _cut(trace: Trace) -> Trace:
    """The trace with its reasoning cut where it becomes very long; looks stay."""
    room, steps, lost = _MOST_TEXT, list[Step](), 0
    for step in trace.steps:
        if isinstance(step, TextStep):
            lost += max(len(step.text) - room, 0)
            steps += [TextStep(step.text[:room])] if room else []
            room = max(room - len(step.text), 0)
        else:
            steps.append(step)
    return replace(trace, steps=(*steps, TextStep(f"\u2026 ({lost:,} more characters)"))) if lost else trace


def finder(fields: Mapping[str, tuple[str, Mapping[str, str]]]) -> str:
    """The filter over cards, shown where scripts run."""
    choices = []
    for name, (title, values) in fields.items():
        if len(values) > 1:
            listed = "".join(f'<option value="{escape(value)}">{escape(word)}</option>' for value, word in values.items())
            choices.append(
                f'<label><span>{title}</span><select name="{name}"><option value="">all</option>{listed}</select></label>'
            )
    return (
        f'<div class="finder" role="search" hidden>{"".join(choices)}<label><span>Words</span><input type="search" name="words"></label>'
        '<output aria-live="polite"></output></div>'
    )


def card_fields(rows: Sequence[Row]) -> dict[str, tuple[str, Mapping[str, str]]]:
    """What cards of a run are filtered by, for :func:`finder`."""
    words = {
        "verdict": ("Answer", {"wrong": "wrong", "right": "right"}, {"right" if r["right"] else "wrong" for r in rows}),
        "reading": ("Reading", {"unread": "unread", "read": "read"}, {"read" if r["said"] else "unread" for r in rows}),
        "looked": ("Looked", {"yes": "looked", "no": "never looked"}, {"yes" if looked(r) else "no" for r in rows}),
        "kind": ("Kind", {"image": "2D", "volume": "3D"}, {str(r["kind"]) for r in rows}),
    }
    fields: dict[str, tuple[str, Mapping[str, str]]] = {"family": ("Family", families(rows))}
    for name, (title, said, present) in words.items():
        fields[name] = (title, {value: word for value, word in said.items() if value in present})
    return fields


def families(rows: Iterable[Row]) -> dict[str, str]:
    """Families of rows with their words, in alphabetical order."""
    return {name: name.replace("_", " ") for name in sorted({family(row) for row in rows})}


# --- The page.


PAGE, TABLES, PLOT = "report.html", "report.md", "reliability.png"
"""Files that are written."""

WRONG, RIGHT = 72, 24
"""Wrong and right answers shown at most."""

_BYTES, _TEXT = 2_000_000, 12_000_000  # pictures and cards of a page
_PREDICTORS = {"overlap": "Box overlap", "agreement": "Agreement among samples", "probability": "Answer probability"}
STYLES = ("evaluation",)
"""Styles of pages about evaluations."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What a page takes of the rows of a run."""

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
        measured = {title: results["calibration"][key] for key, title in _PREDICTORS.items() if key in results["calibration"]}
        shares = [_PREDICTORS[name] for name in ("agreement", "probability")]
        plot = write_reliability(measured, folder / PLOT, probabilities=shares) if measured else None
        page = page_of(results, chosen, folder, rules=rules or {}, plot=plot)
        markdown = run_markdown(results, chosen.apart, rules or {}, plot=PLOT if plot else "")
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise FormatError(
            f"the results or rows of the run are incomplete ({error!r})", "those of a finished run", "run it to its end"
        ) from error
    write_bytes(folder / TABLES, markdown.encode("utf-8"))
    return write_bytes(folder / PAGE, page)


def choose(rows: Callable[[], Iterable[Row]]) -> Chosen:
    """Count the rows of a run and choose those to look at; never more of them are in memory than are shown."""
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
) -> bytes:
    """The page that :func:`write_run` writes; ``plot`` is the picture of reliability."""
    made = results["manifest"]
    facts = [f"suite {results['suite']}", plural(results["n"], "question"), plural(results["patients"], "patient")]
    facts += [f"seed {made['seed']}", checkpoint(made["checkpoint"])]
    body = [
        section("Result", tables.headline(results, chosen.lost)),
        section("By what was asked", tables.by_tags(results["scores"])),
        section("Readings side by side", tables.readings(results, chosen.apart, rules)),
        section("Does anything tell right answers from wrong ones?", _calibration(plot)),
        _cards(chosen, folder),
        section("What was asked of what", tables.asked(results)),
    ]
    title = f"Evaluation on {escape(results['suite'])}"
    cautions = of_results(results)
    return sheet("evaluation", title, dotted(facts), ["".join(body)], sheets=STYLES, script="evaluation.js", cautions=cautions)


def section(title: str, content: str) -> str:
    """A titled card over the whole width."""
    return f'<section class="card panel"><h2>{title}</h2>{content}</section>'


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
    lists = ""
    for name, own in cards.items():
        every = chosen.every[name]
        rubric = f"{len(own)} of {every:,} {name} answers, spread evenly over the families; all are in rows.jsonl"
        if len(own) == every:
            rubric = f"All {every:,} {name} answers" if every > 1 else f"The only {name} answer"
        if every:
            lists += f'<section data-list><h2>{rubric}</h2><ul class="responses">{"".join(own)}</ul></section>'
    return f"{finder(card_fields(together))}{lists}"
