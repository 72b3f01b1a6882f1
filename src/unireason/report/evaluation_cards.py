"""Questions of a run as cards: the picture with its box, what was asked, the options, the reasoning, the answer; and the filter over them.

Rows are those of ``rows.jsonl`` (docs/reference/results.md). Which are shown depends on the rows alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unireason.errors import FormatError
from unireason.grounding.trace import from_json
from unireason.types import AnswerStep, Frame, Step, TextStep, Trace, is_mismatch

from . import sections
from .bars import percent
from .evaluation_tables import TAGS
from .figures import spread
from .markup import CONTRADICTS, escape
from .pixels import addresses, fit
from .rollout_cards import bare_scene, look_tag

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
    """The pictures of rows as ``data:`` addresses.

    Args:
        folder: The folder of the run.
        rows: Its rows; one without a picture is passed over, and so is a picture that is not there.
        budget: Bytes of all together. Pictures are kept exactly, or else as JPEG, or else smaller: so far as that helps.

    Returns:
        Address by the name that the row has.

    Raises:
        FormatError: If a row names another place than ``pictures``, or a file is not a picture.
    """
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
    """The first cards of every list, so that all together have so many characters at most.

    Args:
        cards: Lists by name; a card is made when its turn comes.
        most: Characters; lists share them evenly, and what one leaves goes to those behind it.
    """
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
    """One question with its answer.

    Raises:
        FormatError: If its trace cannot be read.
    """
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
    remark = sections.FINISH.get(trace.finish, f"Finished by: {trace.finish}.")
    flaws = [escape(remark)] if remark else []
    flaws += [
        f"<code>{escape(p.code)}</code>{f' {escape(p.text[:200])}' if p.text else ''}"
        for p in trace.problems
        if p.code != trace.finish
    ]
    answer = escape(trace.answer.text.strip()[:_MOST_TEXT]) or '<span class="none">no answer</span>'
    answer += CONTRADICTS if is_mismatch(trace) else ""
    return (
        f'<p class="thought">{sections.reasoning(_cut(trace), bare_scene(trace), mark=look_tag)}</p><p class="reply">{answer}</p>'
        f'{"".join(f"<p class=flaw>{flaw}</p>" for flaw in flaws)}<p class="more">{_facts(row, own["looks"])}</p>'
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


def _facts(row: Row, looks: int) -> str:
    words = [f"{looks} look{'s' * (looks != 1)}"]
    words += [f"box overlap {row['overlap']:.2f}"] if row["overlap"] is not None else []
    words += [f"probability {row['probability']:.2f}"] if row["probability"] is not None else []
    if row["agreement"] is not None:
        words.append(f"{percent(row['agreement'])} agreement{', tied' if row['tied'] else ''}")
    apart = [name for name, verdict in row["published"].items() if verdict is not None and verdict != row["right"]]
    words += [f"{'right' if not row['right'] else 'wrong'} by {escape(', '.join(apart))}"] if apart else []
    return " · ".join(words)


def finder(fields: Mapping[str, tuple[str, Mapping[str, str]]]) -> str:
    """The filter over cards, shown where scripts run.

    Args:
        fields: By ``data-`` attribute of the cards: what it is called, and its values with their words. One with a single
            value is left out.
    """
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
