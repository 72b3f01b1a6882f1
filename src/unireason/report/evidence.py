"""The page of an evidence check: one table of all conditions, the reliance, and questions whose answers flipped or survived.

A picture shows what was asked for and what was shown instead. The file needs no network, no server and no script.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.store import write_bytes
from unireason.core.types import Frame

from .curves import TONES
from .html import CONTRADICTS, addresses, banner, bar, escape, fit, interval_text, of_results, percent, plural, render, static
from .run_tables import left_out
from .trace import mark

# --- The page of an evidence check: one table of all conditions, the reliance, and questions whose answers flipped or survived.


_LONGEST, _BYTES = 336, 120_000  # pixels of a picture's longer side, bytes of the pictures of a question
_ASKED, _INSTEAD = 2, 6  # tones of the boxes
_DASH = "\u2013"

Piece = tuple[int, tuple[int, int, int, int]]
"""A slice and a rectangle (x1, y1, x2, y2) on it, model frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Flip:
    """One question with its answers under all conditions.

    Attributes:
        question: The question.
        options: Option texts; none for an open question.
        gold: The right letter, or the answer in words.
        case: Identifier of the case.
        answers: By condition what was said, and whether it is right.
        frame: The model frame.
        pictures: uint8 (D, H, W) or (D, H, W, 3), what the model saw.
        asked: What its first look asked for, slice by slice; none if it never looked.
        instead: What that look showed under the headline condition.
        mismatches: Conditions under which letter and text of the answer contradict each other.
    """

    question: str
    options: tuple[str, ...]
    gold: str
    case: str
    answers: Mapping[str, tuple[str, bool]]
    frame: Frame
    pictures: NDArray[np.uint8]
    asked: tuple[Piece, ...] = ()
    instead: tuple[Piece, ...] = ()
    mismatches: frozenset[str] = frozenset()


def write_evidence(
    results: Mapping[str, Any], path: str | os.PathLike[str], *, flips: Sequence[Flip] = (), survivors: Sequence[Flip] = ()
) -> Path:
    """Write the page.

    Args:
        results: As ``results.json`` of ``unireason eval evidence`` has them.
        path: Where.
        flips: Questions answered right with the evidence and wrong without it. None gives a line that says so.
        survivors: Questions answered right all the same.

    Returns:
        The path written.

    Raises:
        FormatError: Pictures and frame of a question do not belong together.
        UniReasonError: The file cannot be written.
    """
    style = "\n".join(static(name) for name in ("base.css", "index.css", "dataset.css", "rollouts.css", "evidence.css"))
    condition = str(results["reliance_condition"]).replace("_", " ")
    values = {
        "title": "Evidence check",
        "facts": _facts(results["manifest"]),
        "table": _table(results),
        "flips": _list(f"Flips: right under true, wrong under {condition}", flips),
        "survivors": _list(f"Survivors: right under true, and right again under {condition}", survivors),
    }
    return write_bytes(
        path,
        render(
            "evidence.html", about="evaluation", style=style, script="", values=values, head=banner(of_results(results))
        ).encode("utf-8"),
    )


def _facts(manifest: Mapping[str, Any]) -> str:
    model = manifest["checkpoint"]
    words = [f"suite {manifest['suite']}", plural(manifest["questions"], "question"), f"seed {manifest['seed']}"]
    words.append(f"checkpoint {model['name']} {str(model['sha256'])[:12]}".strip())
    return " · ".join(escape(word) for word in words)


def _table(results: Mapping[str, Any]) -> str:
    found = results["reliance"]
    value = _DASH if found["value"] is None else f"{found['value']:.2f}"
    note = "undefined: not above chance" if found["value"] is None else _interval(found["ci95"])
    true = results["conditions"]["true"]
    large = [
        ("Evidence reliance", value, note),
        ("Accuracy", percent(true["accuracy"]), interval_text(_ends(true))),
        ("Chance", percent(true["chance"]), ""),
        ("Looked", percent(results["looked"]), ""),
        ("Letter against text", percent(true.get("mismatch_rate"), 1), "of answers contradict themselves"),
    ]
    figures = "".join(f"<div><dt>{n}</dt><dd>{v}{f'<small>{m}</small>' if m else ''}</dd></div>" for n, v, m in large)
    rows = "".join(_row(name, part) for name, part in results["conditions"].items())
    left = [str(name).replace("_", " ") for name in results["left_out"]]
    return (
        f"{left_out(results['unreadable'])}"
        f'<dl class="large">{figures}</dl><table class="conditions"><thead><tr><th scope="col">Condition</th>'
        '<th scope="col" class="chart"></th><th scope="col">Accuracy</th><th scope="col">95% interval</th>'
        '<th scope="col" class="spare">Questions</th><th scope="col" class="spare">Survival</th>'
        f'<th scope="col">Reliance</th></tr></thead><tbody>{rows}</tbody></table>'
        '<p class="legend"><span class="whisker"></span>95% interval<span class="dash"></span>chance</p>'
        '<p class="note">Survival: share of right answers under true that are right again. Reliance: share of the accuracy above '
        "chance that is lost; 0 if nothing is, 1 if what is left is no better than guessing.</p>"
        + (f'<p class="note">Not asked: {escape(", ".join(left))}.</p>' if left else "")
    )


