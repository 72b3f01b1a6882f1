"""Reliability as one picture: for every predictor, how often answers are right where it is low and where it is high.

It reads the plain values of ``evaluate.scoring.predictors.calibration`` and knows no model.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unireason.errors import FormatError
from unireason.files import write_bytes

from .curves import TONES

_INK, _SOFT, _GRID = "#1a1d21", "#6b727b", "#e4e6e8"
_SIDE, _DPI, _COLUMNS = 3.5, 120, 3  # inches of a panel, dots an inch, panels a row
_KEYS = {"n", "auroc", "ece", "bins"}


def write_reliability(
    predictors: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str], *, probabilities: Sequence[str] = ()
) -> Path:
    """Draw a panel for every predictor: accuracy with its 95% interval over the mean value of each bin, and how many answers it holds.

    Args:
        predictors: Title and values (``n``, ``auroc``, ``ece``, ``bins``) of each. One without answers says so; none gives a picture that
            says so.
        path: PNG file to write; replaced at once when ready.
        probabilities: Titles of those that mean a probability of being right: they get the diagonal and their calibration error.

    Returns:
        The path.

    Raises:
        FormatError: If values are missing.
        UniReasonError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    for title, values in predictors.items():
        if not set(values) >= _KEYS:
            raise FormatError(f"the calibration of {title!r} has {sorted(values)}", f"{sorted(_KEYS)}")
    columns = 2 if len(predictors) == 4 else min(len(predictors), _COLUMNS) or 1
    rows = -(-len(predictors) // columns) or 1
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(_SIDE * columns, (_SIDE + 0.35) * rows), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    if not predictors:
        figure.suptitle("No predictor was measured.", fontsize=10, color=_SOFT)
    for number, (title, values) in enumerate(predictors.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        _draw(axes, values, TONES[number % len(TONES)], diagonal=title in probabilities)
        _dress(axes, title, _summary(values, error=title in probabilities))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return write_bytes(path, stream.getvalue())


def _draw(axes: Any, values: Mapping[str, Any], tone: str, *, diagonal: bool) -> None:
    """Points with whiskers; under them small bars, as high as the share of all answers that a bin holds."""
    bins = values["bins"]
    if diagonal:
        axes.plot([0, 1], [0, 1], color=_SOFT, lw=0.9, ls=(0, (4, 3)), zorder=1)
    if not bins:
        axes.text(0.5, 0.5, "no answer has a value", ha="center", va="center", fontsize=8.5, color=_SOFT, backgroundcolor="white")
        return
    x = np.array([own["mean"] for own in bins])
    y = np.array([own["accuracy"] for own in bins])
    low, high = np.array([own["interval"] for own in bins]).T
    mass = np.array([own["n"] for own in bins])
    axes.bar(x, 0.08 * mass / mass.max(), width=0.018, color=tone, alpha=0.3, lw=0, zorder=1)
    axes.plot(x, y, color=tone, lw=1.2, alpha=0.55, zorder=3)
    axes.errorbar(
        x, y, yerr=np.maximum([y - low, high - y], 0), fmt="o", color=tone, ms=4.5, lw=1.2, mec="white", mew=0.7, zorder=4
    )


def _summary(values: Mapping[str, Any], *, error: bool) -> str:
    parts = [f"{values['n']:,} answers"]
    if values["auroc"] is not None:
        parts.append(f"AUROC {values['auroc']:.2f}")
    if error and values["ece"] is not None:
        parts.append(f"ECE {values['ece']:.2f}")
    return "  ·  ".join(parts)


def _dress(axes: Any, title: str, summary: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK, pad=19)
    axes.annotate(summary, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=8, color=_SOFT)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(0, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("value of the predictor", fontsize=8, color=_SOFT)
    axes.set_ylabel("answers right", fontsize=8, color=_SOFT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.tick_params(labelsize=8, colors=_SOFT, length=0)
    axes.grid(axis="y", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
