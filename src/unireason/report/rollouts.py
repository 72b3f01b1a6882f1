"""Sample rollouts of a policy as pages: one a step, and an index over the steps with their rewards.

On a page every question is a section: what was asked, then each response of its group with what it earned, what it said and what it
looked at, best first. Files need no network, no server and no script.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.store import json_text, write_bytes
from unireason.core.types import Case, Frame, Geometry, Scored, Source, Stack, Trace
from unireason.grounding.profile import letters_of
from unireason.metrics.answers import answer_choice

from . import trace as sections
from .html import VERDICTS, Cell, addresses, bar, escape, fit, number, numbers, percent, row, sheet
from .pictures import PageLook, PageScene, compose, key_slices, spread
from .trace import mark

# --- One question with the responses of its group as HTML: pictures with boxes, text with looks, crops, what each response
# earned.


_LONGEST, _BYTES = 448, 400_000  # pixels of a picture's longer side, bytes of a group's pictures
_CROP, _CROP_BYTES = 72, 60_000  # pixels on screen of a crop's longer side, bytes of a response's crops
_MOST_SLICES, _MOST_CROPS = 3, 5  # of a response, and of a look


def expected_letter(one: Scored) -> str | None:
    """The letter that ``gold`` names ("B" or "B. left kidney"); None for a question without options, or if it names none."""
    return answer_choice(one.gold, letters_of(one.trace.options), one.trace.options)


def is_right(one: Scored) -> bool | None:
    """Whether the chosen letter is the expected one; None where no letter is expected."""
    letter = expected_letter(one)
    return None if letter is None else one.trace.answer.choice == letter


def section(place: int, group: Sequence[Scored]) -> str:
    """One question and all its responses, best first."""
    pictures = next((one.pictures for one in group if one.pictures is not None), None)
    scenes = [bare_scene(one.trace, pictures) for one in group]
    chosen = [key_slices(scene)[:_MOST_SLICES] for scene in scenes] if pictures is not None else [[] for _ in group]
    used = sorted({z for own in chosen for z in own})
    mean = fmean(one.reward for one in group)
    earned = [name for name in dict.fromkeys(n for one in group for n in one.parts) if any(one.parts.get(name) for one in group)]
    order = sorted(range(len(group)), key=lambda n: -group[n].reward)
    cards = "".join(_card(n, group[n], scenes[n], _shots(place, scenes[n], chosen[n]), (mean, earned)) for n in order)
    store = ""
    if pictures is not None:
        links = addresses([fit(pictures[z], _LONGEST) for z in used], budget=_BYTES)
        width, height, _ = _drawing(group[0].trace.frame)
        size = f'width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none"'
        store = "".join(
            f'<symbol id="p{place}-{z}"><image href="{link}" {size}/></symbol>' for z, link in zip(used, links, strict=True)
        )
    first = group[0]
    kind = "3D" if first.trace.frame.kind == "volume" else "2D"
    letter = expected_letter(first)
    listed = sections.options(replace(first.trace, steps=()), letter)
    expected = "" if letter else f'<p class="expected">expected: {escape(first.gold.strip())}</p>'
    spread_words = f"{number(min(o.reward for o in group), 2)} to {number(max(o.reward for o in group), 2)}"
    return (
        f'<section class="group" aria-labelledby="group-{place}"><div class="card asked"><p class="kind"><span>{kind} · '
        f"{escape(first.case)}</span><span>{len(group)} responses · mean {number(mean, 3)} · {spread_words}</span></p>"
        f'<h3 id="group-{place}">{escape(first.trace.question)}</h3>{listed}{expected}</div>'
        f'<svg class="unseen" aria-hidden="true">{store}</svg><ul class="responses">{cards}</ul></section>'
    )


def bare_scene(trace: Trace, pictures: NDArray[np.uint8] | None = None) -> PageScene:
    """What is drawn of a response whose case is not at hand: the model frame stands for the grid of the source."""
    frame = trace.frame
    volume = frame.kind == "volume"
    shape = (frame.depth, frame.height, frame.width) if volume else (frame.height, frame.width)
    geometry = Geometry(shape, shape[::-1], tuple(range(len(shape))), (False,) * len(shape))
    slices = np.zeros((frame.depth, 1, 1), np.uint8) if pictures is None else pictures
    if slices.ndim not in (3, 4):
        raise FormatError(f"pictures of shape {slices.shape}", "(slices, height, width) or the same with 3 colours")
    case = Case(slices, frame.kind, geometry, "", trace.source or Source("", "", ""))
    return compose(trace, case, Stack(slices, frame.kind, "", tuple((z, z + 1) for z in range(frame.depth)), slices))


def _drawing(frame: Frame) -> tuple[float, float, float]:
    """Width and height of a drawing, 100 units along the longer side, and units a model pixel."""
    scale = 100 / max(frame.width, frame.height)
    return frame.width * scale, frame.height * scale, scale


def _shots(place: int, scene: PageScene, slices: Sequence[int]) -> str:
    """The slices that show the looks, with their boxes."""
    figures = []
    for z in slices:
        width, height, scale = _drawing(scene.frame)
        shown = [look for look in scene.looks if look.first <= z < look.last]
        boxes = "".join(
            mark(look.number, look.step.label or f"look {look.number}", look.rect, (scale, scale), tone=look.tone)
            for look in shown
        )
        caption = f"<figcaption>slice {z}</figcaption>" if scene.frame.kind == "volume" else ""
        figures.append(
            f'<figure><svg viewBox="0 0 {width:.2f} {height:.2f}" role="img" aria-label="picture with boxes">'
            f'<use href="#p{place}-{z}"/>{boxes}</svg>{caption}</figure>'
        )
    return f'<div class="shots">{"".join(figures)}</div>' if figures else ""


def _card(place: int, one: Scored, scene: PageScene, shots: str, earned: tuple[float, Sequence[str]]) -> str:
    """One response; ``earned`` holds the mean reward of its group and the parts worth telling."""
    trace, (mean, names) = one.trace, earned
    gain = one.reward - mean if one.advantage is None else one.advantage
    tone = "up" if gain > 1e-9 else "down" if gain < -1e-9 else "even"
    told = {"to the mean" if one.advantage is None else "advantage": f"{'+' if gain > 0 else ''}{number(gain, 2)}"}
    told |= {name.replace("_", " "): number(one.parts.get(name, 0.0), 2) for name in names}
    parts = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in told.items())
    answer = escape(trace.answer.text.strip()) or '<span class="none">no answer</span>'
    answer += sections.badge(trace)
    remark = sections.finish(trace)
    flaws = [escape(remark)] if remark else []
    flaws += [f"<code>{escape(p.code)}</code>{f' <q>{escape(p.text)}</q>' if p.text else ''}" for p in trace.problems]
    return (
        f'<li class="card response"><header class="{tone}"><p class="earned">{number(one.reward, 3)}</p>'
        f'<p class="kind">response {place + 1} {VERDICTS[is_right(one)]}</p><dl class="parts">{parts}</dl></header>'
        f'{shots}<div class="text"><p class="thought">'
        f'{sections.reasoning(trace, scene, mark=look_tag)}</p><p class="reply">{answer}</p>'
        f"{''.join(f'<p class=flaw>{flaw}</p>' for flaw in flaws)}{_crops(scene)}</div></li>"
    )


def look_tag(look: PageLook) -> str:
    """A look inside a text: its number and its box, in its colour."""
    idle = "" if look.step.executed else " gone"
    title = escape(look.step.label)
    return f'<span class="look tone-{look.tone}{idle}" title="{title}"><b>{look.number}</b>[{numbers(look.box)}]</span>'


def _crops(scene: PageScene) -> str:
    """Regions that were put in front of the model, thinned out where a look cut many."""
    shown = [(look, look.step.crops[n]) for look in scene.looks for n in spread(len(look.step.crops), _MOST_CROPS)]
    shown = [(look, crop) for look, crop in shown if crop.pixels.size]
    links = addresses([fit(crop.pixels, 2 * _CROP) for _, crop in shown], budget=_CROP_BYTES)
    figures = []
    for (look, crop), link in zip(shown, links, strict=True):
        height, width = crop.pixels.shape[:2]
        scale = _CROP / max(height, width)
        where = f"slice {crop.slice_index}" if scene.frame.kind == "volume" else ""
        figures.append(
            f'<figure class="tone-{look.tone}"><img src="{link}" width="{max(1, round(width * scale))}" '
            f'height="{max(1, round(height * scale))}" alt="region of look {look.number}">'
            f"<figcaption>{sections.look_badge(look)} {where}</figcaption></figure>"
        )
    total = sum(len(look.step.crops) for look in scene.looks)
    more = f"<p class=more>{len(shown)} of {total} regions</p>" if total > len(shown) else ""
    return f'<div class="crops">{"".join(figures)}</div>{more}' if figures else ""


# --- The pages: one a step, and an index over the steps with their rewards.


ROWS, INDEX = "steps.json", "index.html"
"""Numbers of all steps, and the page made from them."""
_COLUMNS = {
    "questions": "Questions",
    "responses": "Responses",
    "reward": "Mean reward",
    "best": "Best",
    "worst": "Worst",
    "right": "Right",
    "looked": "With a crop",
}


def write_rollouts(scored: Sequence[Scored], folder: str | os.PathLike[str], step: int) -> Path:
    """Write the page of a step and the index over all steps.

    Args:
        scored: Responses; those of one case and question form a group wherever they stand. None gives a page that says so.
        folder: Where ``step-NNNNNN.html``, ``index.html`` and ``steps.json`` go; the page of a step that is done again is replaced.
        step: The step whose rollouts they are.

    Returns:
        The page of the step.

    Raises:
        FormatError: Pictures, boxes and frame of a response do not belong together.
        UniReasonError: A file cannot be written.
    """
    found: dict[tuple[Any, ...], list[Scored]] = {}
    for one in scored:
        found.setdefault((one.case, one.trace.question, one.trace.options, one.gold), []).append(one)
    groups = list(found.values())
    place = Path(folder)
    body = "".join(section(n, group) for n, group in enumerate(groups)) or '<p class="none">No rollouts were kept.</p>'
    numbers_of = _row(scored, len(groups))
    page = _page(f"Rollouts of step {step:,}", f'{_facts(numbers_of)} · <a href="{INDEX}">all steps</a>', body)
    target = write_bytes(place / f"step-{step:06d}.html", page)
    rows = {**_rows(place), step: numbers_of}
    rows = {key: rows[key] for key in sorted(rows)}
    write_bytes(place / ROWS, (json_text(rows, indent=1) + "\n").encode("ascii"))
    write_bytes(place / INDEX, _page("Rollouts", f"{len(rows)} step{'s' * (len(rows) != 1)}", _table(rows)))
    return target


def _page(title: str, facts: str, body: str) -> bytes:
    return sheet("training", escape(title), facts, [body], sheets=("dataset", "rollouts"))


def _row(scored: Sequence[Scored], questions: int) -> dict[str, float | None]:
    """The numbers of a step as the index shows them; None where there is nothing to say."""
    rewards = [one.reward for one in scored]
    judged = [right for one in scored if (right := is_right(one)) is not None]
    return {
        "questions": questions,
        "responses": len(scored),
        "reward": fmean(rewards) if rewards else None,
        "best": max(rewards, default=None),
        "worst": min(rewards, default=None),
        "right": fmean(judged) if judged else None,
        "looked": fmean(any(look.executed for look in one.trace.looks) for one in scored) if scored else None,
    }


def _facts(row: Mapping[str, float | None]) -> str:
    words = [f"{row['questions']} question{'s' * (row['questions'] != 1)}", f"{row['responses']} responses"]
    words += [f"mean reward {number(row['reward'], 3)}"] if row["reward"] is not None else []
    words += [f"{percent(row['right'])} right"] if row["right"] is not None else []
    return " · ".join(words)


def _rows(folder: Path) -> dict[int, dict[str, Any]]:
    """Steps written before; what cannot be read is begun anew, for pages are for looking at."""
    try:
        found = json.loads((folder / ROWS).read_bytes())
        return {int(step): {key: row.get(key) for key in _COLUMNS} for step, row in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _table(rows: Mapping[int, Mapping[str, Any]]) -> str:
    heads = "".join(f'<th scope="col"{" colspan=2" if key == "reward" else ""}>{name}</th>' for key, name in _COLUMNS.items())
    most = max((own["best"] for own in rows.values() if isinstance(own["best"], int | float)), default=0)
    body = ""
    for step, own in sorted(rows.items(), reverse=True):
        cells: list[Cell] = []
        for key in _COLUMNS:
            value = own[key]
            if key == "reward":
                share = min(max(value / max(most, 1e-9), 0), 1) if isinstance(value, int | float) else None
                cells.append(("chart", bar(share)))
            shown = percent(value) if key in ("right", "looked") else "\u2013" if value is None else number(float(value), 3)
            cells.append(shown)
        body += row(f'<a href="step-{step:06d}.html">{step:,}</a>', *cells)
    return (
        '<section class="card panel wide"><table class="steps"><thead><tr><th scope="col">Step</th>'
        f"{heads}</tr></thead><tbody>{body}</tbody></table></section>"
    )