def _row(name: str, part: Mapping[str, Any]) -> str:
    lost, kept = part.get("reliance"), part.get("survival")
    reliance = ""
    if lost is not None:
        reliance = (
            _DASH
            if lost["value"] is None
            else f"<b>{lost['value']:.2f}</b> <small>{_range(lost['ci95']) if lost['ci95'] else ''}</small>"
        )
    drawn = bar(part["accuracy"], _ends(part), part["chance"])
    return (
        f'<tr><th scope="row"><b>{escape(name.replace("_", " "))}</b><small>{escape(part["meaning"])}</small></th>'
        f'<td class="chart">{drawn}</td><td class="value">{percent(part["accuracy"])}</td><td>{interval_text(_ends(part)) or _DASH}</td>'
        f'<td class="spare">{part["n"]:,}</td><td class="spare">{percent(kept["value"]) if kept else ""}</td><td>{reliance}</td></tr>'
    )


def _ends(part: Mapping[str, Any]) -> Any:
    """The interval over patients; that over questions where no patient is known."""
    return part.get("ci95_patients", part["ci95"])


def _interval(ends: Sequence[float] | None) -> str:
    return f"95% interval {_range(ends)}" if ends else "one patient: no interval"


def _range(ends: Sequence[float]) -> str:
    return f"{ends[0]:.2f}{_DASH}{ends[1]:.2f}"


def _list(title: str, flips: Sequence[Flip]) -> str:
    cards = "".join(_card(flip) for flip in flips) or '<li class="none">None among the answers.</li>'
    return f'<section><h2>{escape(title)}</h2><ul class="responses">{cards}</ul></section>'


def _card(flip: Flip) -> str:
    kind = "3D" if flip.frame.kind == "volume" else "2D"
    options = "".join(
        f'<li class="option"><b>{chr(65 + n)}</b><span{_expected(flip, n)}>{escape(text)}</span></li>'
        for n, text in enumerate(flip.options)
    )
    said = "".join(
        f'<li class="{"good" if right else "bad"}"><span>{escape(name.replace("_", " "))}</span><b>{escape(text) or _DASH}</b>'
        f"{CONTRADICTS if name in flip.mismatches else ''}</li>"
        for name, (text, right) in flip.answers.items()
    )
    return (
        f'<li class="card response">{_shots(flip)}<div class="text"><p class="kind"><span>{kind} · {escape(flip.case)}</span></p>'
        f'<h3>{escape(flip.question)}</h3><ul class="options">{options}</ul>'
        f'<p class="reply right">{escape(flip.gold)}</p><ul class="said">{said}</ul></div></li>'
    )


def _expected(flip: Flip, place: int) -> str:
    return ' class="expected"' if chr(65 + place) == flip.gold else ""


