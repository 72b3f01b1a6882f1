"""The curves of a run as one picture: a panel for everything that its log holds, and no empty ones.

The raw values are a light line, their running mean a dark one; values of evaluations are marked points. It reads plain lines of a log
and knows no trainer.
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

from unireason.core.store import write_bytes

# --- Lines of a log as series of numbers: which stages there are, what each measured, and running means over gaps.


Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run."""

    name: str
    lines: tuple[Mapping[str, Any], ...]

    @property
    def last(self) -> int:
        """Its last step."""
        return int(self.lines[-1]["step"])


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One measured quantity in one stage."""

    stage: str
    label: str
    steps: NDArray[np.intp]
    values: Array
    marked: bool

    def smooth(self) -> Array:
        """The running mean, or the values themselves of an evaluation."""
        return self.values if self.marked else running(self.values)[0]


def stages(lines: Sequence[Mapping[str, Any]]) -> list[Stage]:
    """Stages in the order of their first line; none for an empty log."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for line in lines:
        # An evaluation may have a line of its own at a step that has one already.
        own = found.setdefault(str(line["stage"]), {}).setdefault(int(line["step"]), {})
        own.update(line)
    return [Stage(name, tuple(own[step] for step in sorted(own))) for name, own in found.items()]


def curves(run: Sequence[Stage], keys: Mapping[str, str]) -> list[Curve]:
    """Curves of all stages that measured something finite under the given names."""
    present = list(dict.fromkeys(name for stage in run for line in stage.lines for name in line))
    found = []
    for key, words in keys.items():
        stem = key.removesuffix("*")
        open_ended = key != stem
        for name in (n for n in present if n == key or (open_ended and n.startswith(stem) and n not in keys)):
            label = words or name.removeprefix(stem).replace("_", " ")
            own = [curve for stage in run if (curve := _curve(stage, name, label)) is not None]
            if not open_ended or any(np.nan_to_num(c.values).any() for c in own):
                found += own
    return found


def _curve(stage: Stage, name: str, label: str) -> Curve | None:
    """One quantity of one stage; None if it was never finite."""
    steps = [int(line["step"]) for line in stage.lines if name in line]
    values = np.array([np.nan if line[name] is None else line[name] for line in stage.lines if name in line], np.float64)
    values[~np.isfinite(values)] = np.nan
    if not np.isfinite(values).any():
        return None
    return Curve(stage.name, label, np.array(steps, np.intp), values, name.startswith("eval_"))


