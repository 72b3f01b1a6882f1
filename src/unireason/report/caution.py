"""What a reader must know before any number or answer: few patients, or a question outside what the model was made for.

The same sentences stand in the banner of a page, in Markdown and on a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unireason.metrics.intervals import FEW
from unireason.types import ScopeCheck, Trace

from .markup import escape, plural


def of_traces(traces: Iterable[Trace]) -> list[str]:
    """What lies outside the scope of the model that made the traces, each once; none inside or where nothing is known."""
    return _stated([trace.scope for trace in traces])


def of_results(results: Mapping[str, Any]) -> list[str]:
    """Of the results of an evaluation, from their ``scope``, ``patients`` and ``too_few_patients``; what is missing is no caution."""
    scope = results.get("scope") or {}
    said = []
    if scope.get("outside"):
        said = [f"{plural(n, 'question')} of {scope['questions']:,}: {remark}" for remark, n in scope["remarks"].items()]
        said.append(f"What the model was made for: {scope['stated']}")
    if results.get("too_few_patients"):
        said.append(
            f"Too few patients: {plural(results['patients'], 'patient')}, fewer than {FEW}, say little of others. Intervals over them are "
            "made for few and wide; those over questions taken as independent promise too much."
        )
    return said


def banner(cautions: Sequence[str]) -> str:
    """The sentences as HTML for the head of a page; "" for none."""
    return f'<aside class="caution">{"".join(f"<p>{escape(text)}</p>" for text in cautions)}</aside>\n' if cautions else ""


def tell(cautions: Sequence[str]) -> None:
    """Print the sentences to stderr."""
    for text in cautions:
        print(f"caution: {text}", file=sys.stderr)


def _stated(checks: Sequence[ScopeCheck]) -> list[str]:
    remarks = list(dict.fromkeys(remark for check in checks for remark in check.remarks))
    made_for = dict.fromkeys(f"What the model was made for: {check.stated}" for check in checks if check.remarks)
    return [*remarks, *made_for]
