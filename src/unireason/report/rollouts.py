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
from markupsafe import Markup
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.store import json_text, write_bytes
from unireason.core.types import Case, Geometry, Scored, Source, Stack, Trace
from unireason.grounding.profile import letters_of
from unireason.metrics.answers import answer_choice

from .html import addresses, fit, number, page, part, percent, plural, sheet, write_pages
from .pictures import PageLook, PageScene, compose, key_slices, spread
from .trace import finish, prose

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


def section(place: int, group: Sequence[Scored]) -> Markup:
    """One question and all its responses, best first."""
    first, volume = group[0], group[0].trace.frame.kind == "volume"
    pictures = next((one.pictures for one in group if one.pictures is not None), None)
    mean = fmean(one.reward for one in group)
    earned = [name for name in dict.fromkeys(n for one in group for n in one.parts) if any(one.parts.get(name) for one in group)]
    responses: list[dict[str, Any]] = []
    for n in sorted(range(len(group)), key=lambda n: -group[n].reward):
        one = group[n]
        scene = bare_scene(one.trace, pictures)
        gain = one.reward - mean if one.advantage is None else one.advantage
        told = [("to the mean" if one.advantage is None else "advantage", f"{'+' if gain > 0 else ''}{number(gain, 2)}")]
        told += [(name.replace("_", " "), number(one.parts.get(name, 0.0), 2)) for name in earned]
        responses.append(
            {
                "one": one,
                "number": n + 1,
                "right": is_right(one),
                "tone": "up" if gain > 1e-9 else "down" if gain < -1e-9 else "even",
                "told": told,
                "looks": scene.looks,
                "slices": [] if pictures is None else key_slices(scene)[:_MOST_SLICES],
                "pieces": prose(one.trace, scene.looks),
                "finish": finish(one.trace),
                "crops": _crops(scene),
                "cut": sum(len(look.step.crops) for look in scene.looks),
            }
        )
    frame = first.trace.frame
    scale = 100 / max(frame.width, frame.height)  # drawings have 100 units along the longer side
    used = sorted({z for response in responses for z in response["slices"]})
    links = [] if pictures is None else addresses([fit(pictures[z], _LONGEST) for z in used], budget=_BYTES)
    shown = {
        "place": place,
        "first": first,
        "asked": replace(first.trace, steps=()),
        "letter": expected_letter(first),
        "volume": volume,
        "mean": mean,
        "responses": responses,
        "pictures": list(zip(used, links, strict=True)),
        "size": (frame.width * scale, frame.height * scale),
        "scale": scale,
    }
    return part("group", shown, of="cards.html")


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


def _crops(scene: PageScene) -> list[tuple[PageLook, int, str, tuple[int, int]]]:
    """Regions that were put in front of the model, thinned out where a look cut many: look, slice, address, size on screen."""
    shown = [(look, look.step.crops[n]) for look in scene.looks for n in spread(len(look.step.crops), _MOST_CROPS)]
    shown = [(look, crop) for look, crop in shown if crop.pixels.size]
    links = addresses([fit(crop.pixels, 2 * _CROP) for _, crop in shown], budget=_CROP_BYTES)
    found = []
    for (look, crop), link in zip(shown, links, strict=True):
        height, width = crop.pixels.shape[:2]
        scale = _CROP / max(height, width)
        found.append((look, crop.slice_index, link, (max(1, round(width * scale)), max(1, round(height * scale)))))
    return found


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
    place, numbers_of = Path(folder), _row(scored, len(groups))
    facts = f'{_facts(numbers_of)} · <a href="{INDEX}">all steps</a>'

    def make(parts: list[Markup], pages: list[str], current: int) -> bytes:
        shown = parts or [Markup('<p class="none">No rollouts were kept.</p>')]
        return sheet("training", f"Rollouts of step {step:,}", facts, shown, pages=pages, current=current)

    target = write_pages(place / f"step-{step:06d}.html", (section(n, group) for n, group in enumerate(groups)), make)
    rows = {**_rows(place), step: numbers_of}
    write_bytes(place / ROWS, (json_text({key: rows[key] for key in sorted(rows)}, indent=1) + "\n").encode("ascii"))
    most = max((own["best"] for own in rows.values() if isinstance(own["best"], int | float)), default=0)
    told: dict[str, Any] = {"columns": _COLUMNS, "rows": sorted(rows.items(), reverse=True), "most": max(most, 1e-9)}
    index = page("steps.html", about="training", title="Rollouts", heading="", facts=plural(len(rows), "step"), **told)
    write_bytes(place / INDEX, index)
    return target


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
    words = [plural(int(row["questions"] or 0), "question"), plural(int(row["responses"] or 0), "response")]
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
