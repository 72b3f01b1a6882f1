"""Sample rollouts of a policy as pages: one a step, and an index over the steps with their rewards.

On a page every question is a section: what was asked, then each response of its group with what it earned, what it said and what it
looked at, best first. Files need no network, no server and no script.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from unireason.files import json_text, write_bytes
from unireason.types import Scored

from .bars import bar, percent
from .markup import escape, number, render, static
from .rollout_cards import is_right, section

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
    groups = _groups(scored)
    place = Path(folder)
    body = "".join(section(n, group) for n, group in enumerate(groups)) or '<p class="none">No rollouts were kept.</p>'
    row = _row(scored, len(groups))
    page = _page(f"Rollouts of step {step:,}", f'{_facts(row)} · <a href="{INDEX}">all steps</a>', body)
    target = write_bytes(place / f"step-{step:06d}.html", page.encode("utf-8"))
    rows = {**_rows(place), step: row}
    rows = {key: rows[key] for key in sorted(rows)}
    write_bytes(place / ROWS, (json_text(rows, indent=1) + "\n").encode("ascii"))
    write_bytes(place / INDEX, _page("Rollouts", f"{len(rows)} step{'s' * (len(rows) != 1)}", _table(rows)).encode("utf-8"))
    return target


def _groups(scored: Sequence[Scored]) -> list[list[Scored]]:
    found: dict[tuple[Any, ...], list[Scored]] = {}
    for one in scored:
        found.setdefault((one.case, one.trace.question, one.trace.options, one.gold), []).append(one)
    return list(found.values())


def _page(title: str, facts: str, body: str) -> str:
    style = "\n".join(static(name) for name in ("base.css", "index.css", "dataset.css", "rollouts.css"))
    values = {"title": escape(title), "facts": facts, "body": body}
    return render("rollouts.html", about="training", style=style, script="", values=values)


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
    words = [f"{row['questions']} question{'s' * (row['questions'] != 1)}", f"{row['responses']} responses"]
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


def _table(rows: Mapping[int, Mapping[str, Any]]) -> str:
    heads = "".join(f'<th scope="col"{" colspan=2" if key == "reward" else ""}>{name}</th>' for key, name in _COLUMNS.items())
    most = max((row["best"] for row in rows.values() if isinstance(row["best"], int | float)), default=0)
    body = "".join(_table_row(step, row, max(most, 1e-9)) for step, row in sorted(rows.items(), reverse=True))
    return (
        '<section class="card panel wide"><table class="steps"><thead><tr><th scope="col">Step</th>'
        f"{heads}</tr></thead><tbody>{body}</tbody></table></section>"
    )


def _table_row(step: int, row: Mapping[str, Any], most: float) -> str:
    cells = []
    for key in _COLUMNS:
        value = row[key]
        if key == "reward":
            share = min(max(value / most, 0), 1) if isinstance(value, int | float) else None
            cells.append(f'<td class="chart">{bar(share)}</td>')
        text = percent(value) if key in ("right", "looked") else "\u2013" if value is None else number(float(value), 3)
        cells.append(f"<td>{text}</td>")
    return f'<tr><th scope="row"><a href="step-{step:06d}.html">{step:,}</a></th>{"".join(cells)}</tr>'
