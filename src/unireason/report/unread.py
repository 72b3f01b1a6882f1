"""The notice on top of a page: how many questions could not be asked, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .markup import escape, plural

SHOWN = 3
"""Questions at most that are told with their reason."""


def notice(count: int, told: Sequence[tuple[str, str]], *, outcome: str = "counted as wrong") -> str:
    """The notice as HTML; nothing without such questions.

    Args:
        count: Questions that could not be asked.
        told: Some of them, and why.
        outcome: What became of them, behind "could not be asked and".
    """
    if not count:
        return ""
    reasons = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in told)
    more = f"<li>and {count - len(told):,} more; rows.jsonl has all</li>" if told and count > len(told) else ""
    return (
        f'<div class="flaw"><b>{plural(count, "question")} could not be asked and {outcome}.</b><ul>{reasons}{more}</ul>'
        "Once the files are repaired, the same command with <code>--again</code> asks again what could not be read.</div>"
    )


def left_out(unreadable: Mapping[str, Any]) -> str:
    """The notice of an evaluation that leaves such questions out, from "unreadable" in its results."""
    return notice(unreadable["n"], first(unreadable), outcome="were left out")


def first(unreadable: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The first questions of "unreadable" in the results of an evaluation, and why."""
    return list(unreadable["questions"].items())[:SHOWN]
