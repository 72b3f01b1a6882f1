"""The page of an ablation: one table, one picture, and the claims with what became of them; as HTML, Markdown and PNG.

It reads the plain values of ``results.json`` of ``unireason ablate`` and knows no runs.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unireason.core.store import write_bytes

from .curves import TONES
from .html import RESEARCH_ONLY, banner, clean, escape, number, of_results, percent, plural, render, static
from .run_tables import cell

# --- The arms of an ablation as one picture: a panel a kind of question, a row an arm: its seeds, their mean and its interval.


_INK, _SOFT, _GRID = "#1a1d21", "#6b727b", "#e4e6e8"
_PANELS = {"volume": "3D questions", "image": "2D questions"}
_WIDTH, _ROW, _DPI = 4.2, 0.42, 140  # inches of a panel, inches of an arm, dots an inch
_LONGEST = 60  # letters of a title; the panels need room as well


def draw(results: Mapping[str, Any]) -> bytes:
    """Draw the picture."""
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


# --- The page of an ablation: one table, one picture, and the claims with what became of them; as HTML, Markdown and PNG.


NAME = "ablation"
"""Name of the three files, without their ends."""
_DASH = "\u2013"
_GROUPS = {"volume": "3D", "image": "2D", "all": "all"}
_VERDICTS = {
    "holds": "Holds",
    "does not hold": "Does not hold, the opposite was measured",
    "undecided": "Undecided, the interval includes no difference",
}
_READING = (
    "Accuracy: mean over seeds and questions. Intervals (95%) hold for other seeds and other patients: both are taken as drawn, seeds"
    " crossed with patients, Student's t. Differences are paired by seed and question, in percentage points. Box IoU: over true looks,"
    " a look that was not made counts 0. Seen: training samples about volumes and images, with those of the arms before."
)
Cell = tuple[str, str]
"""What a cell says, and its interval or a remark."""


def write_ablation(results: Mapping[str, Any], folder: Path) -> Path:
    """Write ``ablation.html``, ``ablation.md`` and ``ablation.png``.

    Args:
        results: As ``results.json`` of ``unireason ablate`` has them.
        folder: Where.

    Returns:
        The path of the HTML page, which holds the picture and needs no other file.

    Raises:
        UniReasonError: A file cannot be written.
    """
    picture = draw(results)
    write_bytes(folder / f"{NAME}.png", picture)
    write_bytes(folder / f"{NAME}.md", _markdown(results).encode("utf-8"))
    style = "\n".join(static(name) for name in ("base.css", "index.css", "dataset.css", "ablation.css"))
    values = {
        "title": "Ablation",
        "facts": escape(_facts(results)),
        "claims": _claims(results),
        "table": _html_table(results),
        "picture": "data:image/png;base64," + base64.b64encode(picture).decode("ascii"),
        "reading": escape(_READING),
    }
    page = render(f"{NAME}.html", about="ablation", style=style, script="", values=values, head=banner(cautions(results)))
    return write_bytes(folder / f"{NAME}.html", page.encode("utf-8"))


def cautions(results: Mapping[str, Any]) -> list[str]:
    """What stands above the page, of the suite's patients and of the models' scope."""
    return of_results({**results["arms"][0]["all"], "scope": results.get("scope")})


def table(results: Mapping[str, Any]) -> list[list[str]]:
    """The table as texts, the head first, intervals in brackets behind the values; kinds without a question are left out."""
    head, rows = _cells(results)
    return [head, *([f"{value} ({note})" if note else value for value, note in row] for row in rows)]


def claim_texts(results: Mapping[str, Any]) -> list[str]:
    """The claims, one line each: verdict, claim, what was measured."""
    return [": ".join(_claim(results, claim)) for claim in results["claims"]]


def _claim(results: Mapping[str, Any], claim: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict in words, and the claim with what was measured."""
    group = claim["on"]
    arms = {arm["name"]: arm for arm in results["arms"]}
    better, than = (
        f"{arms[name]['title']} {percent(arms[name][group]['accuracy'])}" for name in (claim["better"], claim["than"])
    )
    low, high = (_points(v) for v in claim["ci95"])
    on = "all questions" if group == "all" else f"{_GROUPS[group]} questions"
    measured = f"{better}, {than} on {on}: {_points(claim['difference'])} points (95% {low} to {high})"
    return _VERDICTS[claim["verdict"]], f"{claim['text'].rstrip('.')}. {measured}."


