"""The tables of an evaluation as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .bars import interval_text, percent
from .caution import of_results
from .evaluation_tables import command, heading, intervals, label, ordered, plain, rate, span
from .markup import RESEARCH_ONLY, escape, plural

_DASH = "\u2013"


def run_markdown(results: Mapping[str, Any], apart: Mapping[str, tuple[int, int]], rules: Mapping[str, str], *, plot: str) -> str:
    """The tables of one run.

    Args:
        results: As ``results.json`` has them.
        apart: By published reading the questions that are right by ours alone, and by it alone.
        rules: What every published reading counts as right.
        plot: Name of the picture of reliability beside it; "" for none.
    """
    scores, made = results["scores"], results["manifest"]
    parts = [
        f"# Evaluation on {cell(results['suite'])}\n",
        f"{_asked(results)}\n",
        *(f"**Caution.** {cell(text)}\n" for text in of_results(results)),
        "## Result\n",
        table(["", "value", "95% interval"], _headline(results)),
        *(_tag(tag, scores["by"][tag]) for tag in ordered(scores["by"])),
        "## Readings side by side\n",
        table(
            [
                "reading",
                "accuracy",
                "Wilson 95%",
                "patients 95%",
                "right for us alone",
                "right for it alone",
                "questions",
                "rule",
            ],
            _readings(results, apart, rules),
        ),
        "## Does anything tell right answers from wrong ones?\n",
        _calibration(results["calibration"], plot),
        f"## Again\n\n```bash\n{command(made)}\n```\n",
        f"{RESEARCH_ONLY}\n",
    ]
    return "\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a line that says so for no rows."""
    listed = [list(row) for row in rows]
    if not listed:
        return "Nothing was measured.\n"
    return "".join(f"| {' | '.join(row)} |\n" for row in [list(head), ["---"] * len(head), *listed])


def cell(value: object) -> str:
    """Any text as one harmless cell of a table."""
    return re.sub(r"([\\|`*\[\]])", r"\\\1", " ".join(escape(value).split()))


def _asked(results: Mapping[str, Any]) -> str:
    made = results["manifest"]
    model, profile = made["checkpoint"], made["profile"]
    words = [
        f"{plural(results['n'], 'question')} on {plural(results['patients'], 'patient')}",
        f"checkpoint {model['name']} {str(model['sha256'])[:12]}",
        f"profile {profile['name']} {str(profile['sha256'])[:12]}",
        f"seed {made['seed']}",
        f"{made['samples']} sample{'s' * (made['samples'] != 1)} a question",
        rate(results),
    ]
    left = f" Left out by the suite: {cell(plain(results['left_out']))}." if results["left_out"] else ""
    lost = f" Not readable, counted as wrong: {results['unreadable']:,}." if results["unreadable"] else ""
    return f"{', '.join(map(cell, words))}.{left}{lost} What counts as right: {cell(results['rule'])}."


def _headline(results: Mapping[str, Any]) -> list[list[str]]:
    scores, found, drawn = results["scores"]["all"], results["grounding"], results["sampling"]
    iou = _DASH if found["mean_box_iou"] is None else f"{found['mean_box_iou']:.3f}"
    lines = [
        ["accuracy", percent(scores["accuracy"], 1), intervals(scores)],
        ["chance", percent(scores["chance"], 1), ""],
        ["unread answers (counted as wrong)", f"{scores['unread']:,}", ""],
        ["answers whose letter and text contradict each other", percent(scores.get("mismatch_rate"), 1), ""],
        ["mean box IoU", iou, f"patients {span(found['ci95_patients'])}" if found["ci95_patients"] else ""],
        ["true looks found with IoU over 50%", percent(found["iou_at_50"], 1), ""],
        ["answers with a look", percent(found["looked"], 1), ""],
    ]
    if drawn:
        ends = interval_text(drawn["mean_accuracy_ci95_patients"], 1)
        lines += [
            [
                f"mean accuracy of {drawn['samples']} samples",
                percent(drawn["mean_accuracy"], 1),
                f"patients {ends}" if ends else "",
            ],
            ["any sample right", percent(drawn["any_right"], 1), ""],
            ["all samples right", percent(drawn["all_right"], 1), ""],
        ]
    return lines


def _tag(tag: str, groups: Mapping[str, Any]) -> str:
    rows = [
        [
            cell(label(tag, value)),
            percent(own["accuracy"], 1),
            interval_text(own["accuracy_ci95"], 1),
            interval_text(own["accuracy_ci95_patients"], 1) or _DASH,
            percent(own["chance"]),
            f"{own['unread']:,}",
            f"{own['patients']:,}",
            f"{own['n']:,}",
        ]
        for value, own in groups.items()
    ]
    head = [cell(heading(tag)), "accuracy", "Wilson 95%", "patients 95%", "chance", "unread", "patients", "questions"]
    return f"## {cell(heading(tag))}\n\n{table(head, rows)}"


def _readings(results: Mapping[str, Any], apart: Mapping[str, tuple[int, int]], rules: Mapping[str, str]) -> list[list[str]]:
    scores = results["scores"]["all"]

    def line(name: str, own: Mapping[str, Any], sides: Sequence[str], rule: str) -> list[str]:
        intervals = [interval_text(own["accuracy_ci95"], 1), interval_text(own["accuracy_ci95_patients"], 1) or _DASH]
        shares = [percent(own["accuracy"], 1), *intervals]
        return [cell(name), *shares, *sides, f"{own['n']:,}", cell(rule)]

    return [
        line("this package", scores, ("", ""), results["rule"]),
        *(
            line(name, own, [f"{count:,}" for count in apart.get(name, (0, 0))], rules.get(name, ""))
            for name, own in scores["published"].items()
        ),
    ]


def _calibration(found: Mapping[str, Any], plot: str) -> str:
    rows = [
        [cell(name), f"{own['n']:,}", _or_dash(own["auroc"]), _or_dash(own["ece"]) if name != "overlap" else ""]
        for name, own in found.items()
    ]
    picture = f"\n![reliability]({plot})\n" if plot else ""
    return table(["predictor", "answers", "AUROC", "ECE"], rows) + picture


def _or_dash(value: float | None) -> str:
    return _DASH if value is None else f"{value:.3f}"
