"""One question with the responses of its group as HTML: pictures with boxes, text with looks, crops, what each response earned.

A picture is embedded once a group and drawn in every response that needs it; boxes are drawn over it in the model frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError
from unireason.grounding.prompts import letters_of
from unireason.metrics.answers import answer_choice
from unireason.types import Case, Frame, Geometry, Scored, Source, Stack, Trace

from . import sections
from .figures import key_slices, spread
from .marks import mark
from .markup import escape, number, numbers
from .pixels import addresses, fit
from .scene import Look, Scene, compose

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
    """One question and all its responses, best first.

    Args:
        place: Number of the group on its page, from 0.
        group: Its responses, at least one.

    Raises:
        FormatError: Pictures, boxes and frame do not belong together.
    """
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
        store = "".join(_symbol(place, z, link, group[0].trace.frame) for z, link in zip(used, links, strict=True))
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


def bare_scene(trace: Trace, pictures: NDArray[np.uint8] | None = None) -> Scene:
    """What is drawn of a response whose case is not at hand: the model frame stands for the grid of the source.

    Args:
        trace: The response.
        pictures: uint8 (D, H, W) or (D, H, W, 3), the slices shown to the model, if known.

    Raises:
        FormatError: Pictures, boxes and frame do not belong together.
    """
    frame = trace.frame
    volume = frame.kind == "volume"
    shape = (frame.depth, frame.height, frame.width) if volume else (frame.height, frame.width)
    geometry = Geometry(shape, shape[::-1], tuple(range(len(shape))), (False,) * len(shape))
    slices = np.zeros((frame.depth, 1, 1), np.uint8) if pictures is None else pictures
    if slices.ndim not in (3, 4):
        raise FormatError(f"pictures of shape {slices.shape}", "(slices, height, width) or the same with 3 colours")
    case = Case(slices, frame.kind, geometry, "", trace.source or Source("", "", ""))
    return compose(trace, case, Stack(slices, frame.kind, "", tuple((z, z + 1) for z in range(frame.depth)), slices))


def _symbol(place: int, z: int, link: str, frame: Frame) -> str:
    width, height, _ = _drawing(frame)
    size = f'width="{width:.2f}" height="{height:.2f}"'
    return f'<symbol id="p{place}-{z}"><image href="{link}" {size} preserveAspectRatio="none"/></symbol>'


def _drawing(frame: Frame) -> tuple[float, float, float]:
    """Width and height of a drawing, 100 units along the longer side, and units a model pixel."""
    scale = 100 / max(frame.width, frame.height)
    return frame.width * scale, frame.height * scale, scale


def _shots(place: int, scene: Scene, slices: Sequence[int]) -> str:
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


def _card(place: int, one: Scored, scene: Scene, shots: str, earned: tuple[float, Sequence[str]]) -> str:
    """One response; ``earned`` holds the mean reward of its group and the parts worth telling."""
    trace, (mean, names) = one.trace, earned
    right = is_right(one)
    verdict = {True: '<b class="good">right</b>', False: '<b class="bad">wrong</b>', None: ""}[right]
    gain = one.reward - mean if one.advantage is None else one.advantage
    tone = "up" if gain > 1e-9 else "down" if gain < -1e-9 else "even"
    told = {"to the mean" if one.advantage is None else "advantage": f"{'+' if gain > 0 else ''}{number(gain, 2)}"}
    told |= {name.replace("_", " "): number(one.parts.get(name, 0.0), 2) for name in names}
    parts = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in told.items())
    answer = escape(trace.answer.text.strip()) or '<span class="none">no answer</span>'
    answer += sections.badge(trace)
    remark = sections.FINISH.get(trace.finish, f"Finished by: {trace.finish}.")
    flaws = [escape(remark)] if remark else []
    flaws += [f"<code>{escape(p.code)}</code>{f' <q>{escape(p.text)}</q>' if p.text else ''}" for p in trace.problems]
    return (
        f'<li class="card response"><header class="{tone}"><p class="earned">{number(one.reward, 3)}</p>'
        f'<p class="kind">response {place + 1} {verdict}</p><dl class="parts">{parts}</dl></header>{shots}<div class="text">'
        f'<p class="thought">'
        f'{sections.reasoning(trace, scene, mark=look_tag)}</p><p class="reply">{answer}</p>'
        f"{''.join(f'<p class=flaw>{flaw}</p>' for flaw in flaws)}{_crops(scene)}</div></li>"
    )


def look_tag(look: Look) -> str:
    """A look inside a text: its number and its box, in its colour."""
    idle = "" if look.step.executed else " gone"
    title = escape(look.step.label)
    return f'<span class="look tone-{look.tone}{idle}" title="{title}"><b>{look.number}</b>[{numbers(look.box)}]</span>'


def _crops(scene: Scene) -> str:
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
