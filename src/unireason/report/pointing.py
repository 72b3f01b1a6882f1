"""The page of an evaluation of implicit questions: means with intervals, groups, and the worst and best answers as pictures.

A picture shows what was meant on the left and what was answered on the right. The file needs no network, no server and no script.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.store import write_bytes
from unireason.core.types import Frame, Stack

from .html import (
    RESEARCH_ONLY,
    addresses,
    bar,
    checkpoint,
    dotted,
    escape,
    figure,
    figures,
    fit,
    of_results,
    plural,
    row,
    sheet,
    table,
)
from .pictures import outlines
from .run_tables import cell

_LONGEST, _BYTES = 420, 160_000  # pixels of a picture's longer side, bytes of the picture of a question
_TRUE, _ANSWER = 2, 1  # tones
_DASH = "\u2013"
_UNITS = "Shares are in percent; the released pDice runs to 200."
_KEYS = {"supercategory": "Super-category", "category": "Category"}
_MILLIMETRES, _TWICE = ("hd95_mm",), ("pdice_released",)  # no shares from 0 to 1

Place = tuple[Sequence[float] | None, Sequence[Sequence[float]]]
"""A box (x1, y1, x2, y2) or None, and points (x, y), pixels of the model frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Pointed:
    """One question with its answer.

    Attributes:
        row: Its row, as ``rows.jsonl`` has it.
        frame: The model frame.
        stack: What the model saw.
        aspect: Width of the picture over its height, as it is to be shown.
        truth: bool (Y, X), the true mask.
        mask: bool (Y, X), what the expert made of the first answer; None without a usable box.
        thought: The reasoning of the first answer.
    """

    row: Mapping[str, Any]
    frame: Frame
    stack: Stack
    aspect: float
    truth: NDArray[np.bool_]
    mask: NDArray[np.bool_] | None
    thought: str = ""


def write_pointing(
    results: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    titles: Mapping[str, str],
    worst: Sequence[Pointed] = (),
    best: Sequence[Pointed] = (),
) -> Path:
    """Write the page.

    Args:
        results: As ``results.json`` of ``unireason eval ground`` has them.
        path: Where.
        titles: Scores to show and how they are headed.
        worst: Questions with the lowest scores. None gives a line that says so.
        best: Questions with the highest ones.

    Returns:
        The path written.

    Raises:
        FormatError: Picture, masks and frame of a question do not belong together.
        UniReasonError: The file cannot be written.
    """
    parts = [
        f'<section class="card panel wide">{_table(results, titles)}</section>',
        "".join(_groups(results, key, titles) for key in _KEYS),
        _list("Worst answers", worst, results, titles),
        _list("Best answers", best, results, titles),
    ]
    styles, facts, cautions = ("pointing",), dotted(_facts(results)), of_results(results)
    return write_bytes(path, sheet("evaluation", "Implicit questions", facts, parts, sheets=styles, cautions=cautions))


def pointing_markdown(results: Mapping[str, Any], *, titles: Mapping[str, str]) -> str:
    """The tables of the page as Markdown, shares in percent.

    Args:
        results: As for :func:`write_pointing`.
        titles: The same.
    """
    lines = ["# Implicit questions", "", cell(", ".join(_facts(results))) + ".", "", cell(results["rule"]), "", _UNITS, ""]
    lines += [line for text in of_results(results) for line in (f"**Caution.** {cell(text)}", "")]
    lines += ["| Score | Mean | 95% interval |", "|---|---|---|"]
    for name, title in titles.items():
        own = results["scores"][name]
        lines.append(f"| {title} | {_number(name, own['mean'])} | {_range(name, own['ci95_patients'])} |")
    lines += ["", *(cell(f"{word[0].upper()}{word[1:]}.") for word in _remarks(results))]
    for key, heading in _KEYS.items():
        names = list(results["headline"])
        if results[f"by_{key}"]:
            head = f"| {heading} | Questions | {' | '.join(titles[name] for name in names)} |"
            lines += ["", head, "|---" * (2 + len(names)) + "|"]
        for group, part in results[f"by_{key}"].items():
            cells = [_number(name, part["scores"][name]["mean"]) for name in names]
            lines.append(f"| {cell(group)} | {part['n']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", RESEARCH_ONLY, ""])


def _facts(results: Mapping[str, Any]) -> list[str]:
    made = results["manifest"]
    expert = made["expert"]
    words = [f"suite {results['suite']}", plural(results["n"], "question"), plural(results["patients"], "patient")]
    words += [f"seed {made['seed']}", checkpoint(made["checkpoint"])]
    words.append(f"expert {expert['name']} {expert['sha256'][:12]}".strip())
    if made["samples"] > 1 or made["temperature"]:
        words.append(f"{made['samples']} answers a question at temperature {made['temperature']:g}")
    return words


def _remarks(results: Mapping[str, Any]) -> list[str]:
    """What else a reader must know, in words."""
    lost, left = results["unreadable"]["n"], sum(results["left_out"].values())
    said = [
        f"a mask was found for {100 * results['found']:.1f}% of the answers, {100 * results['malformed']:.1f}% were malformed"
    ]
    if results["problems"]:
        said.append("problems: " + ", ".join(f"{code} {n}" for code, n in results["problems"].items()))
    if lost:
        such = next((f"{name}: {reason.rstrip('.')}" for name, reason in results["unreadable"]["questions"].items()), "")
        said.append(f"{plural(lost, 'question')} could not be read and counted in no mean, such as {such}")
    if left:
        said.append("not asked: " + ", ".join(f"{n} because {reason}" for reason, n in results["left_out"].items()))
    return said


