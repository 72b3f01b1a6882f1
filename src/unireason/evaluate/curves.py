"""The learning curves of a recipe run, as one picture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

SMOOTH = 15  # steps in a running mean


def write_curves(log: Path, path: Path) -> Path:
    """Draws what ``log.jsonl`` of a run holds: the tower's shares, the loss, the share of right tokens.

    Args:
        log: One JSON object a line with ``stage`` and ``step``; a step that was done twice counts as the later one.
        path: PNG file to write; replaced at once when ready.

    Returns:
        The path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    last = {(row["stage"], row["step"]): row for row in lines}
    stages: dict[str, list[dict[str, Any]]] = {}
    for (stage, _), row in sorted(last.items(), key=lambda item: item[0][1]):
        stages.setdefault(stage, []).append(row)
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    for key in ("foreground", "lesion", "place"):
        _line(panels[0], stages.get("tower", []), key, start=0, label=key)
    for panel, key in zip(panels[1:], ("loss", "tokens_right"), strict=True):
        _line(panel, stages.get("language", []), key, start=0, label="drill and SFT, tower frozen")
        _line(panel, stages.get("together", []), key, start=len(stages.get("language", [])), label="tower learns along")
    panels[1].set_ylim(0.25, 1.2)
    for panel, title in zip(panels, ("vision tower: share right", "loss", "written tokens right"), strict=True):
        panel.set(title=title, xlabel="step")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    partial = path.with_name(f".{path.name}.partial.png")
    figure.savefig(partial, dpi=110)
    os.replace(partial, path)
    return path


def _line(panel: Any, rows: list[dict[str, Any]], key: str, *, start: int, label: str) -> None:
    values = np.array([row[key] for row in rows if key in row])
    if len(values) >= SMOOTH:
        values = np.convolve(values, np.ones(SMOOTH) / SMOOTH, "valid")
    panel.plot(start + np.arange(len(values)), values, label=label)