def running(values: Array) -> tuple[Array, Array]:
    """Running mean and standard deviation over a window that grows with the length of the run."""
    half = min(25, len(values) // 40)
    finite = np.isfinite(values)
    clean = np.where(finite, values, 0.0)
    shift = clean.sum() / max(finite.sum(), 1)  # keeps the difference of squares exact
    clean = np.where(finite, clean - shift, 0.0)

    def windows(numbers: Array) -> Array:
        total = np.concatenate([[0.0], np.cumsum(numbers)])
        index = np.arange(len(numbers))
        summed: Array = total[np.minimum(index + half + 1, len(numbers))] - total[np.maximum(index - half, 0)]
        return summed

    count = windows(finite.astype(np.float64))
    count[count == 0] = np.nan
    mean = windows(clean) / count
    spread = np.sqrt(np.maximum(windows(clean**2) / count - mean**2, 0))
    return mean + shift, spread


# --- The curves of a run as one picture: a panel for everything that its log holds, and no empty ones.


TONES = ("#0072b2", "#d55e00", "#009e73", "#a24c8c", "#c79a00", "#4a9bd1", "#7d5a3c")
"""Line colours, told apart by colour-blind readers."""
_INK, _SOFT, _GRID, _ALARM = "#1a1d21", "#6b727b", "#e4e6e8", "#c0271d"
_WIDTH, _HEIGHT, _DPI = 4.4, 2.75, 120  # inches of a panel, dots an inch


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of the picture."""

    title: str
    keys: Mapping[str, str]
    unit: str = ""
    band: bool = False


PANELS = (
    Panel("Reward", {"reward": "all", "reward_*": "", "eval_reward": "validation"}, band=True),
    Panel("Loss", {"loss": "training", "eval_loss": "validation"}),
    Panel("Written tokens right", {"tokens_right": "training", "eval_tokens_right": "validation"}, "share"),
    Panel("Validation accuracy", {"eval_accuracy": "all", "eval_accuracy_2d": "2D", "eval_accuracy_3d": "3D"}, "share"),
    Panel("Accuracy of rollouts", {"accuracy": "all", "accuracy_2d": "2D", "accuracy_3d": "3D"}, "share"),
    Panel("Vision tower: share right", {"foreground": "foreground", "lesion": "lesion", "place": "place"}, "share"),
    Panel("Responses with a crop", {"crop_rate": "rollouts", "eval_crop_rate": "validation"}, "share"),
    Panel("Crops a response", {"crops_a_sample": "rollouts"}),
    Panel("Overlap of looks (IoU)", {"eval_box_iou": "validation"}),
    Panel(
        "Overlap of implicit answers",
        {"answer_iou": "box (IoU)", "mask_dice": "mask (Dice)", "eval_answer_iou": "box, validation"},
    ),
    Panel("Box area", {"box_area": "of the picture"}, "share"),
    Panel("Invalid boxes a response", {"invalid_boxes": "rollouts"}),
    Panel("Sampled tokens a response", {"response_tokens": "rollouts"}),
    Panel("Responses cut off", {"overflow": "of all responses"}, "share"),
    Panel("Groups without advantage", {"zero_advantage": "of all groups"}, "share"),
    Panel("Divergence (KL)", {"kl": "from the reference", "approx_kl": "from the sampler"}),
    Panel("Entropy", {"entropy": "policy"}),
    Panel("Ratios clipped", {"clipped_low": "below", "clipped_high": "above"}, "share"),
    Panel("Gradient norm", {"gradient": "before clipping"}),
    Panel("Learning rate", {"rate": "rate"}),
    Panel("Padding", {"padding": "of all positions"}, "share"),
    Panel("Seconds a step", {"seconds_*": ""}, "stack"),
)
"""Panels in the order of the picture."""


def write_curves(lines: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Draw the curves of a run.

    Args:
        lines: Lines of its log with ``stage``, ``step`` and values; a step that was done twice counts as the later one, None and NaN
            leave a gap and a mark. Stages that share a panel stand side by side in the order they first appear. Without any value the
            picture says so.
        path: PNG file to write; replaced at once when ready.

    Returns:
        The path.

    Raises:
        UniReasonError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    run = stages(lines)
    found = [(panel, curves(run, panel.keys)) for panel in PANELS]
    shown = [(panel, own) for panel, own in found if own]
    columns = len(shown) if len(shown) <= 3 else 2 if len(shown) == 4 else 3 if len(shown) <= 9 else 4
    rows = -(-len(shown) // max(columns, 1))
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.09)
    figure = Figure(figsize=(_WIDTH * max(columns, 1), _HEIGHT * max(rows, 1) + 0.35), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(_title(run), x=0.012, ha="left", fontsize=10, color=_SOFT)
    for number, (panel, own) in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, number)
        _draw(axes, panel, own, [s for s in run if any(c.stage == s.name for c in own)])
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return write_bytes(path, stream.getvalue())


def _title(run: Sequence[Stage]) -> str:
    return "  ·  ".join(f"{s.name}, step {s.last:,}" for s in run) or "The log of this run holds no step yet."


def _draw(axes: Any, panel: Panel, own: Sequence[Curve], run: Sequence[Stage]) -> None:
    """One panel; stages that share it stand side by side."""
    starts = dict(zip((s.name for s in run), np.cumsum([0, *(s.last for s in run)]), strict=False))
    labels = list(dict.fromkeys(c.label for c in own))
    tones = {label: TONES[n % len(TONES)] for n, label in enumerate(labels)}
    if panel.unit == "stack":
        _stack(axes, own, starts, tones)
    else:
        for number, curve in enumerate(own):
            _line(axes, curve, starts[curve.stage], tones[curve.label], band=panel.band and number == 0)
        _limits(axes, own, share=panel.unit == "share")
    for stage in run[1:]:
        axes.axvline(starts[stage.name], color=_SOFT, lw=0.8, ls=(0, (2, 2)))
    if len(run) > 1:
        for stage in run:
            place = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
            paper = {"facecolor": "white", "alpha": 0.8, "pad": 0.5, "lw": 0}
            axes.annotate(stage.name, (starts[stage.name], 0), (4, 4), **place, fontsize=7.5, color=_SOFT, bbox=paper, zorder=6)
    axes.set_xlim(0, sum(stage.last for stage in run) * 1.02 or 1)
    _dress(axes, panel, [(label, tones[label], _final(own, label, panel.unit)) for label in labels])


def _line(axes: Any, curve: Curve, start: int, tone: str, *, band: bool) -> None:
    x, y = curve.steps + start, curve.values
    lost = ~np.isfinite(y)
    if lost.any():
        axes.plot(x[lost], np.full(lost.sum(), 0.03), "x", color=_ALARM, ms=5, transform=axes.get_xaxis_transform(), zorder=5)
    if curve.marked or (~lost).sum() == 1:
        axes.plot(x[~lost], y[~lost], "o-", color=tone, ms=3.5, lw=1.2, mec="white", mew=0.6, zorder=4)
        return
    mean, spread = running(y)
    axes.plot(x, y, color=tone, lw=0.7, alpha=0.28)
    if band:
        axes.fill_between(x, mean - spread, mean + spread, color=tone, alpha=0.13, lw=0)
    axes.plot(x, mean, color=tone, lw=1.8, solid_capstyle="round", zorder=3)


def _stack(axes: Any, own: Sequence[Curve], starts: Mapping[str, int], tones: Mapping[str, str]) -> None:
    """Running means piled up; where a phase was not measured it took no time."""
    for stage in dict.fromkeys(c.stage for c in own):
        parts = [c for c in own if c.stage == stage]
        steps = np.unique(np.concatenate([c.steps for c in parts]))
        floor = np.zeros(len(steps))
        for part in parts:
            values = np.zeros(len(steps))
            values[np.searchsorted(steps, part.steps)] = np.nan_to_num(part.values, nan=0, posinf=0, neginf=0)
            top = floor + running(values)[0]
            if len(steps) == 1:
                axes.bar(steps + starts[stage], top - floor, bottom=floor, color=tones[part.label], width=0.5)
            axes.fill_between(steps + starts[stage], floor, top, color=tones[part.label], alpha=0.75, lw=0)
            floor = top
    axes.set_ylim(bottom=0)


def _limits(axes: Any, own: Sequence[Curve], *, share: bool) -> None:
    """Bounds that a few outliers do not blow up; shares begin at 0 and, where they are large, end at 100%."""
    low, high = np.inf, -np.inf
    for curve in own:
        finite = curve.values[np.isfinite(curve.values)]
        core = np.percentile(finite, (0, 100) if curve.marked or len(finite) < 20 else (1, 99))
        mean = running(curve.values)[0]
        low, high = min(low, core[0], np.nanmin(mean)), max(high, core[1], np.nanmax(mean))
    if share:
        axes.set_ylim(0, 1.03 if high > 0.4 else max(high * 1.15, 0.01))
        return
    room = 0.08 * (high - low) or max(abs(high) * 0.1, 1e-9)
    axes.set_ylim(0 if 0 <= low < 0.35 * high or 0 < low == high else low - room, high + room)


def _dress(axes: Any, panel: Panel, legend: Sequence[tuple[str, str, str]]) -> None:
    """Title, coloured words with the last values in place of a legend, quiet axes."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=_INK, pad=19)
    anchor: Any = "axes fraction"
    for number, (label, tone, value) in enumerate(legend):
        start, room = (1, 9) if number else (0, 0)
        place = {"xycoords": (anchor, "axes fraction"), "textcoords": "offset points"}
        anchor = axes.annotate(f"{label} {value}".strip(), (start, 1), (room, 7), **place, fontsize=8, color=tone)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.tick_params(labelsize=8, colors=_SOFT, length=0)
    axes.grid(axis="y", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    full = panel.unit == "share" and axes.get_ylim()[1] > 1
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]) if full else MaxNLocator(4))
    factor, sign = (100, "%") if panel.unit == "share" else (1, "")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{_number(factor * value)}{sign}"))


def _final(own: Sequence[Curve], label: str, unit: str) -> str:
    """The last running mean, or the last measured point, as a reader would say it."""
    last: NDArray[np.float64] = next(c for c in reversed(own) if c.label == label).smooth()
    value = float(last[np.isfinite(last)][-1])
    return f"{100 * value:.1f}%" if unit == "share" else f"{value:.1f} s" if unit == "stack" else _number(value)


def _number(value: float) -> str:
    if abs(value) < 1e-12:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}".replace("-", "\u2212")
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", "\u2212")