def _table(results: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    scores, rows = results["scores"], ""
    large = [(escape(titles[k]), _number(k, v), _range(k, scores[k]["ci95_patients"])) for k, v in results["headline"].items()]
    for name, title in titles.items():
        mean, ends = scores[name]["mean"], scores[name]["ci95_patients"]
        drawn = "" if name in (*_MILLIMETRES, *_TWICE) else bar(mean, ends)
        rows += row(escape(title), ("chart", drawn), ("value", _number(name, mean)), _range(name, ends))
    return (
        f"{figures(large)}{table('scores', ('Score', ('chart', ''), 'Mean', '95% interval'), rows)}"
        '<p class="legend"><span class="whisker"></span>95% interval over patients</p>'
        + "".join(f'<p class="note">{escape(word[0].upper() + word[1:])}.</p>' for word in _remarks(results))
        + f'<p class="note">{_UNITS} {escape(results["rule"])}</p>'
    )


def _groups(results: Mapping[str, Any], key: str, titles: Mapping[str, str]) -> str:
    """The headline scores of every group."""
    names, rows = list(results["headline"]), ""
    for group, part in results[f"by_{key}"].items():
        rows += row(escape(group), str(part["n"]), *(_number(name, part["scores"][name]["mean"]) for name in names))
    heads = (_KEYS[key], "Questions", *(escape(titles[name]) for name in names))
    return f'<section class="card panel wide">{table("scores", heads, rows)}</section>' if rows else ""


def _list(title: str, shown: Sequence[Pointed], results: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    names = {name: titles[name] for name in results["headline"]}
    cards = "".join(_card(one, names) for one in shown) or '<li class="none">None among the answers.</li>'
    return f'<section><h2>{escape(title)}</h2><ul class="pairs">{cards}</ul></section>'


def _card(shown: Pointed, names: Mapping[str, str]) -> str:
    row, answer = shown.row, shown.row["answers"][0]
    kind = " · ".join(escape(row[key]) for key in ("category", "supercategory", "case") if row[key])
    marks = "".join(
        f"<div><dt>{escape(title)}</dt><dd{' class=bad' if not answer['scores'][name] else ''}>"
        f"{_number(name, answer['scores'][name])}</dd></div>"
        for name, title in names.items()
    )
    flaws = "".join(f'<li class="flaw">{escape(code.replace("_", " "))}</li>' for code in answer["problems"])
    return (
        f'<li class="card response">{_shots(shown)}<div class="text"><p class="kind"><span>{kind}</span></p>'
        f'<h3>{escape(row["question"])}</h3><dl class="marks">{marks}</dl>{f"<ul>{flaws}</ul>" if flaws else ""}'
        f'<p class="thought">{escape(shown.thought)}</p></div></li>'
    )


def _shots(shown: Pointed) -> str:
    """What was meant, and what was answered with the outline of what was meant."""
    if shown.frame.kind != "image" or len(shown.stack.slices) != 1:
        raise FormatError(f"a question about a {shown.frame.kind} of {len(shown.stack.slices)} slices", "a picture")
    (link,) = addresses([fit(shown.stack.slices[0], _LONGEST)], budget=_BYTES)
    width, height = (100.0, 100 / shown.aspect) if shown.aspect >= 1 else (100 * shown.aspect, 100.0)
    factors = (width / shown.frame.width, height / shown.frame.height)
    target, answer = shown.row["target"], shown.row["answers"][0]
    true = _region(shown, shown.truth, factors, f"region tone-{_TRUE}")
    meant = true + _marks((target["box"], target["points"]), factors, _TRUE)
    found = _region(shown, shown.truth, factors, f"region outline tone-{_TRUE}")
    if shown.mask is not None:
        found += _region(shown, shown.mask, factors, f"region tone-{_ANSWER}")
    found += _marks((answer["box"], answer["points"]), factors, _ANSWER)
    shots = (figure(name, link, (width, height), drawn, caption=name) for name, drawn in (("meant", meant), ("answered", found)))
    return f'<div class="shots">{"".join(shots)}</div>'


def _region(shown: Pointed, mask: NDArray[np.bool_], factors: tuple[float, float], kind: str) -> str:
    path = outlines(mask, shown.frame, shown.stack).get(0)
    return "" if path is None else f'<path class="{kind}" transform="scale({factors[0]:.5f} {factors[1]:.5f})" d="{path}"/>'


def _marks(place: Place, factors: tuple[float, float], tone: int) -> str:
    """Box and points; a point is drawn in the middle of its pixel."""
    box, points = place
    drawn = ""
    if box is not None:
        x1, y1, x2, y2 = (v * f for v, f in zip(box, factors * 2, strict=True))
        rect = f'x="{x1:.2f}" y="{y1:.2f}" width="{x2 - x1:.2f}" height="{y2 - y1:.2f}"'
        drawn += f'<g class="box tone-{tone}"><rect class="halo" {rect}/><rect class="line" {rect}/></g>'
    for x, y in points:
        at = f'cx="{(x + 0.5) * factors[0]:.2f}" cy="{(y + 0.5) * factors[1]:.2f}"'
        drawn += f'<g class="spot tone-{tone}"><circle class="halo" {at} r="1.9"/><circle class="dot" {at} r="1.3"/></g>'
    return drawn


def _number(name: str, value: float) -> str:
    return f"{value:.2f}" if name in _MILLIMETRES else f"{100 * value:.2f}"


def _range(name: str, ends: Sequence[float] | None) -> str:
    return _DASH if ends is None else f"{_number(name, ends[0])} to {_number(name, ends[1])}"
