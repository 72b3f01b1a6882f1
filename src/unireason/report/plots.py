"""All pictures that matplotlib draws, in one dress: curves of a run, reliability of predictors, evidence checks, ablations.

They read plain values of logs and ``results.json`` and know no trainer and no runs.
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

from .html import clean

Array = NDArray[np.float64]

TONES = ("#0072b2", "#d55e00", "#009e73", "#a24c8c", "#c79a00", "#4a9bd1", "#7d5a3c")
"""Line colours, told apart by colour-blind readers."""

_INK, _SOFT, _GRID, _ALARM = "#1a1d21", "#6b727b", "#e4e6e8", "#c0271d"


def _canvas(width: float, height: float, *, w_pad: float = 0.12, h_pad: float = 0.12) -> Any:
    """A figure of so many inches whose panels find their room themselves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=w_pad, h_pad=h_pad), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any, dots: int) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dots)
    return stream.getvalue()


def _dress(axes: Any, title: str, *, pad: int = 19, grid: str = "y", ticks: str = _SOFT, size: float = 8) -> None:
    """What all panels share: the title on the left, one axis line, quiet ticks, a grid behind the data."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK, pad=pad)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.tick_params(labelsize=size, colors=ticks, length=0)
    axes.grid(axis=grid, color=_GRID, lw=0.8)
    axes.set_axisbelow(True)


def _shares(set_ticks: Any) -> None:
    """Ticks of an axis from 0 to 100%."""
    set_ticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])


# --- The curves of a run: a panel for everything that its log holds, and no empty ones.
# The raw values are a light line, their running mean a dark one; values of evaluations are marked points.


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
            own = []
            for stage in run:  # what was never finite has no curve
                steps = np.array([int(line["step"]) for line in stage.lines if name in line], np.intp)
                values = np.array(
                    [np.nan if line[name] is None else line[name] for line in stage.lines if name in line], np.float64
                )
                values[~np.isfinite(values)] = np.nan
                own += [Curve(stage.name, label, steps, values, name.startswith("eval_"))] if np.isfinite(values).any() else []
            if not open_ended or any(np.nan_to_num(c.values).any() for c in own):
                found += own
    return found


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
    Panel("Invalid boxes, and looks that show nothing, a response", {"invalid_boxes": "invalid", "empty_looks": "show nothing"}),
    Panel("Sampled tokens a response", {"response_tokens": "rollouts"}),
    Panel("Responses cut off", {"clipped_ratio": "of all responses"}, "share"),
    Panel("Groups without advantage", {"frac_reward_zero_std": "of all groups"}, "share"),
    Panel("Questions a step", {"questions_drawn": "drawn", "questions_used": "teach", "questions_skipped": "skipped"}),
    Panel("Importance weight of the sampler", {"sampling_weight": "mean", "sampling_capped": "share capped"}),
    Panel("Divergence (KL)", {"kl": "from the reference", "approx_kl": "from the sampler"}),
    Panel("Entropy", {"entropy": "policy"}),
    Panel("Ratios clipped", {"clip_ratio_low": "below", "clip_ratio_high": "above"}, "share"),
    Panel("Gradient norm", {"grad_norm": "before clipping"}),
    Panel("Learning rate", {"lr": "lr"}),
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
    run = stages(lines)
    found = [(panel, curves(run, panel.keys)) for panel in PANELS]
    shown = [(panel, own) for panel, own in found if own]
    columns = len(shown) if len(shown) <= 3 else 2 if len(shown) == 4 else 3 if len(shown) <= 9 else 4
    rows = -(-len(shown) // max(columns, 1))
    figure = _canvas(4.4 * max(columns, 1), 2.75 * max(rows, 1) + 0.35, h_pad=0.09)
    told = "  ·  ".join(f"{s.name}, step {s.last:,}" for s in run) or "The log of this run holds no step yet."
    figure.suptitle(told, x=0.012, ha="left", fontsize=10, color=_SOFT)
    for number, (panel, own) in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, number)
        _draw(axes, panel, own, [s for s in run if any(c.stage == s.name for c in own)])
    return write_bytes(path, _png(figure, 120))


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
    _label(axes, panel, [(label, tones[label], _final(own, label, panel.unit)) for label in labels])


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


def _label(axes: Any, panel: Panel, legend: Sequence[tuple[str, str, str]]) -> None:
    """Coloured words with the last values in place of a legend, and the ticks."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    _dress(axes, panel.title)
    anchor: Any = "axes fraction"
    for number, (label, tone, value) in enumerate(legend):
        start, room = (1, 9) if number else (0, 0)
        place = {"xycoords": (anchor, "axes fraction"), "textcoords": "offset points"}
        anchor = axes.annotate(f"{label} {value}".strip(), (start, 1), (room, 7), **place, fontsize=8, color=tone)
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


# --- Consistency of looks: how IoUs spread, and two of them against each other.