def _shots(flip: Flip) -> str:
    """The middle slice of what was asked for and of what was shown instead; the middle slice of the case without a look."""
    frame, pictures = flip.frame, flip.pictures
    if pictures.ndim not in (3, 4) or len(pictures) != frame.depth:
        raise FormatError(f"pictures of shape {pictures.shape}", f"{frame.depth} slices")
    named = [("asked for", flip.asked, _ASKED), ("shown instead", flip.instead, _INSTEAD)]
    views: list[tuple[str, int, tuple[int, int, int, int] | None, int]] = [
        (name, *pieces[len(pieces) // 2], tone) for name, pieces, tone in named if pieces
    ]
    if not views:
        views = [("no look", frame.depth // 2, None, 0)]
    links = addresses([fit(pictures[z], _LONGEST) for _, z, _, _ in views], budget=_BYTES)
    scale = 100 / max(frame.width, frame.height)
    width, height = frame.width * scale, frame.height * scale
    figures = []
    for place, ((name, z, rect, tone), link) in enumerate(zip(views, links, strict=True), start=1):
        drawn = "" if rect is None else mark(place, name, rect, (scale, scale), tone=tone)
        where = f", slice {z}" if frame.kind == "volume" else ""
        figures.append(
            f'<figure><svg viewBox="0 0 {width:.2f} {height:.2f}" role="img" aria-label="{name}"><image href="{link}" '
            f'width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none"/>{drawn}</svg>'
            f"<figcaption>{name}{where}</figcaption></figure>"
        )
    return f'<div class="shots">{"".join(figures)}</div>'


# --- The evidence check as one picture, for a paper or a README: accuracy under every condition, and what is lost with the
# evidence.


_INK, _SOFT, _GRID = "#1a1d21", "#6b727b", "#e4e6e8"
_DPI = 130
_NAMES = {
    "true": "true picture",
    "blank": "blank picture",
    "other": "another patient",
    "random_region": "random region shown",
    "no_region": "no region shown",
    "given_region": "true region shown",
    "shuffled": "another question's region",
    "blanked": "region filled in the picture",
}


def write_evidence_figure(
    results: Mapping[str, Any], path: str | os.PathLike[str], *, runs: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """Draw accuracy (with its 95% interval over patients) and evidence reliance of every condition.

    Args:
        results: ``conditions`` and ``reliance_condition`` as ``evaluate.evidence.reliance.summary`` gives them.
        path: PNG file to write; replaced at once when ready.
        runs: Results of single runs that the others sum up, drawn as small dots.

    Returns:
        The path.

    Raises:
        FormatError: If values are missing.
        UniReasonError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    conditions = results.get("conditions")
    if not conditions or "true" not in conditions:
        raise FormatError("results without the condition 'true'", "results of an evidence check")
    names = list(conditions)
    figure = Figure(
        figsize=(9.2, 0.9 + 0.42 * len(names)), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08), facecolor="white"
    )
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    _accuracy(left, names, conditions, [run["conditions"] for run in runs])
    _reliance(right, names, conditions, [run["conditions"] for run in runs], headline=results.get("reliance_condition", ""))
    left.set_yticks(range(len(names)), [_NAMES.get(name, name) for name in names], color=_INK, fontsize=9)
    left.invert_yaxis()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return write_bytes(path, stream.getvalue())


def _accuracy(axes: Any, names: Sequence[str], conditions: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> None:
    """Dots with whiskers, a line at the accuracy with the evidence and one at that of guessing."""
    for place, name in enumerate(names):
        tone = TONES[0] if name in ("true", "given_region") else TONES[1]
        _mark(axes, place, conditions[name]["accuracy"], conditions[name]["ci95_patients"], tone)
        for run in runs:
            if name in run:
                axes.plot(run[name]["accuracy"], place + 0.22, ".", color=tone, ms=4, alpha=0.55)
    axes.axvline(conditions["true"]["accuracy"], color=TONES[0], lw=0.9, alpha=0.5, zorder=1)
    chance = conditions["true"]["chance"]
    axes.axvline(chance, color=_SOFT, lw=0.9, ls=(0, (4, 3)), zorder=1)
    axes.annotate(
        "guessing", (chance, 1), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=7.5, color=_SOFT
    )
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    _dress(axes, "Answers right")


def _reliance(
    axes: Any, names: Sequence[str], conditions: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], *, headline: str
) -> None:
    """The share of what is known beyond guessing that is lost; the headline condition in full colour."""
    for place, name in enumerate(names):
        found = conditions[name].get("reliance")
        if not found or found["value"] is None:
            if found:
                axes.annotate("undefined", (0.02, place), va="center", fontsize=8, color=_SOFT)
            continue
        tone = TONES[1] if name == headline else _SOFT
        _mark(axes, place, found["value"], found["ci95"], tone)
        axes.annotate(
            f"{found['value']:.2f}",
            (found["ci95"][1] if found["ci95"] else found["value"], place),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=tone,
        )
        for run in runs:
            own = run.get(name, {}).get("reliance")
            if own and own["value"] is not None:
                axes.plot(own["value"], place + 0.22, ".", color=tone, ms=4, alpha=0.55)
    axes.set_xlim(-0.02, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    _dress(axes, "Evidence reliance")


def _mark(axes: Any, place: int, value: float, interval: Sequence[float] | None, tone: str) -> None:
    interval = interval or (value, value)  # one patient has none
    reach = [[max(value - interval[0], 0)], [max(interval[1] - value, 0)]]
    axes.errorbar(value, place, xerr=reach, fmt="o", color=tone, ms=6, lw=1.6, mec="white", mew=0.8, zorder=4)


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK, pad=12)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.tick_params(axis="x", labelsize=8, colors=_SOFT, length=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