def _cells(results: Mapping[str, Any]) -> tuple[list[str], list[list[Cell]]]:
    """Head and rows; every row begins with the title of its arm."""
    arms = results["arms"]
    groups = [g for g in ("volume", "image") if g in arms[0]]
    differences = {(d["arm"], d["on"]): d for d in results["differences"]}
    head = ["Arm", *(f"{_GROUPS[g]} accuracy" for g in groups), "Box IoU", *(f"{_GROUPS[g]} difference" for g in groups), "Seen"]
    rows = []
    for arm in arms:
        row: list[Cell] = [(arm["title"], "reference" if arm["name"] == results["reference"] else "")]
        row += [(percent(arm[g]["accuracy"]), _share_range(arm[g]["ci95"])) for g in groups]
        row.append(_overlap(arm["all"]))
        row += [_difference(differences.get((arm["name"], g))) for g in groups]
        rows.append([*row, _seen(arm)])
    return head, rows


def _overlap(scores: Mapping[str, Any]) -> Cell:
    """A model without boxes has none to be scored; one that is shown no crops has."""
    if scores["mean_box_iou"] is None or not (scores["looked"] or scores["mean_box_iou"]):
        return _DASH, ""
    low, high = scores["mean_box_iou_ci95"]
    return f"{scores['mean_box_iou']:.2f}", f"{low:.2f}{_DASH}{high:.2f}"


def _difference(found: Mapping[str, Any] | None) -> Cell:
    if found is None:
        return "", ""
    low, high = (_points(v) for v in found["ci95"])
    return _points(found["difference"]), f"{low} to {high}"


def _seen(arm: Mapping[str, Any]) -> Cell:
    seen = arm["exposure"]
    steps = f"{arm['steps']:,} steps"
    if seen["volume"] is None:
        return f"{seen['samples']:,}", steps
    return f"{seen['volume']:,} 3D, {seen['image']:,} 2D", steps


def _share_range(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:.0f}{_DASH}{percent(ends[1])}"


def _points(value: float) -> str:
    """A difference of shares in percentage points, always with its sign."""
    text = number(100 * value, 1)
    return text if text.startswith("\u2212") or text == "0" else f"+{text}"


def _facts(results: Mapping[str, Any]) -> str:
    manifest, scores = results["manifest"], results["arms"][0]["all"]
    seeds = len(results["seeds"])
    words = [f"suite {manifest['suite']}", plural(scores["n"], "question"), plural(scores["patients"], "patient")]
    return " · ".join([*words, f"{seeds} seed{'s' if seeds > 1 else ''}", f"{len(results['arms'])} arms"])


def _claims(results: Mapping[str, Any]) -> str:
    rows = []
    for claim in results["claims"]:
        kind = {"holds": "good", "does not hold": "bad"}.get(claim["verdict"], "open")
        verdict, rest = _claim(results, claim)
        rows.append(f'<li class="check"><b class="{kind}">{escape(verdict)}</b> {escape(rest)}</li>')
    return f"<ul>{''.join(rows)}</ul>" if rows else '<p class="none">The file names no claim.</p>'


def _html_table(results: Mapping[str, Any]) -> str:
    head, rows = _cells(results)
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = ""
    for row in rows:
        first, *others = (f"{escape(value)}<small>{escape(note)}</small>" for value, note in row)
        body += f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'
    return f'<table class="arms"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'


def _markdown(results: Mapping[str, Any]) -> str:
    head, *rows = table(results)
    lines = [
        "# Ablation",
        "",
        cell(_facts(results)),
        "",
        *(f"**Caution.** {cell(text)}\n" for text in cautions(results)),
        *(f"* {cell(text)}" for text in claim_texts(results)),
        "",
    ]
    lines += [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(cell(text) for text in row)} |" for row in rows]
    return "\n".join(
        [*lines, "", f"![Accuracy of every arm: seeds, mean, interval]({NAME}.png)", "", _READING, "", RESEARCH_ONLY, ""]
    )