def histogram(groups: Mapping[str, Sequence[float]], across: str, along: str) -> bytes:
    """Shares of values from 0 to 1 in 20 bins as a PNG, the first group as bars, others as lines over them."""
    figure = _canvas(4.8, 3.2)
    axes = figure.add_subplot()
    for place, (name, values) in enumerate(groups.items()):
        weights, tone = np.full(len(values), 1 / max(1, len(values))), TONES[place % len(TONES)]
        how: dict[str, Any] = {"histtype": "step", "lw": 1.6} if place else {"rwidth": 0.9, "alpha": 0.75}
        axes.hist(values, bins=20, range=(0, 1), weights=weights, color=tone, label=name, **how)
    _square(axes, across, along)
    _shares(axes.set_yticks)
    axes.set_ylim(bottom=0, top=axes.dataLim.y1 * 1.3 or 1)
    axes.legend(frameon=False, fontsize=8, labelcolor=_SOFT, loc="upper left")
    return _png(figure, 120)


def scatter(points: Sequence[tuple[float, float]], across: str, along: str) -> bytes:
    """Dots in the unit square with its diagonal, as a PNG."""
    figure = _canvas(4.8, 3.2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_SOFT, lw=0.9, ls=(0, (4, 3)), zorder=1)
    axes.plot(*zip(*points, strict=True), "o", color=TONES[0], ms=5, alpha=0.5, mec="none")
    _square(axes, across, along)
    axes.set_ylim(-0.02, 1.02)
    return _png(figure, 120)


