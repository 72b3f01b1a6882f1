"""The page of an ablation: one table, one picture, and the claims with what became of them; as HTML, Markdown and PNG.

It reads the plain values of ``results.json`` of ``unireason ablate`` and knows no runs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unireason.core.store import write_bytes

from .html import RESEARCH_ONLY, escape, number, of_results, percent, plural, row, sheet
from .html import table as html_table
from .plots import draw
from .run_tables import cell

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
Noted = tuple[str, str]
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
    shown = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
    head, rows = _cells(results)
    body = "".join(row(*(f"{escape(value)}<small>{escape(note)}</small>" for value, note in own)) for own in rows)
    arms = html_table("arms", map(escape, head), body)
    parts = [
        f'<section class="card panel"><h2>Claims</h2>{_claims(results)}</section>',
        f'<section class="card panel wide"><h2>Arms</h2>{arms}<p class="note">{escape(_READING)}</p></section>',
        f'<figure class="card figure"><img src="{shown}" alt="Accuracy of every arm: seeds, mean and 95% interval"></figure>',
    ]
    facts, styles = escape(_facts(results)), ("ablation",)
    page = sheet("ablation", "Ablation", facts, parts, sheets=styles, cautions=cautions(results))
    return write_bytes(folder / f"{NAME}.html", page)


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


def _cells(results: Mapping[str, Any]) -> tuple[list[str], list[list[Noted]]]:
    """Head and rows; every row begins with the title of its arm."""
    arms = results["arms"]
    groups = [g for g in ("volume", "image") if g in arms[0]]
    differences = {(d["arm"], d["on"]): d for d in results["differences"]}
    head = ["Arm", *(f"{_GROUPS[g]} accuracy" for g in groups), "Box IoU", *(f"{_GROUPS[g]} difference" for g in groups), "Seen"]
    rows = []
    for arm in arms:
        row: list[Noted] = [(arm["title"], "reference" if arm["name"] == results["reference"] else "")]
        row += [(percent(arm[g]["accuracy"]), _share_range(arm[g]["ci95"])) for g in groups]
        row.append(_overlap(arm["all"]))
        row += [_difference(differences.get((arm["name"], g))) for g in groups]
        rows.append([*row, _seen(arm)])
    return head, rows


def _overlap(scores: Mapping[str, Any]) -> Noted:
    """A model without boxes has none to be scored; one that is shown no crops has."""
    if scores["mean_box_iou"] is None or not (scores["looked"] or scores["mean_box_iou"]):
        return _DASH, ""
    low, high = scores["mean_box_iou_ci95"]
    return f"{scores['mean_box_iou']:.2f}", f"{low:.2f}{_DASH}{high:.2f}"


def _difference(found: Mapping[str, Any] | None) -> Noted:
    if found is None:
        return "", ""
    low, high = (_points(v) for v in found["ci95"])
    return _points(found["difference"]), f"{low} to {high}"


def _seen(arm: Mapping[str, Any]) -> Noted:
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
