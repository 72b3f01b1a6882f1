"""The evidence check as one picture, for a paper or a README: accuracy under every condition, and what is lost with the evidence.

It reads the plain values of ``evaluate.evidence`` and knows no model.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unireason.errors import FormatError
from unireason.files import write_bytes

from .curves import TONES

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
