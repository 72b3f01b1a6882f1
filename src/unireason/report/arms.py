"""The arms of an ablation as one picture: a panel a kind of question, a row an arm: its seeds, their mean and its interval."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from .curves import TONES
from .markup import clean

_INK, _SOFT, _GRID = "#1a1d21", "#6b727b", "#e4e6e8"
_PANELS = {"volume": "3D questions", "image": "2D questions"}
_WIDTH, _ROW, _DPI = 4.2, 0.42, 140  # inches of a panel, inches of an arm, dots an inch
_LONGEST = 60  # letters of a title; the panels need room as well


def draw(results: Mapping[str, Any]) -> bytes:
    """Draw the picture.

    Args:
        results: As ``results.json`` of ``unireason ablate`` has them.

    Returns:
        A PNG file. Kinds without a question have no panel.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    arms = results["arms"]
    groups = [group for group in _PANELS if group in arms[0]]
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    size = (_WIDTH * len(groups) + 1.4, _ROW * len(arms) + 1.25)
    figure = Figure(figsize=size, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    for place, group in enumerate(groups, start=1):
        axes = figure.add_subplot(1, len(groups), place)
        _panel(axes, arms, group, results["reference"])
        axes.set_yticks(range(len(arms)), [_title(arm) for arm in arms] if place == 1 else [""] * len(arms), parse_math=False)
        _dress(axes, _PANELS[group], len(arms))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return stream.getvalue()


def _title(arm: Mapping[str, Any]) -> str:
    text = " ".join(clean(arm["title"]).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\u2026"


def _panel(axes: Any, arms: Sequence[Mapping[str, Any]], group: str, reference: str) -> None:
    """Seeds as small rings, the mean as a dot with its interval; lines at the reference's mean and at chance."""
    for row, arm in enumerate(arms):
        scores, tone = arm[group], TONES[1] if arm["name"] == reference else TONES[0]
        low, high = scores["ci95"]
        axes.plot([low, high], [row, row], color=tone, lw=2.2, alpha=0.45, solid_capstyle="butt", zorder=2)
        axes.plot(scores["seeds"], [row] * len(scores["seeds"]), "o", mfc="white", mec=tone, mew=0.9, ms=4, zorder=3)
        axes.plot([scores["accuracy"]], [row], "o", color=tone, ms=7.5, mec="white", mew=0.9, zorder=4)
        if arm["name"] == reference:
            axes.axvline(scores["accuracy"], color=tone, lw=0.9, ls=(0, (4, 3)), zorder=1)
    chance = arms[0][group]["chance"]
    if chance:
        axes.axvline(chance, color=_SOFT, lw=0.9, ls=":", zorder=1)
        axes.annotate("chance", (chance, 1), (2, -2), xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
                      fontsize=7.5, color=_SOFT)  # fmt: skip


def _dress(axes: Any, title: str, arms: int) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK, pad=10)
    axes.set_ylim(arms - 0.4, -0.75)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel("answers right (rings: seeds; bar: 95% interval)", fontsize=8, color=_SOFT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.tick_params(labelsize=8.5, colors=_INK, length=0)
    axes.grid(axis="x", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