def _square(axes: Any, across: str, along: str) -> None:
    _dress(axes, "", pad=4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(across, fontsize=8, color=_SOFT)
    axes.set_ylabel(along, fontsize=8, color=_SOFT)


# --- Reliability: for every predictor, how often answers are right where it is low and where it is high.


def write_reliability(
    predictors: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str], *, probabilities: Sequence[str] = ()
) -> Path:
    """Draw a panel for every predictor: accuracy with its 95% interval over the mean value of each bin, and how many answers it holds."""
    keys, side = {"n", "auroc", "ece", "bins"}, 3.5  # inches of a panel
    for title, values in predictors.items():
        if not set(values) >= keys:
            raise FormatError(f"the calibration of {title!r} has {sorted(values)}", f"{sorted(keys)}")
    columns = 2 if len(predictors) == 4 else min(len(predictors), 3) or 1
    rows = -(-len(predictors) // columns) or 1
    figure = _canvas(side * columns, (side + 0.35) * rows)
    if not predictors:
        figure.suptitle("No predictor was measured.", fontsize=10, color=_SOFT)
    for place, (title, values) in enumerate(predictors.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        _bins(axes, values["bins"], TONES[place % len(TONES)], diagonal=title in probabilities)
        _dress(axes, title)
        told = [f"{values['n']:,} answers"]
        told += [f"AUROC {values['auroc']:.2f}"] if values["auroc"] is not None else []
        told += [f"ECE {values['ece']:.2f}"] if title in probabilities and values["ece"] is not None else []
        above = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate("  ·  ".join(told), (0, 1), (0, 7), **above, fontsize=8, color=_SOFT)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0, 1.03)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        _shares(axes.set_yticks)
        axes.set_xlabel("value of the predictor", fontsize=8, color=_SOFT)
        axes.set_ylabel("answers right", fontsize=8, color=_SOFT)
    return write_bytes(path, _png(figure, 120))


def _bins(axes: Any, bins: Sequence[Mapping[str, Any]], tone: str, *, diagonal: bool) -> None:
    """Points with whiskers; under them small bars, as high as the share of all answers that a bin holds."""
    if diagonal:
        axes.plot([0, 1], [0, 1], color=_SOFT, lw=0.9, ls=(0, (4, 3)), zorder=1)
    if not bins:
        axes.text(0.5, 0.5, "no answer has a value", ha="center", va="center", fontsize=8.5, color=_SOFT, backgroundcolor="white")
        return
    x, y, mass = (np.array([own[key] for own in bins]) for key in ("mean", "accuracy", "n"))
    low, high = np.array([own["interval"] for own in bins]).T
    axes.bar(x, 0.08 * mass / mass.max(), width=0.018, color=tone, alpha=0.3, lw=0, zorder=1)
    axes.plot(x, y, color=tone, lw=1.2, alpha=0.55, zorder=3)
    reach = np.maximum([y - low, high - y], 0)
    axes.errorbar(x, y, yerr=reach, fmt="o", color=tone, ms=4.5, lw=1.2, mec="white", mew=0.7, zorder=4)


# --- The evidence check: accuracy under every condition, and what is lost with the evidence.


_CONDITIONS = {
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
    conditions = results.get("conditions")
    if not conditions or "true" not in conditions:
        raise FormatError("results without the condition 'true'", "results of an evidence check")
    names = list(conditions)
    figure = _canvas(9.2, 0.9 + 0.42 * len(names), w_pad=0.08, h_pad=0.08)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    single = [run["conditions"] for run in runs]
    for place, name in enumerate(names):
        found, others = conditions[name], [run[name] for run in single if name in run]
        tone = TONES[0] if name in ("true", "given_region") else TONES[1]
        _whisker(left, place, found["accuracy"], found["ci95_patients"], tone, [one["accuracy"] for one in others])
        lost = found.get("reliance")  # the share of what is known beyond guessing that is lost; the headline in full colour
        if lost and lost["value"] is None:
            right.annotate("undefined", (0.02, place), va="center", fontsize=8, color=_SOFT)
        elif lost:
            tone = TONES[1] if name == results.get("reliance_condition", "") else _SOFT
            alone = [one["reliance"]["value"] for one in others if one.get("reliance")]
            _whisker(right, place, lost["value"], lost["ci95"], tone, [value for value in alone if value is not None])
            end = lost["ci95"][1] if lost["ci95"] else lost["value"]
            beside = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": tone}
            right.annotate(f"{lost['value']:.2f}", (end, place), (7, 0), **beside)
    chance = conditions["true"]["chance"]
    left.axvline(conditions["true"]["accuracy"], color=TONES[0], lw=0.9, alpha=0.5, zorder=1)
    left.axvline(chance, color=_SOFT, lw=0.9, ls=(0, (4, 3)), zorder=1)
    above = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 7.5, "color": _SOFT}
    left.annotate("guessing", (chance, 1), (3, 2), **above)
    left.set_xlim(0, 1)
    _shares(left.set_xticks)
    right.set_xlim(-0.02, 1.12)
    right.set_xticks([0, 0.25, 0.5, 0.75, 1])
    for axes, title in ((left, "Answers right"), (right, "Evidence reliance")):
        _dress(axes, title, pad=12, grid="x")
    left.set_yticks(range(len(names)), [_CONDITIONS.get(name, name) for name in names], color=_INK, fontsize=9)
    left.invert_yaxis()
    return write_bytes(path, _png(figure, 130))


def _whisker(axes: Any, place: int, value: float, interval: Sequence[float] | None, tone: str, runs: Sequence[float]) -> None:
    """A dot with its whiskers; single runs as small dots under it."""
    interval = interval or (value, value)  # one patient has none
    reach = [[max(value - interval[0], 0)], [max(interval[1] - value, 0)]]
    axes.errorbar(value, place, xerr=reach, fmt="o", color=tone, ms=6, lw=1.6, mec="white", mew=0.8, zorder=4)
    axes.plot(runs, [place + 0.22] * len(runs), ".", color=tone, ms=4, alpha=0.55)


# --- The arms of an ablation: a panel a kind of question, a row an arm: its seeds, their mean and its interval.


def draw(results: Mapping[str, Any]) -> bytes:
    """Draw the arms of an ablation."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    arms = results["arms"]
    titles = {"volume": "3D questions", "image": "2D questions"}
    groups = [group for group in titles if group in arms[0]]
    names = [" ".join(clean(arm["title"]).split()) for arm in arms]
    names = [text if len(text) <= 60 else f"{text[:59]}\u2026" for text in names]  # the panels need room as well
    figure = _canvas(4.2 * len(groups) + 1.4, 0.42 * len(arms) + 1.25, h_pad=0.1)
    for place, group in enumerate(groups, start=1):
        axes = figure.add_subplot(1, len(groups), place)
        for row, arm in enumerate(arms):  # seeds as small rings, the mean as a dot with its interval
            scores, tone = arm[group], TONES[1] if arm["name"] == results["reference"] else TONES[0]
            axes.plot(scores["ci95"], [row, row], color=tone, lw=2.2, alpha=0.45, solid_capstyle="butt", zorder=2)
            axes.plot(scores["seeds"], [row] * len(scores["seeds"]), "o", mfc="white", mec=tone, mew=0.9, ms=4, zorder=3)
            axes.plot([scores["accuracy"]], [row], "o", color=tone, ms=7.5, mec="white", mew=0.9, zorder=4)
            if arm["name"] == results["reference"]:
                axes.axvline(scores["accuracy"], color=tone, lw=0.9, ls=(0, (4, 3)), zorder=1)
        chance = arms[0][group]["chance"]
        if chance:
            above = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 7.5, "color": _SOFT}
            axes.axvline(chance, color=_SOFT, lw=0.9, ls=":", zorder=1)
            axes.annotate("chance", (chance, 1), (2, -2), **above, va="top")
        axes.set_yticks(range(len(arms)), names if place == 1 else [""] * len(arms), parse_math=False)
        _dress(axes, titles[group], pad=10, grid="x", ticks=_INK, size=8.5)
        axes.set_ylim(len(arms) - 0.4, -0.75)
        axes.margins(x=0.06)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_xlabel("answers right (rings: seeds; bar: 95% interval)", fontsize=8, color=_SOFT)
    return _png(figure, 140)
